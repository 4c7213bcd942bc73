"""Put records that no gateway wrote on every topic, and run every command beside them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from gateway.errors import IntegrityStop, StreamHalted
from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.messages import topics
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.rejection import Rejection
from gateway.operations.backfill import current_progress
from gateway.operations.replay import read_active_rejections
from gateway.pipeline.stream_state import StreamState
from gateway.pipeline.suppression_list import read_suppression_list
from gateway.records import RawRecord
from gateway.settings import Settings
from tests.support import forked_process
from tests.support.forked_process import FinishedProcess

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
KEY = "a key for tests only, never for people"
CONNECTOR = """\
language: 1
connector: quiet
country: FI
title: A small registry
owner: {{name: Example office, contact: registry@office.example}}
rest:
  url: {{production: "https://registry.example", acceptance: "{url}"}}
  errors: by_status
streams:
  awards:
    emits: qualification
    every: 1s
    request: {{get: /awards}}
    paging: none
    cursor: scan
    records: items
    id: id
    map:
      title.en: title
      awarding_body.name.en: {{const: A school}}
      awarding_body.country: {{const: FI}}
      isced_f: {{const: "0712"}}
      languages: {{const: en}}
      learning_outcomes: {{each: "[title]", map: {{title.en: "@"}}}}
    tests:
      - {{name: t, given: {{id: "1", title: T}}, expect_some: {{title: {{en: T}}}}}}
"""
dice = random.Random(7)
GARBAGE = [
    (dice.randbytes(20), dice.randbytes(200), [("ce_id", dice.randbytes(9)), ("ce_source", None)]),
    (b"quiet|\xff\xfe", b"\x00", [("ce_source", b"/connectors/quiet/awards")]),
    (b"quiet|awards|\xff", dice.randbytes(60), []),
    (b"quiet|g1", dice.randbytes(50), []),
    (b"quiet|g2", b"[" * 5_000, [("context", b"{"), ("ce_time", b"yesterday")]),
    (b"quiet|g3", b"{}", [("ce_id", b"\xff"), ("ce_source", b"\xff"), ("kind", b"\xff")]),
    (b"quiet|g4", b'{"type": "stream"}', [("ce_source", b"/connectors/quiet/awards")]),
    (b"quiet|g5", b"", [("ce_source", b"/connectors/quiet/awards"), ("content-type", b"\xff")]),
    (b"quiet|g6", b"<award>\xc3</award>", [("ce_source", b"/connectors/quiet/awards")]),
    (b"@worker", b"\xff\x00", []),
    (b"", b"NaN", []),
    ("quiet|\u202e\x1b]0;title\x07".encode(), b"null", []),
]
STATE = (topics.CURSORS, topics.SUPPRESSIONS)
"""Topics whose garbage stops a stream, because without them data would be lost or come back."""


async def write(
    settings: Settings, topic: str, records: list, partition: int | None = None
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        for key, value, headers in records:
            await producer.send_and_wait(
                topic, value, key=key, headers=headers, partition=partition
            )
    finally:
        await producer.stop()


class Awards(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"items": [{"id": "1", "title": "One"}, {"id": "2"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    data = tmp_path_factory.mktemp("kafka") / "data"
    started = kafka.start(data, detached=False, mirror=os.environ.get("GATEWAY_JAR_MIRROR", ""))
    settings = Settings(
        kafka_bootstrap=started.bootstrap,
        registry_environment="acceptance",
        pseudonym_key=KEY,
    )
    asyncio.run(topic_admin.create_missing(settings))
    yield settings
    kafka.stop(data)


class Site:
    """A registry, a worker, and the commands of an operator."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Awards)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.folder, self.settings = folder, settings
        (folder / "connectors").mkdir()
        (folder / "connectors" / "quiet.yaml").write_text(
            CONNECTOR.format(url=f"http://127.0.0.1:{self.server.server_port}")
        )
        self.environment = {
            name: value for name, value in os.environ.items() if "GATEWAY_" not in name
        } | {
            "PYTHONPATH": str(ROOT),
            "GATEWAY_CONNECTORS": str(folder / "connectors"),
            "GATEWAY_MAPPINGS": str(ROOT / "mappings"),
            "GATEWAY_STAGE": "acceptance",
            "GATEWAY_PSEUDONYM_KEY": KEY,
            "GATEWAY_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "GATEWAY_METRICS_PORT": "0",
            "GATEWAY_LOG_FORMAT": "json",
        }
        self.log = folder / "log"
        self.worker: subprocess.Popen | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run"],
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def run(self, *arguments: str) -> FinishedProcess:
        return forked_process.command(
            *arguments, environment=self.environment, cwd=self.folder, limit=120
        )

    def stop(self) -> None:
        self.server.shutdown()
        if self.worker and self.worker.poll() is None:
            self.worker.terminate()
            self.worker.wait(30)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, broker: Settings) -> Iterator[Site]:
    """Return a worker that has read its registry and every garbage record."""

    async def prepare() -> None:
        for topic in topics.TOPICS:
            if topic not in STATE:
                keyless = [] if topic.compacted else [(None, b"\xff", [])]
                await write(broker, topic.name, GARBAGE + keyless)
                partition = topics.DIGESTS.partitions and 0
                await write(broker, topic.name, GARBAGE, partition)

    asyncio.run(prepare())
    site = Site(tmp_path_factory.mktemp("site"), broker)
    site.start()
    deadline = time.monotonic() + 120
    while "quiet awards" not in site.run("status").out or (
        not site.run("topics", "read", topics.QUALIFICATIONS_TOPIC, "--limit", "40").out.count(
            '"One"'
        )
    ):
        assert site.worker.poll() is None, site.log.read_text()
        assert time.monotonic() < deadline, site.log.read_text()
        time.sleep(1)
    yield site
    site.stop()


