"""``gateway demo``: run the gateway on three demo registries and a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from gateway.cli.demo_keep import choose_port, copy_connectors, keep_running
from gateway.cli.demo_results import WIDTH, show_results
from gateway.cli.safe_console import SafeConsole
from gateway.errors import Unavailable
from gateway.pipeline.loaded_config import LoadedConfig, load_config
from gateway.settings import SHIPPED, Settings

if TYPE_CHECKING:
    from gateway.config.connector import Connector
    from gateway.local.registries import Registry

console = SafeConsole()
TIMEOUT_SECONDS = 90.0
LEAST_FILE_RECORDS = 4
OUTCOMES = ("accepted", "rejected", "unchanged", "deleted")


@dataclass(slots=True)
class DemoRegistry:
    """One demo registry of the demo and the connector that reads it."""

    connector: str
    registry: Registry
    secrets: dict[str, str]
    finished: float = 0.0


@dataclass(slots=True)
class RecordCounts:
    """The records of one connector by outcome, from the metrics."""

    received: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Return whether every received record has an outcome."""
        return self.received == sum(self.ended.values())


def demo(
    records: Annotated[
        int,
        typer.Option(min=10, max=1_000_000, help="Number of records in all registries together."),
    ] = 2_400,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep everything running until you press Ctrl-C.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Data folder of the local Kafka.  [default: a new temporary folder]"),
    ] = None,
) -> None:
    """Start Kafka and three demo registries, run the gateway, and show the results.

    The demo ends when every record has an outcome.
    """
    from gateway.cli.runtime import run_async
    from gateway.observability import logs

    with contextlib.ExitStack() as stack:
        work_folder = data or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-"))
        )
        settings = Settings()
        port = choose_port(settings) if keep else None
        settings = settings.model_copy(
            update={"log_level": "ERROR", "metrics_port": 0, "registry_environment": "acceptance"}
        )
        logs.configure(settings)
        _silence_libraries()
        kafka_data = None if settings.kafka_bootstrap else work_folder / "kafka"
        if kafka_data is not None:
            pool = stack.enter_context(ThreadPoolExecutor(1))
            starting = pool.submit(_start_kafka, stack, kafka_data)
            # In a first run, the modules take as long as the broker.
            importlib.import_module("gateway.worker.worker")
            settings = settings.model_copy(update={"kafka_bootstrap": starting.result()})
        run_async(_demo(settings, work_folder, records, kafka_data, port=port))


