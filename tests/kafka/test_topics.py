"""Create, check and compare topics on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gateway.errors import IntegrityStop, Unavailable
from gateway.kafka import topic_admin
from gateway.messages import topics
from gateway.settings import Settings

Create = Callable[..., Awaitable[str]]


@pytest.mark.kafka
def test_topics_are_created_once_as_declared(settings: Settings) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        assert await topic_admin.create_missing(settings) == []
        await topic_admin.verify_topics(settings)

    asyncio.run(scenario())


@pytest.mark.kafka
def test_missing_topic_names_the_command(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_admin, "TOPICS", (*topics.TOPICS, replace(topics.RAW, name=name)))
    with pytest.raises(Unavailable, match=f"{name}.*`gateway topics apply`"):
        asyncio.run(topic_admin.verify_topics(settings))


@pytest.mark.kafka
def test_uncompacted_state_topic_stops_the_gateway(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch, create_topic: Create
) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        await create_topic(name, 4, cleanup_policy="delete")
        monkeypatch.setattr(topic_admin, "TOPICS", (*topics.TOPICS, replace(topics.RAW, name=name)))
        with pytest.raises(
            IntegrityStop, match=f"{name}: cleanup.policy is delete, must be compact"
        ):
            await topic_admin.verify_topics(settings)

    asyncio.run(scenario())


@pytest.mark.kafka
def test_too_many_replicas_is_one_clear_error(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_admin, "TOPICS", (replace(topics.RAW, name=name),))
    with pytest.raises(Unavailable, match="replication 7 needs as many brokers"):
        asyncio.run(
            topic_admin.create_missing(settings.model_copy(update={"kafka_replication": 7}))
        )


def test_personal_topics_have_named_readers() -> None:
    for topic in topics.TOPICS:
        assert topic.readers, topic.name
        assert topic.writers, topic.name
        assert topic.compacted or topic.days, topic.name


@pytest.mark.kafka
def test_longer_retention_than_declared_is_reported(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch, create_topic: Create
) -> None:
    async def scenario() -> list[str]:
        await topic_admin.create_missing(settings)
        declared = topics.topic_config(topics.RAW) | {"segment.ms": "604800000"}
        await create_topic(
            name, 4, **{key.replace(".", "_"): value for key, value in declared.items()}
        )
        monkeypatch.setattr(topic_admin, "TOPICS", (*topics.TOPICS, replace(topics.RAW, name=name)))
        return await topic_admin.verify_topics(settings)

    assert asyncio.run(scenario()) == [f"{name}: segment.ms is 604800000, declared is 86400000"]


@pytest.mark.kafka
def test_raw_retention_can_be_limited(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = replace(topics.RAW, name=name)
    monkeypatch.setattr(topic_admin, "RAW", raw)
    monkeypatch.setattr(topic_admin, "TOPICS", (raw,))
    short = settings.model_copy(update={"raw_retention_days": 30})

    async def scenario() -> tuple[list[str], list[str]]:
        assert await topic_admin.create_missing(short) == [name]
        return await topic_admin.verify_topics(short), await topic_admin.verify_topics(settings)

    as_set, otherwise = asyncio.run(scenario())
    assert as_set == []
    assert otherwise == [f"{name}: cleanup.policy is compact,delete, declared is compact"]


def test_erased_records_leave_within_the_promised_time() -> None:
    """A compacted topic closes its segment each day and is compacted within a week; tombstones outlive a reader's week of absence."""
    for topic in topics.TOPICS:
        if topic.compacted:
            found = {
                key: int(value)
                for key, value in topics.topic_config(topic).items()
                if value.isdigit()
            }
            assert found["segment.ms"] <= topics.DAY_MS
            assert found["max.compaction.lag.ms"] <= 7 * topics.DAY_MS
            assert found["delete.retention.ms"] >= 7 * topics.DAY_MS
        if topic.personal:
            assert topic.compacted, "a tombstone must be able to erase it"
