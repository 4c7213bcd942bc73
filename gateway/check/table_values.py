"""Check that each row of a code table gives a value that the targets of the table accept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.config.connector import Connector, Stream
from gateway.config.rules import MappingRule
from gateway.config.target_fields import TargetField, UnknownTarget, find_target, record_type
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.mapping.constants import suggestion
from gateway.harmonise.mapping.conversion import target_converter
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values.text import CastError

_SCALAR_TYPES = {"text", "integer", "decimal", "boolean", "date", "datetime", "choice", "texts"}


def findings(
    connector: Connector, document: YamlDocument, tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each row whose value does not fit the target of a rule."""
    for name, stream in connector.streams.items():
        for inner, table, target in _table_rules(stream):
            place: DocumentPath = ("streams", name, *inner)
            if table in connector.tables:
                rows: Mapping[str, Any] = connector.tables[table].map
                for code, problem in _problems(rows, target, stream.zone):
                    yield document.make_finding(
                        "wrong-type", ("tables", table, "map", code), problem, key=False
                    )
            elif tables is not None and any(
                tables.crosswalk(country, table)
                for country in _countries(connector, stream, tables)
            ):
                if target.path[-1] != "isced_f":
                    yield document.make_finding(
                        "wrong-table",
                        (*place, "table"),
                        f"{table} gives fields of ISCED-F, and '{'.'.join(target.path)}' holds "
                        "none; fill isced_f with it",
                    )
            elif tables is not None:
                problems = [
                    problem
                    for country in _countries(connector, stream, tables)
                    for problem in _problems(tables.code_rows(country, table), target, stream.zone)
                ]
                for code, problem in dict.fromkeys(problems):
                    yield document.make_finding(
                        "wrong-type",
                        (*place, "table"),
                        f"row '{code}' of the mapping table {table}: {problem}",
                        key=False,
                    )


def _countries(connector: Connector, stream: Stream, tables: Tables) -> list[str]:
    """Return the countries whose tables may translate a code of the stream."""
    if stream.record_country:
        return [mapping.country for mapping in tables.mappings]
    return [connector.country]


def _problems(rows: Mapping[str, Any], target: TargetField, zone: str) -> Iterator[tuple[str, str]]:
    convert = target_converter(target, zone)
    for code, value in rows.items():
        if value is None:
            continue
        try:
            convert(value)
        except CastError as error:
            hint = suggestion(str(value), target.choices)
            yield code, f"'{'.'.join(target.path)}' expects {error.expected}{hint}"


def _table_rules(stream: Stream) -> Iterator[tuple[DocumentPath, str, TargetField]]:
    """Yield the place of each rule with a table, the table and the target."""
    for target, rule in stream.map.items():
        yield from _tables_of_rule(rule, target, record_type(stream.emits), ("map", target))
    for name, kind in stream.kinds.items():
        owner = record_type(kind.emits or stream.emits)
        for target, rule in kind.map.items():
            yield from _tables_of_rule(rule, target, owner, ("kinds", name, "map", target))


def _tables_of_rule(
    rule: MappingRule, name: str, owner: type[Any], place: DocumentPath, inherited: str = ""
) -> Iterator[tuple[DocumentPath, str, TargetField]]:
    try:
        target = find_target(owner, name)
    except UnknownTarget:
        return  # another finding reports it
    table = rule.table or inherited
    if rule.map is not None and target.struct is not None:
        for inner, inner_rule in rule.map.items():
            yield from _tables_of_rule(inner_rule, inner, target.struct, (*place, "map", inner))
    elif rule.first_of is not None:
        for index, alternative in enumerate(rule.first_of):
            inner_place = (*place, "first_of", index)
            yield from _tables_of_rule(alternative, name, owner, inner_place, table)
    elif table and rule.const is None and target.value_type in _SCALAR_TYPES:
        yield place, table, target
