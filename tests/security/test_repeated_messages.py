"""Repeat signed messages: after a lost answer, after busy, after a restart, after newer ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from lxml import etree

from gateway.fetch.http.lease import UnlimitedLease
from gateway.fetch.push_receiver import PushReceiver
from gateway.fetch.pushed_records import PushedRecords
from gateway.fetch.soap.ws_security import SignedMessage
from gateway.fetch.soap.xml_signature import DS
from gateway.kafka import topic_admin
from gateway.messages import commands
from gateway.messages.cloudevents import decode_raw
from gateway.messages.topics import RAW
from gateway.pipeline import stored_messages
from gateway.pipeline.record_processor import RecordProcessor
from gateway.settings import Settings
from gateway.worker.push_server import PushServer
from gateway.worker.push_streams import PushConnector
from tests.support.signed_messages import (
    SECRETS,
    bare,
    envelope_of,
    load,
    push_file,
    sign,
    signed,
    stream,
)
from tests.support.topic_records import read_all

NOW = datetime.now(UTC)


class Notes:
    """A stream state that has only notes."""

    def __init__(self, **notes: bytes) -> None:
        self.notes = notes

    def write(self, notes: Mapping[str, bytes | None]) -> None:
        for name, value in notes.items():
            if value is None:
                del self.notes[name]
            else:
                self.notes[name] = value


def message(number: int, minutes: float = 10) -> SignedMessage:
    return SignedMessage(number.to_bytes(32, "big"), NOW + timedelta(minutes=minutes))


def test_message_is_remembered_until_it_expires():
    state: Any = Notes(pause=b"x")
    state.write(stored_messages.notes_with(state, message(1), NOW))
    state.write(stored_messages.notes_with(state, message(2, minutes=60), NOW))
    assert stored_messages.is_stored(state, message(1), NOW + timedelta(minutes=9))
    assert not stored_messages.is_stored(state, message(1), NOW + timedelta(minutes=11))
    assert not stored_messages.is_stored(state, message(3), NOW)
    later = NOW + timedelta(minutes=11)
    state.write(stored_messages.notes_with(state, message(3, minutes=60), later))
    assert len(state.notes) == 3
    assert "pause" in state.notes


def test_number_of_remembered_messages_is_bounded(monkeypatch):
    monkeypatch.setattr(stored_messages, "MAX_MESSAGES", 5)
    state: Any = Notes()
    for number in range(20):
        state.write(stored_messages.notes_with(state, message(number, minutes=number + 1), NOW))
    assert len(state.notes) == 5
    assert stored_messages.is_stored(state, message(19), NOW)
    assert not stored_messages.is_stored(state, message(14), NOW)


def read(body: bytes, text: str = "", now: datetime | None = None) -> PushedRecords:
    async def store(_: object) -> None:
        raise AssertionError

    receiver = PushReceiver(load(text or push_file()), SECRETS.__getitem__, store)
    receiver.now = lambda: now or datetime.now(UTC)
    return receiver.read_records(body, {"content-type": "text/xml"}, "http://x/in")


def test_message_is_recognised_by_what_is_signed():
    body = signed("1")
    first, again = read(body).message, read(body, push_file(stream("a"), stream("b"))).message
    assert first is not None
    assert again is not None
    assert first.digest == again.digest
    spaced = body.replace(b"</soap:Header>", b"</soap:Header>\n  ")
    assert read(spaced).message.digest == first.digest
    root = etree.fromstring(body)
    value = next(root.iter(f"{{{DS}}}SignatureValue"))
    value.text = "\n".join(value.text)
    assert read(etree.tostring(root)).message.digest == first.digest
    assert read(signed("1")).message.digest != first.digest
    assert read(signed("2")).message.digest != first.digest


@pytest.mark.parametrize(
    ("ttl", "minutes"),
    [(timedelta(minutes=5), 10), (timedelta(hours=2), 125), (timedelta(9), 1440)],
)
def test_message_is_remembered_as_long_as_it_is_valid(ttl, minutes):
    now = datetime.now(UTC)
    found = read(signed("1", now=now, ttl=ttl), now=now).message
    assert found is not None
    assert abs(found.valid_until - now - timedelta(minutes=minutes)) < timedelta(seconds=2)


# --- with Kafka

TIMED = "changed_at: '@changed'"


def timed(changed: str, title: str) -> bytes:
    content = bare("1", title).replace("id='1'", f"id='1' changed='{changed}'")
    return etree.tostring(sign(envelope_of(content)))


@contextlib.asynccontextmanager
async def serving(
    settings: Settings, text: str, name: str
) -> AsyncIterator[tuple[str, PushConnector]]:
    """Serve a connector as a worker does. Leaving it is a restart."""
    mine = settings.model_copy(update={"receive_port": 0})
    connector = load(text, name)
    server = PushServer(mine)
    inbox = PushConnector(mine, connector, RecordProcessor({}.get, b"x" * 32), UnlimitedLease())
    tasks = asyncio.gather(
        inbox.run(), server.serve_connector(connector, SECRETS.__getitem__, inbox)
    )
    try:
        while not server.url:
            await asyncio.sleep(0.02)
        for one in inbox.streams:
            while not one._stream_state.takeover_number:
                await asyncio.sleep(0.05)
        yield server.url + "/in", inbox
    finally:
        tasks.cancel()
        await asyncio.gather(tasks, return_exceptions=True)
        await server.close()


async def send(url: str, body: bytes) -> tuple[int, str]:
    async with httpx2.AsyncClient(timeout=60) as client:
        answer = await client.post(url, content=body, headers={"content-type": "text/xml"})
        return answer.status_code, answer.text


async def titles(settings: Settings, connector: str) -> list[str]:
    """Return the titles of all raw records of a connector, in order."""
    found = []
    for record in await read_all(settings.kafka_bootstrap, RAW.name):
        if (record.key or b"").startswith(connector.encode() + b"|"):
            raw = decode_raw(record.key, record.value, record.headers)
            found.append(etree.fromstring(raw.body).findtext("{urn:reg}t"))
    return found


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_repeated_message_gets_the_first_answer_and_changes_nothing(settings, name):
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        first, newer, later = (signed("1", title) for title in ("first", "newer", "later"))
        text = push_file()
        async with serving(settings, text, name) as (url, inbox):
            await inbox.streams[0].handle_command(commands.Pause(connector=name))
            assert (await send(url, first))[0] == 503
            await inbox.streams[0].handle_command(commands.Resume(connector=name))
            assert await send(url, first) == (200, "1"), "busy, then accepted"
            assert await send(url, first) == (200, "1"), "the answer was lost"
            answers = await asyncio.gather(*(send(url, newer) for _ in range(2)))
            assert answers == [(200, "1")] * 2
            assert await send(url, first) == (200, "1")
            assert await titles(settings, name) == ["first", "newer"]
        async with serving(settings, text, name) as (url, _):
            assert await send(url, first) == (200, "1"), "another worker knows it"
            assert await send(url, newer) == (200, "1")
            assert await send(url, later) == (200, "1")
            assert await send(url, newer) == (200, "1")
            assert await titles(settings, name) == ["first", "newer", "later"]
            changed = first.replace(b"first", b"forged")
            assert await send(url, changed) == (422, "SIGNATURE_INVALID")
            assert await titles(settings, name) == ["first", "newer", "later"]

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_message_of_two_streams_is_stored_in_both(settings, name):
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        more = 'decode: [xml]\nversion: "@id"'
        text = push_file(
            stream("a"), stream("b", more=more).replace('id: "@id"', "id: \"concat(@id, 'b')\"")
        )
        body = signed("1", "both")
        async with serving(settings, text, name) as (url, inbox):
            await inbox.streams[1].handle_command(commands.Pause(connector=name))
            assert (await send(url, body))[0] == 503, "nothing while one of them is paused"
            assert await titles(settings, name) == []
            await inbox.streams[1].handle_command(commands.Resume(connector=name))
            assert await send(url, body) == (200, "2")
            assert await send(url, body) == (200, "2")
            assert await titles(settings, name) == ["both", "both"]

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_older_message_that_was_never_stored_does_not_replace_a_newer_record(settings, name):
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        older, newer = (timed(f"2026-01-0{day}T00:00:00Z", f"day {day}") for day in (1, 2))
        async with serving(settings, push_file(stream(more=TIMED)), name) as (url, _):
            assert await send(url, newer) == (200, "1")
            assert await send(url, older) == (200, "1")
            assert await titles(settings, name) == ["day 2"]

    asyncio.run(scenario())
