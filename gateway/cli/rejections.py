"""``gateway rejections``: list, inspect and replay rejected records."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.command_group import CommandGroup
from gateway.cli.command_sending import DEFAULT_TIMEOUT_SECONDS, Timeout, Wait, send_commands
from gateway.errors import Denied, UsageError
from gateway.messages import commands
from gateway.printable import one_line
from gateway.similar_name import did_you_mean

if TYPE_CHECKING:
    from gateway.operations.replay import ActiveRejection
    from gateway.pipeline.loaded_config import LoadedConfig
    from gateway.settings import Settings

rejections_app = typer.Typer(
    cls=CommandGroup,
    help="List, inspect and replay rejected records.",
    no_args_is_help=True,
)

Reason = Annotated[
    str, typer.Option("--reason", help="Select one reason code, such as level_unknown.")
]
Connector = Annotated[str, typer.Option("--connector", help="Select one connector.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@rejections_app.command("list")
def list_rejections(
    reason: Reason = "",
    connector: Connector = "",
    records: Annotated[
        bool, typer.Option("--records", help="Print one line for each record, not for each reason.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count the current rejections by connector, stream, reason and field.

    Records that the gateway has accepted since then are not counted.
    """
    rejections = _read_rejections(connector, reason)
    if records:
        rows = [_rejection_details(rejection) for rejection in rejections]
        for row in rows if not as_json else ():
            place = row["field"] or row["stage"]
            print(one_line(f"{row['key']}: {row['reason']} at {place}; {row['raw']}"))
    else:
        rows = _group_by_reason(rejections)
        for row in rows if not as_json else ():
            print(one_line(f"{row['records']:>8}  {_group_label(row)}; such as {row['example']}"))
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    elif not rows:
        print("no rejections")


