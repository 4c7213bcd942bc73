"""Say in which row and column of a table a value is that the gateway rejects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from gateway.config.connector import Stream
from gateway.config.rules import MappingRule, Rules
from gateway.records import RawRecord, Rejected


def with_row(rejected: Rejected, raw: RawRecord, stream: Stream) -> Rejected:
    """Return a rejection whose detail begins with the row and the columns of the value.

    A record that no table held, and a rejection without its stream, stay as they are.
    """
    if not raw.row or rejected.detail.startswith(raw.row):
        return rejected
    columns = list(dict.fromkeys(_columns(rejected.field, raw.kind, stream)))
    names = f", column{'s' * (len(columns) > 1)} {' and '.join(columns)}" if columns else ""
    return replace(rejected, detail=f"{raw.row}{names}: {rejected.detail or rejected.reason}")


def _columns(field: str, kind: str, stream: Stream) -> Iterator[str]:
    """Yield the columns that the rules of a field read."""
    if field == "id":
        yield from _names(stream.id)
    elif field == "kind" and stream.kind:
        yield from _names([stream.kind])
    elif field == "achieved":
        yield from _names(one.path for one in stream.achieved if one.path)
    rules = {**stream.map, **(stream.kinds[kind].map if kind in stream.kinds else {})}
    yield from _columns_of_rules(field, rules)


def _columns_of_rules(field: str, rules: Rules) -> Iterator[str]:
    for target, rule in rules.items():
        if target == field or target.startswith(f"{field}.") or field.startswith(f"{target}."):
            yield from _columns_of_rule(rule)


def _columns_of_rule(rule: MappingRule) -> Iterator[str]:
    texts = [rule.from_]
    if rule.join:
        texts += rule.join.values() if isinstance(rule.join, dict) else rule.join
    if rule.languages:
        texts += [rule.languages.text, *rule.languages.fields.values()]
    if split := rule.split_date:
        texts += [split.year, split.month, split.day]
    yield from _names(text for text in texts if text)
    for inner in rule.first_of or ():
        yield from _columns_of_rule(inner)


def _names(expressions: Iterable[str]) -> Iterator[str]:
    """Yield the expressions that name a column, and no value around the record."""
    yield from (text for text in expressions if not text.startswith("$"))
