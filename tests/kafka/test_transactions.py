"""Check transactional producers on a real Kafka: commits, aborts, fencing and timeouts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer

from gateway.errors import Fenced, RetryLater, Unavailable, UsageError
from gateway.kafka.connection import admin_client, client_arguments
from gateway.kafka.transactions import RecordTooLarge, TransactionalProducer, read_partition
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.settings import Settings
from tests.support.topic_records import read_all

pytestmark = pytest.mark.kafka
Create = Callable[..., Awaitable[str]]


def outgoing(topic: str, *pairs: tuple[str, bytes | None]) -> list[OutgoingRecord]:
    return [OutgoingRecord(topic, key.encode(), value, [("n", b"1")]) for key, value in pairs]


def test_committed_records_are_read_by_key(
    settings: Settings, name: str, create_topic: Create
) -> None:
    async def scenario() -> None:
        topic = await create_topic(name, 1, cleanup_policy="compact")
        writer = TransactionalProducer(settings, name, "test")
        await writer.fence()
        await writer.commit(outgoing(topic, ("a", b"1"), ("b", b"2"), ("x", b"9")))
        await writer.commit(outgoing(topic, ("a", b"3"), ("b", None)))
        assert await read_partition(settings, topic, 0) == {b"a": b"3", b"x": b"9"}
        assert await read_partition(settings, topic, 0, [b"a"]) == {b"a": b"3"}
        await writer.close()

    asyncio.run(scenario())


def test_empty_partition_is_read_at_once(
    settings: Settings, name: str, create_topic: Create
) -> None:
    async def scenario() -> None:
        topic = await create_topic(name)
        async with asyncio.timeout(30):  # half of what a read without progress takes
            assert await read_partition(settings, topic, 0) == {}

    asyncio.run(scenario())


def test_partitions_follow_the_published_rule(
    settings: Settings, name: str, create_topic: Create, kafka_bootstrap: str
) -> None:
    async def scenario() -> None:
        topic = await create_topic(name, 4)
        writer = TransactionalProducer(settings, name, "test")
        await writer.fence()
        await writer.commit(outgoing(topic, *((f"key-{number}", b"x") for number in range(100))))
        await writer.close()
        records = await read_all(kafka_bootstrap, topic)
        assert len(records) == 100
        assert all(record.partition == partition_for(record.key, 4) for record in records)
        assert {record.partition for record in records} == {0, 1, 2, 3}

    asyncio.run(scenario())


def test_new_producer_fences_the_previous_one(
    settings: Settings, name: str, create_topic: Create, kafka_bootstrap: str
) -> None:
    async def scenario() -> None:
        topic = await create_topic(name)
        first, second = (
            TransactionalProducer(settings, name, "test"),
            TransactionalProducer(settings, name, "test"),
        )
        await first.fence()
        await first.commit(outgoing(topic, ("a", b"first")))
        await second.fence()
        with pytest.raises(Fenced, match=name):
            await first.commit(outgoing(topic, ("a", b"zombie")))
        assert not first.ready
        with pytest.raises(RetryLater):
            await first.commit(outgoing(topic, ("a", b"zombie again")))
        await second.commit(outgoing(topic, ("a", b"second")))
        await second.close()
        assert [record.value for record in await read_all(kafka_bootstrap, topic)] == [
            b"first",
            b"second",
        ]

    asyncio.run(scenario())


def test_too_large_record_is_named_and_nothing_is_written(
    settings: Settings, name: str, create_topic: Create, kafka_bootstrap: str
) -> None:
    async def scenario() -> None:
        topic = await create_topic(name, 1, max_message_bytes=20_000)
        writer = TransactionalProducer(settings, name, "test")
        await writer.fence()
        records = outgoing(
            topic,
            *(
                (f"k{number}", b"x" * (50_000 if number in {7, 9} else 300))
                for number in range(200)
            ),
        )
        found: set[int] = set()
        for _ in range(
            12
        ):  # a refused batch does not say which of its records it was: smaller ones find out
            kept = [record for index, record in enumerate(records) if index not in found]
            try:
                await writer.commit(kept)
            except RecordTooLarge as error:
                found |= {records.index(kept[index]) for index in error.indexes}
                assert not writer.ready
                await writer.fence()  # ends the transaction that failed
                assert await read_all(kafka_bootstrap, topic) == []
            else:
                break
        assert found == {7, 9}
        await writer.commit(kept)
        await writer.close()
        assert [record.key for record in await read_all(kafka_bootstrap, topic)] == [
            record.key for record in kept
        ] * 2

    asyncio.run(scenario())


def test_oversized_batch_is_detected_before_sending(
    settings: Settings, name: str, create_topic: Create
) -> None:
    async def scenario() -> None:
        topic = await create_topic(name)
        writer = TransactionalProducer(settings, name, "test")
        await writer.fence()
        with pytest.raises(RecordTooLarge) as error:
            await writer.commit(outgoing(topic, ("a", b"1"), ("b", b"x" * 17_000_000)))
        assert error.value.indexes == [1]
        await writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.008, 0.012, 0.02])
def test_cancelled_commit_is_all_or_nothing(
    settings: Settings, name: str, create_topic: Create, kafka_bootstrap: str, delay: float
) -> None:
    """A cancelled commit may have committed: nobody may conclude, the position says."""

    async def scenario() -> None:
        topic = await create_topic(name, 2)
        writer = TransactionalProducer(settings, name, "test")
        await writer.fence()
        task = asyncio.create_task(
            writer.commit(outgoing(topic, *((f"k{number}", b"x") for number in range(50))))
        )
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None
        assert writer.ready is not task.cancelled()
        if writer.ready:
            await writer.close()
        await writer.fence()
        assert len(await read_all(kafka_bootstrap, topic)) in {0, 50}
        await writer.commit(outgoing(topic, ("after", b"1")))
        await writer.close()

    asyncio.run(scenario())


def test_reader_waits_for_a_foreign_open_transaction(
    settings: Settings, name: str, create_topic: Create, kafka_bootstrap: str
) -> None:
    """The last stable offset would end the read before our own committed record."""

    async def scenario() -> None:
        topic = await create_topic(name, 1)
        stranger = AIOKafkaProducer(
            bootstrap_servers=kafka_bootstrap, transactional_id=f"{name}-stranger"
        )
        await stranger.start()
        await stranger.begin_transaction()
        await stranger.send_and_wait(topic, key=b"theirs", value=b"open")
        writer = TransactionalProducer(settings, name, "test")
        await writer.fence()
        await writer.commit(outgoing(topic, ("ours", b"cursor")))
        reading = asyncio.create_task(read_partition(settings, topic, 0))
        await asyncio.sleep(1)
        assert not reading.done()
        await stranger.abort_transaction()
        await stranger.stop()
        assert await reading == {b"ours": b"cursor"}
        await writer.close()

    asyncio.run(scenario())


def test_missing_broker_is_one_clear_error() -> None:
    async def scenario() -> None:
        with pytest.raises(Unavailable, match=r"no Kafka answers at 127\.0\.0\.1:1 "):
            await admin_client(Settings(kafka_bootstrap="127.0.0.1:1"))
        with pytest.raises(RetryLater):
            await read_partition(Settings(kafka_bootstrap="127.0.0.1:1"), "any", 0)
        with pytest.raises(RetryLater):
            await TransactionalProducer(
                Settings(kafka_bootstrap="127.0.0.1:1"), "any", "test"
            ).fence()

    asyncio.run(scenario())


def test_connection_arguments_come_from_settings() -> None:
    with pytest.raises(Unavailable, match="gateway kafka start"):
        client_arguments(Settings(kafka_bootstrap=""))
    with pytest.raises(UsageError, match="SASL_SSL"):
        client_arguments(Settings(kafka_bootstrap="kafka.example.org:9092"))
    found = client_arguments(
        Settings(
            kafka_bootstrap="kafka.example.org:9092",
            kafka_security="SASL_SSL",
            kafka_username="u",
            kafka_password="p",
        )
    )  # type: ignore[arg-type]
    assert found["sasl_mechanism"] == "SCRAM-SHA-512"
    assert found["ssl_context"].check_hostname
