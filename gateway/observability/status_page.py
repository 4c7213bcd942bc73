"""Render the status page: streams, their freshness, outcomes of records, and rejections by reason.

The page is rendered from the metrics registry, so it never contradicts ``/metrics``. It is
read-only, runs no script and loads nothing. It is readable without colour, at any width and with
a keyboard. It shows connectors, codes and counts, but no payload and no person. The library htpy
escapes each value, see docs/decisions/0046.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import htpy
from htpy import Element, code, p, strong, td, wbr
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from gateway.observability import page_elements as elements
from gateway.observability.explanation_page import explain_form
from gateway.observability.page_layout import reload_note, render_document

OUTCOMES = ("accepted", "rejected", "unchanged", "deleted")
LATE_AFTER_INTERVALS = 3
"""A stream is late when it is this number of its intervals behind, as in the alert
``ConnectorStale``."""

BREAKER_OPEN = 2
"""The value of ``gateway_breaker_state`` while the gateway does not call a registry."""

_BREAKERS = {
    0.0: ("good", "closed"),
    1.0: ("plain", "half-open: probing"),
    2.0: ("bad", "open: not called"),
}
Stream = tuple[str, str]
"""The names of a connector and of one of its streams."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The facts that metrics do not contain. Each field may be empty."""

    release: str = ""
    stage: str = ""
    roles: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    """The title of each connector."""
    explains: bool = False
    """Whether the health server answers ``/explain``."""
    paused: frozenset[Stream] = frozenset()
    problems: Mapping[Stream, str] = field(default_factory=dict)
    """The last failure of each stream that fails now, in one line."""
    not_loaded: Mapping[str, str] = field(default_factory=dict)
    """The connectors whose file is not valid, each with one finding."""
    runbooks: str = ""
    """The address of the folder of runbooks. Blank if there is none."""
    reloads: bool = False
    """Whether the health server reloads the page by itself."""


