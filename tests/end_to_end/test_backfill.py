"""Run backfills next to live polling.

A backfill resumes after kills, writes every record exactly once, appears in the status and ends
when an operator cancels it.
"""

from __future__ import annotations

import json
import random
import signal
import time

import pytest

from tests.end_to_end.conftest import HARMONISED, Site, versions
from tests.support.operator_commands import answer, gateway, until, wait_until_settled

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]
KILLS = 2
SEED = 20261124
PAST = ("--from", "2024-09-01", "--to", "2024-12-31")


def forward(site: Site, rate: str, every: str) -> None:
    """Let live polling ask for nothing of the past that the registry holds, and let it be asked slowly."""
    file = site.folder / "connectors" / "demo-soap.yaml"
    text = (
        file.read_text()
        .replace("start: 2024-09-01", "start: 2026-01-01")
        .replace("every: 1s", f"every: {every}")
    )
    assert text.count("start: 2026-01-01") == 3
    file.write_text(text.replace("concurrency: 2,", f"concurrency: 2, rate: {rate},"))


def streams(site: Site, connector: str = "demo-soap") -> dict[str, dict]:
    return {one["stream"]: one for one in answer(site, "status", connector)["streams"]}


@pytest.mark.slow  # tests/kafka/test_backfilling.py stops one anywhere, without a worker
@pytest.mark.parametrize("site", [1200], indirect=True)
def test_backfill_continues_after_kills_during_live_polling(site: Site):
    forward(site, rate="5/s", every="1s")
    worker = site.run("demo-soap")
    until(
        lambda: (
            site.log().count('"polled"')
            or all(one["state"] == "running" for one in streams(site).values())
        )
    )
    assert not site.read("gateway.raw.v1")
    began = gateway(site, "backfill", "demo-soap", *PAST)
    assert "from 2024-09-01T00:00:00Z up to 2025-01-01T00:00:00Z" in began.stdout, began.stderr
    until(lambda: len(site.read("gateway.raw.v1")) > 100)
    dice = random.Random(SEED)
    for _ in range(KILLS):
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker = site.run("demo-soap")
        here = len(site.running) - 1
        until(lambda here=here: '"started"' in site.log(here))
        time.sleep(dice.uniform(0.5, 3.0))
    site.control("demo-soap", "add", stream="degrees", count=7)
    until(
        lambda: all(
            (one.get("backfill") or {}).get("state") == "done" for one in streams(site).values()
        ),
        120,
    )
    records = wait_until_settled(site, "demo-soap")

    served = {f"demo-soap|{entry['id']}" for entry in site.ledger("demo-soap")}
    assert len(served) == 1207
    raw = [record.key.decode() for record in site.read("gateway.raw.v1")]
    assert sorted(raw) == sorted(served), "a record was written twice, or not at all"
    assert all(count == 1 for count in versions(records).values())
    accepted = {
        record.key
        for record in records
        if record.topic == "esc.credential-pointers.v1" and record.value
    }
    assert accepted or any(record.topic in HARMONISED for record in records)
    done = streams(site)
    assert {name: one["backfill"]["ratio"] for name, one in done.items()} == dict.fromkeys(
        done, 1.0
    )
    assert sum(one["backfill"]["received"] for one in done.values()) >= 1200
    news = [json.loads(record.value) for record in site.read("gateway.notifications.v1")]
    assert sorted(one["stream"] for one in news if one["kind"] == "backfill_done") == sorted(done)


@pytest.mark.slow
@pytest.mark.parametrize("site", [4000], indirect=True)
def test_backfill_can_be_cancelled_and_the_next_one_waits(site: Site):
    forward(site, rate="20/min", every="30s")
    site.run("demo-soap")
    until(lambda: all(one["state"] == "running" for one in streams(site).values()))
    gateway(site, "backfill", "demo-soap", "degrees", *PAST)
    until(lambda: (streams(site)["degrees"].get("backfill") or {}).get("received"))
    gateway(site, "backfill", "demo-soap", "degrees", *PAST)
    until(lambda: "is running; cancel it first" in site.log())
    gateway(site, "backfill", "demo-soap", "degrees", "--cancel")
    until(lambda: streams(site)["degrees"]["backfill"]["state"] == "cancelled")
    written = len(site.read("gateway.raw.v1"))
    assert 0 < written < 1600
    site.control("demo-soap", "add", stream="degrees", count=3)
    until(
        lambda: len(site.read("gateway.raw.v1")) == written + 3
    )  # live polling goes on, the backfill does not

    for words, why in (
        (("demo-rest", *PAST), "every poll reads everything"),
        (("demo-soap", "nope", *PAST), "it has degrees, credits, enrolments"),
        (("demo-soap", "--from", "2024-02-30"), "not a date"),
        (("demo-soap", "--from", "2024-12-01", "--to", "2024-11-01"), "give the earlier day first"),
        (("demo-soap",), "--from is missing"),
    ):
        said = gateway(site, "backfill", *words)
        assert (said.returncode, said.stderr.count("\n")) == (2, 1), said
        assert why in said.stderr
