"""``gateway status``: show the state of each stream and worker.

The workers report to Kafka, so the command gives the same answer on every machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr

from gateway.errors import ConfigError
from gateway.printable import one_line

if TYPE_CHECKING:
    from gateway.config.connector import Connector
    from gateway.messages.status import StreamStatus, WorkerStatus

WORKER_SILENT_AFTER_SECONDS = 20.0
"""After four missing reports, a worker counts as silent and its streams as unowned."""
COUNT_COLUMNS = ("received", "accepted", "rejected", "unchanged", "deleted")
SHOWN_ISSUES = {
    "changed_at_unreadable": "records whose change time cannot be read",
    "changed_at_in_future": "records whose change time is in the future",
}
"""Issues of records that affect the reading of their stream, by code."""


def status(
    connector: Annotated[str, typer.Argument(help="Name of the connector.  [default: all]")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the state of each stream and of each worker.

    For a stream, show the reason of its state, its freshness, its owner, its counts and its
    backfill.
    """
    from gateway.cli.runtime import load_settings
    from gateway.operations.read_status import read_status
    from gateway.pipeline.loaded_config import load_config

    settings = load_settings()
    try:
        # The status computes no pseudonym, so it needs no key.
        config = load_config(
            settings.model_copy(update={"pseudonym_key": SecretStr("of no use " * 4)}),
            [connector] if connector else None,
            leave_out_invalid=not connector,
        )
        connectors = config.connectors
        for name, findings in config.not_loaded.items():
            print(f"{findings[0]}; for {name}, see the reports of workers", file=sys.stderr)
    except ConfigError as error:
        # The workers continue with the files that they loaded before, so their reports are valid.
        print(f"{error.findings[0]}; the status shows only reports of workers", file=sys.stderr)
        connectors = {}
    streams, workers = asyncio.run(read_status(settings))
    data = status_data(connectors, streams, workers, time.time(), connector)
    if as_json:
        print(json.dumps(data, ensure_ascii=False, indent=1))
    else:
        _print(data, show_all=not connector)


def status_data(
    connectors: dict[str, Connector],
    streams: list[StreamStatus],
    workers: list[WorkerStatus],
    now: float,
    connector_filter: str = "",
) -> dict[str, Any]:
    """Return the data of the status.

    It contains the streams of the connector files, the other streams that workers report, and the
    workers. ``now`` is a Unix time in seconds.
    """
    reported = {
        (one.connector, one.stream): one
        for one in streams
        if connector_filter in {"", one.connector}
    }
    names = sorted(
        {(name, stream) for name, one in connectors.items() for stream in one.streams}
        | reported.keys()
    )
    alive = [one for one in workers if now - one.at <= WORKER_SILENT_AFTER_SECONDS]
    sums: dict[str, Counter[str]] = {}
    for worker in alive:
        for name, counted in worker.counts.items():
            sums.setdefault(name, Counter()).update(counted)
    pollers = [one for one in alive if "poll" in one.roles]
    return {
        "streams": [
            _stream(*name, reported.get(name), sums.get("|".join(name), Counter()), now, pollers)
            for name in names
        ],
        "workers": [
            {
                "worker": one.worker,
                "state": "alive" if one in alive else "silent",
                "reported_seconds_ago": round(now - one.at, 1),
                "roles": list(one.roles),
                "up_seconds": round(now - one.started),
                "last_commit_seconds_ago": {
                    role: round(now - when, 1) for role, when in sorted(one.last_commit.items())
                },
                "waiting": one.waiting,
                "blocked": one.blocked if one in alive else {},
                "tables_digest": one.tables_digest,
                "not_loaded": one.not_loaded if one in alive else {},
            }
            for one in workers
        ],
        "not_loaded": _not_loaded(alive, connector_filter),
    }


def _not_loaded(workers: list[WorkerStatus], connector_filter: str) -> list[dict[str, Any]]:
    """Return the connectors whose file is not valid for a worker.

    ``runs`` says whether an earlier version of the file runs.
    """
    return [
        {
            "connector": name,
            "worker": one.worker,
            "runs": name in (one.connectors or ()),
            "finding": finding,
        }
        for one in workers
        for name, finding in sorted(one.not_loaded.items())
        if connector_filter in {"", name}
    ]


