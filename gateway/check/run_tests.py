"""Run the inline tests of a connector file.

A payload test compares the outcome of one payload with an expected record, rejection or
withholding. An exchange test compares the records that arrive from a series of replies.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from lxml import etree

from gateway.check import publishing, shared_numbering
from gateway.check.repeated_ids import contradictory_ids, describe_contradiction
from gateway.check.scripted_registry import ExchangeFailed, encode_json, run_exchange
from gateway.config.connector import Connector, payload_format
from gateway.config.inline_tests import InlineTest
from gateway.config.publishing_needs import record_word, unmet_needs
from gateway.config.rules import Rules, pseudonym_kinds
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import ConfigError, Finding
from gateway.fetch.charset import text_bytes
from gateway.fetch.decode.formats import DecodedDocument as Payload
from gateway.fetch.decode.namespaces import namespace_aliases, unify_namespaces
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.record_selector import RecordSelector, SelectedNode
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.harmonise.rule_findings import CHECK_KEY
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values.payload import PayloadError, json_value, xml_element
from gateway.records import Accepted, Outcome, RawRecord, Rejected, Withheld
from gateway.render.publication import publication


def findings(
    connector: Connector, document: YamlDocument, tables: Tables | None
) -> Iterator[Finding]:
    """Yield the findings of all inline tests.

    A finding states a failed test, a stream whose test records are all unpublishable, or a native
    id that two streams share. Nothing is yielded when the connector's rules do not compile.
    """
    try:
        harmonise = Harmoniser(connector, tables, pseudonym_key=CHECK_KEY)
    except ConfigError:
        return
    streams: dict[str, str] = {}
    known_ids: dict[str, list[str]] = {}
    for name, stream in connector.streams.items():
        accepted: list[tuple[RawRecord, Accepted]] = []
        tested: list[tuple[RawRecord, InlineTest]] = []
        known_ids[name] = []
        for index, example in enumerate(stream.tests):
            place: DocumentPath = ("streams", name, "tests", index)
            if example.exchange is not None:
                yield from _run_exchange_test(connector, document, name, example, place)
                ids = example.expect_ids or ()
            else:
                raw, outcome = _harmonise_test(connector, name, example, harmonise)
                for inner, message in compare(connector, name, example, outcome):
                    yield document.make_finding(
                        "test-failed", (*place, *inner), f"{example.name}: {message}"
                    )
                if raw is not None and isinstance(outcome, Accepted):
                    accepted.append((raw, outcome))
                    tested.append((raw, example))
                ids = (raw.native_id,) if raw is not None and example.native_id is None else ()
            known_ids[name] += ids
            if shared := next((id_ for id_ in ids if streams.setdefault(id_, name) != name), None):
                text = (
                    f"'{shared}' is also a record of {streams[shared]}; all streams of a connector "
                    "share one space of ids, so the gateway rejects one of the two records"
                )
                yield document.make_finding(
                    "shared-id",
                    place,
                    f"{text}. Make the ids differ: id: [\"'{name}'\", EXPR]",
                    severity="warning",
                )
        yield from shared_numbering.findings(connector, document, name, known_ids)
        identified = (raw for raw, example in tested if example.native_id is None)
        for native_id in contradictory_ids(stream, identified):
            yield document.make_finding(
                "repeated-id",
                ("streams", name, "id"),
                f"in the tests, {describe_contradiction(native_id)}",
                severity="warning",
            )
        if not publishing.lacks_a_need(stream):
            yield from _nothing_published(connector, document, name, accepted)


def _nothing_published(
    connector: Connector,
    document: YamlDocument,
    name: str,
    accepted: list[tuple[RawRecord, Accepted]],
) -> Iterator[Finding]:
    """Yield a note if no test record of a stream can be published, although rules fill its fields.

    Perhaps only the test records lack the values.
    """
    published = [publication(outcome, raw, connector) for raw, outcome in accepted]
    rejections = [made.outcome for made in published if isinstance(made.outcome, Rejected)]
    if not rejections or len(rejections) < len(published):
        return
    rejected, record = rejections[0], accepted[0][1].record
    missing = [need.field for need in unmet_needs(record_word(record), record)]
    if rejected.reason == "missing" and missing:
        reason = f"the first one has no value for {', '.join(missing)}"
    else:
        reason = f"{rejected.reason} at {rejected.field} ({rejected.detail})"
    text = (
        f"no record of these tests could be published: {reason}; "
        "add a test with a publishable record"
    )
    yield document.make_finding(
        publishing.UNPUBLISHED, ("streams", name, "tests"), text, severity="note"
    )


def raw_record_of_test(connector: Connector, name: str, example: InlineTest) -> RawRecord:
    """Return the raw record of a test.

    The native id, kind and change time come from the payload, as they do when the gateway fetches
    a record. The ``native_id`` and ``kind`` of the test take precedence. Raises
    :class:`PayloadError` when the payload is not in the stream's format.
    """
    # A test shows native ids as the registry writes them, without a keyed pseudonym.
    stream = connector.streams[name].model_copy(update={"id_key": None})
    kind = payload_format(connector, stream)
    if isinstance(example.given, str) and kind == "xml":
        body = text_bytes(example.given.strip())
        node: Any = xml_element(body)
        unify_namespaces([node], namespace_aliases(connector.protocol))
        body = etree.tostring(node, encoding="utf-8")
    else:
        if kind == "xml":
            raise PayloadError("not_xml", "an element as text, such as given: '<award>…</award>'")
        body = (
            example.given.encode() if isinstance(example.given, str) else encode_json(example.given)
        )
        node = json_value(body)
    selector = RecordSelector(
        connector.connector,
        name,
        stream,
        ExpressionCache(connector.protocol.namespaces),
        lambda secret: f"secret {secret}".encode(),
    )
    document = Payload(kind, node, "")
    raw = next(
        selector.to_raw_records(
            SelectedNode(document.kind, node, node, node, dict(example.context))
        )
    )
    changes: dict[str, Any] = {} if raw.body is None else {"body": body}
    if example.native_id is not None:
        changes["native_id"] = example.native_id
    elif raw.native_id.startswith("?") and not raw.body:
        changes["native_id"] = "test"
    if example.kind:
        changes["kind"] = example.kind
    return msgspec.structs.replace(raw, **changes)


def _harmonise_test(
    connector: Connector, name: str, example: InlineTest, harmonise: Harmoniser
) -> tuple[RawRecord | None, Outcome]:
    try:
        raw = raw_record_of_test(connector, name, example)
    except PayloadError as error:
        return None, Rejected(stage="decode", field="", reason=error.reason, detail=error.detail)
    return raw, harmonise(raw)


def compare(
    connector: Connector, name: str, example: InlineTest, outcome: Outcome
) -> Iterator[tuple[DocumentPath, str]]:
    """Yield each difference between a test and its outcome.

    A difference is its place inside the test and a message.
    """
    if example.expect_rejected is not None:
        expected = example.expect_rejected
        if not isinstance(outcome, Rejected):
            yield (
                ("expect_rejected",),
                (
                    f"expected a rejection with reason {expected.reason}, "
                    f"got {_describe_outcome(outcome)}"
                ),
            )
            return
        for key in ("reason", "field", "stage"):
            wanted, actual = getattr(expected, key), getattr(outcome, key)
            if wanted is not None and wanted != actual:
                yield (
                    ("expect_rejected", key),
                    f"{key} is '{actual}', expected '{wanted}' ({outcome.detail})",
                )
        return
    if example.expect_withheld is not None:
        if not isinstance(outcome, Withheld) or outcome.reason != example.expect_withheld:
            yield (
                ("expect_withheld",),
                (
                    f"expected to be withheld because of {example.expect_withheld}, "
                    f"got {_describe_outcome(outcome)}"
                ),
            )
        return
    key = "expect" if example.expect is not None else "expect_some"
    if not isinstance(outcome, Accepted):
        yield (key,), f"expected a record, got {_describe_outcome(outcome)}"
        return
    pseudonyms = _Pseudonyms(connector, name)
    record = to_plain_values(outcome.record)
    expected_record = example.expect if example.expect is not None else (example.expect_some or {})
    yield from (
        ((key, *place), text)
        for place, text in _differences(expected_record, record, (), pseudonyms)
    )
    if example.expect is not None:
        for field in record.keys() - example.expect.keys():
            yield (
                (key,),
                (
                    f"the record also has {field}: {_format_value(record[field])}; "
                    "add it, or use expect_some"
                ),
            )


def to_plain_values(record: Any) -> dict[str, Any]:
    """Return a record as plain values, without empty values and default ``False`` flags."""

    def stripped(value: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            return {
                field.name: plain
                for field in msgspec.structs.fields(value)
                if (plain := stripped(getattr(value, field.name))) not in (None, {}, [], "")
                and not (getattr(value, field.name) is False and field.default is False)
            }
        if isinstance(value, tuple | list):
            return [stripped(item) for item in value]
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items()}
        return value

    return stripped(record)  # type: ignore[no-any-return]


def _differences(
    expected: Any, actual: Any, where: DocumentPath, pseudonyms: _Pseudonyms
) -> Iterator[tuple[DocumentPath, str]]:
    if isinstance(expected, Mapping) and isinstance(actual, dict | type(None)):
        for key, value in expected.items():
            yield from _differences(value, (actual or {}).get(key), (*where, key), pseudonyms)
        if isinstance(actual, dict) and where:
            for key in actual.keys() - expected.keys():
                yield (
                    where,
                    f"{'.'.join(map(str, where))} also has {key}: {_format_value(actual[key])}",
                )
    elif isinstance(expected, list | tuple) and isinstance(actual, list):
        if len(expected) != len(actual):
            yield (
                where,
                f"{'.'.join(map(str, where))} has {len(actual)} items, expected {len(expected)}",
            )
            return
        for index, (wanted, item) in enumerate(zip(expected, actual, strict=True)):
            yield from _differences(wanted, item, (*where, index), pseudonyms)
    elif not _equal(expected, actual, where, pseudonyms):
        yield (
            where,
            (
                f"{'.'.join(map(str, where))} is {_format_value(actual)}, "
                f"expected {_format_value(expected)}"
            ),
        )


_PSEUDONYM = re.compile(r"pseudonym\((.*)\)", re.DOTALL)


def _equal(expected: Any, actual: Any, where: DocumentPath, pseudonyms: _Pseudonyms) -> bool:
    if isinstance(expected, str) and (match := _PSEUDONYM.fullmatch(expected)):
        return actual in pseudonyms.of(where, match[1])
    if expected is None:
        return actual in (None, False, {}, [])
    if expected is False:
        return actual in (None, False)
    if isinstance(actual, bool) or isinstance(expected, bool):
        return expected is actual
    if isinstance(actual, Decimal | int):
        try:
            return Decimal(str(expected)) == actual
        except InvalidOperation:
            return False
    if isinstance(actual, datetime):
        try:
            moment = datetime.fromisoformat(str(expected))
        except ValueError:
            return False
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) == actual
    if isinstance(actual, date):
        return str(expected) == actual.isoformat()
    return bool(expected == actual)


class _Pseudonyms:
    """The pseudonyms of one stream under the test key, for ``pseudonym(value)`` in a test."""

    def __init__(self, connector: Connector, name: str) -> None:
        self._country = connector.country[:2]
        stream = connector.streams[name]
        self._rules: list[Rules] = [stream.map, *(kind.map for kind in stream.kinds.values())]

    def of(self, where: DocumentPath, value: str) -> set[str]:
        """Return the pseudonyms of a value under each rule that may have filled the place."""
        target = ".".join(str(part) for part in where if not isinstance(part, int))
        kinds = {
            kind
            for rules in self._rules
            for name, rule in rules.items()
            if name == target
            for kind in pseudonym_kinds(rule)
        }
        return {pseudonymiser(CHECK_KEY, self._country, kind)(value) for kind in kinds}


def _describe_outcome(outcome: Outcome) -> str:
    if isinstance(outcome, Rejected):
        at = f" at {outcome.field}" if outcome.field else ""
        return f"a rejection: {outcome.reason}{at} ({outcome.detail or outcome.stage})"
    return f"a withheld record ({outcome.reason})" if isinstance(outcome, Withheld) else "a record"


def _format_value(value: Any) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    return "nothing" if value is None else str(value) if isinstance(value, Decimal) else repr(value)


def _run_exchange_test(
    connector: Connector,
    document: YamlDocument,
    name: str,
    example: InlineTest,
    place: DocumentPath,
) -> Iterator[Finding]:
    try:
        raws = asyncio.run(run_exchange(connector, name, example))
    except ExchangeFailed as error:
        yield document.make_finding(
            "test-failed", (*place, *error.place), f"{example.name}: {error}", key=False
        )
        return
    for native_id in contradictory_ids(connector.streams[name], raws):
        yield document.make_finding(
            "repeated-id", place, f"{example.name}: {describe_contradiction(native_id)}"
        )
    ids = [raw.native_id for raw in raws]
    if example.expect_records is not None and len(raws) != example.expect_records:
        yield document.make_finding(
            "test-failed",
            (*place, "expect_records"),
            f"{example.name}: {len(raws)} records arrive, expected {example.expect_records}",
        )
    if example.expect_ids is not None and tuple(ids) != tuple(example.expect_ids):
        yield document.make_finding(
            "test-failed",
            (*place, "expect_ids"),
            f"{example.name}: {', '.join(ids) or 'nothing'} arrive, "
            f"expected {', '.join(example.expect_ids)}",
        )
