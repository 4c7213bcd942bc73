"""Check stream state on a real Kafka: cursors, digests, fencing and takeovers."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from gateway.errors import Fenced, RetryLater
from gateway.kafka import topic_admin
from gateway.messages.cloudevents import decode_raw
from gateway.messages.topics import DIGESTS, RAW, REJECTIONS
from gateway.observability import metrics
from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.stream_state import StreamState
from gateway.records import RawRecord
from gateway.settings import Settings
from tests.support.poll_process import PAGE, page
from tests.support.topic_records import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]


async def of(settings: Settings, topic: str, prefix: str) -> list[ConsumerRecord]:
    return [
        record
        for record in await read_all(settings.kafka_bootstrap, topic)
        if record.key.decode().startswith(prefix)
    ]


def entry(
    connector: str, native_id: str, body: bytes | None, digest: bytes = b"d" * 16
) -> RawEntry:
    return RawEntry(
        RawRecord(connector=connector, stream="s", native_id=native_id, body=body), digest, None
    )


def test_stream_state_is_known_after_a_restart(settings: Settings, name: str) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        first = StreamState(settings, name, "s")
        assert await first.open() is None
        await first.write([entry(name, "1", b"{}"), entry(name, "2", b"{}", b"e" * 16)], b"page 1")
        await first.write([], b"page 2")
        await first.close()
        second = StreamState(settings, name, "s")
        assert await second.open() == b"page 2"
        assert {native_id: value[:16] for native_id, value in second.digests.items()} == {
            "1": b"d" * 16,
            "2": b"e" * 16,
        }
        await second.close()
        assert {
            decode_raw(record.key, record.value, record.headers).native_id
            for record in await of(settings, RAW.name, name)
        } == {
            "1",
            "2",
        }

    asyncio.run(scenario())


def test_new_owner_fences_the_previous_owner(settings: Settings, name: str) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        first, second = StreamState(settings, name, "s"), StreamState(settings, name, "s")
        await first.open()
        await first.write(page(name, 0), b"1")
        assert await second.open() == b"1"
        with pytest.raises(Fenced):
            await first.write(page(name, 1), b"2")
        await second.write(page(name, 1), b"2")
        await second.close()
        assert (
            max(Counter(record.key for record in await of(settings, RAW.name, name)).values()) == 1
        )

    asyncio.run(scenario())


def test_streams_of_one_connector_are_isolated(settings: Settings, name: str) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        one, other = StreamState(settings, name, "s"), StreamState(settings, name, "s2")
        await one.open()
        await one.write([entry(name, "1", b"{}")], b"one")
        assert await other.open() is None
        assert other.digests == {}
        await other.write([entry(name, "9", b"{}")], b"other")
        await one.write([entry(name, "2", b"{}")], b"one again")
        await one.close()
        await other.close()

    asyncio.run(scenario())


def test_too_large_raw_record_is_rejected_with_its_page(settings: Settings, name: str) -> None:
    def rejected() -> float:
        return (
            metrics.REGISTRY.get_sample_value(
                "gateway_records_total", {"connector": name, "stream": "s", "outcome": "rejected"}
            )
            or 0
        )

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        ledger = StreamState(settings, name, "s")
        entries = [
            entry(name, "small", b"{}"),
            entry(name, "large", b"x" * 6_000_000),
            entry(name, "last", b"{}"),
        ]
        reasons: list[str] = []
        for _ in range(4):
            await ledger.open()
            try:
                await ledger.write(entries, b"next")
            except RetryLater as error:
                reasons.append(error.reason)
            else:
                break
        assert set(reasons) == {"record_too_large"}
        assert rejected() == 1
        assert await ledger.open() == b"next"
        await ledger.close()
        written = await of(
            settings, RAW.name, name
        )  # in the order of the partitions, which the keys decide
        assert sorted(record.key.decode() for record in written) == [
            f"{name}|last",
            f"{name}|small",
        ]
        found = await of(settings, REJECTIONS.name, name)
        assert [record.key.decode() for record in found] == [f"{name}|large"]
        assert b'"stage":"size"' in found[0].value
        assert len(found[0].value) < 1_000
        assert len(await of(settings, DIGESTS.name, name)) == 3

    asyncio.run(scenario())


@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_while_pages_are_written(settings: Settings, name: str, kills: int) -> None:
    chance = random.Random(7)
    pages = 400

    async def spawn() -> asyncio.subprocess.Process:
        command = [
            sys.executable,
            str(ROOT / "tests/support/poll_process.py"),
            settings.kafka_bootstrap,
            name,
            str(pages),
        ]
        return await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        struck = 0
        for _ in range(kills):
            process = await spawn()
            assert process.stdout
            wanted = chance.randint(1, 20)
            written = [await process.stdout.readline() for _ in range(wanted)]
            await asyncio.sleep(chance.uniform(0, 0.01))  # anywhere between two pages
            struck += bool(written[-1])
            process.kill()
            await process.wait()
        assert struck >= kills / 2, (
            "the pages were written before the kills: the test means nothing"
        )
        last = await spawn()
        await asyncio.wait_for(last.communicate(), 120)
        assert last.returncode == 0
        seen = [
            int(decode_raw(record.key, record.value, record.headers).native_id)
            for record in await of(settings, RAW.name, name)
        ]
        assert len(seen) == len(set(seen)) == pages * PAGE

    asyncio.run(scenario())
