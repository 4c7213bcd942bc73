"""``gateway run`` and ``gateway topics``: run a worker, and manage the topics it needs."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from gateway.cli.topics import read
from gateway.errors import Fenced, GatewayError, RetryLater, Unavailable, UsageError
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.config.connector import Connector
    from gateway.pipeline.loaded_config import LoadedConfig
    from gateway.worker.worker import Worker
from gateway.cli.runtime import load_settings, run_async
from gateway.cli.topics import topics_app

ROLES = ("poll", "harmonise")
ACCEPT_KEY_SECONDS = 60.0
"""The time for which the acceptance of a key is repeated."""
ACCEPT_KEY_RETRY_SECONDS = 5.0


def run(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of connectors.  [default: all]")
    ] = None,
    roles: Annotated[
        str, typer.Option(help="Roles of the worker, separated by commas.")
    ] = "poll,harmonise",
    connectors: Annotated[Path | None, typer.Option(help="Folder of connector files.")] = None,
    accept_new_cluster: Annotated[
        bool,
        typer.Option(
            "--accept-new-cluster", help="Accept a new cluster, after all topics were moved to it."
        ),
    ] = False,
    accept_new_key: Annotated[
        bool,
        typer.Option(
            "--accept-new-key",
            help="Accept another pseudonym key or id_key. Deletes what only the old key can find.",
        ),
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            min=0, max=3600, help="Seconds to wait until Kafka and the topics are available."
        ),
    ] = 0,
    processes: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Worker processes. A parent restarts a process that ends."
        ),
    ] = 1,
    process: Annotated[str, typer.Option(hidden=True)] = "",
    socket: Annotated[Path | None, typer.Option(hidden=True)] = None,
    parent: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Run a worker that polls registries and harmonises their records.

    It stops cleanly on SIGTERM and Ctrl-C. Without names, a connector whose file is not valid or
    whose secret is missing does not stop the others. Without names, GATEWAY_STAGE must be set,
    unless all registries run on this machine.
    """
    if parent:
        from gateway.worker.parent_process import end_with_parent

        end_with_parent(parent)
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
    config = load_config(settings, names, leave_out_invalid=not names)
    config.log_not_loaded()
    _check_prerequisites(
        settings,
        config if "poll" in wanted else None,
        port=socket is None,
        every_secret=bool(names),
    )
    _require_stage(settings, config if "poll" in wanted and not names else None)
    if wait:
        run_async(wait_for_kafka(settings, wait))
    if "poll" in wanted and accept_new_cluster:
        from gateway.kafka import cluster_check

        asyncio.run(cluster_check.accept_cluster(settings))
    if accept_new_key:
        run_async(_accept_new_key(settings, config if not names else None))
    if processes > 1:
        arguments = [
            *(names or ()),
            "--roles",
            roles,
            *(["--connectors", str(connectors)] if connectors else []),
        ]
        raise typer.Exit(run_async(Supervisor(settings, arguments, processes).run()))
    worker = Worker(
        settings, config, frozenset(wanted), health_socket=socket, connector_names=names
    )
    # After a signal this does not return. The process ends with 128 plus the signal's number.
    _run_worker(worker)


def _check_prerequisites(
    settings: Settings, config: LoadedConfig | None, *, port: bool, every_secret: bool
) -> None:
    """Check the secrets, the Kafka connection settings and the health port.

    Raises one error with a line for each problem. Without ``every_secret``, a connector whose
    secret is missing does not stop the others.
    """
    from gateway.fetch.secrets import FileSecrets
    from gateway.kafka.connection import client_arguments
    from gateway.observability.health_server import check_port_available
    from gateway.pipeline.required_secrets import check_secrets, report_missing_secrets

    checks: list[Callable[[], object]] = [
        partial(client_arguments, settings),
        *([partial(check_port_available, settings)] if port else []),
    ]
    if config is not None:
        check_all = check_secrets if every_secret else report_missing_secrets
        checks.insert(0, partial(check_all, config, FileSecrets(settings.secrets_dir)))
    problems: list[GatewayError] = []
    for run_check in checks:
        try:
            run_check()
        except GatewayError as error:
            problems.append(error)
    if len(problems) > 1:
        combined_error = GatewayError("\n".join(map(str, problems)))
        combined_error.exit_code = problems[0].exit_code
        raise combined_error
    if problems:
        raise problems[0]


def _require_stage(settings: Settings, config: LoadedConfig | None) -> None:
    """Refuse to call every production registry while ``GATEWAY_STAGE`` is not set.

    Addresses of this machine are not refused.
    """
    if config is None or "registry_environment" in settings.model_fields_set:
        return
    remote = [name for name, one in config.connectors.items() if not _is_on_this_machine(one)]
    if remote:
        registries = "1 registry" if len(remote) == 1 else f"{len(remote)} registries"
        raise UsageError(
            f"without names, `gateway run` would call {registries} in production, "
            f"such as {remote[0]}; name the connectors to run, "
            "or set GATEWAY_STAGE to production or acceptance to run all of them"
        )


def _is_on_this_machine(connector: Connector) -> bool:
    """Return whether the gateway calls no other machine for this connector in production."""
    url = getattr(connector.protocol, "url", None)
    if url is None:
        return True
    host = urlsplit(url.production).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _accept_new_key(settings: Settings, config: LoadedConfig | None) -> None:
    """Accept the keys of this worker for every connector, also for those that it does not run."""
    from gateway.kafka import topic_admin
    from gateway.operations.accept_keys import accept_keys
    from gateway.pipeline.loaded_config import load_config

    await topic_admin.verify_topics(settings)
    config = config or load_config(settings, leave_out_invalid=True)
    for name in config.not_loaded:
        print(
            f"{name} is left out; run `gateway renormalise {name}` when its file is valid",
            file=sys.stderr,
        )
    clock = asyncio.get_running_loop().time
    until = clock() + ACCEPT_KEY_SECONDS
    while True:
        try:
            await accept_keys(settings, config.connectors)
        except (RetryLater, Fenced) as error:
            # A worker with the old key may interfere until it has found the new one and ends.
            if clock() >= until:
                raise Unavailable(
                    f"the new key is not accepted completely: {error}; run this again"
                ) from None
            await asyncio.sleep(ACCEPT_KEY_RETRY_SECONDS)
        else:
            return


def _run_worker(worker: Worker) -> None:
    """Run a worker. Raises the error of a role by itself, if it has a message for a person."""
    try:
        run_async(worker.run())
    except ExceptionGroup as group:
        error: Exception | None = group.subgroup(GatewayError)
        if error is None:
            raise
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def wait_for_kafka(settings: Settings, seconds: float) -> None:
    """Wait until Kafka answers and has the topics.

    Raises :class:`~gateway.errors.Unavailable` after this number of seconds.
    """
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
