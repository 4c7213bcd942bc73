"""``gateway kafka``: start and stop a real single-node Kafka on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.command_group import CommandGroup

if TYPE_CHECKING:
    from gateway.local.broker import Broker

kafka_app = typer.Typer(
    cls=CommandGroup,
    help="Run a real single-node Apache Kafka on the loopback address, without Docker.",
    no_args_is_help=True,
)

Data = Annotated[
    Path | None,
    typer.Option(help="Data folder of the broker.  [default: GATEWAY_DATA_DIR/kafka]"),
]


def _data(data: Path | None) -> Path:
    from gateway.settings import Settings

    return data or Settings().data_dir / "kafka"


@kafka_app.command()
def start(
    data: Data = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port on 127.0.0.1.  [default: the last port, or a free one]"
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Start the broker, or print the address of the running broker.

    The broker runs until `gateway kafka stop`.
    """
    from gateway.local import broker as kafka
    from gateway.settings import Settings

    settings = Settings()
    broker = kafka.start(
        _data(data), port, jar_cache=settings.jar_cache, mirror=settings.jar_mirror
    )
    if as_json:
        _print_json(broker)
        return
    print(f"Kafka answers on {broker.bootstrap} (process {broker.pid}, data in {broker.data})")
    print("stop it with: gateway kafka stop" + (f" --data {data}" if data else ""))


@kafka_app.command()
def stop(data: Data = None) -> None:
    """Stop the broker cleanly and wait until its process has ended."""
    from gateway.local import broker as kafka

    place = _data(data)
    print("Kafka has stopped" if kafka.stop(place) else f"no Kafka was running on {place}")


@kafka_app.command()
def status(
    data: Data = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show whether the broker runs, and its address. Exit code 4 if it does not run."""
    from gateway.errors import Unavailable
    from gateway.local import broker as kafka

    place = _data(data)
    broker = kafka.status(place)
    if broker is None:
        raise Unavailable(f"no Kafka runs on {place}; start it with: gateway kafka start")
    if as_json:
        _print_json(broker)
        return
    print(f"Kafka answers on {broker.bootstrap} (process {broker.pid}, data in {broker.data})")


def _print_json(broker: Broker) -> None:
    facts = {"bootstrap": broker.bootstrap, "pid": broker.pid, "data": str(broker.data)}
    print(json.dumps(facts, ensure_ascii=False, indent=1))


@kafka_app.command()
def wipe(
    data: Data = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Stop the broker and delete all its topics and records."""
    from gateway.local import broker as kafka

    place = _data(data)
    if not yes:
        typer.confirm(f"Delete every topic and record in {place}?", abort=True)
    kafka.wipe(place)
    print(f"deleted every topic and record in {place}")
