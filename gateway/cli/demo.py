"""``gateway demo``: two registries of different protocols, a real Kafka, the gateway, and what came out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from gateway.errors import Unavailable
from gateway.messages.topics import CREDENTIALS_TOPIC
from gateway.pipeline.loaded_config import LoadedConfig, load_config
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.config.connector import Connector
    from gateway.local.registries import Registry
    from gateway.worker.worker import Worker

console = Console()
TIMEOUT_SECONDS = 90.0
MAX_TEXT_LENGTH = 100
REJECTIONS = "gateway.rejections.v1"
OUTCOMES = ("accepted", "rejected", "unchanged", "deleted")


@dataclass(slots=True)
class DemoRegistry:
    """One stand-in registry of the demo and the connector that reads it."""

    connector: str
    registry: Registry
    secrets: dict[str, str]
    finished: float = 0.0


@dataclass(slots=True)
class RecordCounts:
    """How the records of one connector ended, from the metrics."""

    received: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """The invariant: every record received has ended."""
        return self.received == sum(self.ended.values())


def demo(
    records: Annotated[
        int,
        typer.Option(min=10, max=1_000_000, help="Records that the two registries hold together."),
    ] = 2_400,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Where the local Kafka keeps its data; a fresh place when not given."),
    ] = None,
) -> None:
    """Start Kafka and two stand-in registries, run the gateway until every record has ended, and show what came out."""
    from gateway.cli.runtime import run_async
    from gateway.observability import logs

    with contextlib.ExitStack() as stack:
        work_folder = data or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-"))
        )
        settings = Settings().model_copy(
            update={"log_level": "ERROR", "metrics_port": 0, "registry_environment": "acceptance"}
        )
        logs.configure(settings)
        logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(
            logging.CRITICAL
        )  # a new broker has none in its first second
        if not settings.kafka_bootstrap:
            settings = settings.model_copy(
                update={"kafka_bootstrap": _start_kafka(stack, work_folder / "kafka")}
            )
        run_async(_demo(settings, work_folder, records, keep=keep))


def _start_kafka(stack: contextlib.ExitStack, data: Path) -> str:
    from gateway.local import broker as kafka

    started = time.monotonic()
    with console.status("starting Apache Kafka (the first time fetches its jars)"):
        broker = stack.enter_context(kafka.running(data))
    console.print(
        f"Apache Kafka on {broker.bootstrap} [dim]({time.monotonic() - started:.1f} s)[/]"
    )
    return str(broker.bootstrap)


async def _demo(settings: Settings, work_folder: Path, records: int, *, keep: bool) -> None:
    from gateway.kafka import topic_admin
    from gateway.local.registries import rest_catalogue, soap_credits
    from gateway.worker.worker import Worker

    await topic_admin.create_missing(settings)
    async with (
        await soap_credits.start(records=records // 2) as soap,
        await rest_catalogue.start(records=records - records // 2) as rest,
    ):
        registries = [
            DemoRegistry("demo-soap", soap, {"demo-soap/key": soap_credits.KEY}),
            DemoRegistry("demo-rest", rest, {"demo-rest/token": rest_catalogue.TOKEN}),
        ]
        settings = settings.model_copy(
            update={
                "secrets_dir": write_secrets(work_folder / "secrets", registries),
                "pseudonym_key": _demo_key(),
                "connectors": demo_connectors(),
            }
        )
        fleet = with_demo_addresses(
            load_config(settings, [stand.connector for stand in registries]), registries
        )
        for stand in registries:
            console.print(
                f"registry {stand.connector}: {fleet.connectors[stand.connector].title} [dim]{stand.registry.url}[/]"
            )
        worker = Worker(settings, fleet, frozenset({"poll", "harmonise"}))
        running = asyncio.create_task(worker.run())
        try:
            await _show_progress(running, registries)
            await _show_results(settings, worker)
            if keep:
                console.print("\nrunning until Ctrl-C")
                await asyncio.wait(
                    {running, asyncio.create_task(worker.stopping.wait())},
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            worker.stop()
            await asyncio.wait_for(running, 20)


def demo_connectors() -> Path:
    """Return the folder of the demo connectors: the configured one where it holds them, else the one beside the package."""
    configured = Settings().connectors
    if (configured / "demo-soap.yaml").exists():
        return configured
    return Path(__file__).parents[2] / "connectors"


def _demo_key() -> Any:
    from pydantic import SecretStr

    return SecretStr("a key for the demo only, never for people")


def write_secrets(folder: Path, registries: list[DemoRegistry]) -> Path:
    """Write the stand-ins' credentials as secret files and return their folder."""
    for stand in registries:
        for name, value in stand.secrets.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value)
            path.chmod(0o600)
    return folder


