"""Explain the outcome of a record, as a page for people and as data for programs.

A field comes with its rule, the value of the registry, and the table row with its version and
source. The page also shows the digest of the connector and the position of the raw record. It
shows the rules of personal values, but never the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from gateway.config.connector import Connector, Stream, payload_format
from gateway.config.expressions.compiler import (
    ExpressionError,
    compile_expression,
    is_element,
    text_of,
)
from gateway.config.rules import PERSONAL_TYPES, MappingRule
from gateway.config.target_fields import UnknownTarget, find_target, record_type
from gateway.harmonise.explanation_country import describe_country
from gateway.harmonise.explanation_page import _short, format_page, format_value
from gateway.harmonise.explanation_quality import explain_quality
from gateway.harmonise.explanation_rows import TableRow, explain_row
from gateway.harmonise.mapping.achievement import MEANINGS, NOT_ACHIEVED, describe_achievement
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.rule_codes import RULES
from gateway.harmonise.values.payload import PayloadError, json_value, xml_element
from gateway.printable import one_line
from gateway.records import Accepted, Issue, Outcome, RawRecord, Rejected, Withheld

HIDDEN = "(personal, not shown)"
_MIN_PERSONAL_LENGTH = 6
"""A shorter text, such as a running number, also occurs inside other values."""
_DERIVED = {
    "eqf_level": ("nqf_framework", "nqf_level", "awarded_on"),
    "nqf_uri": ("nqf_framework", "nqf_level"),
    "credit_points": ("credit_amount", "credit_unit", "credit_sector", "awarded_on"),
}


class SourceValue(Struct, frozen=True):
    """One expression of a rule, and what it finds in the registry's record."""

    expression: str
    values: tuple[str, ...]


class FieldExplanation(Struct, frozen=True):
    """One field of the record."""

    field: str
    value: str
    personal: bool
    rule: str
    sources: tuple[SourceValue, ...] = ()
    rows: tuple[TableRow, ...] = ()


class ExplanationNote(Struct, frozen=True):
    """An issue or the rejection, with the rule behind its code."""

    code: str
    field: str
    message: str
    rule: str
    meaning: str