def _silence_libraries() -> None:
    """Print no errors of libraries that belong to the demo.

    aiokafka logs some while a new broker elects its first leaders. A failure that lasts ends the
    demo with its own message. A demo registry that breaks a connection on purpose makes the
    server of aiohttp log a traceback.
    """
    clients = [name for name in logging.root.manager.loggerDict if name.startswith("aiokafka")]
    for name in (*clients, "aiohttp.server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _start_kafka(stack: contextlib.ExitStack, data: Path) -> str:
    from gateway.local import broker as kafka

    started = time.monotonic()
    starting = "starting Apache Kafka (the first start downloads 44 MB)"
    if not console.is_terminal:
        console.print(starting)
    with console.status(starting):
        broker = stack.enter_context(kafka.running(data))
    console.print(
        f"Apache Kafka on {broker.bootstrap} [dim]({time.monotonic() - started:.1f} s)[/]"
    )
    return str(broker.bootstrap)


async def _demo(
    settings: Settings,
    work_folder: Path,
    records: int,
    kafka_data: Path | None,
    *,
    port: int | None,
) -> None:
    """Run the demo, and keep it running if there is a ``port`` for its status page."""
    from gateway.kafka import topic_admin
    from gateway.local.registries import card_office, rest_catalogue, soap_credits
    from gateway.worker.worker import Worker

    await topic_admin.create_missing(settings)
    in_files = max(LEAST_FILE_RECORDS, records // 20)
    in_soap = (records - in_files) // 2
    async with (
        await soap_credits.start(records=in_soap) as soap,
        await rest_catalogue.start(
            records=records - in_files - in_soap, without_outcomes=1
        ) as rest,
        await card_office.start(records=in_files) as files,
    ):
        registries = [
            DemoRegistry("demo-soap", soap, {"demo-soap/key": soap_credits.KEY}),
            DemoRegistry("demo-rest", rest, {"demo-rest/token": rest_catalogue.TOKEN}),
            DemoRegistry("demo-file", files, {}),
        ]
        settings = settings.model_copy(
            update={
                "secrets_dir": write_secrets(work_folder / "secrets", registries),
                "pseudonym_key": _demo_key(),
                "connectors": demo_connectors(),
                "mappings": _demo_tables(),
            }
        )
        config = with_demo_addresses(
            load_config(settings, [demo_registry.connector for demo_registry in registries]),
            registries,
        )
        for demo_registry in registries:
            title = config.connectors[demo_registry.connector].title
            console.print(f"{demo_registry.connector:<10} {title}", markup=False)
        worker = Worker(settings, config, frozenset({"poll", "harmonise"}))
        running = asyncio.create_task(worker.run())
        try:
            await _show_progress(running, registries)
            await show_results(
                console,
                settings,
                worker.fleet,
                status_page=f"http://{settings.metrics_host}:{port}" if port else "",
            )
        finally:
            worker.stop()
            await asyncio.wait_for(running, 20)
        if port:
            by_name = {one.connector: one.registry for one in registries}
            addresses = {name: registry.url for name, registry in by_name.items()}
            folder = copy_connectors(settings.connectors, work_folder / "connectors", addresses)
            settings = settings.model_copy(update={"connectors": folder, "metrics_port": port})
            await keep_running(console, settings, by_name, work_folder, kafka_data)


def demo_connectors() -> Path:
    """Return the folder of the demo connectors.

    This is the configured folder if it contains them, or else that of the package or of the clone.
    """
    configured = Settings().connectors
    if (configured / "demo-soap.yaml").exists():
        return configured
    return _shipped_folder("connectors")


def _demo_tables() -> Path:
    configured = Settings().mappings
    return configured if configured.is_dir() else _shipped_folder("mappings")


def _shipped_folder(name: str) -> Path:
    return (SHIPPED if SHIPPED.exists() else Path(__file__).parents[2]) / name


def _demo_key() -> Any:
    from pydantic import SecretStr

    return SecretStr("a key for the demo only, never for people")


def write_secrets(folder: Path, registries: list[DemoRegistry]) -> Path:
    """Write the credentials of the demo registries as secret files. Return their folder."""
    for demo_registry in registries:
        for name, value in demo_registry.secrets.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value)
            path.chmod(0o600)
    return folder


def with_demo_addresses(config: LoadedConfig, registries: list[DemoRegistry]) -> LoadedConfig:
    """Return the configuration with the addresses of the demo registries."""
    connectors = {
        demo_registry.connector: with_address(
            config.connectors[demo_registry.connector], demo_registry.registry.url
        )
        for demo_registry in registries
    }
    return LoadedConfig(connectors=connectors, harmonisers=config.harmonisers, tables=config.tables)


def with_address(connector: Connector, base: str) -> Connector:
    """Return the connector with ``base`` as the scheme, host and port of its addresses."""
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
    """Return the counts of each connector from the metrics of this process."""
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
    """Return the table of counts, with the reasons for rejections below it."""
    drawn = Table(box=None, pad_edge=False)
    drawn.add_column("registry", no_wrap=True)
    columns = ["received", *OUTCOMES, "records/s"][: 6 if console.width >= WIDTH else 5]
    for name in columns:
        drawn.add_column(name, justify="right", no_wrap=True)
    found = counts()
    reasons = []
    for demo_registry in registries:
        count = found.get(demo_registry.connector, RecordCounts())
        seconds = (demo_registry.finished or time.monotonic()) - started
        numbers = [
            count.received,
            *(count.ended.get(outcome, 0) for outcome in OUTCOMES),
            round(count.received / max(seconds, 0.001)),
        ]
        drawn.add_row(demo_registry.connector, *map(str, numbers[: len(columns)]))
        for reason, number in sorted(count.reasons.items(), key=lambda one: -one[1]):
            reasons.append(f"  {demo_registry.connector:10} {number:4}  {reason}")
    return Group(drawn, *(["rejected because"] if reasons else []), *reasons)


async def _show_progress(running: asyncio.Task[None], registries: list[DemoRegistry]) -> None:
    """Show the table until every record of the registries is received and has an outcome.

    Raises :class:`~gateway.errors.Unavailable` after ``TIMEOUT_SECONDS``, or if the worker ends.
    """
    started = time.monotonic()
    if not console.is_terminal:
        expected = sum(demo_registry.registry.record_count for demo_registry in registries)
        console.print(f"reading {expected:,} records")
    with Live(
        table(registries, started), console=console, refresh_per_second=4, transient=False
    ) as live:
        while time.monotonic() - started < TIMEOUT_SECONDS:
            if running.done():
                await running
                raise Unavailable(
                    "the worker ended before every record had an outcome; its log says why"
                )
            found = counts()
            for demo_registry in registries:
                count = found.get(demo_registry.connector, RecordCounts())
                if (
                    not demo_registry.finished
                    and count.received >= demo_registry.registry.record_count
                    and count.balanced
                ):
                    demo_registry.finished = time.monotonic()
            live.update(table(registries, started))
            if all(demo_registry.finished for demo_registry in registries):
                break
            await asyncio.sleep(0.1)
    total = RecordCounts()
    for demo_registry in registries:
        count = counts().get(demo_registry.connector, RecordCounts())
        total.received += count.received
        for outcome, number in count.ended.items():
            total.ended[outcome] = total.ended.get(outcome, 0) + number
    sum_text = " + ".join(f"{total.ended.get(outcome, 0)} {outcome}" for outcome in OUTCOMES)
    console.print(
        f"\n{total.received} received = {sum_text}: "
        f"[bold]{'true' if total.balanced else 'FALSE'}[/]"
    )
    if not total.balanced or not all(demo_registry.finished for demo_registry in registries):
        raise Unavailable(
            f"some records have no outcome after {TIMEOUT_SECONDS:.0f} s; "
            "run `gateway demo --keep` and look at the metrics"
        )


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("demo")(demo)
