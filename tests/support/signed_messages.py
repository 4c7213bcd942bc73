"""Sign SOAP messages as a registry does, and read them as its receiver and as its client."""

from __future__ import annotations

import asyncio
import tempfile
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from aiohttp import web
from lxml import etree

from gateway.config.connection import Security, Signature, Timestamp
from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.config.types import Secret
from gateway.errors import StreamError
from gateway.fetch import read_pages
from gateway.fetch.push_receiver import PushReceiver, build_application
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.soap import envelope as soap
from gateway.fetch.soap.ws_security import WsSecurity
from gateway.records import RawRecord
from tests.support.certificates import CLIENT, SERVER, STRANGER
from tests.support.hostile_registry import WINDOW
from tests.support.raw_http_server import ReceivedRequest, Server, reply

SECRETS = {
    "us.key": CLIENT.key_pem,
    "us.crt": CLIENT.pem,
    "them.key": SERVER.key_pem,
    "them.crt": SERVER.pem,
    "stranger.key": STRANGER.key_pem,
    "stranger.crt": STRANGER.pem,
    "empty": b"",
}
BARE = "<r:reply xmlns:r='urn:reg'><r:r id='{id}'><r:t>{title}</r:t></r:r></r:reply>"
SIGNATURE = "{key: {secret: us.key}, certificate: {secret: us.crt}, trust: {secret: them.crt}"
HEAD = """language: 1
connector: signed
country: FI
title: A registry that signs
owner: {name: Tests, contact: tests@example.org}
"""
STREAM = """  {name}:
    emits: qualification
{request}    records: "//r:r"
    id: "@id"
{more}    map: {{title.en: "r:t", awarding_body.name.en: {{const: A}}, awarding_body.country: {{const: FI}}}}
    tests: [{{name: shape, given: "<r:r xmlns:r='urn:reg' id='1'><r:t>T</r:t></r:r>", expect_some: {{}}}}]
"""


def stream(name: str = "s", *, request: str = "", more: str = "") -> str:
    """Return the text of a stream that reads ``//r:r``."""
    lines = lambda text: textwrap.indent(text + "\n", " " * 4) if text else ""  # noqa: E731
    return STREAM.format(name=name, request=lines(request), more=lines(more))


def push_file(*streams: str, more: str = "", require: str = "") -> str:
    """Return a push connector with ``security``."""
    rule = SIGNATURE + (f", require: {require}" if require else "") + "}"
    block = f"""push:
  path: /in
  protocol: soap
  namespaces: {{r: "urn:reg"}}
  limits: {{max_response: 50MB}}
  security: {rule}
  refused: {{status: 422, body: "{{reason}}"}}
  accepted: {{body: "{{count}}"}}
  nothing: {{body: nothing}}
"""
    return (
        HEAD
        + block
        + textwrap.indent(more and more + "\n", "  ")
        + "streams:\n"
        + "".join(streams or [stream()])
    )


def soap_file(url: str, streams: str, *, more: str = "", require: str = "") -> str:
    """Return a polled SOAP connector whose replies must be signed."""
    rule = SIGNATURE + (f", require: {require}" if require else "") + "}"
    block = f"""soap:
  url: {{production: "{url}"}}
  namespaces: {{r: "urn:reg"}}
  limits: {{attempts: 1, patience: 5s, timeout: 30s, max_response: 50MB}}
  security: {{timestamp: {{ttl: 5m}}, signature: {rule}}}
"""
    return HEAD + block + textwrap.indent(more and more + "\n", "  ") + "streams:\n" + streams


def load(text: str, name: str = "signed") -> Connector:
    """Load the text of a connector, under its own or another name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(text.replace("connector: signed", f"connector: {name}", 1))
        return load_connector(path)


def bare(number: object = "1", title: str = "Award") -> str:
    """Return a document with one record, without an envelope."""
    return BARE.format(id=number, title=title)


def envelope_of(content: str, version: str = "1.1") -> etree._Element:
    """Return an unsigned envelope."""
    return soap.build_message(version, etree.fromstring(content), "").envelope


def sign(
    message: etree._Element,
    by: str = "them",
    *,
    now: datetime | None = None,
    ttl: timedelta = timedelta(minutes=5),
    parts: Sequence[str] = ("body", "timestamp"),
) -> etree._Element:
    """Add a timestamp and a signature to an envelope."""
    rule = Signature(
        key=Secret(secret=f"{by}.key"),
        certificate=Secret(secret=f"{by}.crt"),
        trust=Secret(secret="us.crt"),
        sign=tuple(parts),
    )
    security = Security(timestamp=Timestamp(ttl=ttl), signature=rule)
    WsSecurity(security, SECRETS.__getitem__, by).secure_request(message, now or datetime.now(UTC))
    return message


def signed(number: object = "1", title: str = "Award", **how: Any) -> bytes:
    """Return a signed message with one record."""
    return etree.tostring(sign(envelope_of(bare(number, title)), **how))


def receive(
    text: str, send: Callable[[httpx2.AsyncClient, str], Awaitable[Any]]
) -> tuple[Any, list[RawRecord]]:
    """Post to a real receiver with ``send(client, url)``; return its result and what was stored."""
    stored: list[RawRecord] = []

    async def store(raws: Sequence[RawRecord]) -> None:
        await asyncio.sleep(0)
        stored.extend(raws)

    async def run() -> Any:
        receiver = PushReceiver(load(text), SECRETS.__getitem__, store)
        runner = web.AppRunner(build_application([receiver]), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            async with httpx2.AsyncClient(timeout=60) as client:
                return await send(client, f"http://127.0.0.1:{runner.addresses[0][1]}/in")
        finally:
            await runner.cleanup()

    return asyncio.run(run()), stored


def post(text: str, body: bytes, **headers: str) -> tuple[int, str, list[str]]:
    """Post one message; return the status, the answer and the ids of the stored records."""
    names = {"content-type": "text/xml"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }

    async def send(client: httpx2.AsyncClient, url: str) -> httpx2.Response:
        return await client.post(url, content=body, headers=names)

    answer, stored = receive(text, send)
    return answer.status_code, answer.text, [raw.native_id for raw in stored]


Reply = Callable[[ReceivedRequest], tuple[int, bytes, str]]
"""A function that returns the status, the body and the media type of a reply."""


def poll(
    answer: Reply, streams: str, *, more: str = "", require: str = ""
) -> tuple[str, list[RawRecord], list[bool]]:
    """Poll a real HTTP server once.

    Return the reason of the failure, the records, and for each page whether it ends a scan.
    """
    records: list[RawRecord] = []
    complete: list[bool] = []

    async def write(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        status, body, media_type = answer(asked)
        reply(writer, body, status, content_type=media_type)

    async def run() -> None:
        async with Server(write) as server:
            connector = load(soap_file(server.url, streams, more=more, require=require))
            name = next(iter(connector.streams))
            async with RegistryClient(connector, SECRETS.__getitem__, "production") as client:
                async for page in read_pages(connector, name, WINDOW, client):
                    records.extend(page.records)
                    complete.append(page.complete)

    try:
        asyncio.run(run())
    except StreamError as error:
        return error.reason, records, complete
    return "", records, complete