class Explanation(Struct, frozen=True, kw_only=True):
    """The whole page."""

    record: str
    connector: str
    stream: str
    outcome: str
    position: str
    config_digest: str
    tables_digest: str
    fields: tuple[FieldExplanation, ...]
    notes: tuple[ExplanationNote, ...]
    quality_assurance: dict[str, str] = {}
    country: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the page for programs."""
        made = to_builtins(self)
        assert isinstance(made, dict)  # noqa: S101 - a Struct becomes a mapping
        return made

    def to_text(self) -> str:
        """Return the page for people."""
        return "\n".join(map(one_line, format_page(self))) + "\n"


def explain(
    connector: Connector,
    raw: RawRecord,
    outcome: Outcome,
    *,
    tables: Tables | None = None,
    emits: str = "",
    position: str = "",
    topics: tuple[str, ...] | None = None,
) -> Explanation:
    """Explain the outcome of ``raw``.

    ``position`` is the position of the raw record, for example ``gateway.raw.v1-2@1041``.
    ``topics`` are those on which the record is published, or ``None`` if they are not known.
    """
    stream = connector.streams[raw.stream]
    emits, rules = _rules(stream, raw.kind, emits)
    reader = _SourceReader(connector, stream, raw)
    lookups = outcome.provenance.lookups if isinstance(outcome, Accepted) else ()
    record = (
        to_builtins(outcome.record, builtin_types=(date, datetime, Decimal))
        if isinstance(outcome, Accepted)
        else {}
    )
    table_rows: dict[str, list[TableRow]] = {}
    for lookup in lookups:
        table_rows.setdefault(lookup.field, []).append(explain_row(lookup, tables))
    fields = [
        *_explain_achievement(stream, raw.kind, emits, outcome, reader),
        *(
            _explain_mapped_field(name, rule, emits, record, reader, table_rows)
            for name, rule in rules.items()
        ),
    ]
    fields += _explain_derived_fields(record, {field.field for field in fields}, table_rows)
    page = Explanation(
        record=raw.native_id,
        connector=raw.connector,
        stream=raw.stream,
        outcome=_outcome(outcome, emits, topics),
        position=position or "a sample, not on a topic",
        config_digest=connector.digest,
        tables_digest=tables.digest if tables else "",
        fields=tuple(
            field
            for field in fields
            if field.value or field.rows or any(source.values for source in field.sources)
        ),
        notes=tuple(_notes(outcome)),
        quality_assurance=explain_quality(outcome),
        country=describe_country(stream, outcome),
    )
    return _hide_text(page, raw.native_id) if emits in PERSONAL_TYPES else page


def _hide_text(page: Explanation, text: str) -> Explanation:
    """Return the page without an id, which a rule may have copied into any value."""

    def hide(value: str) -> str:
        if len(text) < _MIN_PERSONAL_LENGTH:
            return HIDDEN if value == text else value
        return value.replace(text, HIDDEN)

    fields = tuple(
        replace(
            field,
            value=hide(field.value),
            sources=tuple(
                replace(source, values=tuple(map(hide, source.values))) for source in field.sources
            ),
        )
        for field in page.fields
    )
    notes = tuple(replace(note, message=hide(note.message)) for note in page.notes)
    return replace(page, record=HIDDEN, fields=fields, notes=notes)


def _rules(stream: Stream, kind: str, emits: str) -> tuple[str, Mapping[str, MappingRule]]:
    own = (stream.kinds or {}).get(kind)
    if own is None:
        return emits or stream.emits, stream.map
    return emits or own.emits or stream.emits, {**stream.map, **own.map}


def _outcome(outcome: Outcome, emits: str, topics: tuple[str, ...] | None) -> str:
    if isinstance(outcome, Accepted):
        on = f"published on {', '.join(topics)}" if topics else "not published"
        return f"accepted as {emits.replace('_', ' ')}" + (f", {on}" if topics is not None else "")
    if isinstance(outcome, Rejected):
        return f"rejected ({outcome.reason} at {outcome.field or 'the whole record'})"
    return f"not published ({outcome.reason})"


def _explain_achievement(
    stream: Stream, kind: str, emits: str, outcome: Outcome, reader: _SourceReader
) -> Iterator[FieldExplanation]:
    """Yield whether the record is an award. A value that a personal rule reads, too, is hidden."""
    own = (stream.kinds or {}).get(kind)
    rules = own.achieved if own is not None and own.achieved else stream.achieved
    if not rules or emits != "credential":
        return
    if isinstance(outcome, Withheld) and outcome.reason == NOT_ACHIEVED:
        value = "no"
    elif isinstance(outcome, Rejected) and outcome.field == "achieved":
        value = "not known"
    else:
        value = "yes"
    personal = {
        text
        for name, rule in _rules(stream, kind, emits)[1].items()
        if _personal(emits, name, rule)
        for expression, _many in _expressions(rule)
        for text in reader.read(expression)
    }
    sources = tuple(
        SourceValue(rule.path, tuple(HIDDEN if text in personal else text for text in found))
        for rule in rules
        if rule.path is not None
        for found in (reader.read(rule.path),)
    )
    yield FieldExplanation("achieved", value, False, describe_achievement(rules), sources)


class _SourceReader:
    """Reads the registry's record with the expressions of the connector file."""

    def __init__(self, connector: Connector, stream: Stream, raw: RawRecord) -> None:
        self._kind = payload_format(connector, stream)
        self._namespaces = connector.protocol.namespaces
        self._context = {
            **raw.context,
            "native_id": raw.native_id,
            "kind": raw.kind,
            "version": raw.version,
        }
        try:
            self._node: Any = (
                None
                if raw.body is None
                else xml_element(raw.body)
                if self._kind == "xml"
                else json_value(raw.body)
            )
        except PayloadError:
            self._node = None

    def read(self, expression: str) -> tuple[str, ...]:
        """Return the values of an expression as shortened texts."""
        if self._node is None:
            return ()
        try:
            found = compile_expression(self._kind, expression, self._namespaces)(
                self._node, self._context
            )
        except ExpressionError:
            return ()
        return tuple(
            _short(text_of(value) if is_element(value) else format_value(value)) for value in found
        )


