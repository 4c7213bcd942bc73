"""``gateway run`` and ``gateway topics``: the worker process and what it needs first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gateway.cli.topics import read
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.pipeline.loaded_config import Fleet

T = TypeVar("T")
ROLES = ("poll", "harmonise")

topics_app = typer.Typer(help="Create and verify the topics.", no_args_is_help=True)


def settings_here() -> Settings:
    """Return the settings with the broker that runs on this machine filled in where none is configured."""
    from gateway.local import broker as kafka

    # What the library says of a broker that is away is said by the error; a worker's own handlers still hear it.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    settings = Settings()
    if not settings.kafka_bootstrap and (broker := kafka.status(settings.data_dir / "kafka")):
        settings = settings.model_copy(update={"kafka_bootstrap": broker.bootstrap})
    return settings


def run_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the fast event loop."""
    import uvloop

    return uvloop.run(coroutine)


@topics_app.command("apply")
def apply_topics() -> None:
    """Create the topics that are missing."""
    from gateway.messages import topics

    settings = settings_here()
    created = asyncio.run(topics.apply(settings))
    for name in created:
        print(f"created {name}")
    print(f"{len(topics.TOPICS) - len(created)} were there already, {len(created)} created")


@topics_app.command("verify")
def verify_topics() -> None:
    """Say whether every topic is there as declared."""
    from gateway.messages import topics

    different = asyncio.run(topics.verify(settings_here()))
    for line in different:
        print(line)
    if different:
        raise typer.Exit(1)
    print(f"all {len(topics.TOPICS)} topics are there as declared")


def run(
    names: Annotated[list[str] | None, typer.Argument(help="Connectors to run; all when none is named.")] = None,
    roles: Annotated[str, typer.Option(help="Comma-separated: poll, harmonise.")] = "poll,harmonise",
    connectors: Annotated[Path | None, typer.Option(help="Folder of connector files.")] = None,
    accept_new_cluster: Annotated[bool, typer.Option("--accept-new-cluster", help="All topics were moved to this cluster: go on.")] = False,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for a Kafka that is not there yet.")] = 0,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Worker processes; one parent starts them, and again when one dies.")] = 1,
    process: Annotated[str, typer.Option(hidden=True)] = "",
    socket: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a worker: poll registries, harmonise their records. Stops cleanly on SIGTERM and Ctrl-C."""
    from gateway.observability import logs, tracing
    from gateway.pipeline.loaded_config import load_fleet
    from gateway.worker.supervisor import Supervisor
    from gateway.worker.worker import Worker

    settings = settings_here()
    if connectors is not None:
        settings = settings.model_copy(update={"connectors": connectors})
    wanted = set(filter(None, roles.split(",")))
    if unknown := wanted - set(ROLES):
        raise UsageError(f"--roles: no role {', '.join(sorted(unknown))}; the roles are {', '.join(ROLES)}")
    if process and settings.instance:
        settings = settings.model_copy(update={"instance": f"{settings.instance}-{process}"})
    logs.configure(settings)
    if processes == 1:
        tracing.start(settings)
    fleet = load_fleet(settings, names)
    _require(settings, fleet if "poll" in wanted else None, port=socket is None)
    if wait:
        run_loop(kafka_there(settings, wait))
    if "poll" in wanted and accept_new_cluster:
        from gateway.kafka import cluster_check

        asyncio.run(cluster_check.accept(settings))
    if processes > 1:
        arguments = [*(names or ()), "--roles", roles, *(["--connectors", str(connectors)] if connectors else [])]
        raise typer.Exit(run_loop(Supervisor(settings, arguments, processes).run()))
    worker = Worker(settings, fleet, frozenset(wanted), socket=socket, names=names)
    run_loop(worker.run())  # after a signal it does not come back: it ends the process with 128 and the signal's number


def _require(settings: Settings, fleet: Fleet | None, *, port: bool) -> None:
    """Raise everything that is missing on this machine as one error, a line each: secrets, how to reach Kafka, the health port."""
    from gateway.fetch.secrets import FileSecrets
    from gateway.kafka.connection import arguments
    from gateway.observability.health_server import require_port
    from gateway.pipeline.loaded_config import require_secrets

    looks: list[Callable[[], object]] = [partial(arguments, settings), *([partial(require_port, settings)] if port else [])]
    if fleet is not None:
        looks.insert(0, partial(require_secrets, fleet, FileSecrets(settings.secrets_dir)))
    found: list[GatewayError] = []
    for look in looks:
        try:
            look()
        except GatewayError as error:
            found.append(error)
    if len(found) > 1:
        together = GatewayError("\n".join(map(str, found)))
        together.exit_code = found[0].exit_code
        raise together
    if found:
        raise found[0]


async def kafka_there(settings: Settings, seconds: float) -> None:
    """Wait so long until Kafka answers and has the topics; then raise what is still missing."""
    from gateway.messages import topics

    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while True:
        try:
            await topics.verify(settings)
        except Unavailable:
            if clock() >= until:
                raise
        else:
            return
        await asyncio.sleep(0.5)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("run")(run)
    topics_app.command("read")(read)
    app.add_typer(topics_app, name="topics")
