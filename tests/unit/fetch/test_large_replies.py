"""Read a SOAP reply of 50 MB over real HTTP in a separate process.

Memory stays bounded, and the reader yields no record before it has seen the end of the reply.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.fetch.decode.chain import STREAMING_THRESHOLD_BYTES
from tests.support.raw_http_server import ReceivedRequest, Server

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory of a process is read from /proc"
)
RECORDS = 15_000
NAMESPACE = "urn:example:register"
LIMIT_MB = 150
CONNECTOR = """
language: 1
connector: large
country: EU
title: A register that sends everything at once
owner: {{name: A, contact: a@example.org}}
soap:
  url: {{production: "{url}/ws"}}
  namespaces: {{r: "urn:example:register"}}
  limits: {{timeout: 60s, attempts: 1, max_response: 100000000}}
streams:
  awards:
    emits: credential
    request: {{envelope: "<r:all xmlns:r='urn:example:register'/>"}}
    records: "{records}"
    id: "r:id"
    {more}
    map: {{title.en: "r:title"}}
    tests: [{{name: t, given: "<x/>", expect_rejected: {{reason: missing}}}}]
"""
READER = """
import asyncio, hashlib, json, sys, time
from datetime import UTC, datetime
from gateway.errors import StreamError
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.config.loading import load_connector

async def run():
    connector = load_connector(sys.argv[1])
    records, failure, content, started = 0, "", hashlib.sha256(), time.process_time()
    async with RegistryClient(connector, {}.__getitem__, "production") as client:
        try:
            async for page in read_pages(connector, "awards", TimeWindow(None, datetime.now(UTC)), client):
                records += len(page.records)
                for raw in page.records:
                    content.update(raw.native_id.encode() + raw.body)
        except StreamError as error:
            failure = error.reason
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:")) / 1024  # ru_maxrss knows the parent's too
    print(json.dumps({"records": records, "failure": failure, "peak_mb": peak, "seconds": time.process_time() - started, "content": content.hexdigest()}))

asyncio.run(run())
"""


def record(number: int) -> bytes:
    outcomes = "".join(
        f"<outcome><code>LO{number}-{n}</code><text>Plans, carries out and reflects on task {n}</text></outcome>"
        for n in range(35)
    )
    return f"<award><id>A-{number:06}</id><title>Award number {number}</title><issued>2024-06-01</issued>{outcomes}</award>\n".encode()


HEAD = (
    b'<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
    b'<all xmlns="urn:example:register"><total>15000</total><awards>'
)
TAIL = b"</awards></all></soap:Body></soap:Envelope>"


def read(
    tmp_path: Path,
    count: int = RECORDS,
    *,
    records: str = "//r:award",
    more: str = "",
    tail: bytes = TAIL,
    promised: int | None = None,
) -> tuple[dict[str, object], int]:
    """Let a process of its own read the reply; return what it says and the size of the reply."""
    pieces = [HEAD, *map(record, range(count)), tail]
    size = sum(map(len, pieces))

    async def answer(_asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: {promised or size}\r\n\r\n".encode()
        )
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if promised:
            writer.close()

    async def run() -> bytes:
        async with Server(answer) as server:
            file = tmp_path / "large.yaml"
            file.write_text(CONNECTOR.format(url=server.url, records=records, more=more))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", READER, str(file), stdout=subprocess.PIPE
            )
            out, _ = await process.communicate()
            return out

    return json.loads(asyncio.run(run())), size


def test_fifty_megabytes_are_read_in_bounded_memory(tmp_path, record_property):
    found, size = read(tmp_path)
    assert size > 50_000_000
    assert (found["records"], found["failure"]) == (RECORDS, "")
    record_property("peak_mb", found["peak_mb"])
    print(
        f"{size / 1e6:.0f} MB, {RECORDS} records: {found['seconds']:.2f} s of CPU, {found['peak_mb']:.0f} MB at most"
    )
    assert found["peak_mb"] < LIMIT_MB


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        ({"tail": b"</awards></all>"}, "XML_MALFORMED"),
        ({"promised": 90_000_000}, "INCOMPLETE_BODY"),
    ],
)
def test_truncated_reply_emits_no_record(tmp_path, cut, reason):
    found, size = read(tmp_path, 3_000, **cut)
    assert size > STREAMING_THRESHOLD_BYTES
    assert (found["records"], found["failure"]) == (0, reason)
