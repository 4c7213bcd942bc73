"""A registry that shows much less deletes nothing until a person accepts it, also after restarts."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.errors import StreamHalted
from gateway.fetch.http.lease import UnlimitedLease
from gateway.fetch.registry_client import RegistryClient
from gateway.kafka import topic_admin
from gateway.messages import commands
from gateway.messages.topics import RAW
from gateway.observability import metrics
from gateway.operations import backfill
from gateway.operations.stream_requests import StreamRequests
from gateway.pipeline.deletion_guard import MAX_NOTED_IDS
from gateway.pipeline.deletion_note import (
    KEY_BYTES,
    NOTE_NAME,
    DeletionNote,
    encode_note,
    read_note,
    withheld_deletions,
)
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.poll import PollContext, poll_once
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings
from gateway.worker.push_server import PushServer
from gateway.worker.push_streams import PushConnector
from gateway.worker.status_reporter import stream_state
from tests.support.raw_http_server import ReceivedRequest, Server, reply
from tests.support.topic_records import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

STREAM = """
  things:
    emits: qualification
    {source}
    records: items
    id: id
    deleted: {{path: gone, is: "true"}}
    map: {{title.en: t}}
    tests: [{{name: shape, given: {{id: "1"}}, expect_some: {{}}}}]
"""
CONNECTOR = """language: 1
connector: {name}
country: FR
title: A register that shows much less overnight
owner: {{name: Tests, contact: tests@example.org}}
{protocol}
streams:
"""
SCAN = "request: {get: /things}\n    cursor: scan"
WINDOW = (
    'request: {get: /things, query: {since: "{since:iso}"}}\n'
    "    cursor: {window: 400d, start: 2026-01-01}"
)


def load(tmp_path: Path, name: str, protocol: str, source: str) -> Connector:
    file = tmp_path / f"{name}.yaml"
    file.write_text(CONNECTOR.format(name=name, protocol=protocol) + STREAM.format(source=source))
    return load_connector(file)


def things(*numbers: int, **more: object) -> list[dict[str, object]]:
    return [{"id": str(number), "t": "T", **more} for number in numbers]


class Registry:
    """A registry whose list a test replaces."""

    def __init__(self) -> None:
        self.items: list[dict[str, object]] = []

    async def answer(self, _asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        reply(writer, json.dumps({"items": self.items}).encode(), content_type="application/json")


Poll = Callable[[], Awaitable[PollResult]]


@asynccontextmanager
async def worker(settings: Settings, connector: Connector) -> Any:
    """Own the stream, and yield a function that polls it and its state."""
    state = StreamState(settings, connector.connector, "things")
    async with RegistryClient(connector, lambda _: "", "production") as client:
        context = PollContext(connector, "things", client, state)

        async def poll() -> PollResult:
            return await poll_once(context, datetime.now(UTC))

        try:
            yield poll, state, context
        finally:
            await state.close()


async def tombstones(settings: Settings, name: str) -> set[str]:
    latest = {
        record.key.decode(): record.value
        for record in await read_all(settings.kafka_bootstrap, RAW.name)
        if record.key.startswith(f"{name}|".encode())
    }
    return {key.partition("|")[2] for key, value in latest.items() if value is None}


def withheld_metric(name: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(
        "gateway_deletions_withheld", {"connector": name, "stream": "things"}
    )


async def resume(
    settings: Settings, connector: Connector, state: StreamState, *, accept: bool
) -> None:
    await StreamRequests(settings, connector, state).store(
        commands.Resume(connector=connector.connector, accept_deletions=accept)
    )


def test_scan_that_shows_much_less_waits_for_a_person(
    settings: Settings, name: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        registry = Registry()
        async with Server(registry.answer) as server:
            connector = load(tmp_path, name, f'rest: {{url: {{production: "{server.url}"}}}}', SCAN)
            async with worker(settings, connector) as (poll, state, _):
                registry.items = things(*range(40))
                assert (await poll()).written == 40
                registry.items = things(*range(5), 99)
                for _ in range(2):
                    with pytest.raises(StreamHalted, match="deletions withheld: 35 of 40") as halt:
                        await poll()
                assert halt.value.reason == "DELETIONS_WITHHELD"
                assert withheld_metric(name) == 35
            async with worker(settings, connector) as (poll, state, _):
                with pytest.raises(StreamHalted):
                    await poll()
                assert withheld_deletions(state) == (35, 40), "a restart changes nothing"
                assert not await tombstones(settings, name)
                await resume(settings, connector, state, accept=False)
                with pytest.raises(StreamHalted):
                    await poll()
                await resume(settings, connector, state, accept=True)
                assert withheld_metric(name) == 0
            async with worker(settings, connector) as (poll, state, _):
                assert (await poll()).written == 35
                assert NOTE_NAME not in state.notes
                registry.items = []
                assert (await poll()).written == 6, "so few need no person"
        assert len(await tombstones(settings, name)) == 41

    asyncio.run(scenario())


def test_change_that_marks_everything_as_deleted_keeps_the_cursor(
    settings: Settings, name: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        registry = Registry()
        async with Server(registry.answer) as server:
            rest = f'rest: {{url: {{production: "{server.url}"}}}}'
            connector = load(tmp_path, name, rest, WINDOW)
            async with worker(settings, connector) as (poll, state, context):
                registry.items = things(*range(30))
                assert (await poll()).written == 30
                cursor = await state.open()
                registry.items = things(*range(30), gone=True)
                with pytest.raises(StreamHalted, match="deletions withheld: 30 of 30"):
                    await poll()
                assert await state.open() == cursor, "the registry shows the deletions again"
                await backfill.start_backfill(
                    state, "b", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
                )
                with pytest.raises(StreamHalted, match="deletions withheld: 30 of 30"):
                    await backfill.run_backfill(
                        context, backfill.LivePollGate(), asyncio.Lock(), lambda: True
                    )
                assert withheld_deletions(state) == (30, 30)
                assert not await tombstones(settings, name)
                await resume(settings, connector, state, accept=True)
                done = await backfill.run_backfill(
                    context, backfill.LivePollGate(), asyncio.Lock(), lambda: True
                )
                assert done is not None
                assert (done.state, done.written) == ("done", 30)
                assert (await poll()).written == 0
                assert withheld_deletions(state) == (0, 0)
                assert not [note for note in state.notes if note.startswith(NOTE_NAME)]
        assert len(await tombstones(settings, name)) == 30

    asyncio.run(scenario())


def test_pushed_message_that_deletes_everything_is_not_acknowledged(
    settings: Settings, name: str, tmp_path: Path
) -> None:
    mine = settings.model_copy(update={"receive_port": 0})

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        connector = load(tmp_path, name, "push: {path: /in}", "every: 15m")
        door = PushServer(mine)
        inbox = PushConnector(mine, connector, RecordProcessor({}.get, b"x" * 32), UnlimitedLease())
        serving = asyncio.gather(
            inbox.run(), door.serve_connector(connector, {}.__getitem__, inbox)
        )
        while not door.url:
            await asyncio.sleep(0.02)
        (stream,) = inbox.streams
        async with httpx2.AsyncClient(timeout=60) as client:

            async def post(items: list[dict[str, object]]) -> int:
                answer = await client.post(door.url + "/in", json={"items": items})
                return answer.status_code

            assert await post(things(*range(20))) == 200
            everything = things(*range(20), gone=True)
            assert await post(everything) == 503
            state, reason = stream_state(stream)
            assert (state, "deletions withheld: 20 of 20" in reason) == ("halted", True)
            assert await post(things(21)) == 200, "other messages are stored"
            accept = commands.Resume(connector=name, accept_deletions=True)
            assert await stream.handle_command(accept) == ""
            assert await post(everything) == 200
            assert await post(things(*range(5))) == 200
            assert await post(things(*range(5), gone=True)) == 200, "so few need no person"
        assert stream.requests.withheld_deletions == (0, 0)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert await tombstones(settings, name) == {str(number) for number in range(20)}

    asyncio.run(scenario())


def test_largest_note_fits_the_topic_of_cursors(settings: Settings, name: str) -> None:
    note = DeletionNote(
        withheld=10**7, known=10**8, accepted=True, missed=os.urandom(MAX_NOTED_IDS * KEY_BYTES)
    )

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        for _ in range(2):
            state = StreamState(settings, name, "things")
            await state.open()
            if NOTE_NAME in state.notes:
                assert read_note(state) == note
            await state.write([], None, notes={NOTE_NAME: encode_note(note)})
            await state.close()

    asyncio.run(scenario())
