"""Check that a pushed message is in Kafka before the caller receives its acknowledgement."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path

import httpx2
import pytest

from gateway.config.loading import load_connector
from gateway.fetch.http.lease import UnlimitedLease
from gateway.kafka import topic_admin
from gateway.messages import commands
from gateway.messages.cloudevents import decode_raw
from gateway.messages.topics import RAW
from gateway.pipeline.record_processor import RecordProcessor
from gateway.settings import Settings
from gateway.worker.push_server import PushServer
from gateway.worker.push_streams import PushConnector
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

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        door = PushServer(mine)
        connector = load_connector(file)
        inbox = PushConnector(mine, connector, RecordProcessor({}.get, b"x" * 32), UnlimitedLease())
        serving = asyncio.gather(
            inbox.run(), door.serve_connector(connector, {}.__getitem__, inbox)
        )
        while not door.url:
            await asyncio.sleep(0.02)
        async with httpx2.AsyncClient(timeout=60) as client:
            answer = await client.post(door.url + "/in", json={"items": [{"id": "1"}, {"id": "2"}]})
            assert (answer.status_code, answer.text) == (200, "2")
            assert sorted(await stored()) == ["1", "2"]
            answer = await client.post(door.url + "/in", json={"items": [{"id": "2"}, {"id": "3"}]})
            assert answer.status_code == 200
            assert sorted(await stored()) == ["1", "2", "3"]
            assert (await client.post(door.url + "/elsewhere")).status_code == 404

            paused = commands.Pause(connector=name, reason="they move house")
            assert await inbox.streams[0].handle_command(paused) == ""
            assert stream_state(inbox.streams[0]) == ("paused", "they move house")
            answer = await client.post(door.url + "/in", json={"items": [{"id": "4"}]})
            assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
            assert "is not polled" in await inbox.streams[0].handle_command(
                commands.Poll(connector=name)
            )
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

            inbox = PushConnector(
                mine, connector, RecordProcessor({}.get, b"x" * 32), UnlimitedLease()
            )
            serving = asyncio.gather(
                inbox.run(), door.serve_connector(connector, {}.__getitem__, inbox)
            )
            while not door.url:
                await asyncio.sleep(0.02)
            answer = await client.post(door.url + "/in", json={"items": [{"id": "4"}]})
            assert answer.status_code == 503, (
                "who takes over knows of the pause before the first message"
            )
            assert await inbox.streams[0].handle_command(commands.Resume(connector=name)) == ""
            answer = await client.post(door.url + "/in", json={"items": [{"id": "4"}]})
            assert answer.status_code == 200
            assert sorted(await stored()) == ["1", "2", "3", "4"]
            assert stream_state(inbox.streams[0]) == ("receiving", "")
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(scenario())