def _stream(
    connector: str,
    stream: str,
    reported: StreamStatus | None,
    counted: Counter[str],
    now: float,
    pollers: list[WorkerStatus],
) -> dict[str, Any]:
    found: dict[str, Any] = {"connector": connector, "stream": stream}
    silent = reported is None or now - reported.at > WORKER_SILENT_AFTER_SECONDS
    if reported is not None:
        found |= {
            "state": reported.state,
            "reason": reported.reason,
            "worker": reported.worker,
            "read_up_to_seconds_ago": None
            if reported.read_up_to is None
            else round(now - reported.read_up_to, 1),
            "last_success_seconds_ago": None
            if reported.last_success is None
            else round(now - reported.last_success, 1),
            "every_seconds": reported.every,
            "config_digest": reported.config_digest,
            "deletions_withheld": reported.deletions_withheld,
            "records_known": reported.records_known,
            "values_skipped": reported.values_skipped,
            "loop_values": reported.loop_values,
            "records_skipped": reported.records_skipped,
            "backfill": None
            if reported.backfill is None
            else {
                name: getattr(reported.backfill, name)
                for name in reported.backfill.__struct_fields__
            },
        }
    if silent:
        state, why = _unowned_state(connector, pollers)
        last = (
            f"worker {reported.worker} last reported {now - reported.at:.0f} s ago: "
            f"{reported.state}"
            if reported
            else ""
        )
        found |= {
            "state": state,
            "reason": "; ".join(filter(None, (last, why))) or "no worker has reported this stream",
        }
    issues = {code: counted[code] for code in SHOWN_ISSUES if counted[code]}
    return found | {"counts": {name: counted[name] for name in COUNT_COLUMNS}, "issues": issues}


def _unowned_state(connector: str, pollers: list[WorkerStatus]) -> tuple[str, str]:
    """Return the state of a connector that no worker reports, and the reason."""
    if not pollers:
        return "unowned", "no poll worker reports"
    pollers_without = [
        one for one in pollers if one.connectors is not None and connector not in one.connectors
    ]
    for one in pollers_without:
        if finding := one.not_loaded.get(connector):
            return "not_loaded", f"worker {one.worker} cannot load its file: {finding}"
    without = [one.worker for one in pollers_without]
    if len(without) == len(pollers):
        return "omitted", "no poll worker was started with it"
    if without:
        return (
            "unowned",
            (
                f"workers not started with it: {', '.join(without)}; "
                "start all workers with the same connectors"
            ),
        )
    return "unowned", ""


def _print(found: dict[str, Any], *, show_all: bool) -> None:
    """Print a line for each stream and each worker.

    With ``show_all``, print only the names of omitted connectors, because they need no action.
    """
    omitted = sorted(
        {one["connector"] for one in found["streams"] if show_all and one["state"] == "omitted"}
    )
    shown = [one for one in found["streams"] if one["connector"] not in omitted]
    rows = [
        (
            "STREAM",
            "STATE",
            "BEHIND",
            "LAST POLL",
            *(name.upper() for name in COUNT_COLUMNS),
            "WORKER",
        )
    ]
    rows += [
        (
            f"{one['connector']} {one['stream']}",
            _state(one),
            _ago(one.get("read_up_to_seconds_ago")),
            _ago(one.get("last_success_seconds_ago")),
            *(str(one["counts"][name]) for name in COUNT_COLUMNS),
            one.get("worker", "-"),
        )
        for one in shown
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(
                one_line(text).ljust(width) for text, width in zip(row, widths, strict=True)
            ).rstrip()
        )
    for one in shown:
        for line in _remarks(one):
            print(one_line(f"{one['connector']} {one['stream']}: {line}"))
    named = {one["connector"] for one in shown if one["state"] == "not_loaded"}
    lines = (_not_loaded_line(one) for one in found["not_loaded"] if one["connector"] not in named)
    for line in dict.fromkeys(lines):
        print(one_line(line))
    if omitted:
        print(f"omitted, no poll worker was started with them: {', '.join(omitted)}")
    for one in found["workers"]:
        commits = (
            ", ".join(
                f"{role} {_ago(seconds)}"
                for role, seconds in one["last_commit_seconds_ago"].items()
            )
            or "none yet"
        )
        print(
            f"worker {one['worker']}: {one['state']}, {' and '.join(one['roles'])}, "
            f"up {_ago(one['up_seconds'])}, last commit {commits}, {one['waiting']} records waiting"
        )
        for role, why in one["blocked"].items():
            print(one_line(f"worker {one['worker']}: {role} cannot commit {why}"))
    if not found["workers"]:
        print("no worker reports; start one with `gateway run`")


def _remarks(one: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that explain the state of one stream."""
    from gateway.messages.status import skipped_records_text, skipped_values_text

    if one["reason"]:
        yield f"{one['state']}: {one['reason']}"
    if one.get("deletions_withheld") and "--accept-deletions" not in one["reason"]:
        name = f"{one['connector']} {one['stream']}"
        yield (
            f"deletions withheld: {one['deletions_withheld']:,} of {one['records_known']:,}; "
            f"accept them with `gateway resume {name} --accept-deletions`"
        )
    if one.get("values_skipped"):
        yield skipped_values_text(one["values_skipped"], one["loop_values"])
    if one.get("records_skipped"):
        yield skipped_records_text(one["records_skipped"])
    for code, number in one["issues"].items():
        yield f"{SHOWN_ISSUES[code]}: {number:,}; the issue is {code}"


def _not_loaded_line(one: dict[str, Any]) -> str:
    state = "not loaded, an earlier version of its file runs" if one["runs"] else "not loaded"
    return f"{one['connector']}: {state}: {one['finding']}"


def _state(one: dict[str, Any]) -> str:
    backfill = one.get("backfill")
    return (
        f"{one['state']} {backfill['ratio']:.0%}"
        if backfill and backfill["state"] == "running"
        else str(one["state"])
    )


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("status")(status)
