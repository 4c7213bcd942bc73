"""Find the cause of the state of each stream of a connector, from the reports of the workers.

``gateway why`` and the status page show the result. See docs/decisions/0109.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config.connector import Connector, Stream
from gateway.messages.status import (
    StreamStatus,
    WorkerStatus,
    skipped_records_text,
    skipped_values_text,
)
from gateway.observability.causes import Cause, cause_of
from gateway.observability.diagnosis import Diagnosis
from gateway.observability.page_elements import instant

SILENT_AFTER_SECONDS = 20.0
"""After four missing reports, a worker counts as silent and its streams as unowned."""
LATE_AFTER_INTERVALS = 3
MIN_LATE_SECONDS = 60
REJECTED_SHARE_DIVISOR = 20
MIN_REJECTED = 10
"""More rejections than this, and more than one in twenty, are worth a look, as in the alert."""


@dataclass(frozen=True, slots=True)
class ConnectorFacts:
    """The facts about one connector.

    ``connector`` is ``None`` if its file cannot be loaded here; ``finding`` then says why.
    """

    name: str
    file: Path
    connector: Connector | None
    finding: str
    workers: Sequence[WorkerStatus]
    now: float

    @property
    def alive(self) -> list[WorkerStatus]:
        """The workers that report now."""
        return [one for one in self.workers if self.now - one.at <= SILENT_AFTER_SECONDS]

    @property
    def pollers(self) -> list[WorkerStatus]:
        """The workers that report now and poll registries."""
        return [one for one in self.alive if "poll" in one.roles]


def diagnose(facts: ConnectorFacts, stream: str, status: StreamStatus | None) -> Diagnosis:
    """Return the cause of the state of one stream. The first cause that applies is returned.

    ``status`` is the last report of its owner, or ``None`` if there is none.
    """
    # A worker that stopped leaves the last reports about its streams behind.
    reporters = {one.worker for one in facts.alive}
    is_silent = status is None or facts.now - status.at > SILENT_AFTER_SECONDS
    if status is None or is_silent or status.worker not in reporters:
        state, code, details = _cause_without_owner(facts, status)
    else:
        state, (code, details) = status.state, _cause_with_owner(facts, status)
    return _diagnosis(facts, stream, status, state, cause_of(code), details)


def diagnose_worker(
    folder: Path,
    connectors: Mapping[str, Connector],
    statuses: Iterable[StreamStatus | WorkerStatus],
) -> list[Diagnosis]:
    """Return the diagnosis of each stream that one worker reports, and of files that do not load.

    ``connectors`` are those that the worker runs, from files in ``folder``.
    """
    reported = list(statuses)
    workers = [one for one in reported if isinstance(one, WorkerStatus)]
    now = max((one.at for one in workers), default=0.0)

    def facts(name: str) -> ConnectorFacts:
        return ConnectorFacts(name, folder / f"{name}.yaml", connectors.get(name), "", workers, now)

    missing = {name for one in workers for name in one.not_loaded if name not in connectors}
    return [
        diagnose(facts(one.connector), one.stream, one)
        for one in reported
        if isinstance(one, StreamStatus)
    ] + [diagnose(facts(name), "", None) for name in sorted(missing)]


def diagnose_without_kafka(facts: ConnectorFacts, stream: str, details: str) -> Diagnosis:
    """Return the diagnosis while Kafka does not answer, so that no state can be read."""
    return _diagnosis(facts, stream, None, "not known", cause_of("KAFKA_DOWN"), details)


def _cause_without_owner(
    facts: ConnectorFacts, status: StreamStatus | None
) -> tuple[str, str, str]:
    """Return the state, the code and the details of a stream that no worker reports now."""
    without = [
        one
        for one in facts.pollers
        if one.connectors is not None and facts.name not in one.connectors
    ]
    finding = next(
        (
            one.not_loaded[facts.name]
            for one in facts.alive
            if facts.name in one.not_loaded and facts.name not in (one.connectors or ())
        ),
        "" if facts.pollers else facts.finding,
    )
    last = (
        f"worker {status.worker} reported last {facts.now - status.at:.0f} s ago: {status.state}"
        if status
        else "no worker has reported this stream"
    )
    if finding:
        return "not loaded", "NOT_LOADED", finding
    if not facts.pollers:
        return "not polled", "NO_WORKER", last
    if len(without) == len(facts.pollers):
        return "omitted", "OMITTED", ""
    return "unowned", "UNOWNED", last


def _cause_with_owner(facts: ConnectorFacts, status: StreamStatus) -> tuple[str, str]:
    """Return the code and the details of a stream that its owner reports."""
    owner = next((one for one in facts.alive if one.worker == status.worker), None)
    blocked = owner.blocked.get("poll", "") if owner else ""
    finding = owner.not_loaded.get(facts.name, "") if owner else ""
    late = (
        status.read_up_to is not None
        and status.every > 0
        and facts.now - status.read_up_to
        > max(LATE_AFTER_INTERVALS * status.every, MIN_LATE_SECONDS)
    )
    skipped = skipped_values_text(status.values_skipped, status.loop_values)
    rejected = _rejected_text(facts, status)
    possible: tuple[tuple[object, str, str], ...] = (
        (status.state == "paused", "PAUSED", status.reason),
        (blocked, "KAFKA_BLOCKED", f"worker {status.worker} cannot commit {blocked}"),
        (status.state in {"halted", "retrying"}, status.code or "unexpected", status.reason),
        (status.deletions_withheld, "DELETIONS_WITHHELD", status.reason),
        (status.state == "starting", "NEVER_POLLED", ""),
        (finding, "CONFIG_REFUSED", finding),
        (late, "STALE", ""),
        (status.reason, "EMPTY_LOOP", status.reason),
        (skipped, "LOOP_VALUES_SKIPPED", skipped),
        (status.records_skipped, "RECORDS_SKIPPED", skipped_records_text(status.records_skipped)),
        (rejected, "RECORDS_REJECTED", rejected),
    )
    return next(((code, text) for applies, code, text in possible if applies), ("HEALTHY", ""))


def _rejected_text(facts: ConnectorFacts, status: StreamStatus) -> str:
    """Return how many records were rejected, if that are many."""
    counts: Counter[str] = Counter()
    for worker in facts.alive:
        counts.update(worker.counts.get(f"{status.connector}|{status.stream}", {}))
    rejected, ended = counts["rejected"], counts["rejected"] + counts["accepted"]
    if rejected <= MIN_REJECTED or rejected * REJECTED_SHARE_DIVISOR <= ended:
        return ""
    return f"{rejected:,} of {ended:,} records were rejected since the workers started"


def _diagnosis(
    facts: ConnectorFacts,
    stream: str,
    status: StreamStatus | None,
    state: str,
    cause: Cause,
    details: str,
) -> Diagnosis:
    names = {
        "connector": facts.name,
        "stream": stream,
        "base": stream.partition("@")[0],
        "file": str(facts.file),
    }
    rules = facts.connector.streams.get(stream) if facts.connector else None
    read_up_to = status.read_up_to if status else None
    since = status.since if status else None
    if status and cause.code in {"NO_WORKER", "UNOWNED"}:
        since = status.at
    elif cause.code == "STALE":
        since = read_up_to
    owner = facts.connector.owner if facts.connector else None
    return Diagnosis(
        connector=facts.name,
        stream=stream,
        state=state,
        code=cause.code,
        meaning=cause.meaning,
        is_bad=cause.is_bad,
        details=details,
        since=since,
        read_up_to=read_up_to,
        replies_compared=bool(status and status.replies_compared),
        fields_gone=status.fields_gone if status else (),
        fields_new=status.fields_new if status else (),
        steps=tuple(" ".join(step.format(**names).split()) for step in cause.remedy.steps),
        loss=cause.remedy.loss or _loss(facts.connector, rules, cause, read_up_to),
        owner=f"{owner.name}, {owner.contact}" if owner else "",
        runbook=cause.remedy.runbook,
        remarks=tuple(_remarks(facts, status, cause)),
    )


def _remarks(facts: ConnectorFacts, status: StreamStatus | None, cause: Cause) -> Iterable[str]:
    if status and status.cause and cause.code == status.code:
        yield f"The last request failed as {status.cause}. {cause_of(status.cause).meaning}"
    if status and status.code and cause.code in {"NO_WORKER", "UNOWNED"}:
        yield f"Before that: {cause_of(status.code).meaning} ({status.code})"
    if facts.finding and cause.code not in {"NOT_LOADED", "CONFIG_REFUSED"}:
        yield f"The file on this machine is not valid: {facts.finding}"


def _loss(
    connector: Connector | None, rules: Stream | None, cause: Cause, read_up_to: float | None
) -> str:
    """Return what is lost while a stream is not read. It depends on how the stream is read."""
    if cause.code in {"HEALTHY", "NEVER_POLLED"}:
        return ""
    if connector is not None and connector.push is not None:
        return (
            "The registry keeps what it sends until the gateway accepts it. "
            "Ask its operator how long it tries."
        )
    cursor = rules.cursor if rules else None
    if rules is not None and (cursor is None or cursor.scan):
        return "Nothing is lost. The next scan reads all records. Published records become older."
    if cursor is not None and cursor.feed is not None:
        return (
            "Nothing is lost while the feed keeps its entries. "
            "If it drops entries that were not read, read the feed from its start."
        )
    if read_up_to is None:
        return "Nothing is lost. The gateway reads all records later."
    return (
        "Nothing is lost. The gateway asks later for all changes since "
        f"{instant(read_up_to)}. "
        "Only a registry that keeps changes for a limited time may drop some."
    )
