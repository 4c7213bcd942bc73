"""Read a SOAP reply of 52 MB and 15,000 records over real HTTP, record by record.

The benchmark measures CPU time and peak memory of the reading process.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from gateway.config.loading import load_connector
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient

RECORDS = 15_000
CONNECTOR = """language: 1
connector: large
country: EU
title: A register that sends everything at once
owner: {name: Benchmark, contact: bench@example.org}
soap:
  url: {production: "URL"}
  namespaces: {r: "urn:example:register"}
  limits: {timeout: 60s, attempts: 1, max_response: 100000000}
streams:
  awards:
    emits: credential
    request: {envelope: "<r:all xmlns:r='urn:example:register'/>"}
    records: "//r:award"
    id: "r:id"
    map: {title.en: "r:title"}
    tests: [{name: t, given: "<x/>", expect_rejected: {reason: missing}}]
"""
HEAD = (
    b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
    b'<all xmlns="urn:example:register">'
)
TAIL = b"</all></e:Body></e:Envelope>"
OUTCOME = (
    "<outcome><code>LO{0}-{1}</code>"
    "<text>Plans, carries out and reflects on task {1}</text></outcome>"
)


def record(number: int) -> bytes:
    """Return one record of 3.4 KB."""
    outcomes = "".join(OUTCOME.format(number, place) for place in range(35))
    return (
        f"<award><id>A-{number:06}</id><title>Award number {number}</title>"
        f"<issued>2024-06-01</issued>{outcomes}</award>"
    ).encode()


class Registry(BaseHTTPRequestHandler):
    """A registry that answers every request with all records."""

    def do_POST(self) -> None:
        """Send all records."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header(
            "Content-Length",
            str(len(HEAD) + sum(len(record(number)) for number in range(RECORDS)) + len(TAIL)),
        )
        self.end_headers()
        for piece in (HEAD, *map(record, range(RECORDS)), TAIL):
            self.wfile.write(piece)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


async def read(file: str) -> dict[str, float]:
    """Read the reply in this process and return its cost."""
    connector = load_connector(file)
    started, size, records = time.process_time(), 0, 0
    async with RegistryClient(connector, {}.__getitem__, "production") as client:
        async for page in read_pages(
            connector, "awards", TimeWindow(None, datetime.now(UTC)), client
        ):
            records += len(page.records)
            size += sum(len(raw.body or b"") for raw in page.records)
    seconds = time.process_time() - started
    return {
        "records": records,
        "megabytes": size / 1e6,
        "cpu_seconds": seconds,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """Return the peak memory of this process in MB; ``ru_maxrss`` would include the parent's."""
    return (
        next(
            int(line.split()[1])
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM:")
        )
        / 1024
    )


def main() -> dict[str, float]:
    """Print one row."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.yaml"
        file.write_text(CONNECTOR.replace("URL", f"http://127.0.0.1:{server.server_port}/ws"))
        out = subprocess.run(
            [sys.executable, "-m", "bench.large", str(file)], check=True, capture_output=True
        ).stdout
    server.shutdown()
    found: dict[str, float] = json.loads(out)
    each = found["cpu_seconds"] / found["records"] * 1e6
    print(
        f"XML reply of {found['megabytes']:.0f} MB, {found['records']:,.0f} records: "
        f"{found['cpu_seconds']:.2f} s of CPU, "
        f"{each:.0f} µs/record, {found['peak_mb']:.0f} MB at most"
    )
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(asyncio.run(read(sys.argv[1]))))
    else:
        main()
