"""``gateway why``: show on one screen why a connector does not run, and what to do."""

from __future__ import annotations

import asyncio
import json
import re
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gateway.errors import ConfigError, Unavailable, UsageError
from gateway.printable import one_line
from gateway.settings import Settings
from gateway.similar_name import did_you_mean

if TYPE_CHECKING:
    from gateway.messages.status import StreamStatus, WorkerStatus
    from gateway.observability.diagnosis import Diagnosis
    from gateway.operations.diagnose import ConnectorFacts

WIDTH = 80
LABEL_WIDTH = 15
MAX_OTHERS = 3
"""The causes that have one line each, after the one that is shown in full."""
MAX_NAMES = 4
"""The streams with one cause that are named."""


def why(
    connector: Annotated[
        str, typer.Argument(help="Name of the connector: CONNECTOR or CONNECTOR/STREAM.")
    ],
    stream: Annotated[str, typer.Argument(help="Name of the stream.  [default: all]")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show why a connector does not run: cause, time, changes of the reply, and what to do.

    Also shows what is lost if you wait.
    """
    from gateway.cli.runtime import load_settings

    settings = load_settings()
    # The name of a file is understood too, as `gateway check` takes it.
    path = Path(connector)
    name, _, after = (path.stem if path.suffix == ".yaml" else connector).partition("/")
    diagnoses, failure = asyncio.run(_diagnose(settings, name, stream or after))
    now = time.time()
    if as_json:
        print(
            json.dumps(
                {"connector": name, "streams": [as_data(one, now) for one in diagnoses]},
                ensure_ascii=False,
                indent=1,
            )
        )
    else:
        print("\n".join(screen(diagnoses, settings, now)))
    if failure:
        raise typer.Exit(failure.exit_code)


async def _diagnose(
    settings: Settings, name: str, stream: str
) -> tuple[list[Diagnosis], Unavailable | None]:
    """Return the diagnosis of each stream, and why Kafka could not be asked."""
    from gateway.operations.diagnose import diagnose, diagnose_without_kafka
    from gateway.operations.read_status import read_status

    try:
        statuses, workers = await read_status(settings)
    except Unavailable as error:
        facts = load_facts(settings, name, [], [])
        return [diagnose_without_kafka(facts, stream, str(error))], error
    facts = load_facts(settings, name, statuses, workers)
    reported = {one.stream: one for one in statuses if one.connector == name}
    names = sorted(reported.keys() | (facts.connector.streams.keys() if facts.connector else set()))
    if stream:
        chosen = [one for one in names if stream in {one, one.partition("@")[0]}]
        if names and not chosen:
            raise UsageError(
                f"{name} has no stream {stream}{did_you_mean(stream, names)}; "
                f"it has: {', '.join(names)}"
            )
        names = chosen or [stream]
    return [diagnose(facts, one, reported.get(one)) for one in names or [""]], None


def load_facts(
    settings: Settings,
    name: str,
    statuses: Sequence[StreamStatus],
    workers: Sequence[WorkerStatus],
) -> ConnectorFacts:
    """Return what this machine and the workers know about a connector.

    Raises :class:`~gateway.errors.UsageError` for a connector that neither of them knows.
    """
    from gateway.config.loading import load_connector
    from gateway.config.split_streams import split_by_party
    from gateway.operations.diagnose import ConnectorFacts
    from gateway.pipeline.loaded_config import connector_files

    try:
        files = {path.stem: path for path in connector_files(settings.connectors)}
    except ConfigError:
        files = {}
    known = {one.connector for one in statuses}
    for worker in workers:
        known |= {*(worker.connectors or ()), *worker.not_loaded}
    if name not in files and name not in known:
        names = sorted({*files, *known})
        raise UsageError(
            f"unknown connector {name}{did_you_mean(name, names)}; "
            f"{settings.connectors}/ and the workers have: {', '.join(names) or 'none'}"
        )
    connector, finding = None, ""
    if name in files:
        try:
            connector = split_by_party(load_connector(files[name]))
        except ConfigError as error:
            finding = str(error.findings[0])
    file = files.get(name, Path(settings.connectors) / f"{name}.yaml")
    if file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    return ConnectorFacts(name, file, connector, finding, workers, time.time())


def as_data(diagnosis: Diagnosis, now: float) -> dict[str, Any]:
    """Return a diagnosis as JSON data. Times are in UTC, and durations in seconds."""
    from datetime import UTC, datetime

    from gateway.messages.cloudevents import to_rfc3339

    def moment(value: float | None) -> str | None:
        return None if value is None else to_rfc3339(datetime.fromtimestamp(value, UTC))

    since = diagnosis.since
    return {
        "stream": diagnosis.stream,
        "state": diagnosis.state,
        "needs_attention": diagnosis.is_bad,
        "code": diagnosis.code,
        "cause": diagnosis.meaning,
        "details": diagnosis.details,
        "since": moment(since),
        "since_seconds_ago": None if since is None else round(now - since, 1),
        "read_up_to": moment(diagnosis.read_up_to),
        "reply_compared": diagnosis.replies_compared,
        "fields_gone": list(diagnosis.fields_gone),
        "fields_new": list(diagnosis.fields_new),
        "steps": list(diagnosis.steps),
        "loss": diagnosis.loss,
        "owner": diagnosis.owner,
        "runbook": diagnosis.runbook,
        "remarks": list(diagnosis.remarks),
    }


def screen(diagnoses: Sequence[Diagnosis], settings: Settings, now: float) -> Iterator[str]:
    """Yield the lines of the answer: the worst cause first, and streams with one cause together."""
    groups: dict[tuple[str, ...], list[Diagnosis]] = {}
    for one in sorted(diagnoses, key=lambda one: (not one.is_bad, one.code == "HEALTHY")):
        # Texts that differ only in the stream or in a number have one cause.
        details = re.sub(r"\d+", "", one.details.replace(one.stream, "")) if one.stream else ""
        groups.setdefault((one.code, one.state, details), []).append(one)
    well = [one for group in groups.values() for one in group if one.code == "HEALTHY"]
    shown = [group for group in groups.values() if group[0].code != "HEALTHY"]
    if shown:
        yield from _block(shown[0], settings, now)
        yield from _others(shown[1:])
    if well:
        yield from [""] if shown else []
        yield from _wrap(_well(well, now))


def _others(groups: Sequence[Sequence[Diagnosis]]) -> Iterator[str]:
    """Yield one line for each further cause, so that the answer fits one screen."""
    for number, group in enumerate(groups[:MAX_OTHERS]):
        first = group[0]
        yield from [] if number else [""]
        yield from _wrap(
            f"{first.stream}: {first.state} ({first.code}); "
            f"gateway why {first.connector}/{first.stream}"
        )
    if (more := len(groups) - MAX_OTHERS) > 0:
        yield f"{more} more {'cause' if more == 1 else 'causes'}"


def _well(well: Sequence[Diagnosis], now: float) -> str:
    from gateway.observability.page_elements import count, duration

    ages = [now - one.read_up_to for one in well if one.read_up_to is not None]
    fresh = f"; read up to {duration(max(0.0, *ages, 0.0))} ago or later" if ages else ""
    streams = well[0].stream if len(well) == 1 else count(len(well), "stream", "streams")
    return f"{well[0].connector}: {streams} {'is' if len(well) == 1 else 'are'} well{fresh}."


def _block(group: Sequence[Diagnosis], settings: Settings, now: float) -> Iterator[str]:
    from gateway.observability.diagnosis import headline, paragraphs

    first = group[0]
    names = ", ".join(one.stream for one in group[:MAX_NAMES] if one.stream)
    more = len(group) - MAX_NAMES
    names += f" and {more} more streams" if more > 0 else ""
    yield from _wrap(headline(first, f"{first.connector} {names}".strip(), now))
    folder = (settings.runbooks_url or "deploy/runbooks").rstrip("/")
    runbook = f"{folder}/{first.runbook}.md" if first.runbook else ""
    poll = f"gateway poll {first.connector} "
    if len(group) > 1:  # One command polls all of them.
        steps = [f"{poll}--wait" if step.startswith(poll) else step for step in first.steps]
        first = msgspec.structs.replace(first, steps=tuple(steps))
    for label, lines in paragraphs(first, runbook):
        for number, line in enumerate(lines):
            head = f"  {label if not number else ''}".ljust(LABEL_WIDTH)
            yield from _wrap(line, head)


def _wrap(text: str, head: str = "") -> list[str]:
    """Return a text as lines of at most 80 columns.

    A command that needs several lines can be copied, because each line but the last ends in a
    backslash.
    """
    is_command = text.startswith("gateway ")
    lines = textwrap.wrap(
        one_line(text),
        WIDTH - (2 if is_command else 0),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
        break_long_words=False,
    )
    if is_command:
        lines[:-1] = [f"{line} \\" for line in lines[:-1]]
    return lines or [head.rstrip()]


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("why")(why)
