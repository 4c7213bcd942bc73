"""Describe a document as parts, each with the fields on which it depends.

A part is constant, written for each record, or remembered for the values of a group of fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.records import Issue, RawRecord

Period = Literal["", "level", "credits", "list", "status"]
CATALOGUE_DAYS = ("valid_from", "valid_until", "starts_on", "ends_on")
AWARD_DAYS = ("awarded_on",)
STATUS_DAYS = ("valid_from", "valid_until")
"""The fields whose days may decide which row of a table applies."""


@dataclass(frozen=True, slots=True)
class Group:
    """Fields whose values many records share, and the parts of the document that they decide.

    A target belongs to the group if its first name is one of ``fields``. ``parts`` are functions of
    the record after the rules, by name. They return parts of the document, or other values for the
    functions of :class:`Written` parts. A record for which ``allows`` is false goes the ordinary
    way. ``period`` says that the rules also read the days of the record, and for what. ``judge`` is
    the rule that completes the values.
    """

    name: str
    fields: tuple[str, ...]
    parts: Mapping[str, Callable[[Any], Any]]
    allows: Callable[[Any], bool] = lambda _record: True
    period: Period = ""
    judge: Period = ""
    original_parts: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """Parts of the record before its institution is completed."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A rule about which fields a record has. Few combinations occur, and each is remembered.

    ``fields`` name fields and parts of groups. The first one decides whether the rule applies.
    ``judge`` gets whether each has a value. It returns
    the issues, or raises an exception for a record that must go the ordinary way.
    """

    name: str
    fields: tuple[str, ...]
    judge: Callable[..., tuple[Issue, ...]]


@dataclass(frozen=True, slots=True)
class Check:
    """A test of some values. A record for which it is false goes the ordinary way.

    ``fields`` are as in :class:`Written`.
    """

    test: Callable[..., bool]
    fields: tuple[str, ...]
    applies: str = ""
    """The value without which the test is not made, if there is one."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A value of other values. ``fields`` are as in :class:`Written`.

    If the value called ``applies`` is false, it is ``None``.
    """

    write: Callable[..., Any]
    fields: tuple[str, ...]
    applies: str = ""


@dataclass(frozen=True, slots=True)
class Constant:
    """The same bytes in each document."""

    json: bytes


@dataclass(frozen=True, slots=True)
class Root:
    """The IRI of the record, as JSON without quotes."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A part of a group."""

    group: str
    part: str


@dataclass(frozen=True, slots=True)
class Written:
    """A part that a function of some values writes for each record.

    ``fields`` name fields of the record, expressions of the plan, or parts of groups in the form
    ``group_part``. With ``required`` a record without this part goes the ordinary way.
    """

    write: Callable[..., bytes]
    fields: tuple[str, ...]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A part that is one of the values or expressions of the plan."""

    name: str


Part = Constant | Root | Remembered | Value | Written


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a record adds to its provenance, besides the values that records share."""

    issues: Mapping[str, tuple[Issue, ...]]
    """Issues by their place among the others: ``grade``, ``presence`` or ``document``."""
    annex1: dict[str, bool]
    quality_assurance: dict[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of the documents of one kind of record, in their order."""

    topic: str
    groups: tuple[Group, ...]
    parts: tuple[Part, ...]
    checked: tuple[str, ...] = ()
    """Fields that are mapped for each record, besides those of the written parts."""
    presences: tuple[Presence, ...] = ()
    checks: tuple[Check, ...] = ()
    days: tuple[str, ...] = CATALOGUE_DAYS
    """The fields whose days may decide which row of a table applies."""
    facts: tuple[Fact, ...] = ()
    """Values besides those of the groups, on which the provenance depends.

    They can be keys, and they never hold anything personal.
    """
    conclude: Callable[..., Conclusion] | None = None
    """Returns what the values of ``facts`` add to the provenance."""
    values: Mapping[str, Fact] = field(default_factory=dict)
    """Values that several parts share, by the names that the parts use."""
    expressions: Mapping[str, str] = field(default_factory=dict)
    """Python expressions for the names in written parts that are no fields."""
    second_topic: str = ""
    """The topic of a second document about the record, or of its tombstone."""
    second: Fact | None = None
    """Writes the second document, from the raw record, its key and the values.

    Without a document it returns ``None``, and anything else but bytes for a record that must go
    the ordinary way.
    """
    identify: Callable[[RawRecord, int], tuple[bytes, Any]] | None = None
    """Returns the key of a raw record and a value that expressions call ``prefix``.

    The number is the time of the raw record on its topic, in milliseconds. Without this function,
    the key is the IRI of the record, and ``prefix`` is that of its nodes.
    """

    @property
    def written_fields(self) -> frozenset[str]:
        """The fields whose values the generated code maps for each record."""
        written = [part for part in self.parts if isinstance(part, Written)]
        second = (self.second,) if self.second is not None else ()
        readers: tuple[Any, ...] = (*written, *self.presences, *self.checks, *self.facts, *second)
        names = {name for reader in readers for name in reader.fields} - self.values.keys()
        names.update(name for value in self.values.values() for name in value.fields)
        names.update(self.checked, self.days if self.days == AWARD_DAYS else ())
        return frozenset(names) - self.expressions.keys() - self.group_parts

    @property
    def group_parts(self) -> frozenset[str]:
        """The names of the parts of all groups, in the form ``group_part``."""
        return frozenset(
            f"{group.name}_{part}"
            for group in self.groups
            for part in (*group.parts, *group.original_parts)
        )