def _explain_mapped_field(
    name: str,
    rule: MappingRule,
    emits: str,
    record: Mapping[str, Any],
    reader: _SourceReader,
    table_rows: Mapping[str, list[TableRow]],
) -> FieldExplanation:
    personal = _personal(emits, name, rule)
    sources = tuple(
        SourceValue(expression, () if many else ((HIDDEN,) if values and personal else values))
        for expression, many in _expressions(rule)
        for values in (reader.read(expression),)
    )
    value = format_value(_value_at(record, name.split(".")))
    return FieldExplanation(
        name,
        HIDDEN if value and personal else _short(value),
        personal,
        _describe_rule(rule),
        sources,
        tuple(table_rows.get(name, ())),
    )


def _personal(emits: str, name: str, rule: MappingRule) -> bool:
    try:
        found = find_target(record_type(emits), name)
    except UnknownTarget:
        return True
    inner = rule.map or {}
    return found.personal or bool(
        rule.pseudonym or rule.basis or any(one.pseudonym or one.basis for one in inner.values())
    )


def _expressions(rule: MappingRule) -> Iterator[tuple[str, bool]]:
    """Yield each expression of a rule, and whether the rule maps its items further."""
    if rule.from_ is not None:
        yield rule.from_, False
    if rule.each is not None:
        yield rule.each, True
    if rule.join is not None:
        for expression in rule.join.values() if isinstance(rule.join, dict) else rule.join:
            yield expression, False
    for inner in rule.first_of or ():
        yield from _expressions(inner)


def _describe_rule(rule: MappingRule) -> str:
    """Describe a rule in one line."""
    parts: list[str] = []
    if rule.const is not None:
        parts.append(f"always {format_value(rule.const)}")
    parts += [
        ("for each " if many else "from ") + expression for expression, many in _expressions(rule)
    ]
    if rule.languages is not None:
        parts.append("a text in several languages")
    if rule.as_ is not None:
        parts.append(f"as {', '.join(cast.simple or cast.kind for cast in rule.as_)}")
    for word, value in (
        ("through table", rule.table),
        ("of framework", rule.framework),
        ("as a pseudonym of", rule.pseudonym),
        ("because", rule.basis),
    ):
        if value:
            parts.append(f"{word} {value}")
    if rule.default is not None:
        parts.append(f"else {format_value(rule.default)}")
    return ", ".join(parts)


def _explain_derived_fields(
    record: Mapping[str, Any], mapped: set[str], table_rows: Mapping[str, list[TableRow]]
) -> Iterator[FieldExplanation]:
    """Yield the fields that the gateway added from mapping tables, also those of parts."""
    names = dict.fromkeys(
        [
            *(name for name in _DERIVED if name in record and record[name] is not None),
            *table_rows,
        ]
    )
    for name in names:
        if name in mapped:
            continue
        prefix, _, last = name.rpartition(".")
        place = _parent_of(record, prefix)
        asked = [
            (key, format_value(place.get(key)))
            for key in _DERIVED.get(last, ())
            if place.get(key) is not None
        ]
        sources = tuple(
            SourceValue(key, (HIDDEN if prefix and key == "awarded_on" else value,))
            for key, value in asked
        )
        asked_for = (
            f"{name.removesuffix(last)}eqf_level" if last == "nqf_uri" else name
        )  # one lookup gives both
        yield FieldExplanation(
            name,
            _short(format_value(place.get(last))),
            False,
            "the mapping tables of the country",
            sources,
            tuple(table_rows.get(asked_for, ())),
        )


def _parent_of(record: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    if prefix.startswith("parts["):
        parts, index = record.get("parts") or (), int(prefix[len("parts[") : -1])
        return parts[index] if index < len(parts) else {}
    return record


def _value_at(value: Any, path: list[str]) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _notes(outcome: Outcome) -> Iterator[ExplanationNote]:
    if isinstance(outcome, Rejected):
        yield _note(outcome.reason, outcome.field, outcome.detail)
    elif isinstance(outcome, Withheld):
        yield _note(outcome.reason, "", outcome.detail)
    else:
        issues: tuple[Issue, ...] = outcome.provenance.issues
        for issue in issues:
            yield _note(issue.code, issue.field, issue.message)


def _note(code: str, field: str, message: str) -> ExplanationNote:
    rule = RULES.get(code)
    return ExplanationNote(
        code,
        field,
        message,
        rule.rule if rule else "",
        rule.meaning if rule else MEANINGS.get(code, ""),
    )