class MetricReadings:
    """The values in a registry at one moment, by metric and label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in registry.collect():
            if family.type == "gauge":
                self._samples[family.name] = _max_over_processes(family)
                continue
            for sample in family.samples:
                self._samples[sample.name].append((dict(sample.labels), sample.value))

    def sum_by(self, metric: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the sums of a metric by the values of ``labels``."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for sample_labels, value in self._samples[metric]:
            sums[tuple(sample_labels[label] for label in labels)] += value
        return dict(sums)

    def streams(self) -> list[Stream]:
        """Return each stream that a metric has as labels, in alphabetical order."""
        return sorted(
            {
                (labels["connector"], labels["stream"])
                for samples in self._samples.values()
                for labels, _ in samples
                if "stream" in labels
            }
        )


def _max_over_processes(family: Metric) -> list[tuple[dict[str, str], float]]:
    """Return the samples of a gauge without the label ``process``.

    The highest value of all processes counts, because states cannot be added up.
    """
    highest: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = tuple(
            sorted((name, value) for name, value in sample.labels.items() if name != "process")
        )
        highest[labels] = max(sample.value, highest.get(labels, sample.value))
    return [(dict(labels), value) for labels, value in highest.items()]


def render(registry: CollectorRegistry, snapshot: Snapshot, now: float) -> str:
    """Return the status page as HTML. ``now`` is a Unix time."""
    readings = MetricReadings(registry)
    states = {stream: _state(readings, snapshot, stream, now) for stream in readings.streams()}
    sections = [_streams(readings, snapshot, states, now), _rejections(readings)]
    sections += [_registries(readings, now, snapshot.runbooks), _mapping(readings, now)]
    sections += [_coverage(readings, now), _kafka(readings, now, snapshot.runbooks)]
    sections += [explain_form(snapshot.titles)] if snapshot.explains else []
    summary = [_summary(readings, states), _not_loaded(snapshot)]
    about = _header_line(readings, snapshot, now)
    return render_document(about, summary, sections, reload_note(reloads=snapshot.reloads))


def _not_loaded(snapshot: Snapshot) -> Element | None:
    """Return one line for each connector file that is not valid."""
    if not snapshot.not_loaded:
        return None
    runbook = elements.runbook_address(snapshot.runbooks, "ConnectorNotLoaded")
    lines = [
        htpy.li[
            strong(".bad")[
                code[name],
                " ",
                htpy.a(href=runbook)["is not loaded"] if runbook else "is not loaded",
                ": ",
            ],
            finding,
            " (an earlier version runs)" if name in snapshot.titles else "",
        ]
        for name, finding in sorted(snapshot.not_loaded.items())
    ]
    return htpy.ul[lines]


def _header_line(readings: MetricReadings, snapshot: Snapshot, now: float) -> str:
    release = snapshot.release or next(
        (version for (version,) in readings.sum_by("gateway_build_info", "version")), ""
    )
    facts = (
        f"release {release}" if release else "",
        f"{snapshot.stage} registries" if snapshot.stage else "",
        "roles " + " and ".join(snapshot.roles) if snapshot.roles else "",
        f"as of {elements.instant(now)}",
    )
    return " · ".join(filter(None, facts))


def _summary(readings: MetricReadings, states: Mapping[Stream, tuple[str, str, str]]) -> Element:
    if not states:
        return p["This worker has polled and harmonised nothing yet."]
    connectors = {connector for connector, _ in states}
    bad_count = sum(level == "bad" for level, *_ in states.values())
    received = sum(readings.sum_by("gateway_records_received_total").values())
    ended = readings.sum_by("gateway_records_total", "outcome")
    outcomes = ", ".join(
        f"{elements.number(ended.get((outcome,), 0))} {outcome}" for outcome in OUTCOMES
    )
    blocked = max(readings.sum_by("gateway_publish_blocked_seconds", "role").values(), default=0)
    attention = elements.count(bad_count, "stream needs", "streams need")
    return p[
        (strong(".bad")[f"Kafka has taken nothing for {elements.duration(blocked)}."], " ")
        if blocked
        else None,
        strong(".bad")[f"{attention} attention."]
        if bad_count
        else "Registries are well."
        if blocked
        else strong(".good")["All is well."],
        f" {elements.count(len(connectors), 'connector', 'connectors')}, ",
        f"{elements.count(len(states), 'stream', 'streams')}; since this worker started: ",
        f"{elements.number(received)} records received; {outcomes}.",
    ]


def _state(
    readings: MetricReadings, snapshot: Snapshot, stream: Stream, now: float
) -> tuple[str, str, str]:
    """Return the level of a stream (good, plain or bad), its state and the runbook of a bad one.

    The first state that applies is returned.
    """
    cursor = readings.sum_by("gateway_cursor_timestamp_seconds", "connector", "stream").get(stream)
    every = readings.sum_by("gateway_poll_interval_seconds", "connector", "stream").get(stream, 0)
    breakers = readings.sum_by("gateway_breaker_state", "connector", "institution")
    institution = stream[1].partition("@")[2]
    breaker = max(breakers.get((stream[0], name), 0) for name in ("", institution))
    problem = snapshot.problems.get(stream)
    skipped = readings.sum_by("gateway_loop_values_skipped", "connector", "stream").get(stream, 0)
    withheld = readings.sum_by("gateway_deletions_withheld", "connector", "stream").get(stream, 0)
    late = cursor is not None and every and now - cursor > LATE_AFTER_INTERVALS * every
    halted = readings.sum_by("gateway_halted_state", "connector", "stream").get(stream, 0)
    failing = "ConnectorHalted" if halted else "ConnectorFailing"
    possible = (
        (stream in snapshot.paused, "plain", "paused", ""),
        (breaker == BREAKER_OPEN, "bad", "registry not answering", "BreakerOpen"),
        (problem, "bad", f"failing: {problem}", failing),
        (withheld, "bad", f"deletions withheld: {withheld:,.0f}", "DeletionsWithheld"),
        (cursor is None and not every, "plain", "polled elsewhere", ""),
        (cursor is None, "plain", "not read yet", ""),
        (late, "bad", "late", "ConnectorStale"),
        (skipped, "bad", f"{skipped:.0f} loop values skipped", "LoopValuesSkipped"),
    )
    return next(
        ((level, words, runbook) for applies, level, words, runbook in possible if applies),
        ("good", "fresh", ""),
    )


def _streams(
    readings: MetricReadings,
    snapshot: Snapshot,
    states: Mapping[Stream, tuple[str, str, str]],
    now: float,
) -> Element:
    cursors = readings.sum_by("gateway_cursor_timestamp_seconds", "connector", "stream")
    intervals = readings.sum_by("gateway_poll_interval_seconds", "connector", "stream")
    received = readings.sum_by("gateway_records_received_total", "connector", "stream")
    ended = readings.sum_by("gateway_records_total", "connector", "stream", "outcome")
    rows = []
    titled: set[str] = set()
    for stream, (level, words, runbook) in states.items():
        title = "" if stream[0] in titled else snapshot.titles.get(stream[0], "")
        titled.add(stream[0])
        rows.append(
            [
                elements.row_head(
                    [_stream_name(stream), (" ", htpy.small[title]) if title else None],
                ),
                elements.level_cell(
                    level, words, elements.runbook_address(snapshot.runbooks, runbook)
                ),
                elements.ago_cell(cursors.get(stream), now),
                td[elements.duration(intervals[stream])]
                if stream in intervals
                else elements.EMPTY_CELL,
                elements.number_cell(received.get(stream)),
                *(elements.number_cell(ended.get((*stream, outcome))) for outcome in OUTCOMES),
            ]
        )
    heads = (
        "Connector and stream",
        "State",
        "Read up to",
        "Every",
        "Received",
        *map(str.capitalize, OUTCOMES),
    )
    return elements.table_section(
        "streams",
        "Connectors and their streams",
        heads,
        rows,
        empty="No stream has been polled or harmonised here yet.",
        numbers=range(4, 9),
    )


def _rejections(readings: MetricReadings) -> Element:
    counts = readings.sum_by("gateway_rejections_total", "connector", "stream", "reason", "field")
    rows = [
        [
            elements.row_head(code[reason]),
            elements.code_cell(target_field) if target_field else elements.EMPTY_CELL,
            elements.code_cell(connector),
            elements.code_cell(stream),
            elements.number_cell(number),
        ]
        for (connector, stream, reason, target_field), number in sorted(
            counts.items(), key=lambda item: (-item[1], item[0])
        )
        if number
    ]
    heads = ("Reason", "Field", "Connector", "Stream", "Records")
    return elements.table_section(
        "rejections",
        "Rejections by reason",
        heads,
        rows,
        empty="Nothing was rejected.",
        numbers=range(4, 5),
    )


def _registries(readings: MetricReadings, now: float, runbooks: str) -> Element:
    breakers = readings.sum_by("gateway_breaker_state", "connector", "institution")
    requests = readings.sum_by("gateway_registry_requests_total", "connector", "status_class")
    retries = readings.sum_by("gateway_retries_total", "connector")
    waits = readings.sum_by("gateway_rate_limit_wait_seconds_total", "connector")
    certificates: dict[str, float] = {}
    for (connector, _), when in readings.sum_by(
        "gateway_certificate_expiry_timestamp_seconds", "connector", "use"
    ).items():
        certificates[connector] = min(when, certificates.get(connector, when))
    names = sorted({connector for connector, *_ in [*breakers, *requests, *retries, *waits]})
    rows = []
    for name in names:
        level, words = _breaker_state(
            {
                institution: state
                for (connector, institution), state in breakers.items()
                if connector == name
            }
        )
        failed = sum(
            value
            for (connector, status), value in requests.items()
            if connector == name and status in {"5xx", "4xx", "error"}
        )
        total = sum(value for (connector, _), value in requests.items() if connector == name)
        rows.append(
            [
                elements.row_head(code[name]),
                elements.level_cell(
                    level, words, elements.runbook_address(runbooks, "BreakerOpen")
                ),
                elements.number_cell(total),
                elements.number_cell(failed),
                elements.number_cell(retries.get((name,), 0)),
                td[elements.duration(waits.get((name,), 0))],
                elements.until_cell(certificates.get(name), now),
            ]
        )
    heads = (
        "Registry",
        "Circuit breaker",
        "Requests",
        "Failed",
        "Tried again",
        "Waited for its limits",
        "Certificate expires",
    )
    return elements.table_section(
        "registries",
        "Registries",
        heads,
        rows,
        empty="No registry was called by this worker.",
        numbers=range(2, 5),
    )


def _breaker_state(states: Mapping[str, float]) -> tuple[str, str]:
    """Return the level and the words for the circuit breakers of one connector, by institution.

    The name of an institution is blank for the registry as a whole.
    """
    worst = max(states.values(), default=0.0)
    level, words = _BREAKERS.get(worst, ("bad", "unknown"))
    names = sorted(name for name, state in states.items() if worst and state == worst)
    return level, words if not names or "" in names else f"{words} ({', '.join(names)})"


def _mapping(readings: MetricReadings, now: float) -> Element:
    lookups = readings.sum_by("gateway_table_lookups_total", "country", "table")
    unmapped = readings.sum_by("gateway_unmapped_values_total", "country", "table")
    ends = readings.sum_by("gateway_table_expiry_timestamp_seconds", "country", "table")
    rows = []
    for country, table in sorted({*lookups, *unmapped}):
        total = lookups.get((country, table), 0)
        missing = unmapped.get((country, table), 0)
        rows.append(
            [
                elements.row_head(country),
                elements.code_cell(table),
                elements.number_cell(total),
                elements.number_cell(missing),
                elements.percent_cell(total - missing, total)
                if total
                else elements.EMPTY_NUMBER_CELL,
                elements.until_cell(ends.get((country, table)), now),
            ]
        )
    heads = ("Country", "Table", "Lookups", "Values not in it", "Covered", "In force until")
    return elements.table_section(
        "mapping",
        "Mapping tables by country",
        heads,
        rows,
        empty="No table was used yet.",
        numbers=range(2, 5),
    )


def _coverage(readings: MetricReadings, _now: float) -> Element:
    shares = readings.sum_by("gateway_mapping_coverage_ratio", "connector", "stream")
    rows = [
        [
            elements.row_head(_stream_name((connector, stream))),
            elements.percent_cell(share, 1),
        ]
        for (connector, stream), share in sorted(shares.items())
    ]
    heads = ("Connector and stream", "Target fields it maps")
    return elements.table_section(
        "coverage",
        "Coverage",
        heads,
        rows,
        empty="No connector is loaded here.",
        numbers=range(1, 2),
    )


def _kafka(readings: MetricReadings, now: float, runbooks: str) -> Element:
    commits = readings.sum_by("gateway_last_commit_timestamp_seconds", "role")
    blocked = readings.sum_by("gateway_publish_blocked_seconds", "role")
    replaced = readings.sum_by("gateway_producers_replaced_total", "role")
    lag = sum(readings.sum_by("gateway_consumer_lag_records").values())
    rows = []
    for (role,) in sorted({*commits, *blocked, *replaced}):
        seconds = blocked.get((role,), 0)
        level, words = (
            ("bad", f"blocked for {elements.duration(seconds)}") if seconds else ("good", "writing")
        )
        lag_cell = elements.number_cell(lag if role == "harmonise" else None)
        rows.append(
            [
                elements.row_head(role),
                elements.level_cell(
                    level, words, elements.runbook_address(runbooks, "PublishBlocked")
                ),
                elements.ago_cell(commits.get((role,)), now),
                elements.number_cell(replaced.get((role,), 0)),
                lag_cell,
            ]
        )
    heads = ("Role", "State", "Last commit", "Producers replaced", "Records waiting")
    return elements.table_section(
        "kafka", "Kafka", heads, rows, empty="Nothing was committed yet.", numbers=range(3, 5)
    )


def _stream_name(stream: Stream) -> Element:
    """Return the names of a connector and a stream. A narrow page breaks the line between them."""
    return code[stream[0], " ", wbr, stream[1]]
