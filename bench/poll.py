"""Measure the cost of polling a record from a registry to the raw topic.

The benchmark measures new records and unchanged records. The figures are CPU time of the poller's
process. It reads one page before the measurement, because the first request loads modules and opens
connections.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bench import registry
from bench.peers.ours import JOB, KEY
from bench.stage import broker, peak_rss
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import FileSecrets
from gateway.kafka import topic_admin
from gateway.pipeline.garbage_collector import tune_garbage_collector
from gateway.pipeline.loaded_config import load_config
from gateway.pipeline.poll import PollContext, poll_once
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings

RECORDS = int(os.environ.get("BENCH_RECORDS", "50000"))
STREAM = "programmes"


@dataclass(frozen=True, slots=True)
class Polled:
    """CPU microseconds a record when it is new, unchanged or taken over; then the memory in MB."""

    records: int
    new: float
    unchanged: float
    taken: float
    rss_mb: float


def scanning(folder: Path, port: int, name: str = "bench-peers") -> None:
    """Write the comparison's connector with complete scans of the registry at ``port``."""
    text = (JOB / "bench-peers.yaml").read_text()
    text = text.replace(
        '"https://registry.example"}}', f'"http://127.0.0.1:{port}"}}}}', 1
    ).replace("connector: bench-peers", f"connector: {name}")
    request = (
        '    request: {get: /programmes, query: {page: "{page}"}}\n'
        "    paging: {page_number: {start: 1, more: more}}\n"
        "    cursor: scan\n"
    )
    text = text.replace("    request: {get: /programmes}\n", request)
    text = (
        text[: text.index("    tests:")]
        + "    tests: [{name: t, given: {programmeId: a}, expect_rejected: {reason: missing}}]\n"
    )
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)


async def measure(bootstrap: str, size: int, name: str = "bench-peers") -> Polled:
    """Poll a registry of ``size`` records twice and take over its stream once.

    The garbage collector is set as in a worker.
    """
    settings = Settings(kafka_bootstrap=bootstrap)
    await topic_admin.create_missing(settings)
    with tempfile.TemporaryDirectory() as place, registry.running(size) as port:
        folder = Path(place)
        scanning(folder / "connectors", port, name)
        settings = settings.model_copy(
            update={"connectors": folder / "connectors", "pseudonym_key": SecretStr(KEY)}
        )
        connector = load_config(settings).connectors[name]
        tune_garbage_collector()
        costs: list[float] = []
        async with RegistryClient(connector, FileSecrets(folder), "production") as client:
            first = StreamState(settings, f"{connector.connector}-first", STREAM)
            await poll_once(
                PollContext(connector, STREAM, client, first), datetime.now(UTC), lambda: False
            )
            await first.close()
            stream_state = StreamState(settings, connector.connector, STREAM)
            await stream_state.open()
            for _ in range(2):
                started = time.process_time()
                tally = await poll_once(
                    PollContext(connector, STREAM, client, stream_state), datetime.now(UTC)
                )
                costs.append((time.process_time() - started) / tally.received * 1e6)
            await stream_state.close()
            rss = peak_rss()
            successor = StreamState(settings, connector.connector, STREAM)
            started = time.process_time()
            await successor.open()
            costs.append((time.process_time() - started) / size * 1e6)
            await successor.close()
    new, unchanged, taken = costs
    return Polled(size, new, unchanged, taken, rss)


def main() -> dict[str, Any]:
    """Print one row."""
    import uvloop

    with broker() as bootstrap:
        found = uvloop.run(measure(bootstrap, RECORDS))
    print(
        f"poll, {found.records:,} records in pages of {registry.PAGE:,}: new {found.new:.1f}, "
        f"unchanged {found.unchanged:.1f}, taken over {found.taken:.1f} CPU-s/million, "
        f"{found.rss_mb:.0f} MB"
    )
    return {name: getattr(found, name) for name in Polled.__slots__}


if __name__ == "__main__":
    main()
