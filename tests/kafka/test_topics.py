from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gateway.errors import IntegrityStop, Unavailable
from gateway.publish import topics
from gateway.settings import Settings

Create = Callable[..., Awaitable[str]]


@pytest.mark.kafka
def test_topics_are_created_once_as_declared(settings: Settings) -> None:
    async def scenario() -> None:
        await topics.apply(settings)
        assert await topics.apply(settings) == []
        await topics.verify(settings)

    asyncio.run(scenario())


@pytest.mark.kafka
def test_a_missing_topic_names_the_command(settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "TOPICS", (*topics.TOPICS, replace(topics.RAW, name=name)))
    with pytest.raises(Unavailable, match=f"{name}.*`gateway topics apply`"):
        asyncio.run(topics.verify(settings))


@pytest.mark.kafka
def test_state_in_a_topic_that_is_not_compacted_stops_the_gateway(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch, create_topic: Create
) -> None:
    async def scenario() -> None:
        await topics.apply(settings)
        await create_topic(name, 4, cleanup_policy="delete")
        monkeypatch.setattr(topics, "TOPICS", (*topics.TOPICS, replace(topics.RAW, name=name)))
        with pytest.raises(IntegrityStop, match=f"{name}: cleanup.policy is delete, must be compact"):
            await topics.verify(settings)

    asyncio.run(scenario())


@pytest.mark.kafka
def test_more_replicas_than_brokers_is_one_clear_error(settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "TOPICS", (replace(topics.RAW, name=name),))
    with pytest.raises(Unavailable, match="replication 7 needs as many brokers"):
        asyncio.run(topics.apply(settings.model_copy(update={"kafka_replication": 7})))


def test_personal_topics_are_never_open_to_everybody() -> None:
    for topic in topics.TOPICS:
        assert topic.readers, topic.name
        assert topic.writers, topic.name
        assert topic.compacted or topic.days, topic.name
