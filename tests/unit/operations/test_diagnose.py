"""Check that each state of a stream gets its cause, its remedy and its loss."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.cli.why import screen
from gateway.config.loading import load_connector
from gateway.messages.status import StreamStatus, WorkerStatus
from gateway.observability.causes import CAUSES
from gateway.observability.diagnosis import Diagnosis, changed_fields
from gateway.operations.diagnose import ConnectorFacts, diagnose, diagnose_without_kafka
from gateway.settings import Settings

ROOT = Path(__file__).parents[3]
FILE = ROOT / "connectors" / "demo-rest.yaml"
CONNECTOR = load_connector(FILE)
NOW = 1_800_000_000.0
FINDING = "demo-rest.yaml:3:1: missing-key: country: write it"
WORKER = WorkerStatus(
    worker="w",
    at=NOW - 3,
    started=NOW - 900,
    roles=("poll",),
    last_commit={},
    waiting=0,
    counts={},
    tables_digest="t",
    connectors=("demo-rest",),
)
RUNNING = StreamStatus(
    connector="demo-rest",
    stream="courses",
    worker="w",
    at=NOW - 3,
    state="running",
    reason="",
    every=10,
    read_up_to=NOW - 12,
    last_success=NOW - 12,
    config_digest="d",
    backfill=None,
)


def facts(*workers: WorkerStatus, finding: str = "") -> ConnectorFacts:
    return ConnectorFacts("demo-rest", FILE, CONNECTOR, finding, workers, NOW)


def cause(status: StreamStatus | None, *workers: WorkerStatus) -> Diagnosis:
    return diagnose(facts(*workers), "courses", status)


def changed(**fields) -> StreamStatus:
    return msgspec.structs.replace(RUNNING, **fields)


def changed_worker(**fields) -> WorkerStatus:
    return msgspec.structs.replace(WORKER, **fields)


HALTED = changed(state="halted", reason="text", code="LIST_MISSING", since=NOW - 7_200)
STATES = {
    "HEALTHY": (RUNNING, WORKER),
    "PAUSED": (changed(state="paused", reason="maintenance", since=NOW - 60), WORKER),
    "LIST_MISSING": (HALTED, WORKER),
    "DENIED": (changed(state="halted", reason="text", code="DENIED"), WORKER),
    "all_rejected": (changed(state="halted", reason="text", code="all_rejected"), WORKER),
    "BREAKER_OPEN": (changed(state="retrying", reason="x", code="BREAKER_OPEN"), WORKER),
    "STALE": (changed(read_up_to=NOW - 4_000), WORKER),
    "NEVER_POLLED": (changed(state="starting", read_up_to=None), WORKER),
    "NOT_LOADED": (None, changed_worker(connectors=(), not_loaded={"demo-rest": FINDING})),
    "CONFIG_REFUSED": (RUNNING, changed_worker(not_loaded={"demo-rest": FINDING})),
    "NO_WORKER": (changed(at=NOW - 600), changed_worker(at=NOW - 600)),
    "OMITTED": (None, changed_worker(connectors=("other",))),
    "UNOWNED": (changed(at=NOW - 600), WORKER),
    "KAFKA_BLOCKED": (RUNNING, changed_worker(blocked={"poll": "for 80 s: timeout"})),
    "DELETIONS_WITHHELD": (changed(deletions_withheld=40, records_known=90), WORKER),
    "LOOP_VALUES_SKIPPED": (changed(values_skipped={"DENIED": 2}, loop_values=40), WORKER),
    "RECORDS_SKIPPED": (changed(records_skipped={"HTTP_404": 3}), WORKER),
    "EMPTY_LOOP": (changed(reason="the loop 'x' has no value"), WORKER),
    "RECORDS_REJECTED": (
        RUNNING,
        changed_worker(counts={"demo-rest|courses": {"rejected": 30, "accepted": 100}}),
    ),
    "QUOTA_USED": (changed(state="halted", reason="text", code="QUOTA_USED"), WORKER),
}


@pytest.mark.parametrize("code", STATES)
def test_each_state_has_its_cause(code: str):
    status, worker = STATES[code]
    found = cause(status, worker)
    assert found.code == code
    assert found.is_bad is (code not in {"HEALTHY", "PAUSED", "NEVER_POLLED"})
    assert bool(found.loss) is (code not in {"HEALTHY", "NEVER_POLLED"})
    assert not any("{" in step for step in found.steps)


@pytest.mark.parametrize("code", STATES)
def test_each_state_fits_one_screen_of_80_columns(code: str):
    status, worker = STATES[code]
    status = status and msgspec.structs.replace(
        status, reason="a long reason " * 60 if status.reason else ""
    )
    lines = list(screen([cause(status, worker)], Settings(), NOW))
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert len(lines) == 1 or code != "HEALTHY"


def test_nobody_polls_at_all():
    assert cause(None).code == "NO_WORKER"
    assert "gateway run demo-rest" in cause(None).steps


def test_a_worker_that_stopped_owns_nothing():
    found = cause(RUNNING)
    assert (found.code, found.state) == ("NO_WORKER", "not polled")
    assert "running" in found.details


def test_without_any_worker_the_mistake_in_the_file_is_the_cause():
    found = diagnose(facts(finding=FINDING), "", None)
    assert (found.code, found.details) == ("NOT_LOADED", FINDING)


def test_kafka_that_does_not_answer_is_a_cause_too():
    found = diagnose_without_kafka(facts(), "", "no Kafka answers at 127.0.0.1:1")
    assert found.code == "KAFKA_DOWN"
    assert found.loss.startswith("Nothing is lost")


def test_the_time_and_the_changed_fields_are_shown():
    status = msgspec.structs.replace(
        HALTED,
        replies_compared=True,
        fields_gone=("items[].title_en",),
        fields_new=("items[].label_en",),
    )
    text = "\n".join(screen([cause(status, WORKER)], Settings(), NOW))
    assert "demo-rest courses: halted since" in text
    assert "(2\N{NO-BREAK SPACE}h ago)" in text
    assert "gone: items[].title_en" in text
    assert "new: items[].label_en" in text
    assert "gateway preview" in text


def test_a_reply_that_did_not_change_is_said_so():
    found = cause(msgspec.structs.replace(HALTED, replies_compared=True), WORKER)
    assert changed_fields(found) == ("The reply has the same fields as earlier good ones.",)


def test_the_failure_behind_an_open_breaker_is_named():
    status = changed(state="retrying", reason="x", code="BREAKER_OPEN", cause="HTTP_503")
    (remark,) = cause(status, WORKER).remarks
    assert remark.startswith("The last request failed as HTTP_503. The registry fails")


def test_a_file_that_is_only_wrong_here_is_a_remark():
    found = diagnose(facts(WORKER, finding=FINDING), "courses", RUNNING)
    assert found.code == "HEALTHY"
    assert FINDING in found.remarks[0]


def test_streams_with_one_cause_share_one_block():
    found = [
        diagnose(facts(WORKER), name, msgspec.structs.replace(HALTED, stream=name))
        for name in ("courses", "programmes")
    ]
    text = "\n".join(screen(found, Settings(), NOW))
    assert text.count("LIST_MISSING") == 1
    assert "demo-rest courses, programmes: halted" in text


def test_streams_that_fail_for_other_details_have_blocks_of_their_own():
    found = [
        diagnose(facts(WORKER), name, msgspec.structs.replace(HALTED, stream=name, reason=reason))
        for name, reason in (
            ("courses", "demo-rest.courses: no `items` in 12 s"),
            ("programmes", "demo-rest.programmes: no `items` in 7 s"),
            ("other", "demo-rest.other: no `results`"),
        )
    ]
    text = "\n".join(screen(found, Settings(), NOW))
    assert text.count("(LIST_MISSING)") == 2
    assert "other: halted (LIST_MISSING); gateway why demo-rest/other" in text
    assert "demo-rest courses, programmes: halted" in text
    assert "gateway poll demo-rest --wait" in text


def test_more_causes_than_fit_have_one_line_each():
    codes = ("LIST_MISSING", "DENIED", "STALE", "KAFKA_BLOCKED", "BREAKER_OPEN", "all_rejected")
    found = [cause(*STATES[code]) for code in codes]
    text = "\n".join(screen([*found, cause(RUNNING, WORKER)], Settings(), NOW))
    assert "courses: halted (DENIED); gateway why demo-rest/courses" in text
    assert "2 more causes" in text
    assert text.endswith(
        "demo-rest: courses is well; read up to 12\N{NO-BREAK SPACE}s ago or later."
    )
    assert text.count("\n") < 24


def test_every_cause_of_the_table_can_be_shown():
    for code in CAUSES:
        status = changed(state="halted", reason="text", code=code)
        assert list(screen([cause(status, WORKER)], Settings(), NOW))
