"""Render the status page: streams, their freshness, outcomes of records, and rejections by reason.

The page is rendered from the metrics registry, so it never contradicts ``/metrics``. It is
read-only, runs no script and loads nothing. It is readable without colour, at any width and with
a keyboard. It shows connectors, codes and counts, but no payload and no person. The library htpy
escapes each value, see docs/decisions/0046.
"""

from __future__ import annotations

from collections.abc import Mapping

import htpy
from htpy import Element, code, p, strong
from prometheus_client import CollectorRegistry

from gateway.observability import page_elements as elements
from gateway.observability.explanation_page import explain_form
from gateway.observability.metric_readings import MetricReadings, Stream
from gateway.observability.page_layout import reload_note, render_document
from gateway.observability.page_sections import (
    OUTCOMES,
    coverage_section,
    kafka_section,
    mapping_section,
    registries_section,
    rejections_section,
    streams_section,
)
from gateway.observability.page_snapshot import Snapshot
from gateway.observability.topics_page import topics_form
from gateway.observability.unmapped_page import hidden_note, unmapped_section
from gateway.observability.why_page import why_address

LATE_AFTER_INTERVALS = 3
"""A stream is late when it is this number of its intervals behind, as in the alert
``ConnectorStale``."""

BREAKER_OPEN = 2
"""The value of ``gateway_breaker_state`` while the gateway does not call a registry."""


def render(registry: CollectorRegistry, snapshot: Snapshot, now: float) -> str:
    """Return the status page as HTML. ``now`` is a Unix time."""
    readings = MetricReadings(registry)
    states = {stream: _state(readings, snapshot, stream, now) for stream in readings.streams()}
    samples = snapshot.unmapped()
    sections = [
        streams_section(readings, snapshot, states, now),
        rejections_section(readings),
        registries_section(readings, now, snapshot.runbooks),
        mapping_section(readings, now),
        unmapped_section(
            samples,
            now,
            shows_persons=False,
            more=hidden_note(samples, has_token=snapshot.shows_values),
        ),
        coverage_section(readings),
        kafka_section(readings, now, snapshot.runbooks),
    ]
    sections += [explain_form(snapshot.titles)] if snapshot.explains else []
    sections += [topics_form(snapshot.topics, snapshot.titles)] if snapshot.topics else []
    summary = [_summary(readings, states), _not_loaded(snapshot)]
    about = _header_line(readings, snapshot, now)
    note = reload_note(reloads=snapshot.reloads)
    return render_document(about, summary, sections, note, home="")


def _not_loaded(snapshot: Snapshot) -> Element | None:
    """Return one line for each connector file that is not valid."""
    if not snapshot.not_loaded:
        return None
    runbook = elements.runbook_address(snapshot.runbooks, "ConnectorNotLoaded")
    more = [" (", htpy.a(href=runbook)["runbook"], ")"] if runbook else None
    lines = [
        htpy.li[
            strong(".bad")[
                code[name],
                " ",
                htpy.a(href=why_address(name))["is not loaded"],
                ": ",
            ],
            finding,
            more,
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
