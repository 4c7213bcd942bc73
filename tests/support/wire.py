"""A registry that sends given bytes with given headers, and a stream that reads them."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from lxml import etree

from gateway.config.loading import load_connector
from gateway.errors import StreamError
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.records import RawRecord
from tests.support.raw_http_server import ReceivedRequest, Server, reply

HEAD = """
language: 1
connector: wire
country: FI
title: A registry of an authority
owner: {{name: An authority, contact: registry@authority.example}}
{protocol}:
  url: {{production: "{url}/api"}}
  limits: {{timeout: 2s, attempts: 1}}
{block}
streams:
  awards:
    emits: credential
    cursor: scan
    tests: [{{name: shape, given: {{}}, expect_some: {{}}}}]
{stream}
"""
WINDOW = TimeWindow(None, datetime(2026, 1, 9, tzinfo=UTC))


@dataclass
class Sent:
    """One reply of the registry."""

    body: bytes = b""
    content_type: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Read:
    """What one poll of the stream read, and what it asked for."""

    records: list[RawRecord]
    asked: list[ReceivedRequest]
    reason: str = ""
    message: str = ""
    kind: str = ""
    complete: bool = False

    def texts(self, name: str) -> list[str]:
        """Return the text of a field in each record, from JSON, CSV or XML."""
        return [_text(raw, name) for raw in self.records]


def _text(raw: RawRecord, name: str) -> str:
    assert raw.body is not None
    if raw.body.startswith(b"<"):
        return str(etree.fromstring(raw.body).findtext(f"{{*}}{name}"))
    return str(msgspec.json.decode(raw.body)[name])


def poll(
    folder: Path,
    replies: Sent | Sequence[Sent],
    stream: str,
    block: str = "",
    *,
    protocol: str = "rest",
    polls: int = 1,
) -> list[Read]:
    """Poll a stream with one client. The registry sends the replies in order."""
    left = [replies] if isinstance(replies, Sent) else list(replies)

    async def answer(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        sent = left.pop(0) if len(left) > 1 else left[0]
        named = {"Content-Type": sent.content_type} if sent.content_type else {}
        reply(writer, sent.body, sent.status, **named, **sent.headers)

    async def run() -> list[Read]:
        async with Server(answer) as server:
            file = folder / "wire.yaml"
            file.write_text(
                HEAD.format(
                    protocol=protocol,
                    url=server.url,
                    block=textwrap.indent(textwrap.dedent(block), "  "),
                    stream=textwrap.indent(textwrap.dedent(stream), "    "),
                ),
                encoding="utf-8",
            )
            connector = load_connector(file)
            reads: list[Read] = []
            async with RegistryClient(connector, lambda _: b"secret", "production") as client:
                for _ in range(polls):
                    asked = len(server.asked)
                    read = Read([], [])
                    try:
                        async for page in read_pages(connector, "awards", WINDOW, client):
                            read.records += page.records
                            read.complete = page.complete
                    except StreamError as error:
                        read.reason, read.message = error.reason, str(error)
                        read.kind = type(error).__name__
                    read.asked = server.asked[asked:]
                    reads.append(read)
            return reads

    return asyncio.run(run())


def poll_once(
    folder: Path,
    replies: Sent | Sequence[Sent],
    stream: str,
    block: str = "",
    *,
    protocol: str = "rest",
) -> Read:
    """Poll a stream once."""
    return poll(folder, replies, stream, block, protocol=protocol)[0]
