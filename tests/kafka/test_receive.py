"""Check that a pushed message is in Kafka before the caller receives its acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.fetch.http.lease import UnlimitedLease
from gateway.kafka import topic_admin
from gateway.messages import commands
from gateway.messages.cloudevents import decode_raw
from gateway.messages.topics import RAW
from gateway.pipeline.record_processor import RecordProcessor
from gateway.settings import Settings
from gateway.worker.push_server import PushServer
from gateway.worker.push_streams import PushConnector, PushStream
from gateway.worker.status_reporter import stream_state
from tests.support.topic_records import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

CONNECTOR = """
language: 1
connector: {name}
country: EU
title: A test
owner: {{name: A, contact: a@example.org}}
push: {{path: /in, accepted: {{body: "{{count}}"}}}}
streams:
  things:
    emits: qualification
    records: items
    id: id
    tests: [{{name: shape, given: {{}}, expect_some: {{}}}}]
"""


@contextlib.asynccontextmanager
async def serving(
    settings: Settings, connector: Connector
) -> AsyncIterator[tuple[str, PushStream]]:
    """Own a connector and receive its messages, as a worker does."""
    door = PushServer(settings)
    inbox = PushConnector(settings, connector, RecordProcessor({}.get, b"x" * 32), UnlimitedLease())
    tasks = [
        asyncio.create_task(inbox.run()),
        asyncio.create_task(door.serve_connector(connector, {}.__getitem__, inbox)),
    ]
    try:
        async with asyncio.timeout(60):
            while not door.url:
                await asyncio.sleep(0.02)
        yield door.url, inbox.streams[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def test_push_caller_is_answered_after_commit_and_may_repeat(
    settings: Settings, name: str, tmp_path: Path
) -> None:
    file = tmp_path / f"{name}.yaml"
    file.write_text(textwrap.dedent(CONNECTOR.format(name=name)))
    mine = settings.model_copy(update={"receive_port": 0})

    async def stored() -> list[str]:
        records = [
            record
            for record in await read_all(settings.kafka_bootstrap, RAW.name)
            if record.key.decode().startswith(name)
        ]
        return [
            decode_raw(record.key, record.value, record.headers).native_id for record in records
        ]

    async def accepted(client: httpx2.AsyncClient, url: str, *ids: str) -> str:
        """Send a message, as a registry does: again while the answer is ``busy``."""
        items = [{"id": each} for each in ids]
        async with asyncio.timeout(120):
            while (answer := await client.post(url, json={"items": items})).status_code == 503:
                await asyncio.sleep(0.2)
        assert answer.status_code == 200
        return answer.text

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        connector = load_connector(file)
        async with (
            httpx2.AsyncClient(timeout=60) as client,
            serving(mine, connector) as (url, stream),
        ):
            assert await accepted(client, f"{url}/in", "1", "2") == "2"
            assert sorted(await stored()) == ["1", "2"]
            await accepted(client, f"{url}/in", "2", "3")
            assert sorted(await stored()) == ["1", "2", "3"]
            assert (await client.post(f"{url}/elsewhere")).status_code == 404

            paused = commands.Pause(connector=name, reason="they move house")
            assert await stream.handle_command(paused) == ""
            assert stream_state(stream) == ("paused", "they move house")
            answer = await client.post(f"{url}/in", json={"items": [{"id": "4"}]})
            assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
            assert "is not polled" in await stream.handle_command(commands.Poll(connector=name))

        async with (
            httpx2.AsyncClient(timeout=60) as client,
            serving(mine, connector) as (url, stream),
        ):
            answer = await client.post(f"{url}/in", json={"items": [{"id": "4"}]})
            assert answer.status_code == 503, (
                "who takes over knows of the pause before the first message"
            )
            assert await stream.handle_command(commands.Resume(connector=name)) == ""
            await accepted(client, f"{url}/in", "4")
            assert sorted(await stored()) == ["1", "2", "3", "4"]
            assert stream_state(stream) == ("receiving", "")

    asyncio.run(scenario())
