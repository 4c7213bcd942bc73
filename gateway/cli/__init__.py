"""The ``gateway`` command line. Each module defines one group of commands."""

from __future__ import annotations

import typer

from gateway.cli import (
    connectors,
    coverage,
    demo,
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
)
from gateway.cli.kafka import kafka_app

app = typer.Typer(
    name="gateway",
    help="Connect national qualification registries with European platforms through Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(kafka_app, name="kafka")
run.register(app)
demo.register(app)
connectors.register(app)
tables.register(app)
coverage.register(app)
fields.register(app)
streams.register(app)
rejections.register(app)
status.register(app)
explain.register(app)
provider.register(app)
erase.register(app)
verify.register(app)
schemas.register(app)
