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
    from gateway.pipeline.loaded_config import Fleet

Connector = Annotated[str, typer.Argument(help="Name of the connector.")]
Stream = Annotated[str, typer.Argument(help="One stream of it; all when not given.")]


def _send(command: commands.Command) -> None:
    from gateway.cli.runtime import settings_here
    from gateway.kafka.send import send_command
    from gateway.pipeline.loaded_config import load_fleet

    settings = settings_here()
    if refused := stream_requests.unfit(command, load_fleet(settings, [command.connector]).connectors[command.connector]):
        raise UsageError(refused)
    asyncio.run(send_command(settings, command.connector, commands.encode(command)))
    verb = type(command).__struct_config__.tag
    print(f"{verb} {command.connector} {command.stream or 'all streams'}: sent to the worker that owns it")


def poll(connector: Connector, stream: Stream = "") -> None:
    """Poll now instead of at the next interval."""
    _send(commands.Poll(connector=connector, stream=stream, id=uuid.uuid4().hex))


def pause(connector: Connector, stream: Stream = "", reason: Annotated[str, typer.Option(help="Why; stands in the log.")] = "") -> None:
    """Stop polling until resumed; what is in flight is finished."""
    _send(commands.Pause(connector=connector, stream=stream, reason=reason, id=uuid.uuid4().hex))


def resume(connector: Connector, stream: Stream = "") -> None:
    """Poll again, from where the cursor stands."""
    _send(commands.Resume(connector=connector, stream=stream, id=uuid.uuid4().hex))


def backfill(
    connector: Connector,
    stream: Stream = "",
    begin: Annotated[str, typer.Option("--from", help="First day, or moment, to read again.")] = "",
    end: Annotated[str, typer.Option("--to", help="Last day, or the moment before which it ends  [default: now].")] = "",
    cancel: Annotated[bool, typer.Option("--cancel", help="End the backfill that is running; what it wrote stays.")] = False,
) -> None:
    """Read a span of the past once more, beside live polling and behind it; goes on after a restart until it is done."""
    from gateway.cli.runtime import settings_here
    from gateway.operations.backfill import moment, refusal, zone_of
    from gateway.pipeline.loaded_config import load_fleet

    if cancel:
        _send(commands.CancelBackfill(connector=connector, stream=stream, id=uuid.uuid4().hex))
        return
    if not begin:
        raise UsageError("--from is missing: the first day to read again, such as 2024-01-31; or --cancel")
    loaded = load_fleet(settings_here(), [connector]).connectors[connector]
    if stream and stream not in loaded.streams:
        raise UsageError(f"{connector} has no stream {stream}; it has {', '.join(loaded.streams)}")
    refused = {name: refusal(loaded, name) for name in ([stream] if stream else loaded.streams)}
    if all(refused.values()):
        raise UsageError(f"{connector} {'; '.join(refused.values())}")
    zone = zone_of(loaded, next(name for name, why in refused.items() if not why))
    now = datetime.now(UTC)
    first, last = moment(begin, zone), min(moment(end, zone, end=True) if end else now, now)
    if first >= last:
        raise UsageError(f"--from {begin} is not before --to {end or 'now'}; give the earlier day first, and no day to come")
    _send(commands.Backfill(connector=connector, stream=stream, begin=first, end=last, id=uuid.uuid4().hex))
    print(f"from {first:%Y-%m-%dT%H:%M:%SZ} up to {last:%Y-%m-%dT%H:%M:%SZ}; `gateway status {connector}` shows how far it is")


def renormalise(
    country: Annotated[str, typer.Argument(help="Country whose tables changed, such as FI; or the name of one connector.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be published differently.")] = False,
) -> None:
    """After a table change: read the raw records again and publish only what differs, marked as a correction."""
    from gateway.cli.runtime import settings_here
    from gateway.kafka.send import send_command
    from gateway.pipeline.loaded_config import load_fleet

    if dry_run:
        list_changes(country)
        return
    settings = settings_here()
    for name in connectors_of(load_fleet(settings), country):
        command = commands.Renormalise(connector=name, id=uuid.uuid4().hex)
        asyncio.run(send_command(settings, name, commands.encode(command)))
        print(f"{name}: the worker that owns it reads its raw records again; restart workers first when their tables are older")


def list_changes(country: str) -> int:
    """Print what the present files would publish differently from what stands on the topics; return how many records."""
    from gateway.cli.runtime import settings_here
    from gateway.operations.renormalise import find_changes
    from gateway.pipeline.loaded_config import load_fleet
    from gateway.pipeline.provider_cache import Trusted
    from gateway.pipeline.record_processor import deliver_for

    settings = settings_here()
    fleet = load_fleet(settings)
    names = connectors_of(fleet, country)
    deliver = deliver_for(settings, fleet.harmonisers.get)
    asyncio.run(Trusted(settings, tuple(fleet.harmonisers.values())).load())
    total = 0
    for name in names:
        changes = asyncio.run(find_changes(settings, deliver, name))
        for one in changes:
            print(f"{one.record.key.decode()}: {one.outcome} on {', '.join(one.topics)}; corrects {one.before or 'nothing'}")
        print(f"{name}: {len(changes)} records would be published differently")
        total += len(changes)
    return total


def connectors_of(fleet: Fleet, country: str) -> list[str]:
    """Return the connectors of a country, or the one connector of that name."""
    names = [name for name, one in fleet.connectors.items() if country in {name, one.country, one.country[:2]}]
    if not names:
        known = ", ".join(sorted({one.country for one in fleet.connectors.values()}))
        raise UsageError(f"no connector of {country}; there are connectors of: {known}")
    return names


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    for command in (poll, pause, resume, backfill, renormalise):
        app.command(command.__name__)(command)
