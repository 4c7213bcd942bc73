"""The ``gateway`` command line. Each module defines one group of commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.cli import (
    connectors,
    coverage,
    demo,
    drill,
    erase,
    explain,
    fields,
    provider,
    rejections,
    run,
    schemas,
    status,
    streams,
    tables,
    verify,
    why,
)
from gateway.cli.command_group import CommandGroup
from gateway.cli.kafka import kafka_app

app = typer.Typer(
    name="gateway",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        from gateway import accelerator

        speed = f" with accelerator {accelerator.version}" if accelerator.is_used else ""
        print(f"gateway {version('qualification-gateway')}{speed}")
        if accelerator.refusal:
            print(accelerator.refusal, file=sys.stderr)
        raise typer.Exit


@app.callback()
def _gateway(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Connect national qualification registries with European platforms through Kafka."""


app.add_typer(kafka_app, name="kafka")
run.register(app)
demo.register(app)
drill.register(app)
connectors.register(app)
tables.register(app)
coverage.register(app)
fields.register(app)
streams.register(app)
rejections.register(app)
status.register(app)
why.register(app)
explain.register(app)
provider.register(app)
erase.register(app)
verify.register(app)
schemas.register(app)
