"""Measure the harmonising of raw records into documents with headers, without Kafka.

The raw records come from the two demo registries of the demo.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli.demo import DemoRegistry, demo_connectors, with_demo_addresses, write_secrets
from gateway.fetch import read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import FileSecrets
from gateway.local.registries import rest_catalogue, soap_credits
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.topics import RAW
from gateway.pipeline.loaded_config import LoadedConfig, load_config
from gateway.pipeline.poll import StreamCursor, windows
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import RawRecord
from gateway.settings import Settings

RECORDS = 2_000
ROUNDS = 7
KEY = "a key for measuring only, never for people"


@dataclass(slots=True)
class Fetched:
    """A raw record as a consumer would return it, without a broker."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    topic: str = RAW.name
    partition: int = 0
    offset: int = 0
    timestamp: int = 1_767_225_600_000


async def gather(records: int = RECORDS) -> tuple[RecordProcessor, list[RawRecord]]:
    """Return the record processor and ``records`` raw records from the demo registries."""
    with tempfile.TemporaryDirectory() as folder:
        half = records // 2
        async with (
            await soap_credits.start(records=half) as soap,
            await rest_catalogue.start(records=records - half) as rest,
        ):
            stands = [
                DemoRegistry("demo-soap", soap, {"demo-soap/key": soap_credits.KEY}),
                DemoRegistry("demo-rest", rest, {"demo-rest/token": rest_catalogue.TOKEN}),
            ]
            secrets = write_secrets(Path(folder), stands)
            settings = Settings().model_copy(
                update={
                    "secrets_dir": secrets,
                    "connectors": demo_connectors(),
                    "pseudonym_key": _secret(),
                }
            )
            fleet = with_demo_addresses(
                load_config(settings, [stand.connector for stand in stands]), stands
            )
            raws = await _poll(fleet, FileSecrets(secrets))
    return RecordProcessor(fleet.harmonisers.get, KEY.encode()), raws


async def _poll(fleet: LoadedConfig, secrets: FileSecrets) -> list[RawRecord]:
    found: list[RawRecord] = []
    for connector in fleet.connectors.values():
        async with RegistryClient(connector, secrets, "production") as client:
            for name, stream in connector.streams.items():
                for window in (
                    windows(stream.cursor, StreamCursor(), datetime.now(UTC))
                    if stream.cursor
                    else ()
                ):
                    async for page in read_pages(connector, name, window, client):
                        found += page.records
    return found


def _secret() -> object:
    from pydantic import SecretStr

    return SecretStr(KEY)


def main() -> None:
    """Print one line for each connector: the median of several rounds.

    :mod:`bench.parts` measures the parts of this cost.
    """
    deliver, raws = asyncio.run(gather())
    for connector in sorted({raw.connector for raw in raws}):
        records = [
            Fetched(raw.key.encode(), raw.body, tuple(encode_raw_headers(raw)))
            for raw in raws
            if raw.connector == connector
        ]
        costs = []
        for _ in range(ROUNDS):
            started = time.process_time()
            results = [deliver(record) for record in records]
            costs.append(time.process_time() - started)
        middle = statistics.median(costs)
        documents = sum(len(result.outgoing) for result in results)
        title = f"harmonise and render, {connector}, {documents / len(records):.1f} documents each"
        print(
            f"{title:<62} {len(records) / middle:>9,.0f} records/s "
            f"{middle / len(records) * 1e6:>8.1f} CPU µs/record",
            flush=True,
        )


if __name__ == "__main__":
    main()
