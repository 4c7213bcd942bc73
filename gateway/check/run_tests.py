"""Run the tests inside a connector file: a payload and its record or rejection, or an exchange and what arrives."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from lxml import etree

from gateway.check.scripted_registry import ENCODE, Failed, play
from gateway.config.connector import Connector, Stream, payload_kind
from gateway.config.inline_tests import Example
from gateway.config.rules import Rules, pseudonym_kinds
from gateway.config.yaml.document import Document, Path_
from gateway.errors import ConfigError, Finding
from gateway.fetch.decode.formats import Document as Payload
from gateway.fetch.record_selector import Expressions, Item, Selector
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.harmonise.rule_findings import CHECK_KEY
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values.payload import PayloadError, json_value, xml_element
from gateway.records import Accepted, Outcome, Raw, Rejected, Withheld
from gateway.render.render import render


def findings(connector: Connector, document: Document, tables: Tables | None) -> Iterator[Finding]:
    """Give every test that does not come out as it says, every stream that nothing is published of, and ids that two streams share."""
    try:
        harmonise = Harmoniser(connector, tables, pseudonym_key=CHECK_KEY)
    except ConfigError:
        return
    streams: dict[str, str] = {}
    for name, stream in connector.streams.items():
        accepted: list[tuple[Raw, Accepted]] = []
        for index, example in enumerate(stream.tests):
            place: Path_ = ("streams", name, "tests", index)
            if example.exchange is not None:
                yield from _exchanged(connector, document, name, example, place)
                ids = example.expect_ids or ()
            else:
                raw, outcome = _harmonised(connector, name, example, harmonise)
                for inner, message in compare(connector, name, example, outcome):
                    yield document.finding("test-failed", (*place, *inner), f"{example.name}: {message}")
                if raw is not None and isinstance(outcome, Accepted):
                    accepted.append((raw, outcome))
                ids = (raw.native_id,) if raw is not None and example.native_id is None else ()
            if shared := next((one for one in ids if streams.setdefault(one, name) != name), None):
                text = (
                    f"'{shared}' is a record of {streams[shared]}, too, and ids are one space in a connector: each would replace the other"
                )
                yield document.finding("shared-id", place, f"{text}; make them differ: id: [\"'{name}'\", EXPR]", severity="warning")
        refused = [_unpublished(connector, stream, *one) for one in accepted]
        if refused and all(refused):
            yield _nothing_published(document, name, stream, next(one for one in refused if one is not None))


def _nothing_published(document: Document, name: str, stream: Stream, why: Rejected) -> Finding:
    """Say what all of a stream's records lack if no rule fills it, or what only its tests may lack."""
    mapped = {target.partition(".")[0] for rules in (stream.map, *(kind.map for kind in stream.kinds.values())) for target in rules}
    said = f"{why.reason} at {why.field}{f' ({why.detail})' if why.detail else ''}"
    if why.field.partition(".")[0] not in mapped:
        text = f"every such record will be rejected as {said}, which no rule fills; map it"
        return document.finding("unpublished", ("streams", name, "map"), text, severity="warning")
    text = f"no record of these tests could be published: {said}; show one that can"
    return document.finding("unpublished", ("streams", name, "tests"), text, severity="note")


def _unpublished(connector: Connector, stream: Stream, raw: Raw, accepted: Accepted) -> Rejected | None:
    """Return why a harmonised record becomes no document, ``None`` when it becomes one."""
    made = render(
        accepted, raw, template=stream.iri, country=connector.country, at=datetime(2026, 1, 1, tzinfo=UTC), audience_key=CHECK_KEY
    )
    return made if isinstance(made, Rejected) else None


def raw_of(connector: Connector, name: str, example: Example) -> Raw:
    """Return the raw record a test gives, with id, kind and time read from it as fetching would."""
    stream = connector.streams[name].model_copy(update={"id_key": None})  # a test shows ids as they are written
    kind = payload_kind(connector, stream)
    if isinstance(example.given, str) and kind == "xml":
        body = example.given.strip().encode()
        node: Any = xml_element(body)
        body = etree.tostring(node, encoding="utf-8")
    else:
        if kind == "xml":
            raise PayloadError("not_xml", "an element as text, such as given: '<award>…</award>'")
        body = example.given.encode() if isinstance(example.given, str) else ENCODE(example.given)
        node = json_value(body)
    selector = Selector(
        connector.connector, name, stream, Expressions(connector.protocol.namespaces), lambda secret: f"secret {secret}".encode()
    )
    document = Payload(kind, node, "")
    made = next(selector.raws(Item(document.kind, node, node, node, dict(example.context))))
    changes: dict[str, Any] = {} if made.body is None else {"body": body}
    if example.native_id is not None:
        changes["native_id"] = example.native_id
    elif made.native_id.startswith("?") and not made.body:
        changes["native_id"] = "test"
    if example.kind:
        changes["kind"] = example.kind
    return msgspec.structs.replace(made, **changes)


def _harmonised(connector: Connector, name: str, example: Example, harmonise: Harmoniser) -> tuple[Raw | None, Outcome]:
    try:
        raw = raw_of(connector, name, example)
    except PayloadError as error:
        return None, Rejected(stage="decode", field="", reason=error.reason, detail=error.detail)
    return raw, harmonise(raw)


