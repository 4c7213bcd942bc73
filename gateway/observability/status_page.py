"""The page for people: what this worker polls, how fresh it is, how records ended and why some were rejected.

Server-rendered from the metrics registry, so it never disagrees with ``/metrics``. Read-only, no script, nothing fetched from
elsewhere, readable without colour, at any width and with a keyboard. It knows connectors, codes and counts: no payload, no person.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

OUTCOMES = ("accepted", "rejected", "unchanged", "deleted")
LATE_AFTER_INTERVALS = 3
"""A stream is late when it lies this many of its intervals behind: the alert ``ConnectorStale`` says the same."""
EXPIRES_SOON_SECONDS = 30 * 86_400
"""A certificate or table that ends within this time is marked."""
MAX_ROWS = 200
"""A table shows this many rows and says how many it left out."""

BREAKER_OPEN = 2
"""The value of ``gateway_breaker_state`` when a registry is not called."""

NBSP = "\N{NO-BREAK SPACE}"

Stream = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What metrics do not know. Every field may stay empty; the page then shows what it has."""

    release: str = ""
    stage: str = ""
    roles: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    """A name for people, by connector."""
    explains: bool = False
    """Whether ``/explain`` answers."""
    paused: frozenset[Stream] = frozenset()
    problems: Mapping[Stream, str] = field(default_factory=dict)
    """The last failure of a stream that is failing now, in one line."""


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
        for found, value in self._samples[metric]:
            sums[tuple(found[label] for label in labels)] += value
        return dict(sums)

    def streams(self) -> list[Stream]:
        """Return every stream that any metric speaks of, in order."""
        return sorted(
            {
                (found["connector"], found["stream"])
                for all_of in self._samples.values()
                for found, _ in all_of
                if "stream" in found
            }
        )


def _max_over_processes(family: Metric) -> list[tuple[dict[str, str], float]]:
    """Return a gauge's values with the highest of those that differ in the label ``process`` alone: a state is not summed up."""
    found: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = tuple(
            sorted((name, value) for name, value in sample.labels.items() if name != "process")
        )
        found[labels] = max(sample.value, found.get(labels, sample.value))
    return [(dict(labels), value) for labels, value in found.items()]


def render_explanation(
    connector: str, identifier: str, text: str, connectors: Iterable[str]
) -> str:
    """Return the page that answers the form: ``text`` as it stands, which holds no person's data."""
    return _PAGE.format(
        style=STYLE,
        about=f"explain {escape(connector)} {escape(identifier)}",
        summary="",
        sections=_explain_form(connectors, connector, identifier)
        + f'<section aria-labelledby="answer"><h2 id="answer">How it came about</h2>'
        f'<div class="wide" role="region" aria-labelledby="answer" tabindex="0"><pre>{escape(text)}</pre></div></section>',
    )


def _explain_form(connectors: Iterable[str], chosen: str = "", identifier: str = "") -> str:
    """Return the form that asks how one record came about; it is sent without any script."""
    options = "".join(
        f'<option value="{escape(name)}"{" selected" if name == chosen else ""}>{escape(name)}</option>'
        for name in sorted(connectors)
    )
    return (
        '<section aria-labelledby="explain"><h2 id="explain">Explain a record</h2><form action="/explain" method="get"><p>'
        f'<label>Connector <select name="connector">{options}</select></label> '
        f'<label>Native id <input name="id" value="{escape(identifier)}" required maxlength="500" size="40"></label> '
        "<button>Explain</button></p></form><p>Each field, its rule, the table row and who states it; persons are hidden.</p></section>"
    )


def render(registry: CollectorRegistry, snapshot: Snapshot, now: float) -> str:
    """Return the whole page."""
    readings = MetricReadings(registry)
    states = {stream: _state(readings, snapshot, stream, now) for stream in readings.streams()}
    sections = [_streams(readings, snapshot, states, now), _rejections(readings)]
    sections += [section(readings, now) for section in (_registries, _mapping, _coverage, _kafka)]
    sections += [_explain_form(snapshot.titles)] if snapshot.explains else []
    return _PAGE.format(
        style=STYLE,
        about=_header_line(readings, snapshot, now),
        summary=_summary(readings, states),
        sections="\n".join(sections),
    )


