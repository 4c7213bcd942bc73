"""Commands say whether a worker is there, wait for the end, and report how it ended."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest

from tests.support.operator_commands import gateway, until
from tests.support.person_registry import NAME, count_documents, counts, person_site

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]


@pytest.mark.slow
def test_command_reports_its_real_end(tmp_path: Path):
    with person_site(tmp_path) as (site, registry):
        registry.put("010190-901A", consent="true", agreement="true")
        alone = gateway(site, "poll", NAME)
        assert alone.returncode == 4
        assert "no worker runs persons now, so nothing has happened yet" in alone.stderr
        assert "sent" not in alone.stdout
        waited = gateway(site, "renormalise", NAME, "--wait", "--timeout", "2")
        assert waited.returncode == 4
        assert "no result of renormalise persons all streams within 2 s" in waited.stderr

        worker = site.run()
        until(
            lambda: count_documents(site) == counts(credentials=1, pointers=1, students=1, cards=1)
        )
        polled = gateway(site, "poll", NAME, "--wait", "--timeout", "60")
        assert polled.returncode == 0, polled.stderr
        assert polled.stdout.count("done: ") == 3, polled.stdout
        assert "persons students: done: 1 records received, 0 written" in polled.stdout

        paused = gateway(site, "pause", NAME, "cards", "--wait")
        assert (paused.returncode, "persons cards: done: paused" in paused.stdout) == (0, True)
        refused = gateway(site, "poll", NAME, "--wait", "--timeout", "60")
        assert refused.returncode == 1
        assert "persons cards: failed: the stream is paused" in refused.stdout
        assert refused.stdout.count("done: ") == 2
        resumed = gateway(site, "resume", NAME, "--wait")
        assert (resumed.returncode, resumed.stdout.count("done: resumed")) == (0, 3)
        [row] = json.loads(gateway(site, "poll", NAME, "--wait", "--json").stdout)
        assert (row["command"], row["connector"], row["stream"]) == ("poll", NAME, None)
        assert len(row["sent_to"]) == 1
        assert len(row["results"]) == 3
        assert all(
            re.match(r"done: \d+ records received", text) for text in row["results"].values()
        )

        again = gateway(site, "renormalise", NAME, "--wait")
        assert again.returncode == 0, again.stderr
        assert again.stdout.count("done: 0 records are published differently") == 3
        filled = gateway(site, "backfill", NAME, "--from", "2026-01-01", "--wait")
        assert filled.returncode == 0, filled.stdout
        assert "persons awards: done: " in filled.stdout
        assert filled.stdout.count("skipped: ") == 2

        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
        stopped = gateway(site, "pause", NAME)
        assert (stopped.returncode, "no worker runs persons" in stopped.stderr) == (4, True)


@pytest.mark.slow
def test_poll_probes_an_open_breaker_at_once(tmp_path: Path):
    with person_site(tmp_path) as (site, registry):
        registry.put("010190-901A", consent="true", agreement="true")
        site.run()
        until(
            lambda: count_documents(site) == counts(credentials=1, pointers=1, students=1, cards=1)
        )
        poll_while_the_breaker_is_open(site, registry)


def poll_while_the_breaker_is_open(site, registry) -> None:
    answer = registry.answer

    def fail(_path: str) -> list:
        raise ConnectionResetError

    registry.answer = fail
    until(lambda: "BREAKER_OPEN" in site.log(), what=lambda: site.log()[-2000:])
    before, began = len(registry.requests), time.monotonic()
    failed = gateway(site, "poll", NAME, "--wait", "--timeout", "150")
    assert failed.returncode == 1
    assert time.monotonic() - began < 25, "the end of the breaker's pause was waited for"
    assert failed.stdout.count("failed: ") == 3, failed.stdout
    assert len(registry.requests) > before, "nothing was asked"

    registry.answer = answer
    began = time.monotonic()
    done = gateway(site, "poll", NAME, "--wait", "--timeout", "60")
    assert (done.returncode, done.stdout.count("done: ")) == (0, 3), done.stdout
    assert time.monotonic() - began < 25, "the end of the breaker's pause was waited for"