def with_demo_addresses(fleet: LoadedConfig, registries: list[DemoRegistry]) -> LoadedConfig:
    """Return the fleet with each connector pointed at its stand-in instead of the address in its file."""
    connectors = {
        stand.connector: with_address(fleet.connectors[stand.connector], stand.registry.url)
        for stand in registries
    }
    return LoadedConfig(connectors=connectors, harmonisers=fleet.harmonisers, tables=fleet.tables)


def with_address(connector: Connector, base: str) -> Connector:
    """Return the connector with the scheme, host and port of its addresses replaced by ``base``."""
    for name in ("rest", "soap", "file"):
        protocol = getattr(connector, name)
        if protocol is not None:
            url = protocol.url
            moved = {
                stage: base + urlsplit(address).path
                for stage, address in url.model_dump(exclude_none=True).items()
            }
            return connector.model_copy(
                update={name: protocol.model_copy(update={"url": url.model_copy(update=moved)})}
            )
    return connector


def counts() -> dict[str, RecordCounts]:
    """Read the counts of every connector from the metrics."""
    from gateway.observability.metrics import REGISTRY

    found: dict[str, RecordCounts] = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            count = found.setdefault(sample.labels.get("connector", ""), RecordCounts())
            number = int(sample.value)
            if sample.name == "gateway_records_received_total":
                count.received += number
            elif sample.name == "gateway_records_total":
                outcome = sample.labels["outcome"]
                count.ended[outcome] = count.ended.get(outcome, 0) + number
            elif sample.name == "gateway_rejections_total":
                reason = f"{sample.labels['field']}: {sample.labels['reason']}"
                count.reasons[reason] = count.reasons.get(reason, 0) + number
    return found


def table(registries: list[DemoRegistry], started: float) -> Group:
    """Draw the live table, and below it why records were rejected."""
    drawn = Table(box=None, pad_edge=False)
    drawn.add_column("registry")
    for name in ("received", *OUTCOMES, "records/s"):
        drawn.add_column(name, justify="right", no_wrap=True)
    found = counts()
    reasons = []
    for stand in registries:
        count = found.get(stand.connector, RecordCounts())
        seconds = (stand.finished or time.monotonic()) - started
        numbers = [
            count.received,
            *(count.ended.get(outcome, 0) for outcome in OUTCOMES),
            round(count.received / max(seconds, 0.001)),
        ]
        drawn.add_row(stand.connector, *map(str, numbers))
        for reason, number in sorted(count.reasons.items(), key=lambda one: -one[1]):
            reasons.append(f"  {stand.connector:10} {number:4}  {reason}")
    return Group(drawn, *(["rejected because"] if reasons else []), *reasons)


