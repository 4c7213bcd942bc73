"""Extract the programmes with the gateway: pages to raw records with every check, without Kafka.

``python -m bench.extraction.ours PORT SIZE`` prints CPU microseconds for each record.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from bench.peers.ours import KEY
from bench.poll import STREAM, scanning
from gateway.fetch.read_position import TimeWindow
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import FileSecrets
from gateway.fetch.stream_reader import read_pages
from gateway.pipeline.garbage_collector import tune_garbage_collector
from gateway.pipeline.loaded_config import load_config
from gateway.settings import Settings


async def measure(port: int, size: int) -> float:
    """Return the cost of a record after the first page, with the collector of a worker."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scanning(folder / "connectors", port)
        settings = Settings(connectors=folder / "connectors", pseudonym_key=SecretStr(KEY))
        connector = load_config(settings).connectors["bench-peers"]
        tune_garbage_collector()
        started = first = count = 0
        window = TimeWindow(since=None, until=datetime.now(UTC))
        async with RegistryClient(connector, FileSecrets(folder), "production") as client:
            async for page in read_pages(connector, STREAM, window, client):
                count += len(page.records)
                if not first:
                    first, started = count, time.process_time_ns()
            spent = time.process_time_ns() - started
    if count != size:
        raise SystemExit(f"the gateway read {count} of {size} records")
    return spent / (count - first) / 1e3


if __name__ == "__main__":
    import uvloop

    print(uvloop.run(measure(int(sys.argv[1]), int(sys.argv[2]))))