@rejections_app.command("show")
def show(
    connector: Annotated[str, typer.Argument(help="Name of the connector.")],
    record: Annotated[str, typer.Argument(help="Native id of the record.")],
    payload: Annotated[
        bool,
        typer.Option(
            "--payload",
            help="Print the raw record also. Refused if the stream has records of persons.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show where and why one record was rejected, and the position of its raw record.

    Prints the payload only with --payload.
    """
    active = next((one for one in _read_rejections(connector, "") if one.native_id == record), None)
    if active is None:
        raise UsageError(
            f"{connector} has no current rejection of record {record}; "
            f"list them with `gateway rejections list --connector {connector} --records`"
        )
    facts = _rejection_details(active)
    if payload:
        facts["payload"] = _payload(active)
    if as_json:
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return
    for name, value in facts.items():
        print(one_line(f"{name + ':':<15} {value or '-'}"))
    print(
        f"\n`gateway explain {connector} {record}` shows every rule; "
        "`gateway rejections replay` harmonises the record again with the current files"
    )


@rejections_app.command("replay")
def replay(
    reason: Reason = "",
    connector: Connector = "",
    all_rejections: Annotated[
        bool, typer.Option("--all", help="Replay every rejection of all connectors.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Write nothing. Show the results with the current files."),
    ] = False,
    as_json: Json = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
) -> None:
    """Harmonise rejected records again with the current files.

    Run it after you have corrected a mapping table or a connector. The gateway publishes the
    accepted records and withdraws their rejections.
    """
    from gateway.cli.runtime import check_keys, load_settings, load_valid_connectors
    from gateway.pipeline.loaded_config import load_config

    if not (reason or connector or all_rejections):
        raise UsageError(
            "give --reason CODE, --connector NAME, or --all; "
            "`gateway rejections list` shows the current rejections"
        )
    settings = load_settings()
    config = load_config(settings, [connector]) if connector else load_valid_connectors(settings)
    rejections = _read_rejections(connector, reason)
    rows = _dry_run(settings, config, rejections) if dry_run else _group_by_reason(rejections)
    if not dry_run:
        check_keys(settings)
    _print_replay(rows, as_json=as_json, dry_run=dry_run)
    if rows and not dry_run:
        names = {one.rejection.connector for one in rejections} & config.connectors.keys()
        to_send = [
            commands.Replay(connector=name, reason=reason, id=uuid.uuid4().hex)
            for name in sorted(names)
        ]
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            send_commands(settings, to_send, wait=wait, timeout_seconds=timeout)


def _print_replay(rows: list[dict[str, Any]], *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    for row in rows:
        became = (
            ", ".join(f"{number} {what}" for what, number in row["now"].items())
            if dry_run
            else f"{row['records']} to process again"
        )
        print(one_line(f"{_group_label(row)}: {became}"))
    if not rows:
        print("no rejections")


def _read_rejections(connector: str, reason: str) -> list[ActiveRejection]:
    from gateway.cli.runtime import load_settings
    from gateway.operations.replay import read_active_rejections

    settings = load_settings()
    rejections = asyncio.run(read_active_rejections(settings, connector, reason=reason))
    if not rejections and (connector or reason):
        every = asyncio.run(read_active_rejections(settings, ""))
        connectors = {one.rejection.connector for one in every} | {
            path.stem for path in settings.connectors.glob("*.yaml")
        }
        if connector and connectors and connector not in connectors:
            raise UsageError(
                f"unknown connector {connector}{did_you_mean(connector, connectors)}; "
                f"there are: {', '.join(sorted(connectors))}"
            )
        reasons = sorted({one.rejection.reason for one in every})
        if reason and reason not in reasons:
            print(
                f"no record is rejected because of {reason}{did_you_mean(reason, reasons)}; "
                f"the current reasons are: {', '.join(reasons) or 'none'}",
                file=sys.stderr,
            )
    return rejections


def _group_by_reason(rejections: Iterable[ActiveRejection]) -> list[dict[str, Any]]:
    """Return a row for each connector, stream, reason and field. The most frequent is first."""
    groups: dict[tuple[str, str, str, str], list[ActiveRejection]] = defaultdict(list)
    for one in rejections:
        rejection = one.rejection
        groups[rejection.connector, rejection.stream, rejection.reason, rejection.field].append(one)
    return [
        {
            "connector": connector,
            "stream": stream,
            "reason": reason,
            "field": field,
            "records": len(group),
            "since": _timestamp(group[0]),
            "last": _timestamp(group[-1]),
            "example": group[-1].native_id,
        }
        for (connector, stream, reason, field), group in sorted(
            groups.items(), key=lambda item: (-len(item[1]), item[0])
        )
    ]


def _group_label(row: dict[str, Any]) -> str:
    return f"{row['connector']} {row['stream']}: {row['reason']} at {row['field'] or '-'}"


def _rejection_details(one: ActiveRejection) -> dict[str, Any]:
    rejection = one.rejection
    place = rejection.raw
    return {
        "key": one.key,
        "connector": rejection.connector,
        "stream": rejection.stream,
        "stage": rejection.stage,
        "field": rejection.field,
        "reason": rejection.reason,
        "detail": rejection.detail,
        "at": _timestamp(one),
        "raw": f"{place['topic']}-{place['partition']}@{place['offset']}"
        if one.raw_position
        else "none: the record was too large for the raw topic",
        "config_digest": rejection.config_digest,
        "tables_digest": rejection.tables_digest,
    }


def _timestamp(one: ActiveRejection) -> str:
    return (
        datetime.fromtimestamp(one.timestamp / 1000, UTC)
        .isoformat(timespec="seconds")
        .replace("+00:00", "Z")
    )


def _payload(one: ActiveRejection) -> str:
    """Return the raw record as text.

    Raises :class:`~gateway.errors.Denied` if the stream has records of persons.
    """
    from gateway.cli.runtime import load_settings
    from gateway.kafka.topic_reader import read_positions
    from gateway.messages.topics import RAW, TOPICS
    from gateway.pipeline.loaded_config import load_config
    from gateway.pipeline.record_processor import emitted_types
    from gateway.render.render import TOPICS_OF

    settings = load_settings()
    rejection = one.rejection
    stream = (
        load_config(settings, [rejection.connector])
        .connectors[rejection.connector]
        .streams.get(rejection.stream)
    )
    personal = {topic.name for topic in TOPICS if topic.personal}
    if stream is None or personal & {
        topic for emits in emitted_types(stream) for topic in TOPICS_OF[emits]
    }:
        raise Denied(
            f"{rejection.connector} {rejection.stream} has records of persons; "
            "`gateway explain` shows a record and hides personal data"
        )

    async def read() -> bytes | None:
        return next(
            iter(
                [
                    record.value
                    async for record in read_positions(
                        settings, RAW.name, [one.raw_position] if one.raw_position else []
                    )
                ]
            ),
            None,
        )

    value = asyncio.run(read())
    if value is None:
        raise UsageError(
            f"the raw topic does not contain the record of {one.key} any more; "
            "poll or backfill it again"
        )
    return value.decode(errors="replace")


def _dry_run(
    settings: Settings, config: LoadedConfig, rejections: list[ActiveRejection]
) -> list[dict[str, Any]]:
    """Return the rows of :func:`_group_by_reason`, with the outcomes under the current files."""
    from gateway.observability import logs
    from gateway.operations.replay import plan_replay, read_digests
    from gateway.pipeline.provider_cache import ProviderCache
    from gateway.pipeline.record_processor import build_record_processor

    logs.configure(settings.model_copy(update={"log_level": "WARNING"}))
    processor = build_record_processor(settings, config.harmonisers.get)
    asyncio.run(ProviderCache(settings, tuple(config.harmonisers.values())).load())
    rows = []
    for row in _group_by_reason(rejections):
        group = [
            one
            for one in rejections
            if (row["connector"], row["stream"], row["reason"], row["field"])
            == (
                one.rejection.connector,
                one.rejection.stream,
                one.rejection.reason,
                one.rejection.field,
            )
        ]
        tried = asyncio.run(
            plan_replay(
                settings,
                group,
                asyncio.run(read_digests(settings, row["connector"], row["stream"])),
            )
        )
        now: Counter[str] = Counter()
        for _, record, _ in tried.to_replay:
            result = processor(record)
            now[
                result.outcome if result.outcome != "rejected" else f"rejected: {result.reason}"
            ] += 1
        now |= Counter(
            {
                "without a raw record": tried.without_raw_record,
                "with a newer version": tried.superseded,
            }
        )
        rows.append(row | {"now": {what: number for what, number in now.items() if number}})
    if unknown := sorted({row["connector"] for row in rows} - config.connectors.keys()):
        print(f"these connectors have no file: {', '.join(unknown)}", file=sys.stderr)
    return rows


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.add_typer(rejections_app, name="rejections")
