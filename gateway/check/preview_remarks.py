"""Say in a preview what its records do not show: loops, joins and rules that found nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.check.preview import Preview, PreviewedRecord
from gateway.config.connector import Connector, Stream
from gateway.config.rules import Rules
from gateway.harmonise.values.payload import PayloadError, json_value, xml_element
from gateway.records import Accepted


@dataclass(frozen=True, slots=True)
class _Mapped:
    """The values of one record, or of one part in it, and the rules that filled them."""

    rules: Rules
    values: Any
    prefix: str = ""


def remarks(connector: Connector, name: str, preview: Preview) -> Iterator[str]:
    """Yield one line for each thing that a preview found empty."""
    stream = connector.streams[name]
    if not preview.items:
        yield _why_no_records(preview, is_push=connector.push is not None)
        return
    for join in preview.joins_without_sample:
        yield f"join {join!r} joined nothing, as it has no sample: add `--sample {join}=FILE`"
    yield from _empty_joins(stream, preview)
    yield from _empty_targets(stream, preview.items)


def _why_no_records(preview: Preview, *, is_push: bool) -> str:
    if preview.empty_loop:
        return (
            f"loop {preview.empty_loop!r} has no value, so no request was sent for a record: "
            f"check its source under `for_each.{preview.empty_loop}`"
        )
    if preview.skipped:
        return (
            f"the requests for {preview.skipped} listed records failed, and no other was read: "
            "check the request under `expand` or `join`"
        )
    if is_push:
        return "no record: the message has none for this stream"
    if preview.empty_by_rule:
        return (
            f"no record: {preview.empty_by_rule}, so the gateway reads it as an empty list. "
            "If the registry has records, check the parameters of `request`, and this rule"
        )
    pages = "reply" if preview.pages < 2 else f"{preview.pages} replies"  # noqa: PLR2004
    return (
        f"no record: the list in the {pages} is empty. "
        "If the registry has records, check the parameters of `request`, and `cursor.start`"
    )


def _empty_joins(stream: Stream, preview: Preview) -> Iterator[str]:
    nodes = [node for item in preview.items if (node := _payload(item)) is not None]
    for rule in stream.join:
        if rule.into in preview.joins_without_sample:
            continue
        if nodes and not any(_holds(node, rule.into) for node in nodes):
            places = f"`key: {rule.key}` with `to: {rule.to}`" if rule.key else f"`to: {rule.to}`"
            yield (
                f"join {rule.into!r} found nothing for any record: compare {places}"
                f"{'' if rule.key else ' with the id in its request'}"
                f"; with --sample, add its reply as `--sample {rule.into}=FILE`"
            )


def _payload(item: PreviewedRecord) -> Any:
    body = item.raw.body
    if body is None:
        return None
    is_xml = item.raw.media_type == "application/xml"
    try:
        return xml_element(body) if is_xml else json_value(body)
    except PayloadError:
        return None


def _holds(node: Any, name: str) -> bool:
    """Return whether a record contains joined records under a name."""
    if isinstance(node, Mapping):
        return bool(node.get(name))
    return any(len(holder) for holder in node.iterfind(name)) if hasattr(node, "iterfind") else True


def _empty_targets(stream: Stream, items: Sequence[PreviewedRecord]) -> Iterator[str]:
    found: dict[str, bool] = {}
    mapped = [item for item in items if item.mapped is not None]
    for item in mapped:
        kind = stream.kinds.get(item.raw.kind)
        rules = {**stream.map, **kind.map} if kind else stream.map
        accepted = item.outcome if isinstance(item.outcome, Accepted) else None
        with_issues = {issue.field for issue in accepted.provenance.issues} if accepted else set()
        for target, is_filled in _targets(_Mapped(rules, item.mapped)):
            found[target] = found.get(target, False) or is_filled or target in with_issues
    if empty := [target for target, is_filled in found.items() if not is_filled]:
        records = "the record" if len(mapped) == 1 else f"any of {len(mapped)} records"
        yield f"rules that found nothing in {records}: {', '.join(empty)}"


def _targets(mapped: _Mapped) -> Iterator[tuple[str, bool]]:
    """Yield the target of each rule, and whether the values have it."""
    for target, rule in mapped.rules.items():
        value = _value(mapped.values, target)
        yield mapped.prefix + target, not _is_empty(value)
        if rule.map:
            for part in value or ():
                yield from _targets(_Mapped(rule.map, part, f"{mapped.prefix}{target}."))


def _value(values: Any, target: str) -> Any:
    for name in target.split("."):
        values = values.get(name) if isinstance(values, Mapping) else getattr(values, name, None)
    return values


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | Mapping | Sequence) and not value)
