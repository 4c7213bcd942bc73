"""State what a record must hold so that the gateway can publish it.

Renderers, the checks of connector files, previews and the language reference read this one list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from gateway.config.rules import MappingRule, Rules
from gateway.records import RECORD_TYPES, Rejected


@dataclass(frozen=True, slots=True)
class Need:
    """A value without which the gateway publishes nothing of a record.

    ``field`` is the field that a rejection names. ``text`` completes the sentence "a course needs".
    ``write`` holds the lines of ``map`` that fill the value.
    """

    field: str
    text: str
    write: tuple[str, ...]
    targets: tuple[tuple[str, ...], ...] = ()
    """Sets of targets, each of which meets the need. Without any, it is ``field`` alone."""
    withheld: str = ""
    """The reason of the withholding, if the record is not rejected but withheld."""
    known_by: str = ""
    """The target from which a register of providers can also tell the value."""
    only_loq: bool = False
    """Whether an entry without the value is published, but not on a topic of the LOQ profile."""

    @property
    def choices(self) -> tuple[tuple[str, ...], ...]:
        """The sets of targets, each of which meets the need."""
        return self.targets or ((self.field,),)


def _body(field: str, text: str, targets: tuple[tuple[str, ...], ...] = ()) -> Need:
    return Need(
        field,
        f"{text} with its name and country",
        (f"{field}.name.LANGUAGE: EXPR", f"{field}.country: EXPR"),
        targets or ((f"{field}.name", f"{field}.country"),),
        known_by=f"{field}.identifiers",
    )


_TITLE = Need("title", "a title", ("title.LANGUAGE: EXPR",))
_ENTRY = (
    _TITLE,
    Need(
        "isced_f",
        "a field of education as an ISCED-F 2013 code",
        ("isced_f: EXPR",),
        only_loq=True,
    ),
    Need(
        "learning_outcomes",
        "at least one learning outcome with a title",
        ("learning_outcomes: {each: EXPR, map: {title.LANGUAGE: EXPR}}",),
        (("learning_outcomes.title",),),
        only_loq=True,
    ),
)
_ESI = Need("holder.esi", "the European Student Identifier of its holder", ("holder.esi: EXPR",))
_AGREEMENT = Need(
    "esc_agreement",
    "the agreement of the student",
    ("esc_agreement: EXPR",),
    withheld="no_agreement",
)

NEEDS: dict[str, tuple[Need, ...]] = {
    "qualification": (
        *_ENTRY,
        Need(
            "languages",
            "its language, or both an EQF level and a national level",
            ("languages: EXPR", "nqf_level: EXPR"),
            (("languages",), ("eqf_level", "nqf_uri")),
            only_loq=True,
        ),
    ),
    "learning_opportunity": (
        *_ENTRY,
        Need(
            "homepage",
            "a web page, with an http or https address",
            ("homepage: EXPR",),
            only_loq=True,
        ),
        _body(
            "provider",
            "a provider",
            (
                ("provider.name", "provider.country"),
                ("awarding_body.name", "awarding_body.country"),
            ),
        ),
    ),
    "credential": (
        _TITLE,
        _body("awarding_body", "an awarding body"),
        Need("awarded_on", "its date of award", ("awarded_on: EXPR",)),
    ),
    "student_status": (
        _ESI,
        Need(
            "institution.identifiers.pic",
            "the PIC of its institution, which has nine digits",
            ("institution.identifiers.pic: EXPR",),
            known_by="institution.identifiers",
        ),
        Need(
            "active",
            "the answer whether the student is enrolled",
            ("active: EXPR",),
            (("active",), ("ended",)),
        ),
        Need("valid_until", "the end of its term or study right", ("valid_until: EXPR",)),
        _AGREEMENT,
    ),
    "card": (
        _ESI,
        Need("card_number", "its number, an ESCN", ("card_number: EXPR",)),
        Need("issued_on", "its date of issue", ("issued_on: EXPR",)),
        Need("expires_on", "its date of expiry", ("expires_on: EXPR",)),
        Need(
            "active",
            "its status, or an event other than updated",
            ("active: EXPR",),
            (("active",), ("event",)),
        ),
        Need(
            "issuer.identifiers.pic",
            "the PIC of its issuer, which is the last nine digits of the ESCN",
            ("issuer.identifiers.pic: EXPR",),
        ),
        _AGREEMENT,
    ),
    "provider": (),
}
"""What each type of record needs, in the order in which the renderers check it."""
ONLY_LOQ = frozenset(need.field for needs in NEEDS.values() for need in needs if need.only_loq)
"""The fields without which an entry is published as incomplete, if its register holds none."""

_DERIVED_FROM = {"eqf_level": ("nqf_level", "eqf_declared"), "nqf_uri": ("nqf_level",)}
"""Targets from which the gateway derives a field that no rule may fill."""


@cache
def rejection(emits: str, field: str) -> Rejected:
    """Return the rejection of a record that lacks a needed field."""
    need = next(need for need in NEEDS[emits] if need.field == field)
    return Rejected(
        stage="render",
        field=field,
        reason="missing",
        detail=f"{_a(emits)} needs {need.text}; nothing is invented",
    )


def sentence(emits: str, need: Need) -> str:
    """Return a sentence that says what is needed, and what to write."""
    lines = " and ".join(f"`{line.partition(':')[0]}:`" for line in need.write)
    if len(need.choices) > 1 and need.field == "languages":
        lines = lines.replace(" and ", " or ")
    purpose = " to fulfil LOQ" if need.only_loq else ""
    return f"{_a(emits)} needs {need.text}{purpose}; add {lines} to `map`"


def advice(emits: str, reason: str) -> str:
    """Return what to do about a record that is withheld for a reason, or an empty text."""
    needs = [need for need in NEEDS[emits] if need.withheld == reason]
    return sentence(emits, needs[0]) if needs else ""


def unmapped_needs(emits: str, rules: Rules) -> Iterator[Need]:
    """Yield each need that no rule fills, in the order of the renderers."""
    for need in NEEDS[emits]:
        if not any(all(_is_mapped(rules, path) for path in paths) for paths in need.choices):
            yield need


def unmet_needs(emits: str, record: Any) -> Iterator[Need]:
    """Yield each need for which a record has no value at all.

    ``record`` is a harmonised record. A value that is present can still be unusable.
    """
    for need in NEEDS[emits]:
        if not any(all(_has_value(record, path) for path in paths) for paths in need.choices):
            yield need


def needed_targets(emits: str, record: Any) -> frozenset[str]:
    """Return the targets that are needed and that the record fills."""
    return frozenset(
        path
        for need in NEEDS[emits]
        for paths in need.choices
        if all(_has_value(record, one) for one in paths)
        for path in paths
    )


def record_word(record: Any) -> str:
    """Return the word that a connector file writes after ``emits`` for a record."""
    return next(word for word, kind in RECORD_TYPES.items() if type(record) is kind)


def _is_mapped(rules: Rules, path: str) -> bool:
    sources = _DERIVED_FROM.get(path)
    if sources:
        return any(_is_mapped(rules, source) for source in sources)
    return any(_fills(target, rule, path) for target, rule in rules.items())


def _fills(target: str, rule: MappingRule, path: str) -> bool:
    """Return whether a rule can fill a target, or a part of it, such as one of its languages."""
    if target == path or target.startswith(f"{path}."):
        return True
    if not path.startswith(f"{target}."):
        return False
    if rule.first_of:
        return any(_fills(target, inner, path) for inner in rule.first_of)
    return rule.map is None or _is_mapped(rule.map, path.removeprefix(f"{target}."))


def _has_value(value: Any, path: str) -> bool:
    name, _, rest = path.partition(".")
    if isinstance(value, tuple):
        return any(_has_value(item, path) for item in value)
    if isinstance(value, Mapping):
        inner = value.get(name)
    else:
        inner = getattr(value, name, None)
        if inner == _defaults(type(value)).get(name, None):
            return False
    return _has_value(inner, rest) if rest else inner not in (None, "", (), {})


def _defaults(struct: type[Any]) -> dict[str, Any]:
    """Return the default values of a record type, by the names of its fields."""
    return {
        field.name: field.default
        for field in (fields(struct) if issubclass(struct, Struct) else ())
        if field.default is not NODEFAULT
    }


def _a(emits: str) -> str:
    """Return the name of a record type with its article, such as "a learning opportunity"."""
    return f"a {emits.replace('_', ' ')}"
