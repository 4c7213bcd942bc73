"""Check ``gateway status`` for a connector that no worker polls.

The log records which worker acquired the connector and why it lost it.
"""

from __future__ import annotations

import json
import signal

import msgspec
import pytest

from gateway.cli.status import WORKER_SILENT_AFTER_SECONDS, status_data
from gateway.config.loading import load_connector
from gateway.messages.status import StreamStatus, WorkerStatus, skipped_values_text
from tests.end_to_end.conftest import Site
from tests.support.operator_commands import answer, gateway, until

NOW = 1_000_000.0
SILENT = NOW - WORKER_SILENT_AFTER_SECONDS - 1


def worker(
    name: str,
    connectors: tuple[str, ...] | None,
    at: float = NOW,
    roles: tuple[str, ...] = ("poll",),
) -> WorkerStatus:
    return WorkerStatus(
        worker=name,
        at=at,
        started=at,
        roles=roles,
        last_commit={},
        waiting=0,
        counts={},
        tables_digest="t",
        connectors=connectors,
    )


def stream(connector: str, at: float) -> StreamStatus:
    return StreamStatus(
        connector=connector, stream="s", worker="a", at=at, state="running", reason="", every=1, read_up_to=None, last_success=None,
        config_digest="d", backfill=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "state", "reason"),
    [
        ([], "unowned", "no poll worker reports"),
        ([worker("h", (), roles=("harmonise",))], "unowned", "no poll worker reports"),
        ([worker("a", ("one",), at=SILENT)], "unowned", "no poll worker reports"),
        ([worker("a", ("other",)), worker("b", ())], "omitted", "no poll worker was started with it"),
        ([worker("a", ("one",)), worker("b", ("other",))], "unowned", "workers not started with it: b; start all workers with the same connectors"),
        ([worker("a", ("one",))], "unowned", ""),
        ([worker("a", None)], "unowned", ""),
    ],
    ids=["nobody", "only a stage", "silent", "told of others", "one of two", "should", "does not say"],
)  # fmt: skip
def test_unreported_stream_is_unowned_only_when_it_should_run(
    workers: list[WorkerStatus], state: str, reason: str
):
    (found,) = status_data({}, [stream("one", SILENT)], workers, NOW)["streams"]
    last = "worker a last reported 21 s ago: running"
    assert (found["state"], found["reason"]) == (state, f"{last}; {reason}" if reason else last)
    (fresh,) = status_data({}, [stream("one", NOW)], workers, NOW)["streams"]
    assert (fresh["state"], fresh["reason"]) == ("running", "")


FINDING = "one.yaml:3:1: missing-key: country: write it"


def test_stream_whose_file_is_not_valid_shows_the_mistake() -> None:
    broken = msgspec.structs.replace(worker("a", ("other",)), not_loaded={"one": FINDING})
    for workers in ([broken], [broken, worker("b", ("other",))]):
        data = status_data({}, [stream("one", SILENT)], workers, NOW)
        (found,) = data["streams"]
        assert found["state"] == "not_loaded"
        assert FINDING in found["reason"]
    expected = {"connector": "one", "worker": "a", "runs": False, "finding": FINDING}
    assert status_data({}, [], [broken], NOW)["not_loaded"] == [expected]
    assert status_data({}, [], [broken], NOW, "other")["not_loaded"] == []


def test_earlier_version_of_a_file_runs_as_usual() -> None:
    old = msgspec.structs.replace(worker("a", ("one",)), not_loaded={"one": FINDING})
    data = status_data({}, [stream("one", NOW)], [old], NOW)
    assert [one["state"] for one in data["streams"]] == ["running"]
    assert [one["runs"] for one in data["not_loaded"]] == [True]


@pytest.mark.parametrize(
    ("skipped", "text"),
    [
        ({}, ""),
        ({"DENIED": 2}, "2 of 40 loop values skipped: DENIED"),
        ({"BUSY": 1, "HTTP_404": 3}, "4 of 40 loop values skipped: HTTP_404 (3), BUSY (1)"),
    ],
)
def test_skipped_values_are_named_with_their_reasons(skipped: dict[str, int], text: str) -> None:
    assert skipped_values_text(skipped, 40) == text


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", [20], indirect=True)
def test_connector_that_is_not_selected_is_no_problem(site: Site):
    running = site.run("demo-rest", GATEWAY_INSTANCE="first")

    def states() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for one in answer(site, "status")["streams"]:
            found.setdefault(one["connector"], set()).add(one["state"])
        return found

    until(lambda: states() == {"demo-rest": {"running"}, "demo-soap": {"omitted"}})
    said = gateway(site, "status").stdout
    assert "unowned" not in said
    assert said.count("demo-soap") == 1
    assert "omitted, no poll worker was started with them: demo-soap" in said
    assert "no poll worker was started with it" in gateway(site, "status", "demo-soap").stdout

    file = site.folder / "connectors" / "demo-rest.yaml"
    file.write_text(
        file.read_text().replace("title: Demonstration", "title: Renewed demonstration")
    )
    until(lambda: '"configuration replaced"' in site.log())
    until(
        lambda: (
            b"config_changed"
            in b"".join(record.value for record in site.read("gateway.notifications.v1"))
        )
    )
    (news,) = [json.loads(record.value) for record in site.read("gateway.notifications.v1")]
    assert (news["worker"], news["text"]) == (
        "first",
        f"this worker runs with file {load_connector(file).digest} from now on",
    )

    running.send_signal(signal.SIGTERM)
    running.wait(60)
    lines = [json.loads(line) for line in site.log().splitlines()]
    owned = [
        (one["event"], one["connector"], one["worker"], one["reason"])
        for one in lines
        if one["event"] in {"connector taken", "connector let go"}
    ]
    assert owned == [
        ("connector taken", "demo-rest", "first", "Kafka reassigned the connectors"),
        ("connector let go", "demo-rest", "first", "its file changed"),
        ("connector taken", "demo-rest", "first", "its file changed"),
        ("connector let go", "demo-rest", "first", "the worker stops"),
    ]
    until(
        lambda: states() == {"demo-rest": {"unowned"}, "demo-soap": {"unowned"}}
    )  # nobody runs who could tell
