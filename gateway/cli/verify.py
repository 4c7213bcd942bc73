"""``gateway verify``: compare a registry with the published records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from gateway.printable import one_line

if TYPE_CHECKING:
    from gateway.operations.verify import Report, StreamReport

MAX_SHOWN = 20
"""The printed findings of one kind. ``--json`` prints them all."""
DISCREPANCIES = ("missing", "unexpected", "stale", "duplicated")
"""Fields of a stream's report that list records."""
COUNTS = ("served", "published", "rejected", "unchanged", "deleted", "suppressed")
"""Fields of a stream's report that count records."""
COLUMNS = COUNTS + DISCREPANCIES


def verify(
    connector: Annotated[str, typer.Argument(help="Name of the connector.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Read the whole registry again and compare it with the published records.

    The exit code is 1 if they differ.
    """
    from gateway.cli.runtime import load_settings
    from gateway.errors import RetryLater, Unavailable
    from gateway.fetch.secrets import FileSecrets
    from gateway.kafka import topic_admin
    from gateway.observability import logs
    from gateway.operations.verify import verify as compare
    from gateway.pipeline.loaded_config import load_config
    from gateway.pipeline.provider_cache import ProviderCache
    from gateway.pipeline.required_secrets import check_secrets

    settings = load_settings()
    logs.configure(settings)
    config = load_config(settings, [connector])
    secrets = FileSecrets(settings.secrets_dir)
    check_secrets(config, secrets)

    async def work() -> Report:
        await topic_admin.verify_topics(settings)
        await ProviderCache(settings, tuple(config.harmonisers.values())).load()
        return await compare(settings, config, connector, secrets)

    try:
        report = asyncio.run(work())
    except RetryLater as error:
        raise Unavailable(f"{connector} cannot be verified now: {error}") from None
    print(
        msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
        if as_json
        else "\n".join(map(one_line, format_report(report)))
    )
    if not report.complete:
        raise typer.Exit(1)


def format_report(report: Report) -> list[str]:
    """Return the lines of the printed report."""
    width = max(len(stream.stream) for stream in report.streams)
    out = [
        f"{report.connector}: the registry was read at {report.read_at}",
        "expected: served = published + rejected + unchanged + deleted + suppressed",
        "expected: missing = unexpected = stale = duplicated = 0",
        "",
        " " * width + "".join(f"{name:>11}" for name in COLUMNS),
    ]
    for stream in report.streams:
        numbers = [
            value if isinstance(value, int) else len(value)
            for value in (getattr(stream, name) for name in COLUMNS)
        ]
        out.append(f"{stream.stream:<{width}}" + "".join(f"{number:>11,}" for number in numbers))
    for stream in report.streams:
        out += _findings(stream)
    return [*out, "", "complete" if report.complete else "NOT COMPLETE"]


def _findings(stream: StreamReport) -> list[str]:
    out = []
    for kind in DISCREPANCIES:
        records = getattr(stream, kind)
        if records:
            out += ["", f"{kind} in {stream.stream}:"]
            out += [
                f"  {record.id}  {record.topic}: {record.why}"
                + (f"  ({record.at})" if record.at else "")
                for record in records[:MAX_SHOWN]
            ]
        if len(records) > MAX_SHOWN:
            out.append(f"  and {len(records) - MAX_SHOWN} more; --json lists them all")
    return out


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("verify")(verify)
