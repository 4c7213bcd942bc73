"""Show how a connector processes a saved or live reply, without publishing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from msgspec.structs import replace

from gateway.check.published_fields import masked_document, unpublished_fields
from gateway.check.run_tests import to_plain_values
from gateway.config.connector import Connector
from gateway.config.omissions import CONDITIONS, omission
from gateway.config.publishing_needs import (
    advice,
    needed_targets,
    record_word,
    sentence,
    unmet_needs,
)
from gateway.config.target_fields import UnknownTarget, find_target
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.http.redaction import redact_url as redacted
from gateway.fetch.http.request_reply import RegistryReply, RegistryRequest, ReplyVerdict
from gateway.fetch.offline_client import OfflineClient
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.mapping.record_country import NO_SINGLE_COUNTRY
from gateway.records import Accepted, Document, Issue, Outcome, RawRecord, Rejected, Withheld
from gateway.render.publication import publication


@dataclass(frozen=True, slots=True)
class PreviewedRecord:
    """One raw record, its outcome in a run, and the topics on which the run would publish it."""

    raw: RawRecord
    outcome: Outcome
    topics: tuple[str, ...] = ()
    mapped: Any = None
    """The record that the rules gave, even if the run rejects its documents."""
    documents: tuple[Document, ...] = ()
    unpublished: frozenset[str] = frozenset()
    """The filled fields that no document shows, as dotted names without indices."""
    rule_issues: tuple[Issue, ...] = ()
    """The issues of the rules, without those of the documents."""


@dataclass(slots=True)
class Preview:
    """The first records of a stream, and what was read to find them."""

    items: list[PreviewedRecord] = field(default_factory=list)
    pages: int = 0
    skipped: int = 0
    """The number of listed records whose own request the registry refused."""
    empty_loop: str = ""
    """The name of a loop without any value, because of which nothing was read."""
    empty_by_rule: str = ""
    """How a rule under ``replies`` read the last reply without records, as a clause."""
    joins_without_sample: tuple[str, ...] = ()
    """The names of joins that joined nothing, because no saved reply belongs to them."""


async def preview_records(
    connector: Connector, name: str, client: RegistryClient, harmonise: Harmoniser, limit: int
) -> Preview:
    """Return at most ``limit`` records with the outcomes that they would have in a run.

    They come from the first page that contains any.
    """
    cursor = connector.streams[name].cursor
    now = datetime.now(UTC)
    loops = {
        loop: ("sample",)
        for loop, each in connector.streams[name].for_each.items()
        if each.in_.secret or each.in_.stream
    }
    window = TimeWindow(cursor.start_at if cursor else None, now)
    preview = Preview()

    def note_empty(verdict: ReplyVerdict) -> None:
        if verdict.outcome == "empty" and verdict.message:
            preview.empty_by_rule = verdict.message

    client.on_verdict = note_empty
    async with client:
        async for page in read_pages(
            connector,
            name,
            window,
            client,
            subjects=loops if isinstance(client, OfflineClient) else None,
        ):
            preview.pages += 1
            preview.empty_loop = page.empty_loop
            preview.skipped += len(page.skipped.reasons)
            preview.items = [
                preview_record(connector, raw, harmonise) for raw in page.records[:limit]
            ]
            if preview.items:
                break
    return preview


def format_exchange(call: RegistryRequest, reply: RegistryReply, seconds: float) -> str:
    """Return one line about an exchange, without credentials, personal identifiers or payload."""
    address = redacted(reply.url or call.url)
    kind = reply.headers.get("content-type", "").split(";")[0] or "no media type"
    request_line = f"{call.method} {address}" + (f" ({call.label})" if call.label else "")
    return f"{request_line} → {reply.status} {kind}, {reply.body.size:,} bytes, {seconds:.2f} s"


def preview_record(connector: Connector, raw: RawRecord, harmonise: Harmoniser) -> PreviewedRecord:
    """Return what a run would do with a raw record."""
    outcome = harmonise(raw)
    published = publication(outcome, raw, connector)
    if isinstance(outcome, Withheld) and not outcome.detail:
        detail = advice(connector.streams[raw.stream].emits, outcome.reason)
        return PreviewedRecord(raw, replace(outcome, detail=detail))
    if not isinstance(outcome, Accepted):
        return PreviewedRecord(raw, published.outcome)
    return PreviewedRecord(
        raw,
        published.outcome,
        published.topics,
        outcome.record,
        published.documents,
        unpublished_fields(outcome, raw, connector) if published.documents else frozenset(),
        outcome.provenance.issues,
    )


def format_record(item: PreviewedRecord) -> Iterator[str]:
    """Yield the lines that describe a record, with personal values masked."""
    raw, outcome = item.raw, item.outcome
    kind = f" kind {raw.kind}" if raw.kind else ""
    if raw.body is None:
        yield f"{raw.native_id}{kind}: gone"
        return
    if isinstance(outcome, Accepted):
        on = f", published on {', '.join(item.topics)}" if item.topics else ", not published"
        yield f"{raw.native_id}{kind}: accepted{on}"
        if country := outcome.provenance.country:
            known = country if country != NO_SINGLE_COUNTRY else f"not known, so {country} applies"
            yield f"    country of the record: {known}"
        yield from _format_targets(item, outcome.record)
        for lookup in outcome.provenance.lookups:
            row = f"row {lookup.row}, {lookup.source}" if lookup.row else "no row decides"
            yield f"    {lookup.field} from table {lookup.table}: {row}"
        for issue in outcome.provenance.issues:
            yield f"    issue {issue.code} at {issue.field}"
    elif isinstance(outcome, Rejected):
        place = outcome.field or outcome.stage
        yield f"{raw.native_id}{kind}: rejected: {outcome.reason} at {place}; {outcome.detail}"
        if item.mapped is not None:
            yield from _format_targets(item, item.mapped)
    else:
        detail = f"; {outcome.detail}" if outcome.detail else ""
        yield f"{raw.native_id}{kind}: withheld: {outcome.reason}{detail}"


def _format_targets(item: PreviewedRecord, record: Any) -> Iterator[str]:
    """Yield each filled target with its mark, and then each required one without a value."""
    emits = record_word(record)
    required = needed_targets(emits, record)
    for path, value in flatten(to_plain_values(record)):
        name = ".".join(part for part in path.split(".") if not part.isdigit())
        mark = "   (required)" if _is_within(name, required) else _mark(emits, name, item)
        yield f"    {path} = {mask_value(type(record), path, value)}{mark}"
    for need in unmet_needs(emits, record):
        why = _why_empty(item.rule_issues, need.field) or sentence(emits, need)
        yield f"    {need.field}: required, not filled: {why}"


def _why_empty(issues: Sequence[Issue], field_name: str) -> str:
    """Return why a rule gave its target no value, or an empty text if no issue says so."""
    return "; ".join(
        f"{issue.message or 'the rule gives no value'} ({issue.code})"
        for issue in issues
        if issue.field == field_name
    )


def _mark(emits: str, name: str, item: PreviewedRecord) -> str:
    """Return a remark about a filled target that no document of the record contains."""
    if reason := omission(emits, name):
        return f"   (not published: {reason})"
    missing = next((path for path in item.unpublished if _is_within(name, frozenset({path}))), "")
    if not missing:
        return ""
    condition = CONDITIONS.get(emits, {}).get(missing)
    return f"   (not published: {condition})" if condition else "   (not published)"


def format_documents(item: PreviewedRecord) -> Iterator[str]:
    """Yield the lines of each document that a run would publish, with personal values masked."""
    for document in item.documents:
        if document.value is not None:
            yield f"    document on {document.topic}:"
            for line in masked_document(document, item.mapped).splitlines():
                yield f"    {line}"


def _is_within(path: str, targets: frozenset[str]) -> bool:
    return any(path == target or path.startswith(f"{target}.") for target in targets)


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of a plain record with its dotted path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from flatten(inner, f"{path}.{index}")
    else:
        yield path, value


def mask_value(owner: type[Any], path: str, value: Any) -> str:
    """Return a value as text, or a mask when its field is personal."""
    parts = path.split(".")
    for index, part in enumerate(parts):
        if part.isdigit():
            target = find_target(owner, ".".join(parts[:index]))
            return (
                mask_value(target.struct, ".".join(parts[index + 1 :]), value)
                if target.struct and parts[index + 1 :]
                else str(value)
            )
    try:
        return "(personal)" if find_target(owner, path).personal else _format_value(value)
    except UnknownTarget:
        return _format_value(value)


def _format_value(value: Any) -> str:
    return str(value.isoformat()) if isinstance(value, date) else str(value)


def differences(old: Sequence[PreviewedRecord], new: Sequence[PreviewedRecord]) -> Iterator[str]:
    """Yield the differences between two versions of a connector, record by record."""
    before = {item.raw.native_id: item for item in old}
    after = {item.raw.native_id: item for item in new}
    for name in [*before, *(name for name in after if name not in before)]:
        old_item, new_item = before.get(name), after.get(name)
        if old_item is None or new_item is None:
            yield f"{name}: only in the {'new' if old_item is None else 'old'} version"
            continue
        first, second = _summarise(old_item), _summarise(new_item)
        changed = [
            path for path in dict.fromkeys([*first, *second]) if first.get(path) != second.get(path)
        ]
        if changed:
            yield f"{name}:"
            owner = (
                type(old_item.outcome.record) if isinstance(old_item.outcome, Accepted) else None
            )
            for path in changed:
                was, now = (
                    mask_value(owner, path, facts[path])
                    if path in facts and owner
                    else facts.get(path, "nothing")
                    for facts in (first, second)
                )
                yield f"    {path}: {was} → {now}"


def _summarise(item: PreviewedRecord) -> dict[str, Any]:
    if isinstance(item.outcome, Accepted):
        return {
            "outcome": "accepted",
            "published on": ", ".join(item.topics) or "no topic",
            **dict(flatten(to_plain_values(item.outcome.record))),
        }
    if isinstance(item.outcome, Rejected):
        place = item.outcome.field or item.outcome.stage
        return {"outcome": f"rejected: {item.outcome.reason} at {place}"}
    return {"outcome": f"withheld: {item.outcome.reason}"}