def test_worker_goes_on_beside_garbage(site: Site):
    assert site.worker.poll() is None
    log = site.log.read_text()
    assert "Traceback" not in log
    assert '"event": "polled"' in log


COMMANDS = [
    "status",
    "status --json",
    "rejections list",
    "rejections list --records --json",
    "rejections show quiet 2",
    "rejections replay --all --dry-run",
    "rejections replay --all",
    "explain quiet 1",
    "explain quiet g2",
    "explain quiet g6",
    "verify quiet",
    "verify quiet --json",
    "renormalise quiet --dry-run",
    "erase quiet g2 --verify",
    "erase quiet 1 --verify",
    "erase quiet g1 --yes --by test --reason test",
    "resume quiet --accept-deletions",
    "pause quiet",
    "resume quiet",
    "topics verify",
    "topics apply",
    *(f"validate {topic}" for topic in (topics.QUALIFICATIONS_TOPIC, topics.REJECTIONS.name)),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_beside_garbage_ends_without_a_traceback(site: Site, command: str):
    done = site.run(*command.split())
    assert "Traceback" not in done.err + done.out, done.err
    assert "please report" not in done.err
    assert done.code in {0, 1, 2, 4}, (done.code, done.err)
    if command.endswith("--json") and done.code in {0, 1}:
        json.loads(done.out)


@pytest.mark.parametrize(
    ("command", "topic"),
    [
        ("status", topics.STATUS),
        ("rejections list", topics.REJECTIONS),
        ("verify quiet", topics.RAW),
        (f"validate {topics.QUALIFICATIONS_TOPIC}", topics.QUALIFICATIONS),
    ],
)
def test_command_says_how_many_records_it_could_not_read(
    site: Site, command: str, topic: topics.Topic
):
    done = site.run(*command.split())
    assert f"records of {topic.name} cannot be read and are left out, such as" in done.err
    assert "quiet" in done.out or command.startswith("validate")


@pytest.mark.parametrize("topic", topics.TOPICS, ids=lambda topic: topic.name)
def test_every_record_of_a_topic_is_printed(site: Site, topic: topics.Topic):
    done = site.run("topics", "read", topic.name, "--headers")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    if topic in STATE:
        return
    values = [line["value"] for line in lines]
    assert "<award>" not in values
    for key, value, _ in GARBAGE:
        if key == b"quiet|g1":
            printed = {"bytes": len(value), "base64": base64.b64encode(value).decode()}
            assert printed in values
    assert {"bytes": len(GARBAGE[0][0]), "base64": base64.b64encode(GARBAGE[0][0]).decode()} in [
        line["key"] for line in lines
    ]
    assert all(line.isprintable() for line in done.out.splitlines())


def test_garbage_among_rejections_hides_no_other(broker: Settings, name: str):
    async def scenario() -> None:
        good = Rejection(
            connector=name,
            stream="s",
            stage="map",
            field="title",
            reason="missing",
            detail="",
            config_digest="",
            tables_digest="",
            raw={"topic": "t", "partition": 0, "offset": 1},
        )
        import msgspec

        bad = msgspec.structs.replace(good, raw={"topic": "t"})
        strange = msgspec.structs.replace(good, raw={"partition": "x", "offset": "y"})
        await write(
            broker,
            topics.REJECTIONS.name,
            [
                (f"{name}|1".encode(), msgspec.json.encode(good), []),
                (f"{name}|2".encode(), msgspec.json.encode(bad), []),
                (f"{name}|3".encode(), msgspec.json.encode(strange), []),
                (f"{name}|4".encode(), b"\xff", []),
            ],
        )
        assert [one.key for one in await read_active_rejections(broker, name)] == [f"{name}|1"]

    asyncio.run(scenario())


def test_state_that_no_gateway_wrote_stops_its_stream_only(broker: Settings, name: str):
    async def scenario() -> None:
        state = StreamState(broker, name, "s")
        await state.open()
        await state.write(
            [], b"\xff not a cursor", notes={"backfill": b"\xff", "pause": b"{", "odd": b""}
        )
        await state.close()
        await write(broker, topics.DIGESTS.name, [(f"{name}|s|".encode() + b"\xff", b"d", [])])
        again = StreamState(broker, name, "s")
        assert await again.open() == b"\xff not a cursor"
        with pytest.raises(StreamHalted, match=f"BackfillProgress of {name}.s cannot be read"):
            current_progress(again)
        await again.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("entry", [(b"\xff", b"{}"), (b"hash", b"{}"), (b"hash", b"\x00\xff")])
def test_suppression_that_cannot_be_read_stops_the_stream(
    broker: Settings, entry: tuple[bytes, bytes]
):
    """To leave it out could let erased data come back."""

    async def scenario() -> None:
        await write(broker, topics.SUPPRESSIONS.name, [(*entry, [])])
        try:
            with pytest.raises(IntegrityStop, match="write a tombstone for its key"):
                await read_suppression_list(broker)
        finally:
            await write(broker, topics.SUPPRESSIONS.name, [(entry[0], None, [])])
        assert not (await read_suppression_list(broker)).records

    asyncio.run(scenario())


def test_raw_records_of_the_gateway_are_well_formed():
    """Otherwise the gateway would leave its own records out."""
    from types import SimpleNamespace

    from gateway.kafka.unreadable_records import is_well_formed

    raw = RawRecord(connector="c", stream="s", native_id="Ø", body=b"\xff", version="é")
    record = SimpleNamespace(key=raw.key.encode(), headers=encode_raw_headers(raw))
    assert is_well_formed(record)
