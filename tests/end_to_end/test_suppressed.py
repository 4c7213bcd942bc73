"""Check that stream state rejects suppressed records from every source.

The stream stops when the suppression list cannot be read.
"""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from gateway.errors import IntegrityStop
from gateway.kafka.topic_reader import read_topic
from gateway.local.broker import Broker
from gateway.messages.suppression import encode_suppression, suppression_id
from gateway.messages.topics import DIGESTS, RAW
from gateway.observability import metrics
from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.stream_state import StreamState
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, load_keys
from gateway.records import RawRecord
from gateway.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]
NAME = "suppressing"


def settings(
    broker: Broker, key: str = "a key for tests only, never for people", **more: str
) -> Settings:
    secrets = {name: SecretStr(value) for name, value in {"pseudonym_key": key, **more}.items()}
    return Settings(kafka_bootstrap=broker.bootstrap, registry_environment="acceptance", **secrets)


def entry(native_id: str, digest: bytes) -> RawEntry:
    return RawEntry(
        RawRecord(connector=NAME, stream="s", native_id=native_id, body=b'{"holder": "canary"}'),
        digest,
        None,
    )


def people(raw: RawRecord) -> set[str]:
    return {"somebody"} if raw.native_id in {"theirs", "theirs too"} else set()


def counted(name: str, **labels: str) -> float:
    return (
        metrics.REGISTRY.get_sample_value(
            f"gateway_{name}_total", {"connector": NAME, "stream": "s", **labels}
        )
        or 0
    )


async def versions(where: Settings, topic: str) -> dict[str, list[bool]]:
    """Give for each native id whether its records, in order, have a value."""
    found: dict[str, list[bool]] = {}
    async for one in read_topic(where, topic):
        found.setdefault(one.key.decode().rpartition("|")[2], []).append(one.value is not None)
    return found


def test_suppressed_records_are_dropped_and_removed(broker: Broker):
    here = settings(broker)
    key = load_keys(here).for_audience(SUPPRESSION_AUDIENCE)[0]

    async def scenario() -> tuple[dict[str, list[bool]], dict[str, list[bool]]]:
        before = StreamState(here, NAME, "s", people)
        await before.open()
        await before.write([entry("theirs", b"a" * 16), entry("other", b"b" * 16)], b"1")
        marks = [
            encode_suppression(suppression_id(key, NAME, "erased"), "record", key, "now"),
            encode_suppression("somebody", "person", key, "now"),
        ]
        await before.write([], None, marks)
        await before.close()
        after = StreamState(here, NAME, "s", people)
        await after.open()
        page = [
            entry("erased", b"c" * 16),
            entry("theirs", b"d" * 16),
            entry("theirs too", b"e" * 16),
            entry("new", b"f" * 16),
        ]
        await after.write(page, b"2")
        await after.write(
            [entry("theirs", b"d" * 16)], b"2"
        )  # met again: nothing stands, so nothing is written
        await after.close()
        return await versions(here, RAW.name), await versions(here, DIGESTS.name)

    raw, digests = asyncio.run(scenario())
    assert raw == digests == {"theirs": [True, False], "other": [True], "new": [True]}
    assert counted("records_suppressed") == 4
    assert counted("records", outcome="deleted") == 3, (
        "the stage counts the one that left a tombstone"
    )


def test_unknown_suppression_key_stops_the_stream(broker: Broker):
    """It could not tell who was erased: it fails closed, and goes on once the key is there."""
    old = settings(broker, "the key of before, for tests only, for nobody")
    key = load_keys(old).for_audience(SUPPRESSION_AUDIENCE)[0]

    async def opened(where: Settings) -> None:
        ledger = StreamState(where, NAME, "s")
        try:
            await ledger.open()
            await ledger.write(
                [], None, [encode_suppression(suppression_id(key, NAME, "1"), "record", key, "now")]
            )
        finally:
            await ledger.close()

    asyncio.run(opened(old))
    with pytest.raises(
        IntegrityStop,
        match="this worker does not have, so erased records could be published again; "
        "set GATEWAY_PERMANENT_KEY",
    ):
        asyncio.run(opened(settings(broker)))
    asyncio.run(
        opened(settings(broker, pseudonym_key_previous=old.pseudonym_key.get_secret_value()))
    )
    asyncio.run(opened(settings(broker, permanent_key=old.pseudonym_key.get_secret_value())))
