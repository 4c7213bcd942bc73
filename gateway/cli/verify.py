"""``gateway verify``: hold a registry against the topics, and say whether anything is missing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

if TYPE_CHECKING:
    from gateway.operations.verify import Report, StreamReport

MAX_SHOWN = 20
"""Findings of one kind that are listed; --json lists them all."""
DISCREPANCIES = {
    "missing": "missing",
    "unexpected": "surplus",
    "stale": "stale",
    "duplicated": "doubled",
}
"""Fields of a stream's report that list records, and their names in the output."""
COLUMNS = {
    name: name for name in ("served", "published", "rejected", "unchanged", "deleted", "suppressed")
} | DISCREPANCIES


def verify(
    connector: Annotated[str, typer.Argument(help="Name of the connector.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Read the whole registry again, and compare its records with the topics.

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
    fleet = load_config(settings, [connector])
    secrets = FileSecrets(settings.secrets_dir)
    check_secrets(fleet, secrets)

    async def work() -> Report:
        await topic_admin.verify_topics(settings)
        await ProviderCache(settings, tuple(fleet.harmonisers.values())).load()
        return await compare(settings, fleet, connector, secrets)

    try:
        report = asyncio.run(work())
    except RetryLater as error:
        raise Unavailable(f"{connector} cannot be verified now: {error}") from None
    print(
        msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
        if as_json
        else "\n".join(format_report(report))
    )
    if not report.complete:
        raise typer.Exit(1)


def format_report(report: Report) -> list[str]:
    """Return the report for people."""
    width = max(len(one.stream) for one in report.streams)
    out = [
        f"{report.connector}, its registry read at {report.read_at}",
        "served = published + rejected + unchanged + deleted + suppressed, and nothing missing, surplus, stale or doubled",
        "",
        " " * width + "".join(f"{name:>11}" for name in COLUMNS.values()),
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
    for field, kind in DISCREPANCIES.items():
        found = getattr(stream, field)
        if found:
            out += ["", f"{kind} in {stream.stream}:"]
            out += [
                f"  {one.id}  {one.topic}: {one.why}" + (f"  ({one.at})" if one.at else "")
                for one in found[:MAX_SHOWN]
            ]
        if len(found) > MAX_SHOWN:
            out.append(f"  and {len(found) - MAX_SHOWN} more; --json lists them all")
    return out


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("verify")(verify)
