"""Render the tables of the status page: streams, rejections, registries, tables and Kafka."""

from __future__ import annotations

from collections.abc import Mapping

import htpy
from htpy import Element, code, td, wbr

from gateway.observability import page_elements as elements
from gateway.observability.metric_readings import MetricReadings, Stream
from gateway.observability.page_snapshot import Snapshot
from gateway.observability.why_page import why_address

OUTCOMES = ("accepted", "rejected", "unchanged", "deleted")
_BREAKERS = {
    0.0: ("good", "closed"),
    1.0: ("plain", "half-open: probing"),
    2.0: ("bad", "open: not called"),
}


def streams_section(
    readings: MetricReadings,
    snapshot: Snapshot,
    states: Mapping[Stream, tuple[str, str, str]],
    now: float,
) -> Element:
    """Return the table of the streams, each with its state, its freshness and its counts."""
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
                    [stream_name(stream), (" ", htpy.small[title]) if title else None],
                ),
                elements.level_cell(
                    level,
                    words,
                    elements.runbook_address(snapshot.runbooks, runbook),
                    why_address(*stream),
                    " ".join(stream),
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


def rejections_section(readings: MetricReadings) -> Element:
    """Return the table of the rejections by reason, the most frequent first."""
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


def registries_section(readings: MetricReadings, now: float, runbooks: str) -> Element:
    """Return the table of the registries that this worker calls."""
    breakers = readings.sum_by("gateway_breaker_state", "connector", "institution")
    requests = readings.sum_by("gateway_registry_requests_total", "connector", "status_class")
    retries = readings.sum_by("gateway_retries_total", "connector")
    waits = readings.sum_by("gateway_rate_limit_wait_seconds_total", "connector")
    certificates: dict[str, float] = {}
    for (connector, *_), when in readings.sum_by(
        "gateway_certificate_expiry_timestamp_seconds", "connector", "use", "certificate"
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
                    level,
                    words,
                    elements.runbook_address(runbooks, "BreakerOpen"),
                    why_address(name),
                    name,
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


def mapping_section(readings: MetricReadings, now: float) -> Element:
    """Return the table of the mapping tables that were used."""
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


def coverage_section(readings: MetricReadings) -> Element:
    """Return the table of the share of the target fields that each stream fills."""
    shares = readings.sum_by("gateway_mapping_coverage_ratio", "connector", "stream")
    rows = [
        [
            elements.row_head(stream_name((connector, stream))),
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


def kafka_section(readings: MetricReadings, now: float, runbooks: str) -> Element:
    """Return the table of the roles that write to Kafka."""
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


def stream_name(stream: Stream) -> Element:
    """Return the names of a connector and a stream. A narrow page breaks the line between them."""
    return code[stream[0], " ", wbr, stream[1]]
