"""Commands to running workers: poll, pause, resume, backfill, renormalise."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.errors import UsageError
from gateway.messages import commands
from gateway.operations import stream_requests

if TYPE_CHECKING:
    from gateway.pipeline.loaded_config import LoadedConfig

Connector = Annotated[str, typer.Argument(help="Name of the connector.")]
Stream = Annotated[str, typer.Argument(help="One stream of it; all when not given.")]


def _send_command(command: commands.Command) -> None:
    from gateway.cli.runtime import load_settings
    from gateway.kafka.send import send_command
    from gateway.pipeline.loaded_config import load_config

    settings = load_settings()
    if reasons := stream_requests.not_applicable_reason(
        command, load_config(settings, [command.connector]).connectors[command.connector]
    ):
        raise UsageError(reasons)
    asyncio.run(send_command(settings, command.connector, commands.encode(command)))
    verb = type(command).__struct_config__.tag
    print(
        f"{verb} {command.connector} {command.stream or 'all streams'}: sent to the worker that owns it"
    )


def poll(connector: Connector, stream: Stream = "") -> None:
    """Poll now instead of at the next interval."""
    _send_command(commands.Poll(connector=connector, stream=stream, id=uuid.uuid4().hex))


def pause(
    connector: Connector,
    stream: Stream = "",
    reason: Annotated[str, typer.Option(help="Why; stands in the log.")] = "",
) -> None:
    """Stop polling until resumed; what is in flight is finished."""
    _send_command(
        commands.Pause(connector=connector, stream=stream, reason=reason, id=uuid.uuid4().hex)
    )


def resume(connector: Connector, stream: Stream = "") -> None:
    """Poll again, from where the cursor stands."""
    _send_command(commands.Resume(connector=connector, stream=stream, id=uuid.uuid4().hex))


def backfill(
    connector: Connector,
    stream: Stream = "",
    begin: Annotated[str, typer.Option("--from", help="First day, or moment, to read again.")] = "",
    end: Annotated[
        str,
        typer.Option("--to", help="Last day, or the moment before which it ends  [default: now]."),
    ] = "",
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="End the backfill that is running; what it wrote stays."),
    ] = False,
) -> None:
    """Read a span of the past once more, beside live polling and behind it; goes on after a restart until it is done."""
    from gateway.cli.runtime import load_settings
    from gateway.operations.backfill import (
        cursor_timezone,
        parse_date_or_datetime,
        unsupported_reason,
    )
    from gateway.pipeline.loaded_config import load_config

    if cancel:
        _send_command(
            commands.CancelBackfill(connector=connector, stream=stream, id=uuid.uuid4().hex)
        )
        return
    if not begin:
        raise UsageError(
            "--from is missing: the first day to read again, such as 2024-01-31; or --cancel"
        )
    loaded = load_config(load_settings(), [connector]).connectors[connector]
    if stream and stream not in loaded.streams:
        raise UsageError(f"{connector} has no stream {stream}; it has {', '.join(loaded.streams)}")
    reasons = {
        name: unsupported_reason(loaded, name) for name in ([stream] if stream else loaded.streams)
    }
    if all(reasons.values()):
        raise UsageError(f"{connector} {'; '.join(reasons.values())}")
    zone = cursor_timezone(loaded, next(name for name, why in reasons.items() if not why))
    now = datetime.now(UTC)
    first, last = (
        parse_date_or_datetime(begin, zone),
        min(parse_date_or_datetime(end, zone, end=True) if end else now, now),
    )
    if first >= last:
        raise UsageError(
            f"--from {begin} is not before --to {end or 'now'}; give the earlier day first, and no day to come"
        )
    _send_command(
        commands.Backfill(
            connector=connector, stream=stream, begin=first, end=last, id=uuid.uuid4().hex
        )
    )
    print(
        f"from {first:%Y-%m-%dT%H:%M:%SZ} up to {last:%Y-%m-%dT%H:%M:%SZ}; `gateway status {connector}` shows how far it is"
    )


def renormalise(
    country: Annotated[
        str,
        typer.Argument(
            help="Country whose tables changed, such as FI; or the name of one connector."
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be published differently.")
    ] = False,
) -> None:
    """After a table change: read the raw records again and publish only what differs, marked as a correction."""
    from gateway.cli.runtime import load_settings
    from gateway.kafka.send import send_command
    from gateway.pipeline.loaded_config import load_config

    if dry_run:
        print_changes(country)
        return
    settings = load_settings()
    for name in select_connectors(load_config(settings), country):
        command = commands.Renormalise(connector=name, id=uuid.uuid4().hex)
        asyncio.run(send_command(settings, name, commands.encode(command)))
        print(
            f"{name}: the worker that owns it reads its raw records again; restart workers first when their tables are older"
        )


def print_changes(country: str) -> int:
    """Print what the present files would publish differently from what stands on the topics; return how many records."""
    from gateway.cli.runtime import load_settings
    from gateway.operations.renormalise import find_changes
    from gateway.pipeline.loaded_config import load_config
    from gateway.pipeline.provider_cache import ProviderCache
    from gateway.pipeline.record_processor import build_record_processor

    settings = load_settings()
    fleet = load_config(settings)
    names = select_connectors(fleet, country)
    deliver = build_record_processor(settings, fleet.harmonisers.get)
    asyncio.run(ProviderCache(settings, tuple(fleet.harmonisers.values())).load())
    total = 0
    for name in names:
        changes = asyncio.run(find_changes(settings, deliver, name))
        for one in changes:
            print(
                f"{one.record.key.decode()}: {one.outcome} on {', '.join(one.topics)}; corrects {one.corrected_event_id or 'nothing'}"
            )
        print(f"{name}: {len(changes)} records would be published differently")
        total += len(changes)
    return total


def select_connectors(fleet: LoadedConfig, country: str) -> list[str]:
    """Return the connectors of a country, or the one connector of that name."""
    names = [
        name
        for name, one in fleet.connectors.items()
        if country in {name, one.country, one.country[:2]}
    ]
    if not names:
        known = ", ".join(sorted({one.country for one in fleet.connectors.values()}))
        raise UsageError(f"no connector of {country}; there are connectors of: {known}")
    return names


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    for command in (poll, pause, resume, backfill, renormalise):
        app.command(command.__name__)(command)
