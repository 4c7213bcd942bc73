"""Poll a real HTTP server with the real ``poll_once``, and keep the result in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gateway.errors import StreamError
from gateway.fetch.registry_client import RegistryClient
from gateway.messages.cloudevents import encode_raw_headers
from gateway.pipeline.digest_table import DigestTable
from gateway.pipeline.older_contents import OlderContents
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.poll import PollContext, poll_once
from gateway.pipeline.raw_entry import VALUE_BYTES
from gateway.pipeline.reply_changes import NOTE_NAME, ReplyChanges
from gateway.records import RawRecord
from tests.support.hostile_registry import connector_at
from tests.support.raw_http_server import ReceivedRequest, Server, reply

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STREAM = """    request: {{get: /r, query: {{{query}}}}}
    records: items
    id: id
    changed_at: changed
{more}    map: {{title.en: t}}
    tests: [{{name: shape, given: {{id: "1"}}, expect_some: {{}}}}]
"""

Route = Callable[[str, dict[str, str]], Any]
"""A function that answers a path and its query: with JSON, bytes, a ``(status, JSON)`` pair, or a
function that writes the reply itself."""


def stream(query: str = "", more: str = "") -> str:
    """Return the text of a stream that reads ``items``, with further lines."""
    return STREAM.format(query=query, more="".join(f"    {line}\n" for line in more.splitlines()))


class MemoryStreamState:
    """A stream state that keeps the records and the cursor together, as the real one does."""

    def __init__(self) -> None:
        self.connector, self.stream, self.takeover_number = "hostile", "awards", 0
        self.digests = DigestTable(VALUE_BYTES)
        self.bodies: dict[str, bytes | None] = {}
        self.raws: dict[str, RawRecord] = {}
        self.notes: dict[str, bytes] = {}
        self.cursor: bytes | None = None
        self.loop_secret = b"a key for the hashes of loop values"
        self.skipped_loop_values: set[bytes] = set()
        self.older_contents = OlderContents()
        self.reply_changes = ReplyChanges()
        self.writes = self.polls = 0

    async def open(self) -> bytes | None:
        return self.cursor

    async def write(
        self,
        entries: list[Any],
        cursor: bytes | None,
        *,
        notes: Mapping[str, bytes | None] | None = None,
        **_: Any,
    ) -> int:
        for entry in entries:
            encode_raw_headers(entry.raw, entry.digest)
            self.raws[entry.raw.native_id] = entry.raw
            self.digests[entry.raw.native_id] = entry.value
            self.bodies[entry.raw.native_id] = entry.raw.body
            self.writes += 1
        for name, value in (notes or {}).items():
            if value is None:
                self.notes.pop(name, None)
            else:
                self.notes[name] = value
        self.cursor = cursor if cursor is not None else self.cursor
        return 0

    @property
    def other_notes(self) -> dict[str, bytes]:
        """The notes apart from the fields of the replies, which each page may write."""
        return {name: value for name, value in self.notes.items() if name != NOTE_NAME}

    @property
    def published(self) -> set[str]:
        """The ids that were written and not deleted."""
        return {native_id for native_id, body in self.bodies.items() if body is not None}


def poll_route(
    route: Route,
    text: str,
    state: MemoryStreamState,
    *,
    server_tls: Any = None,
    block: str = "",
    secrets: Mapping[str, bytes] | None = None,
    stream_name: str = "awards",
    emits: str = "credential",
) -> StreamError | PollResult:
    """Poll a registry once, and return the counts or the error that ended the poll.

    Ten minutes pass between two polls.
    """
    now = NOW + state.polls * timedelta(minutes=10)
    state.polls += 1

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(asked.target)
        found = route(
            parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}
        )
        if callable(found):
            await found(asked, writer)
        elif isinstance(found, bytes):
            reply(writer, found, content_type="application/json")
        elif isinstance(found, tuple):
            status, content = found
            reply(writer, json.dumps(content).encode(), status, content_type="application/json")
        else:
            reply(writer, json.dumps(found).encode(), content_type="application/json")

    async def run() -> PollResult:
        async with Server(answer, server_tls) as server:
            connector = connector_at(server.url, text, block=block, emits=emits)
            async with RegistryClient(
                connector,
                {"k": b"", **(secrets or {})}.__getitem__,
                "production",
                now=lambda: now,
            ) as client:
                context = PollContext(connector, stream_name, client, state)  # type: ignore[arg-type]
                return await poll_once(context, now)

    try:
        return asyncio.run(run())
    except StreamError as error:
        return error


def item(name: object, changed: str = "2026-02-01T00:00:00Z", **more: object) -> dict[str, object]:
    """Return one record of the registry."""
    return {"id": str(name), "changed": changed, "t": "T", **more}
