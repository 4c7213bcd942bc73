"""Backfill 50,000 records next to live polling.

No stream comes close to the staleness alert, and no record is lost or duplicated.
"""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections import Counter

import pytest

from tests.end_to_end.conftest import HARMONISED, ROOT, Site, versions
from tests.end_to_end.test_backfill import PAST, forward
from tests.support.operator_commands import answer, gateway, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1800)]
RECORDS = int(os.environ.get("GATEWAY_SOAK_RECORDS", "50000"))
EVERY = 10
LIVE_EVERY_SECONDS = 5
LONGEST_SECONDS = 1500


def threshold() -> tuple[float, float]:
    """Give when ``ConnectorStale`` fires, as the rules say: more intervals than this behind, and more seconds."""
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
    expression = re.search(r"alert: ConnectorStale\n\s+expr: (.+)", rules)[1]
    intervals, seconds = re.findall(r"> (\d+)", expression)
    return float(intervals), float(seconds)


def behind(url: str, now: float) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        text = reply.read().decode()
    found = re.findall(
        r'gateway_cursor_timestamp_seconds\{connector="demo-soap",stream="(\w+)"\} (\S+)', text
    )
    return {stream: now - float(value) for stream, value in found}


@pytest.mark.parametrize("site", [RECORDS * 5 // 2], indirect=True)  # two fifths are degrees
def test_live_streams_stay_fresh_during_backfill(site: Site):
    forward(site, rate="50/s", every=f"{EVERY}s")
    intervals, seconds = threshold()
    site.run("demo-soap")
    until(lambda: site.log().count('"health port open"'))
    url = re.search(r'"metrics": "(http[^"]+)"|"url": "(http[^"]+)"', site.log())
    port = url[1] or url[2]
    until(lambda: len(behind(port, time.time())) == 3)
    assert gateway(site, "backfill", "demo-soap", "degrees", *PAST).returncode == 0

    started, added, worst = time.monotonic(), 0, Counter()
    progress: dict = {}
    while progress.get("state") != "done":
        assert time.monotonic() - started < LONGEST_SECONDS, progress
        for stream, lag in behind(port, time.time()).items():
            worst[stream] = max(worst[stream], lag)
        if time.monotonic() - started > added * LIVE_EVERY_SECONDS:
            site.control("demo-soap", "add", stream="degrees", count=1)
            added += 1
        if added % 3 == 0:
            told = answer(site, "status", "demo-soap")["streams"]
            progress = next(one.get("backfill") or {} for one in told if one["stream"] == "degrees")
        time.sleep(0.5)
    took = time.monotonic() - started
    figures = {stream: round(lag, 1) for stream, lag in worst.items()}
    alert = f"the alert fires at {seconds:.0f} s and {intervals:.0f} x {EVERY} s"
    print(
        f"{progress['received']} records in {took:.0f} s, {added} more beside; most behind, in seconds: {figures}; {alert}"
    )
    assert progress["received"] >= RECORDS
    assert max(worst.values()) < max(seconds, intervals * EVERY)

    until(
        lambda: (
            sum(record.key.startswith(b"demo-soap|D") for record in site.read("gateway.raw.v1"))
            == RECORDS + added
        ),
        120,
    )
    raw = [record.key for record in site.read("gateway.raw.v1")]
    assert len(raw) == len(set(raw)), "a record was written twice"

    def ended() -> list:
        return [
            record
            for record in site.read(*HARMONISED, "gateway.rejections.v1")
            if record.key is not None
        ]

    until(lambda: len(ended()) >= len(raw), 600)
    assert all(count == 1 for count in versions(ended()).values())
