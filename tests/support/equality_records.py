"""The records with which the fast path is compared: of the connectors, the demo and the benchmark.

Each source of records comes with its connector. :func:`variations` adds every header that a raw
record may have.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bench.harmonise import Fetched
from bench.peers.records import RECORDS, bodies
from gateway.check.run_tests import raw_record_of_test
from gateway.check.scripted_registry import run_exchange
from gateway.cli.demo import DemoRegistry, demo_connectors, with_address, write_secrets
from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.errors import StreamError
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import FileSecrets
from gateway.local.registries import card_office, rest_catalogue, soap_credits
from gateway.records import (
    CONFLICT_CONTEXT_KEY,
    INVALID_ID_PREFIX,
    MISSING_ID_PREFIX,
    MISSING_PARTS_CONTEXT_KEY,
    UNREADABLE_CONTEXT_KEY,
    RawRecord,
)
from tests.support.equality import MARCH, ROOT, fetched
from tests.support.saved_replies import CASES, Case, connector_for, read

CONNECTORS = {
    path.stem: load_connector(path) for path in sorted((ROOT / "connectors").glob("*.yaml"))
}
JOB = load_connector(ROOT / "bench/peers/job/bench-peers.yaml")
BENCH_SETS = tuple(RECORDS)
_CHANGED = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
_LATE = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)


def inline_records(name: str) -> list[RawRecord]:
    """Return the raw record of every inline test of a connector file."""
    connector = CONNECTORS[name]
    records: list[RawRecord] = []
    for stream, settings in connector.streams.items():
        for example in settings.tests:
            if example.exchange is not None:
                records += asyncio.run(run_exchange(connector, stream, example))
            else:
                records.append(raw_record_of_test(connector, stream, example))
    return records


def saved_cases(name: str) -> list[Case]:
    """Return the saved replies that a connector reads."""
    return [case for case in CASES if case.connector == name]


def saved_records(case: Case) -> tuple[Connector, tuple[RawRecord, ...]]:
    """Return the connector of a saved reply, and the records that its stream reads over HTTP."""
    try:
        return connector_for(case), tuple(asyncio.run(read(case)))
    except StreamError:
        return connector_for(case), ()


def bench_records(kind: str, count: int) -> list[RawRecord]:
    """Return records of the comparison with other engines. Two of a hundred are rejected."""
    return [
        RawRecord(connector=JOB.connector, stream="programmes", native_id=native_id, body=body)
        for native_id, body in bodies(count, kind=kind)
    ]


@cache
def demo_records(count: int = 120) -> tuple[RawRecord, ...]:
    """Return records of each of the three demo registries, read over HTTP."""
    return tuple(asyncio.run(_read_demo(count)))


async def _read_demo(count: int) -> list[RawRecord]:
    records: list[RawRecord] = []
    with tempfile.TemporaryDirectory() as folder:
        async with (
            await soap_credits.start(records=count) as soap,
            await rest_catalogue.start(records=count) as rest,
            await card_office.start(records=count) as cards,
        ):
            stands = [
                DemoRegistry("demo-soap", soap, {"demo-soap/key": soap_credits.KEY}),
                DemoRegistry("demo-rest", rest, {"demo-rest/token": rest_catalogue.TOKEN}),
                DemoRegistry("demo-file", cards, {}),
            ]
            secrets = FileSecrets(write_secrets(Path(folder), stands))
            window = TimeWindow(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
            for stand in stands:
                path = demo_connectors() / f"{stand.connector}.yaml"
                connector = with_address(load_connector(path), stand.registry.url)
                async with RegistryClient(connector, secrets, "production") as client:
                    for stream in connector.streams:
                        async for page in read_pages(connector, stream, window, client):
                            records += page.records
    return records


_HEADERS: tuple[dict[str, Any], ...] = (
    {},
    {"version": "7"},
    {"version": "ü 8"},
    {"changed_at": _CHANGED},
    {"changed_at": _LATE},
    {"changed_at": _LATE + timedelta(seconds=1)},
    {"change_time_problem": "unreadable"},
    {"change_time_problem": "in_future", "changed_at": _CHANGED},
    {"row": "row 17"},
    {"written_before": True},
    {"written_before": True, "changed_at": _CHANGED, "version": "2"},
    {"corrects_event_id": "fedcba9876543210fedcba9876543210"},
    {"corrects_event_id": "fedcba98", "written_before": True, "version": "1"},
    {"event_id": "another-event"},
    {"context": {}},
    {"context": {"unused": "value"}},
    {"context": {CONFLICT_CONTEXT_KEY: "a1, b2"}},
    {"context": {UNREADABLE_CONTEXT_KEY: "version"}},
    {"context": {"issuer_country": "NO"}},
    {"context": {"issuer_country": "no"}},
    {"context": {"issuer_country": "ZZ"}},
    {"context": {"issuer_country": ""}},
    {"native_id": f"{MISSING_ID_PREFIX}a1"},
    {"native_id": f"{MISSING_ID_PREFIX}a1", "context": {MISSING_PARTS_CONTEXT_KEY: "1"}},
    {"native_id": f"{INVALID_ID_PREFIX}a1"},
    {"native_id": "ä/ö |%20\"'\u200b"},
    {"native_id": ""},
    {"kind": "a kind that no file has"},
    {"kind": "programme"},
    {"media_type": "application/xml"},
    {"media_type": "application/json"},
    {"body": b""},
    {"body": b" "},
    {"body": None},
    {"body": None, "version": "3", "changed_at": _CHANGED},
    {"body": None, "written_before": True},
    {"body": None, "written_before": True, "erasure": "asked"},
    {"body": None, "written_before": True, "erasure": "met"},
    {"erasure": "asked"},
    {"connector": "no-connector"},
    {"stream": "no-stream"},
)


def variations(raw: RawRecord) -> Iterator[Fetched]:
    """Yield a record with each header that the gateway writes, and with some that it does not."""
    for changes in _HEADERS:
        merged = dict(changes)
        if merged.get("context"):
            merged["context"] = raw.context | merged["context"]
        yield fetched(replace(raw, **merged))
    for day in (0, 86_399_999, MARCH + 1, MARCH + 86_400_000):
        yield fetched(raw, timestamp=day)
    plain = fetched(replace(raw, version="7", changed_at=_CHANGED))
    headers = plain.headers
    for changed in (
        tuple(reversed(headers)),
        tuple(header for header in headers if header[0] != "ce_contentid"),
        tuple(header for header in headers if header[0] not in {"ce_id", "ce_contentid"}),
        tuple(header for header in headers if header[0] != "content-type"),
        tuple(header for header in headers if header[0] != "ce_time"),
        (*headers, ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        (*headers, ("kind", b"second"), ("version", b"8")),
        (*headers, ("changetime", b"unknown"), ("erased", b"unknown"), ("again", b"")),
        (*headers, ("context", b"{not json")),
        (*headers, ("ce_time", b"yesterday")),
        (*headers, ("version", b"\xff")),
        (),
    ):
        yield Fetched(plain.key, plain.value, changed, timestamp=MARCH, offset=9)
    for key in (b"", b"no-separator", b"\xff|1", b"every-kind|", raw.connector.encode() + b"|a|b"):
        yield Fetched(key, plain.value, headers, timestamp=MARCH, offset=9)
