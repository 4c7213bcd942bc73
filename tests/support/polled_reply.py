"""Let a process of its own poll one reply over real HTTP, and measure what that took."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.raw_http_server import Server, always

CONNECTOR = """
language: 1
connector: large
country: EU
title: A register with odd replies
owner: {{name: A, contact: a@example.org}}
rest:
  url: {{production: "{url}"}}
  limits: {{timeout: 120s, attempts: 1}}
streams:
  awards:
    emits: credential
    request: {{get: /a}}
    cursor: scan
    decode: {decode}
    records: {records}
    id: {id}
    map: {{title.en: {title}}}
    tests: [{{name: t, given: {given}, expect_rejected: {{reason: missing}}}}]
"""
READER = """
import asyncio, json, sys, time
from datetime import UTC, datetime
from gateway.config.loading import load_connector
from gateway.errors import StreamError
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient

def memory(field):
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024

async def watch(stops):
    last = time.process_time()  # of all threads, so other processes do not matter
    while True:
        await asyncio.sleep(0.01)
        now = time.process_time()
        stops.append(now - last)
        last = now

async def run():
    connector = load_connector(sys.argv[1])
    records, reason, message, stops = 0, "", "", [0.0]
    before, started = memory("VmRSS"), time.process_time()
    watcher = asyncio.create_task(watch(stops))
    async with RegistryClient(connector, {}.__getitem__, "production") as client:
        try:
            async for page in read_pages(connector, "awards", TimeWindow(None, datetime.now(UTC)), client):
                records += len(page.records)
        except StreamError as error:
            reason, message = error.reason, str(error)
    watcher.cancel()
    print(json.dumps({
        "records": records, "reason": reason, "message": message,
        "more_mb": memory("VmHWM") - before, "cpu_seconds": time.process_time() - started,
        "longest_stop": max(stops),
    }))

asyncio.run(run())
"""
SHAPES = {
    "json": {"records": "items", "id": "id", "title": "title", "given": '{id: "1"}'},
    "csv": {"records": '"[]"', "id": "id", "title": "title", "given": '{id: "1"}'},
    "xml": {"records": '"//r"', "id": '"@id"', "title": '"t"', "given": "\"<r id='1'/>\""},
}


@dataclass(frozen=True)
class Outcome:
    """What the process did. ``more_mb`` is the memory that it needed besides its own."""

    records: int
    reason: str
    message: str
    more_mb: float
    cpu_seconds: float
    longest_stop: float
    """The longest time in seconds of CPU in which the event loop did nothing else."""


def poll(
    folder: Path, kind: str, body: bytes, *, decode: str = "", records: str = "", **headers: str
) -> Outcome:
    """Poll a reply once. ``kind`` is the format of its records."""
    shape = SHAPES[kind] | ({"records": records} if records else {})

    async def run() -> bytes:
        async with Server(always(body, **headers)) as server:
            file = folder / "large.yaml"
            text = CONNECTOR.format(url=server.url, decode=decode or f"[{kind}]", **shape)
            file.write_text(text)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", READER, str(file), stdout=subprocess.PIPE
            )
            out, _ = await process.communicate()
            return out

    return Outcome(**json.loads(asyncio.run(run())))
