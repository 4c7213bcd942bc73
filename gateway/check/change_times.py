"""Check that the inline tests show change times, and that the gateway can read them."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.check.run_tests import raw_record_of_test
from gateway.config.connector import Connector
from gateway.config.expressions.compiler import EvaluationError
from gateway.config.yaml.document import YamlDocument
from gateway.errors import Finding
from gateway.harmonise.values.payload import PayloadError

UNREADABLE = "unreadable-change-time"
MISSING = "change-time-untested"


def findings(connector: Connector, document: YamlDocument) -> Iterator[Finding]:
    """Yield a finding for each stream whose tests show no change time that can be read."""
    for name, stream in connector.streams.items():
        if stream.change_time is None:
            continue
        shows_time = False
        for example in stream.tests:
            try:
                raw = raw_record_of_test(connector, name, example)
            except (PayloadError, EvaluationError):
                continue  # the test itself has a finding
            shows_time = shows_time or bool(raw.changed_at or raw.change_time_problem)
            if raw.change_time_problem == "unreadable":
                yield document.make_finding(
                    UNREADABLE,
                    ("streams", name, "changed_at"),
                    f"changed_at cannot be read in the test {example.name!r}; without as, the "
                    "gateway reads a time such as 2026-02-28T12:00:00Z; say how the registry "
                    f"writes it: changed_at: {{from: {stream.changed_at}, "
                    'as: {datetime: {format: "%d.%m.%Y %H:%M"}}}, or as: epoch_ms',
                )
                break
        if stream.cursor and stream.cursor.field and not shows_time:
            yield document.make_finding(
                MISSING,
                ("streams", name, "changed_at"),
                f"no test has a value at {stream.changed_at}; every poll starts at the newest "
                "one, so add it to a test",
                severity="note",
            )
