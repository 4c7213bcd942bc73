"""``gateway run`` and ``gateway topics``: the worker process and what it needs first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.topics import read
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.pipeline.loaded_config import LoadedConfig
from gateway.cli.runtime import load_settings, run_async
from gateway.cli.topics import topics_app

ROLES = ("poll", "harmonise")


def run(
    names: Annotated[
        list[str] | None, typer.Argument(help="Connectors to run; all when none is named.")
    ] = None,
    roles: Annotated[
        str, typer.Option(help="Comma-separated: poll, harmonise.")
    ] = "poll,harmonise",
    connectors: Annotated[Path | None, typer.Option(help="Folder of connector files.")] = None,
    accept_new_cluster: Annotated[
        bool,
        typer.Option("--accept-new-cluster", help="All topics were moved to this cluster: go on."),
    ] = False,
    wait: Annotated[
        float,
        typer.Option(min=0, max=3600, help="Seconds to wait for a Kafka that is not there yet."),
    ] = 0,
    processes: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Worker processes; one parent starts them, and again when one dies."
        ),
    ] = 1,
    process: Annotated[str, typer.Option(hidden=True)] = "",
    socket: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a worker: poll registries, harmonise their records. Stops cleanly on SIGTERM and Ctrl-C."""
    from gateway.observability import logs, tracing
    from gateway.pipeline.loaded_config import load_config
    from gateway.worker.supervisor import Supervisor
    from gateway.worker.worker import Worker

    settings = load_settings()
    if connectors is not None:
        settings = settings.model_copy(update={"connectors": connectors})
    wanted = set(filter(None, roles.split(",")))
    if unknown := wanted - set(ROLES):
        raise UsageError(
            f"--roles: no role {', '.join(sorted(unknown))}; the roles are {', '.join(ROLES)}"
        )
    if process and settings.instance:
        settings = settings.model_copy(update={"instance": f"{settings.instance}-{process}"})
    logs.configure(settings)
    if processes == 1:
        tracing.start(settings)
    fleet = load_config(settings, names)
    _check_prerequisites(settings, fleet if "poll" in wanted else None, port=socket is None)
    if wait:
        run_async(wait_for_kafka(settings, wait))
    if "poll" in wanted and accept_new_cluster:
        from gateway.kafka import cluster_check

        asyncio.run(cluster_check.accept_cluster(settings))
    if processes > 1:
        arguments = [
            *(names or ()),
            "--roles",
            roles,
            *(["--connectors", str(connectors)] if connectors else []),
        ]
        raise typer.Exit(run_async(Supervisor(settings, arguments, processes).run()))
    worker = Worker(settings, fleet, frozenset(wanted), health_socket=socket, connector_names=names)
    run_async(
        worker.run()
    )  # after a signal it does not come back: it ends the process with 128 and the signal's number


def _check_prerequisites(settings: Settings, fleet: LoadedConfig | None, *, port: bool) -> None:
    """Raise everything that is missing on this machine as one error, a line each: secrets, how to reach Kafka, the health port."""
    from gateway.fetch.secrets import FileSecrets
    from gateway.kafka.connection import client_arguments
    from gateway.observability.health_server import check_port_available
    from gateway.pipeline.required_secrets import check_secrets

    checks: list[Callable[[], object]] = [
        partial(client_arguments, settings),
        *([partial(check_port_available, settings)] if port else []),
    ]
    if fleet is not None:
        checks.insert(0, partial(check_secrets, fleet, FileSecrets(settings.secrets_dir)))
    found: list[GatewayError] = []
    for look in checks:
        try:
            look()
        except GatewayError as error:
            found.append(error)
    if len(found) > 1:
        combined_error = GatewayError("\n".join(map(str, found)))
        combined_error.exit_code = found[0].exit_code
        raise combined_error
    if found:
        raise found[0]


async def wait_for_kafka(settings: Settings, seconds: float) -> None:
    """Wait so long until Kafka answers and has the topics; then raise what is still missing."""
    from gateway.kafka import topic_admin

    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while True:
        try:
            await topic_admin.verify_topics(settings)
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