def _header_line(readings: MetricReadings, snapshot: Snapshot, now: float) -> str:
    release = snapshot.release or next(
        (version for (version,) in readings.sum_by("gateway_build_info", "version")), ""
    )
    facts = [
        f"release {release}" if release else "",
        f"{snapshot.stage} registries" if snapshot.stage else "",
    ]
    facts += [
        "roles " + " and ".join(snapshot.roles) if snapshot.roles else "",
        f"as of {_instant(now)}",
    ]
    return " · ".join(escape(fact) for fact in facts if fact)


def _summary(readings: MetricReadings, states: Mapping[Stream, tuple[str, str]]) -> str:
    if not states:
        return "<p>This worker has polled and harmonised nothing yet.</p>"
    connectors = {connector for connector, _ in states}
    bad = [stream for stream, (level, _) in states.items() if level == "bad"]
    received = sum(readings.sum_by("gateway_records_received_total").values())
    ended = readings.sum_by("gateway_records_total", "outcome")
    numbers = ", ".join(f"{_number(ended.get((outcome,), 0))} {outcome}" for outcome in OUTCOMES)
    waiting = max(readings.sum_by("gateway_publish_blocked_seconds", "role").values(), default=0)
    kafka = (
        f'<strong class="bad">Kafka has taken nothing for {_duration(waiting)}.</strong> '
        if waiting
        else ""
    )
    verdict = kafka + (
        f'<strong class="bad">{_count(len(bad), "stream needs", "streams need")} attention.</strong>'
        if bad
        else '<strong class="good">All is well.</strong>'
        if not waiting
        else "Registries are well."
    )
    return (
        f"<p>{verdict} {_count(len(connectors), 'connector', 'connectors')}, {_count(len(states), 'stream', 'streams')}; "
        f"since this worker started: {_number(received)} records received; {numbers}.</p>"
    )


def _state(
    readings: MetricReadings, snapshot: Snapshot, stream: Stream, now: float
) -> tuple[str, str]:
    """Return how a stream is (good, plain or bad) and say it in words; the first that applies."""
    cursor = readings.sum_by("gateway_cursor_timestamp_seconds", "connector", "stream").get(stream)
    every = readings.sum_by("gateway_poll_interval_seconds", "connector", "stream").get(stream, 0)
    breaker = readings.sum_by("gateway_breaker_state", "connector").get((stream[0],), 0)
    problem = snapshot.problems.get(stream)
    late = cursor is not None and every and now - cursor > LATE_AFTER_INTERVALS * every
    possible = (
        (stream in snapshot.paused, "plain", "paused"),
        (breaker == BREAKER_OPEN, "bad", "registry not answering"),
        (problem, "bad", f"failing: {problem}"),
        (cursor is None and not every, "plain", "polled elsewhere"),
        (cursor is None, "plain", "not read yet"),
        (late, "bad", "late"),
    )
    return next(
        ((level, words) for applies, level, words in possible if applies), ("good", "fresh")
    )