async def _show_progress(running: asyncio.Task[None], registries: list[DemoRegistry]) -> None:
    """Show the table until every record the registries hold was received and has ended."""
    started = time.monotonic()
    with Live(
        table(registries, started), console=console, refresh_per_second=4, transient=False
    ) as live:
        while time.monotonic() - started < TIMEOUT_SECONDS:
            if running.done():
                await running
                raise Unavailable("the worker ended before the records did")
            found = counts()
            for stand in registries:
                count = found.get(stand.connector, RecordCounts())
                if (
                    not stand.finished
                    and count.received >= stand.registry.record_count
                    and count.balanced
                ):
                    stand.finished = time.monotonic()
            live.update(table(registries, started))
            if all(stand.finished for stand in registries):
                break
            await asyncio.sleep(0.1)
    total = RecordCounts()
    for stand in registries:
        count = counts().get(stand.connector, RecordCounts())
        total.received += count.received
        for outcome, number in count.ended.items():
            total.ended[outcome] = total.ended.get(outcome, 0) + number
    sum_text = " + ".join(f"{total.ended.get(outcome, 0)} {outcome}" for outcome in OUTCOMES)
    console.print(
        f"\n{total.received} received = {sum_text}: [bold]{'true' if total.balanced else 'FALSE'}[/]"
    )
    if not total.balanced or not all(stand.finished for stand in registries):
        raise Unavailable(
            f"not every record ended within {TIMEOUT_SECONDS:.0f} s; run `gateway demo --keep` and look at the metrics"
        )


async def _show_results(settings: Settings, worker: Worker) -> None:
    """Print one harmonised record with its explanation, one rejection, the metrics address and how to subscribe."""
    from gateway.kafka.topic_reader import read_topic

    async for record in read_topic(settings, CREDENTIALS_TOPIC, limit=1):
        console.print(
            f"\n[bold]one harmonised record[/] on {CREDENTIALS_TOPIC}, key {record.key.decode()}"
        )
        console.print_json(json.dumps(shorten(json.loads(record.value)), ensure_ascii=False))
        console.print(
            "\n[bold]why it says so[/]: `gateway explain` prints this page for any record"
        )
        console.print(
            await explanation(settings, worker.fleet, record.key.decode()),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    async for record in read_topic(settings, REJECTIONS, limit=1):
        console.print(f"[bold]one rejection[/] on {REJECTIONS}, key {record.key.decode()}")
        console.print_json(record.value.decode())
    console.print(
        f"\nmetrics  {worker.url}/metrics  [dim](and a page for people at {worker.url}/)[/]"
    )
    console.print(
        "subscribe, while the broker runs (--keep), with any Kafka client that reads committed records:"
    )
    console.print(
        f"  GATEWAY_KAFKA_BOOTSTRAP={settings.kafka_bootstrap} {sys.argv[0]} topics read {CREDENTIALS_TOPIC} --limit 1",
        soft_wrap=True,
    )
    console.print(
        f"  kcat -b {settings.kafka_bootstrap} -C -t {CREDENTIALS_TOPIC} -X isolation.level=read_committed",
        soft_wrap=True,
    )


async def explanation(settings: Settings, fleet: LoadedConfig, key: str) -> str:
    """Return the explanation of the raw record that became the document with this key."""
    from gateway.harmonise.explanation import explain
    from gateway.kafka.topic_reader import read_topic
    from gateway.messages.cloudevents import decode_raw
    from gateway.messages.topics import RAW
    from gateway.pipeline.record_processor import build_record_processor

    deliver = build_record_processor(settings, fleet.harmonisers.get)
    async for record in read_topic(settings, RAW.name):
        raw = decode_raw(record.key, record.value, record.headers)
        connector = fleet.connectors[raw.connector]
        if any(one.key.decode() == key for one in deliver.tombstones_for(raw)):
            outcome = fleet.harmonisers[raw.connector](raw)
            position = f"{RAW.name}-{record.partition}@{record.offset}"
            return explain(
                connector, raw, outcome, tables=fleet.tables, position=position
            ).to_text()
    return ""


def shorten(value: Any, depth: int = 3) -> Any:
    """Return a document cut short for a person's eyes: long texts and deep parts end in an ellipsis."""
    if isinstance(value, dict):
        return {key: shorten(inner, depth - 1) for key, inner in value.items()} if depth else "{…}"
    if isinstance(value, list):
        return [shorten(inner, depth - 1) for inner in value] if depth else "[…]"
    return (
        value[:MAX_TEXT_LENGTH] + "…"
        if isinstance(value, str) and len(value) > MAX_TEXT_LENGTH
        else value
    )


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("demo")(demo)
