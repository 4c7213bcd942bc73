"""``gateway rejections``: what was refused and why, one of them closely, and all of them again after something was mended."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.errors import Denied, UsageError
from gateway.messages import commands

if TYPE_CHECKING:
    from gateway.operations.replay import ActiveRejection
    from gateway.pipeline.loaded_config import LoadedConfig
    from gateway.settings import Settings

rejections_app = typer.Typer(
    help="What was rejected and why; replay it after a table or a connector was mended.",
    no_args_is_help=True,
)

Reason = Annotated[
    str, typer.Option("--reason", help="Only this reason code, such as level_unknown.")
]
Connector = Annotated[str, typer.Option("--connector", help="Only this connector.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@rejections_app.command("list")
def list_rejections(
    reason: Reason = "",
    connector: Connector = "",
    records: Annotated[
        bool, typer.Option("--records", help="One line a record instead of one a reason.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count the rejections that hold now, by connector, stream, reason and field; what was accepted since is not among them."""
    found = _read_rejections(connector, reason)
    if records:
        rows = [_rejection_details(one) for one in found]
        for row in rows if not as_json else ():
            print(f"{row['key']}: {row['reason']} at {row['field'] or row['stage']}; {row['raw']}")
    else:
        rows = _group_by_reason(found)
        for row in rows if not as_json else ():
            print(f"{row['records']:>8}  {_group_label(row)}; such as {row['example']}")
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    elif not rows:
        print("nothing stands rejected")


@rejections_app.command("show")
def show(
    connector: Annotated[str, typer.Argument(help="Name of the connector.")],
    record: Annotated[str, typer.Argument(help="Native id of the record.")],
    payload: Annotated[
        bool,
        typer.Option(
            "--payload", help="Print the raw record too; refused where records are of persons."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say where and why one record was rejected, and where its raw form lies. Prints no payload unless it is asked for."""
    one = next((one for one in _read_rejections(connector, "") if one.native_id == record), None)
    if one is None:
        raise UsageError(
            f"no rejection of {record} of {connector} holds; `gateway rejections list --connector {connector} --records`"
        )
    facts = _rejection_details(one)
    if payload:
        facts["payload"] = _payload(one)
    if as_json:
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return
    for name, value in facts.items():
        print(f"{name + ':':<15} {value or '-'}")
    print(
        f"\n`gateway explain {connector} {record}` shows every rule; `gateway rejections replay` tries again with the files of now"
    )


@rejections_app.command("replay")
def replay(
    reason: Reason = "",
    connector: Connector = "",
    all_rejections: Annotated[
        bool, typer.Option("--all", help="Whatever the reason and the connector.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Write nothing; say what the files of now would make of them."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Harmonise what stands rejected again, through the same path as any record; what is accepted then stands rejected no more."""
    from gateway.cli.runtime import load_settings
    from gateway.kafka.send import send_command
    from gateway.pipeline.loaded_config import load_config

    if not (reason or connector or all_rejections):
        raise UsageError(
            "say what to replay: --reason CODE, --connector NAME, or --all; `gateway rejections list` shows what there is"
        )
    settings = load_settings()
    fleet = load_config(settings, [connector] if connector else None)
    found = _read_rejections(connector, reason)
    rows = _dry_run(settings, fleet, found) if dry_run else _group_by_reason(found)
    if not dry_run:
        for name in sorted(
            {
                one.rejection.connector
                for one in found
                if one.rejection.connector in fleet.connectors
            }
        ):
            command = commands.Replay(connector=name, reason=reason, id=uuid.uuid4().hex)
            asyncio.run(send_command(settings, name, commands.encode(command)))
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    for row in rows:
        became = (
            ", ".join(f"{number} {what}" for what, number in row["now"].items())
            if dry_run
            else f"{row['records']} sent to its worker"
        )
        print(f"{_group_label(row)}: {became}")
    if not rows:
        print("nothing stands rejected")


def _read_rejections(connector: str, reason: str) -> list[ActiveRejection]:
    from gateway.cli.runtime import load_settings
    from gateway.operations.replay import read_active_rejections

    return asyncio.run(read_active_rejections(load_settings(), connector, reason=reason))


def _group_by_reason(found: Iterable[ActiveRejection]) -> list[dict[str, Any]]:
    """Return one row a connector, stream, reason and field, the most frequent first."""
    groups: dict[tuple[str, str, str, str], list[ActiveRejection]] = defaultdict(list)
    for one in found:
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
        else "nowhere: it did not fit the topic",
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
    """Return the raw record as text, where it is of no person."""
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
            f"records of {rejection.connector} {rejection.stream} are of persons; `gateway explain` shows one with persons hidden"
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

    found = asyncio.run(read())
    if found is None:
        raise UsageError(
            f"the raw record of {one.key} is not there any more; poll or backfill it again"
        )
    return found.decode(errors="replace")


def _dry_run(
    settings: Settings, fleet: LoadedConfig, found: list[ActiveRejection]
) -> list[dict[str, Any]]:
    """Return for each group what the files of now would make of its records."""
    from gateway.observability import logs
    from gateway.operations.replay import plan_replay, read_digests
    from gateway.pipeline.provider_cache import ProviderCache
    from gateway.pipeline.record_processor import build_record_processor

    logs.configure(settings.model_copy(update={"log_level": "WARNING"}))
    deliver = build_record_processor(settings, fleet.harmonisers.get)
    asyncio.run(ProviderCache(settings, tuple(fleet.harmonisers.values())).load())
    rows = []
    for row in _group_by_reason(found):
        group = [
            one
            for one in found
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
            result = deliver(record)
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
    if unknown := sorted({row["connector"] for row in rows} - fleet.connectors.keys()):
        print(f"no connector file: {', '.join(unknown)}", file=sys.stderr)
    return rows


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.add_typer(rejections_app, name="rejections")