def _streams(
    readings: MetricReadings,
    snapshot: Snapshot,
    states: Mapping[Stream, tuple[str, str]],
    now: float,
) -> str:
    cursors = readings.sum_by("gateway_cursor_timestamp_seconds", "connector", "stream")
    intervals = readings.sum_by("gateway_poll_interval_seconds", "connector", "stream")
    received = readings.sum_by("gateway_records_received_total", "connector", "stream")
    ended = readings.sum_by("gateway_records_total", "connector", "stream", "outcome")
    rows = []
    titled: set[str] = set()
    for stream, (level, words) in states.items():
        title = "" if stream[0] in titled else snapshot.titles.get(stream[0], "")
        titled.add(stream[0])
        rows.append(
            [
                f'<th scope="row"><code>{escape(stream[0])} <wbr>{escape(stream[1])}</code>'
                + (f" <small>{escape(title)}</small>" if title else "")
                + "</th>",
                f'<td class="{level}">{_LEVEL_SYMBOLS[level]} {escape(words)}</td>',
                _ago(cursors.get(stream), now),
                f"<td>{_duration(intervals[stream])}</td>" if stream in intervals else _EMPTY_CELL,
                _cell(received.get(stream)),
                *(_cell(ended.get((*stream, outcome))) for outcome in OUTCOMES),
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
    return _table(
        "streams",
        "Connectors and their streams",
        heads,
        rows,
        empty="No stream has been polled or harmonised here yet.",
        numbers=range(4, 9),
    )


def _rejections(readings: MetricReadings) -> str:
    counts = readings.sum_by("gateway_rejections_total", "connector", "stream", "reason", "field")
    rows = [
        [
            f'<th scope="row"><code>{escape(reason)}</code></th>',
            f"<td><code>{escape(where)}</code></td>" if where else _EMPTY_CELL,
            f"<td><code>{escape(connector)}</code></td>",
            f"<td><code>{escape(stream)}</code></td>",
            _cell(number),
        ]
        for (connector, stream, reason, where), number in sorted(
            counts.items(), key=lambda item: (-item[1], item[0])
        )
        if number
    ]
    heads = ("Reason", "Field", "Connector", "Stream", "Records")
    return _table(
        "rejections",
        "Rejections by reason",
        heads,
        rows,
        empty="Nothing was rejected.",
        numbers=range(4, 5),
    )


def _registries(readings: MetricReadings, now: float) -> str:
    breakers = readings.sum_by("gateway_breaker_state", "connector")
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
        level, words = _BREAKERS.get(breakers.get((name,), 0), ("bad", "unknown"))
        failed = sum(
            value
            for (connector, status), value in requests.items()
            if connector == name and status in {"5xx", "4xx", "error"}
        )
        total = sum(value for (connector, _), value in requests.items() if connector == name)
        rows.append(
            [
                f'<th scope="row"><code>{escape(name)}</code></th>',
                f'<td class="{level}">{_LEVEL_SYMBOLS[level]} {words}</td>',
                _cell(total),
                _cell(failed),
                _cell(retries.get((name,), 0)),
                f"<td>{_duration(waits.get((name,), 0))}</td>",
                _until(certificates.get(name), now),
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
    return _table(
        "registries",
        "Registries",
        heads,
        rows,
        empty="No registry was called by this worker.",
        numbers=range(2, 5),
    )


def _mapping(readings: MetricReadings, now: float) -> str:
    lookups = readings.sum_by("gateway_table_lookups_total", "country", "table")
    unmapped = readings.sum_by("gateway_unmapped_values_total", "country", "table")
    ends = readings.sum_by("gateway_table_expiry_timestamp_seconds", "country", "table")
    rows = []
    for place in sorted({*lookups, *unmapped}):
        found, missing = lookups.get(place, 0), unmapped.get(place, 0)
        share = (
            f'<td class="n">{_floor_percent(found - missing, found)}</td>'
            if found
            else _EMPTY_NUMBER_CELL
        )
        rows.append(
            [
                f'<th scope="row">{escape(place[0])}</th>',
                f"<td><code>{escape(place[1])}</code></td>",
                _cell(found),
                _cell(missing),
                share,
                _until(ends.get(place), now),
            ]
        )
    heads = ("Country", "Table", "Lookups", "Values not in it", "Covered", "In force until")
    return _table(
        "mapping",
        "Mapping tables by country",
        heads,
        rows,
        empty="No table was used yet.",
        numbers=range(2, 5),
    )


def _coverage(readings: MetricReadings, _now: float) -> str:
    shares = readings.sum_by("gateway_mapping_coverage_ratio", "connector", "stream")
    rows = [
        [
            f'<th scope="row"><code>{escape(connector)} <wbr>{escape(stream)}</code></th>',
            f'<td class="n">{_floor_percent(share, 1)}</td>',
        ]
        for (connector, stream), share in sorted(shares.items())
    ]
    heads = ("Connector and stream", "Target fields it maps")
    return _table(
        "coverage",
        "Coverage",
        heads,
        rows,
        empty="No connector is loaded here.",
        numbers=range(1, 2),
    )


def _kafka(readings: MetricReadings, now: float) -> str:
    commits = readings.sum_by("gateway_last_commit_timestamp_seconds", "role")
    blocked = readings.sum_by("gateway_publish_blocked_seconds", "role")
    replaced = readings.sum_by("gateway_producers_replaced_total", "role")
    lag = sum(readings.sum_by("gateway_consumer_lag_records").values())
    rows = []
    for (role,) in sorted({*commits, *blocked, *replaced}):
        seconds = blocked.get((role,), 0)
        level, words = (
            ("bad", f"blocked for {_duration(seconds)}") if seconds else ("good", "writing")
        )
        waiting = _cell(lag if role == "harmonise" else None)
        rows.append(
            [
                f'<th scope="row">{escape(role)}</th>',
                f'<td class="{level}">{_LEVEL_SYMBOLS[level]} {words}</td>',
                _ago(commits.get((role,)), now),
                _cell(replaced.get((role,), 0)),
                waiting,
            ]
        )
    heads = ("Role", "State", "Last commit", "Producers replaced", "Records waiting")
    return _table(
        "kafka", "Kafka", heads, rows, empty="Nothing was committed yet.", numbers=range(3, 5)
    )


def _table(
    name: str,
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    empty: str,
    numbers: range,
) -> str:
    """Return a section with one table; the columns ``numbers`` are set to the right."""
    rows = list(rows)
    if not rows:
        return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2><p>{empty}</p></section>'
    head = "".join(
        f'<th scope="col"{_RIGHT if index in numbers else ""}>{escape(text)}</th>'
        for index, text in enumerate(heads)
    )
    body = "\n".join("<tr>" + "".join(row) + "</tr>" for row in rows[:MAX_ROWS])
    more = (
        f"<p>{_count(len(rows) - MAX_ROWS, 'row is', 'rows are')} not shown; all are in <code>/metrics</code>.</p>"
        if len(rows) > MAX_ROWS
        else ""
    )
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>'
        f'<div class="wide" role="region" aria-labelledby="{name}" tabindex="0"><table aria-labelledby="{name}">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>{more}</section>"
    )


def _cell(value: float | None) -> str:
    return _EMPTY_NUMBER_CELL if value is None else f'<td class="n">{_number(value)}</td>'


def _ago(when: float | None, now: float) -> str:
    if when is None:
        return _EMPTY_CELL
    return f'<td><time datetime="{_iso(when)}">{_duration(max(0.0, now - when))} ago</time></td>'


def _until(when: float | None, now: float) -> str:
    if when is None:
        return _EMPTY_CELL
    day = datetime.fromtimestamp(when, UTC).strftime("%-d %B %Y")
    soon = when - now < EXPIRES_SOON_SECONDS
    note = " (past)" if when <= now else " (soon)" if soon else ""
    return f'<td class="{"bad" if soon else "plain"}"><time datetime="{_iso(when)}">{day}</time>{note}</td>'


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _count(number: int, one: str, many: str) -> str:
    return f"{_number(number)} {one if number == 1 else many}"


def _floor_percent(part: float, whole: float) -> str:
    """Return a share that says 100 % only when nothing is missing."""
    return f"{math.floor(max(0.0, part / whole) * 1000) / 10:g}{NBSP}%"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.0f}{NBSP}{unit}"
    return f"{seconds:.0f}{NBSP}s"


def _instant(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%-d %B %Y, %H:%M:%S UTC")


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")


_LEVEL_SYMBOLS = {
    "good": '<span aria-hidden="true">✓</span>',
    "plain": '<span aria-hidden="true">○</span>',
    "bad": '<span aria-hidden="true">▲</span>',
}
_BREAKERS = {
    0.0: ("good", "closed"),
    1.0: ("plain", "half-open: probing"),
    2.0: ("bad", "open: not called"),
}
_EMPTY_CELL = (
    '<td class="none"><span aria-hidden="true">·</span><span class="hidden">none</span></td>'
)
_EMPTY_NUMBER_CELL = _EMPTY_CELL.replace('"none"', '"n none"', 1)
_RIGHT = ' class="n"'

STYLE = files("gateway.observability").joinpath("page.css").read_text("utf-8")
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

_PAGE = files("gateway.observability").joinpath("page.html").read_text("utf-8")
