"""Check that ``gateway verify`` accepts complete topics and names every planted loss."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from gateway.fetch.secrets import FileSecrets
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.outgoing import partition_for
from gateway.operations.verify import (
    MASKED,
    ServedRecords,
    StreamReport,
    TopicContents,
    _Comparison,
    build_record_processor,
    verify,
)
from gateway.pipeline.loaded_config import load_config
from gateway.records import RawRecord
from gateway.settings import Settings
from tests.end_to_end.conftest import Site
from tests.support.operator_commands import gateway, wait_until_settled

ROOT = Path(__file__).parents[2]


async def take_away(site: Site, topic: str, key: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=site.bootstrap) as producer:
        await producer.send_and_wait(topic, None, key=key, partition=partition_for(key, 4))


async def write_again(site: Site, *records: ConsumerRecord) -> None:
    async with AIOKafkaProducer(bootstrap_servers=site.bootstrap) as producer:
        for one in records:
            await producer.send_and_wait(
                one.topic,
                one.value,
                key=one.key,
                partition=one.partition,
                headers=list(one.headers),
            )


def source(record: ConsumerRecord) -> str:
    return dict(record.headers)["ce_source"].decode()


def report(site: Site, connector: str) -> tuple[bool, dict[str, StreamReport]]:
    """Verify in this process: the command itself is tried once."""
    settings = Settings(
        kafka_bootstrap=site.bootstrap,
        connectors=site.folder / "connectors",
        mappings=ROOT / "mappings",
        pseudonym_key=site.environment["GATEWAY_PSEUDONYM_KEY"],
    )
    found = asyncio.run(
        verify(
            settings,
            load_config(settings, [connector]),
            connector,
            FileSecrets(site.folder / "secrets"),
        )
    )
    return found.complete, {one.stream: one for one in found.streams}


def sums(stream: StreamReport) -> int:
    return (
        stream.published + stream.rejected + stream.unchanged + stream.deleted + stream.suppressed
    )


@pytest.mark.kafka
@pytest.mark.timeout(400)
@pytest.mark.parametrize("site", [200], indirect=True)
def test_verify_reports_complete_streams_and_missing_records(site: Site):
    worker = site.run()
    wait_until_settled(site)
    key = next(one.key for one in site.read("gateway.raw.v1") if one.key.startswith(b"demo-soap|D"))
    assert (
        gateway(
            site,
            "erase",
            "demo-soap",
            "-",
            "--yes",
            "--reason",
            "case 1",
            given=key.decode().partition("|")[2],
        ).returncode
        == 0
    )

    done = gateway(site, "verify", "demo-soap", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    streams = {
        one["stream"]: msgspec.convert(one, StreamReport)
        for one in json.loads(done.stdout)["streams"]
    }
    held = {(entry["stream"], entry["id"]) for entry in site.ledger("demo-soap")}
    for name, stream in streams.items():
        assert stream.served == sums(stream) == sum(of == name for of, _ in held)
    assert sum(stream.rejected for stream in streams.values()) > 0
    assert [stream.suppressed for stream in streams.values()] == [1, 0, 0]
    assert report(site, "demo-rest")[0]

    twice = [one for one in site.read("europass.learning-opportunities.v1") if one.value][-1]
    received = next(
        one for one in site.read("gateway.raw.v1") if source(one).endswith("rest/programmes")
    )
    asyncio.run(write_again(site, twice, received))
    complete, streams = report(site, "demo-rest")
    assert not complete
    assert {(one.topic, one.why) for stream in streams.values() for one in stream.duplicated} == {
        (twice.topic, "was received once and published twice"),
        ("gateway.raw.v1", "was received once and written twice"),
    }
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    document = next(one for one in site.read("europass.learning-opportunities.v1") if one.value)
    asyncio.run(take_away(site, document.topic, document.key))
    [changed] = site.control("demo-soap", "change", stream="credits", count=1)
    [deleted] = site.control("demo-soap", "delete", stream="credits", count=1)
    [added] = site.control("demo-soap", "add", stream="enrolments", count=1)
    [vanished] = site.control("demo-rest", "delete", stream="programmes", count=1)

    complete, streams = report(site, "demo-soap")
    assert not complete
    assert {one.id: one.why for one in streams["credits"].stale} == {
        changed: "the registry has a newer version",
        deleted: "the registry deleted it and it is still stored",
    }
    assert [one.id for one in streams["enrolments"].missing] == [added]
    complete, streams = report(site, "demo-rest")
    assert not complete
    assert [one.topic for one in streams["courses"].missing] == [
        "europass.learning-opportunities.v1"
    ]
    assert [one.id for one in streams["programmes"].unexpected] == [vanished]
    printed = gateway(site, "verify", "demo-rest")
    assert printed.returncode == 1
    assert "NOT COMPLETE" in printed.stdout
    assert f"{vanished}  gateway.raw.v1: the registry does not serve it" in printed.stdout


@pytest.mark.parametrize("native_id", ["010199-903C", "record 17"])
def test_verify_masks_personal_ids(native_id: str, tmp_path: Path):
    text = (ROOT / "connectors" / "demo-soap.yaml").read_text()
    (tmp_path / "demo-soap.yaml").write_text(text)
    (tmp_path / "demo-soap.wsdl").write_bytes((ROOT / "connectors" / "demo-soap.wsdl").read_bytes())
    settings = Settings(
        connectors=tmp_path,
        mappings=ROOT / "mappings",
        pseudonym_key="a key for tests only, never for people",
    )
    fleet = load_config(settings)
    body = (
        b'<t:degree xmlns:t="urn:example:student-records:1" kind="degree"><t:student>'
        b"<t:nationalNumber>010199-903C</t:nationalNumber></t:student></t:degree>"
    )
    raw = RawRecord(
        connector="demo-soap",
        stream="degrees",
        native_id=native_id,
        body=body,
        media_type="application/xml",
    )
    judge = _Comparison(
        fleet.connectors["demo-soap"],
        build_record_processor(settings, fleet.harmonisers.get),
        TopicContents(),
    )
    shown = judge._finding(raw, None, "gateway.raw.v1", "is lost").id
    assert shown == (MASKED if native_id == "010199-903C" else native_id)


@pytest.mark.parametrize(
    ("hours", "why"),
    [
        (-1, "the registry has another content with an older change time"),
        (0, "the registry has a newer version"),
        (1, "the registry has a newer version"),
        (None, "the registry has a newer version"),
    ],
)
def test_verify_finds_another_content_whatever_its_change_time(
    hours: int | None, why: str, tmp_path: Path
):
    (tmp_path / "demo-rest.yaml").write_text((ROOT / "connectors" / "demo-rest.yaml").read_text())
    settings = Settings(
        connectors=tmp_path,
        mappings=ROOT / "mappings",
        pseudonym_key="a key for tests only, never for people",
    )
    fleet = load_config(settings)
    changed = datetime(2026, 2, 1, 10, tzinfo=UTC)
    stored = RawRecord(
        connector="demo-rest",
        stream="courses",
        native_id="c1",
        body=b'{"title": "stored"}',
        changed_at=changed,
    )
    served = msgspec.structs.replace(
        stored,
        body=b'{"title": "served"}',
        changed_at=None if hours is None else changed + timedelta(hours=hours),
    )
    record = ConsumerRecord(
        topic="gateway.raw.v1",
        partition=0,
        offset=1,
        timestamp=0,
        timestamp_type=0,
        key=stored.key.encode(),
        value=stored.body,
        checksum=None,
        serialized_key_size=1,
        serialized_value_size=1,
        headers=encode_raw_headers(stored),
    )
    comparison = _Comparison(
        fleet.connectors["demo-rest"],
        build_record_processor(settings, fleet.harmonisers.get),
        TopicContents(raw={"c1": record}),
    )
    report_of_stream = comparison.stream("courses", ServedRecords({"c1": served}, 1))
    assert not report_of_stream.complete
    (stale,) = report_of_stream.stale
    assert stale.why.startswith(why)


def test_verify_is_not_complete_when_two_contents_share_an_id(tmp_path: Path):
    (tmp_path / "demo-rest.yaml").write_text((ROOT / "connectors" / "demo-rest.yaml").read_text())
    settings = Settings(
        connectors=tmp_path,
        mappings=ROOT / "mappings",
        pseudonym_key="a key for tests only, never for people",
    )
    fleet = load_config(settings)
    raw = RawRecord(connector="demo-rest", stream="courses", native_id="c1", body=b"{}")
    comparison = _Comparison(
        fleet.connectors["demo-rest"],
        build_record_processor(settings, fleet.harmonisers.get),
        TopicContents(),
    )
    found = comparison.stream("courses", ServedRecords({"c1": raw}, 2, shared={"c1"}))
    assert not found.complete
    (missing,) = found.missing
    assert missing.id == "c1"
    assert missing.why.startswith("shares its id with another content")