def compare(connector: Connector, name: str, example: Example, outcome: Outcome) -> Iterator[tuple[Path_, str]]:
    """Give each difference between what a test expects and what came out, with its place inside the test."""
    if example.expect_rejected is not None:
        expected = example.expect_rejected
        if not isinstance(outcome, Rejected):
            yield ("expect_rejected",), f"expected a rejection with reason {expected.reason}, got {_said(outcome)}"
            return
        for key in ("reason", "field", "stage"):
            wanted, got = getattr(expected, key), getattr(outcome, key)
            if wanted is not None and wanted != got:
                yield ("expect_rejected", key), f"{key} is '{got}', expected '{wanted}' ({outcome.detail})"
        return
    if example.expect_withheld is not None:
        if not isinstance(outcome, Withheld) or outcome.reason != example.expect_withheld:
            yield ("expect_withheld",), f"expected to be withheld because of {example.expect_withheld}, got {_said(outcome)}"
        return
    key = "expect" if example.expect is not None else "expect_some"
    if not isinstance(outcome, Accepted):
        yield (key,), f"expected a record, got {_said(outcome)}"
        return
    pseudonyms = _Pseudonyms(connector, name)
    record = plain(outcome.record)
    expected_record = example.expect if example.expect is not None else (example.expect_some or {})
    yield from (((key, *where), text) for where, text in _differences(expected_record, record, (), pseudonyms))
    if example.expect is not None:
        for field in record.keys() - example.expect.keys():
            yield (key,), f"the record also has {field}: {_shown(record[field])}; add it, or use expect_some"


def plain(record: Any) -> dict[str, Any]:
    """Return a record as plain values, without what is empty or says nothing."""

    def stripped(value: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            return {
                field.name: made
                for field in msgspec.structs.fields(value)
                if (made := stripped(getattr(value, field.name))) not in (None, {}, [], "")
                and not (getattr(value, field.name) is False and field.default is False)
            }
        if isinstance(value, tuple | list):
            return [stripped(item) for item in value]
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items()}
        return value

    return stripped(record)  # type: ignore[no-any-return]


def _differences(expected: Any, got: Any, where: Path_, pseudonyms: _Pseudonyms) -> Iterator[tuple[Path_, str]]:
    if isinstance(expected, Mapping) and isinstance(got, dict | type(None)):
        for key, value in expected.items():
            yield from _differences(value, (got or {}).get(key), (*where, key), pseudonyms)
        if isinstance(got, dict) and where:
            for key in got.keys() - expected.keys():
                yield where, f"{'.'.join(map(str, where))} also has {key}: {_shown(got[key])}"
    elif isinstance(expected, list | tuple) and isinstance(got, list):
        if len(expected) != len(got):
            yield where, f"{'.'.join(map(str, where))} has {len(got)} items, expected {len(expected)}"
            return
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from _differences(one, other, (*where, index), pseudonyms)
    elif not _equal(expected, got, where, pseudonyms):
        yield where, f"{'.'.join(map(str, where))} is {_shown(got)}, expected {_shown(expected)}"


_PSEUDONYM = re.compile(r"pseudonym\((.*)\)", re.DOTALL)


def _equal(expected: Any, got: Any, where: Path_, pseudonyms: _Pseudonyms) -> bool:
    if isinstance(expected, str) and (found := _PSEUDONYM.fullmatch(expected)):
        return got in pseudonyms.of(where, found[1])
    if expected is None:
        return got in (None, False, {}, [])
    if expected is False:
        return got in (None, False)
    if isinstance(got, bool) or isinstance(expected, bool):
        return expected is got
    if isinstance(got, Decimal | int):
        try:
            return Decimal(str(expected)) == got
        except InvalidOperation:
            return False
    if isinstance(got, datetime):
        try:
            moment = datetime.fromisoformat(str(expected))
        except ValueError:
            return False
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) == got
    if isinstance(got, date):
        return str(expected) == got.isoformat()
    return bool(expected == got)


class _Pseudonyms:
    """Pseudonyms under the key of tests, for what a test writes as ``pseudonym(value)``."""

    def __init__(self, connector: Connector, name: str) -> None:
        self._country = connector.country[:2]
        stream = connector.streams[name]
        self._rules: list[Rules] = [stream.map, *(kind.map for kind in stream.kinds.values())]

    def of(self, where: Path_, value: str) -> set[str]:
        """Return what the value becomes under each rule that may have filled the place."""
        target = ".".join(str(part) for part in where if not isinstance(part, int))
        kinds = {kind for rules in self._rules for name, rule in rules.items() if name == target for kind in pseudonym_kinds(rule)}
        return {pseudonymiser(CHECK_KEY, self._country, kind)(value) for kind in kinds}


def _said(outcome: Outcome) -> str:
    if isinstance(outcome, Rejected):
        at = f" at {outcome.field}" if outcome.field else ""
        return f"a rejection: {outcome.reason}{at} ({outcome.detail or outcome.stage})"
    return f"a withheld record ({outcome.reason})" if isinstance(outcome, Withheld) else "a record"


def _shown(value: Any) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    return "nothing" if value is None else str(value) if isinstance(value, Decimal) else repr(value)


def _exchanged(connector: Connector, document: Document, name: str, example: Example, place: Path_) -> Iterator[Finding]:
    try:
        raws = asyncio.run(play(connector, name, example))
    except Failed as error:
        yield document.finding("test-failed", (*place, *error.place), f"{example.name}: {error}", key=False)
        return
    ids = [raw.native_id for raw in raws]
    if example.expect_records is not None and len(raws) != example.expect_records:
        yield document.finding(
            "test-failed", (*place, "expect_records"), f"{example.name}: {len(raws)} records arrive, expected {example.expect_records}"
        )
    if example.expect_ids is not None and tuple(ids) != tuple(example.expect_ids):
        yield document.finding(
            "test-failed",
            (*place, "expect_ids"),
            f"{example.name}: {', '.join(ids) or 'nothing'} arrive, expected {', '.join(example.expect_ids)}",
        )
