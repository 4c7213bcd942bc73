"""Commands for running workers: ``poll``, ``pause``, ``resume``, ``backfill``, ``renormalise``."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.command_sending import (
    DEFAULT_TIMEOUT_SECONDS,
    Json,
    Timeout,
    Wait,
    send_commands,
)
from gateway.config.countries import country_code_problem
from gateway.errors import UsageError
from gateway.messages import commands
from gateway.operations import stream_requests
from gateway.printable import one_line
from gateway.similar_name import did_you_mean, unknown_stream

if TYPE_CHECKING:
    from gateway.operations.renormalise import OutcomeChange
    from gateway.pipeline.loaded_config import LoadedConfig

Connector = Annotated[str, typer.Argument(help="Name of the connector.")]
Stream = Annotated[str, typer.Argument(help="Name of the stream.  [default: all streams]")]


def _send_command(
    command: commands.Command,
    *,
    wait: bool = False,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    as_json: bool = False,
) -> None:
    from gateway.cli.runtime import check_keys, load_settings
    from gateway.pipeline.loaded_config import load_config

    settings = load_settings()
    if reasons := stream_requests.not_applicable_reason(
        command, load_config(settings, [command.connector]).connectors[command.connector]
    ):
        raise UsageError(reasons)
    if isinstance(command, commands.Backfill):
        check_keys(settings)
    send_commands(settings, [command], wait=wait, timeout_seconds=timeout_seconds, as_json=as_json)


def poll(
    connector: Connector,
    stream: Stream = "",
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """Poll now instead of at the next interval, also while the circuit breaker is open."""
    command = commands.Poll(connector=connector, stream=stream, id=uuid.uuid4().hex)
    _send_command(command, wait=wait, timeout_seconds=timeout, as_json=as_json)


def pause(
    connector: Connector,
    stream: Stream = "",
    reason: Annotated[str, typer.Option(help="Reason for the log.")] = "",
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """Stop polling until `gateway resume`. The worker finishes the records that it has read."""
    command = commands.Pause(connector=connector, stream=stream, reason=reason, id=uuid.uuid4().hex)
    _send_command(command, wait=wait, timeout_seconds=timeout, as_json=as_json)


def resume(
    connector: Connector,
    stream: Stream = "",
    accept_deletions: Annotated[
        bool,
        typer.Option(
            "--accept-deletions", help="Accept the deletions that the gateway withholds now."
        ),
    ] = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """Continue to poll from the stored cursor."""
    command = commands.Resume(
        connector=connector,
        stream=stream,
        id=uuid.uuid4().hex,
        accept_deletions=accept_deletions,
    )
    withheld = _withheld_deletions(command) if accept_deletions else []
    _send_command(command, wait=wait, timeout_seconds=timeout, as_json=as_json)
    for text in withheld:
        print(text, file=sys.stderr if as_json else sys.stdout)


def _withheld_deletions(command: commands.Resume) -> list[str]:
    """Return how many deletions a command accepts, as the workers last reported."""
    from gateway.cli.runtime import load_settings
    from gateway.operations.read_status import read_status

    reported, _ = asyncio.run(read_status(load_settings()))
    accepted = [
        f"{status.connector} {status.stream}: accepts {status.deletions_withheld:,} deletions of "
        f"{status.records_known:,} records; the next poll writes them"
        for status in reported
        if status.connector == command.connector
        and stream_requests.applies_to_stream(command, status.stream)
        and status.deletions_withheld
    ]
    nothing = (
        "no worker reports a withheld deletion, so there was nothing to accept; "
        f"see `gateway status {command.connector}`"
    )
    return accepted or [nothing]


def backfill(
    connector: Connector,
    stream: Stream = "",
    begin: Annotated[
        str, typer.Option("--from", help="First day, or first moment, to read again.")
    ] = "",
    end: Annotated[
        str,
        typer.Option(
            "--to", help="Last day, or the moment of the end (exclusive).  [default: now]"
        ),
    ] = "",
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Stop the running backfill. The published records stay."),
    ] = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """Read a past period again, in parallel with live polling. Continues after a restart.

    Live polling has priority.
    """
    from gateway.cli.runtime import load_settings
    from gateway.operations.backfill import (
        cursor_timezone,
        parse_date_or_datetime,
        unsupported_reason,
    )
    from gateway.pipeline.loaded_config import load_config

    if cancel:
        cancelling = commands.CancelBackfill(
            connector=connector, stream=stream, id=uuid.uuid4().hex
        )
        _send_command(cancelling, wait=wait, timeout_seconds=timeout, as_json=as_json)
        return
    if not begin:
        raise UsageError(
            "--from is missing: give the first day to read again, such as 2024-01-31, or --cancel"
        )
    loaded = load_config(load_settings(), [connector]).connectors[connector]
    if stream and stream not in loaded.streams:
        raise UsageError(unknown_stream(connector, stream, loaded.streams))
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
            f"--from {begin} is not before --to {end or 'now'}; "
            "give the earlier day first, and no day in the future"
        )
    command = commands.Backfill(
        connector=connector, stream=stream, begin=first, end=last, id=uuid.uuid4().hex
    )
    print(
        f"from {first:%Y-%m-%dT%H:%M:%SZ} up to {last:%Y-%m-%dT%H:%M:%SZ}; "
        f"`gateway status {connector}` shows the progress",
        file=sys.stderr if as_json else sys.stdout,
    )
    _send_command(command, wait=wait, timeout_seconds=timeout, as_json=as_json)


def renormalise(
    country: Annotated[
        str,
        typer.Argument(
            help="Country whose tables changed, such as FI, or the name of a connector."
        ),
    ],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Publish nothing. Print a summary and the records that would change."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with --dry-run without the summary.")
    ] = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
) -> None:
    """Harmonise raw records again after a table change.

    Publishes only the differences, marked as corrections.
    """
    from gateway.cli.runtime import check_keys, load_settings, load_valid_connectors

    if dry_run:
        print_changes(country, as_json=as_json)
        return
    settings = load_settings()
    check_keys(settings)
    to_send = [
        commands.Renormalise(connector=name, id=uuid.uuid4().hex)
        for name in select_connectors(load_valid_connectors(settings), country)
    ]
    print(
        "the owner of each connector reads its raw records again; "
        "restart a worker that still uses older tables",
        file=sys.stderr if as_json else sys.stdout,
    )
    send_commands(settings, to_send, wait=wait, timeout_seconds=timeout, as_json=as_json)


def print_changes(country: str, *, as_json: bool = False) -> int:
    """Print the published records that would change with the current files, a summary first.

    Return their number.
    """
    from gateway.cli.runtime import load_settings, load_valid_connectors
    from gateway.operations.change_summary import summarise
    from gateway.operations.renormalise import find_changes
    from gateway.pipeline.provider_cache import ProviderCache
    from gateway.pipeline.record_processor import build_record_processor

    settings = load_settings()
    config = load_valid_connectors(settings)
    names = select_connectors(config, country)
    processor = build_record_processor(settings, config.harmonisers.get)
    asyncio.run(ProviderCache(settings, tuple(config.harmonisers.values())).load())
    changes = {name: asyncio.run(find_changes(settings, processor, name)) for name in names}
    if as_json:
        facts = {name: list(map(_change_facts, found)) for name, found in changes.items()}
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return sum(map(len, changes.values()))
    for name, of_connector in changes.items():
        print(f"{name}: {len(of_connector):,} records would change")
        for line in asyncio.run(summarise(settings, processor, of_connector)).lines():
            print(line)
    for of_connector in changes.values():
        for change in of_connector:
            key = one_line(change.record.key.decode())
            print(
                f"{key}: {change.outcome} on {', '.join(change.topics)}; "
                f"corrects {change.corrected_event_id or 'nothing'}"
            )
    return sum(map(len, changes.values()))


def _change_facts(change: OutcomeChange) -> dict[str, Any]:
    return {
        "key": change.record.key.decode(),
        "outcome": change.outcome,
        "topics": list(change.topics),
        "corrects": change.corrected_event_id or None,
    }


def select_connectors(config: LoadedConfig, country: str) -> list[str]:
    """Return the names of the connectors of a country, or the connector with this name.

    Connectors that hold records of several countries belong to each country. Capitals of a country
    do not matter.
    Raises :class:`~gateway.errors.UsageError` if there is none.
    """
    code = country if country in config.connectors else country.upper()
    is_country = code not in config.connectors and not country_code_problem(code)
    names = [
        name
        for name, connector in config.connectors.items()
        if code in {name, connector.country, connector.country[:2]}
        or (is_country and connector.has_several_countries)
    ]
    if not names:
        countries = sorted({connector.country for connector in config.connectors.values()})
        near = did_you_mean(country, [*config.connectors, *countries])
        raise UsageError(f"no connector for {country}{near}; there are: {', '.join(countries)}")
    return names


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    for command in (poll, pause, resume, backfill, renormalise):
        app.command(command.__name__)(command)
