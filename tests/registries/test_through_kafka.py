"""Send every registry's saved replies through the whole pipeline and a real Kafka.

No record is lost or duplicated.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from gateway.config.second_lists import LoopSource
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.kafka import topic_admin
from gateway.local.registries.saved_replies import SavedReplyRegistry
from gateway.messages.topics import REJECTIONS
from gateway.observability import metrics
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.pipeline.poll import PollContext, poll_once
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.stream_state import StreamState
from tests.registries.test_saved import GOLDEN
from tests.registries.test_saved import name as name_of
from tests.support.saved_replies import (
    CASES,
    REFERENCE,
    REGISTRIES,
    ROOT,
    Case,
    connector_for,
    here,
    secret,
)

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]
OUTCOMES = ("accepted", "rejected", "unchanged", "deleted")


def written(case: Case, connector):
    """A loop over what the gateway has seen of another stream gets its values here."""
    stream = connector.streams[case.stream]
    loops = {
        loop: each.model_copy(update={"in_": LoopSource(values=tuple(case.subjects[loop]))})
        if each.in_.stream
        else each
        for loop, each in stream.for_each.items()
    }
    return connector.model_copy(
        update={"streams": {case.stream: stream.model_copy(update={"for_each": loops})}}
    )


async def poll(settings, case: Case, called: str) -> object:
    """Poll the saved reply as a connector of its own; returns the connector."""
    data = (REFERENCE / case.file).read_bytes()
    async with await SavedReplyRegistry([]).start() as replay:
        replay._saved.extend(case.replies(data, replay.url))
        connector = written(case, here(connector_for(case), replay.url)).model_copy(
            update={"connector": called}
        )
        ledger = StreamState(settings, called, case.stream)
        try:
            async with RegistryClient(connector, secret, "production") as client:
                context = PollContext(connector, case.stream, client, ledger)
                await poll_once(context, datetime.now(UTC))
        finally:
            await ledger.close()
        return connector


def counted(called: str, stream: str) -> dict[str, int]:
    counts = {
        outcome: int(metrics.RECORDS.labels(called, stream, outcome)._value.get())
        for outcome in OUTCOMES
    }
    return {"received": int(metrics.RECEIVED.labels(called, stream)._value.get()), **counts}


async def rejections(settings, of: str) -> list[dict]:
    """As a subscriber that knows nothing of ours reads them."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        places = [
            TopicPartition(REJECTIONS.name, number) for number in range(REJECTIONS.partitions)
        ]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: list[dict] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [
                    value
                    for record in records
                    if record.value
                    and (value := json.loads(record.value))["connector"].startswith(of)
                ]
        return found
    finally:
        await consumer.stop()


@pytest.mark.timeout(290)
def test_saved_replies_pass_through_kafka(settings, name_of_run):
    golden = json.loads(GOLDEN.read_text())
    cases = {
        f"{name_of_run}-{number:02d}": case
        for number, case in enumerate(CASES)
        if "stream" not in golden[name_of(case)]
    }

    async def run():
        await topic_admin.create_missing(settings)
        tables = Tables.load(ROOT / "mappings")
        harmonisers = {}
        turns = asyncio.Semaphore(6)

        async def connect(called: str, case: Case) -> None:
            async with turns:
                connector = await poll(settings, case, called)
            harmonisers[called] = Harmoniser(connector, tables, pseudonym_key=b"k" * 32)

        await asyncio.gather(*itertools.starmap(connect, cases.items()))
        deliver = RecordProcessor(harmonisers.get, b"k" * 32)
        stage = asyncio.create_task(
            HarmoniseStage(settings, deliver, deliver.reject_as_too_large).run()
        )
        try:
            async with asyncio.timeout(200):
                while not all(
                    balanced(counted(called, case.stream)) for called, case in cases.items()
                ):
                    if stage.done():
                        await stage
                    await asyncio.sleep(0.2)
        finally:
            stage.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stage
        return await rejections(settings, name_of_run)

    published = asyncio.run(run())
    rejected = 0
    for called, case in cases.items():
        counts, ending = counted(called, case.stream), golden[name_of(case)]
        assert balanced(counts), (name_of(case), counts)
        assert counts["received"] - counts["unchanged"] == ending.get("ids", ending["records"]), (
            name_of(case),
            counts,
        )
        rejected += counts["rejected"]
    assert len(published) == rejected


def balanced(counts: dict[str, int]) -> bool:
    return counts["received"] == sum(counts[outcome] for outcome in OUTCOMES)


@pytest.fixture
def name_of_run(name: str) -> str:
    return f"r{name}"
