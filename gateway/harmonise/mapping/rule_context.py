"""The surroundings of a mapping rule, and the problems that its compiler reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.config.connector import Connector, Stream
from gateway.config.rules import MappingRule
from gateway.config.target_fields import TargetField
from gateway.harmonise.tables.compiled_tables import Tables

_BUILT_IN_NAMES = ("parent", "native_id", "kind", "version", "signed_original", "file")


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """A mistake in a rule, found while compiling. ``place`` is relative to the stream."""

    code: str
    place: tuple[str | int, ...]
    message: str
    column: int = 0
    blocks: bool = True
    """Whether the connector cannot run. Otherwise only ``gateway check`` refuses the file."""


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What the rules of one stream have in common."""

    connector: Connector
    stream: Stream
    tables: Tables | None
    key: bytes

    @property
    def title(self) -> str:
        """Connector and stream."""
        streams = self.connector.streams.items()
        name = next(name for name, stream in streams if stream is self.stream)
        return f"{self.connector.connector}.{name}"

    @property
    def nulls(self) -> frozenset[str]:
        """Texts that mean nothing is known."""
        return frozenset({"", *(text.strip() for text in self.stream.null_values)})


def expected_rule_form(target: TargetField) -> str:
    """Return the form that a rule for a target must have, for a finding."""
    name = ".".join(target.path)
    return {
        "struct": f"'{name}' has parts; write {name}.PART: EXPR, one line a part",
        "structs": f"'{name}' is a list of items; write {{each: EXPR, map: {{…}}}}",
        "dictionary": f"'{name}' has named entries; write {name}.NAME: EXPR",
        "languages": f"'{name}' is a text a language; write {name}.en: or {{languages: …}}",
    }.get(target.value_type, f"'{name}' cannot be filled so")


def unknown_variables(stream: Stream, variables: Iterable[str]) -> Iterator[str]:
    """Yield a message for each name of an expression that the stream does not keep."""
    names = {*stream.keep, *stream.for_each, *_BUILT_IN_NAMES}
    known = ", ".join(f"${name}" for name in sorted(names))
    for variable in sorted(set(variables) - names):
        yield f"${variable} is kept nowhere; add it under keep (known: {known})"


def inherit_options(inner: MappingRule, outer: MappingRule) -> MappingRule:
    """Return a rule of ``first_of`` with the conversion, table and protection of the outer rule.

    A setting of the inner rule takes precedence.
    """
    changes = {
        name: getattr(outer, name)
        for name in ("as_", "table", "at", "pseudonym", "basis")
        if getattr(inner, name) is None and getattr(outer, name)
    }
    changes |= {
        name: getattr(outer, name)
        for name in ("invalid", "pick")
        if name in outer.model_fields_set - inner.model_fields_set
    }
    if inner.const is not None:
        changes = {name: value for name, value in changes.items() if name in {"pseudonym", "basis"}}
    return inner.model_copy(update=changes) if changes else inner
