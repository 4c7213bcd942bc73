"""Run several worker processes under one supervisor: signals, restarts, exit codes, one health
port.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import psutil
import pytest

from tests.end_to_end.conftest import HARMONISED, Site, versions
from tests.support.operator_commands import processed, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, type(error).__name__


def parent_url(site: Site) -> str:
    """Where the parent answers: its is the only health port that is an address."""
    until(lambda: '"processes": 2' in site.log(), 60, site.log)
    return re.search(r'"metrics": "(http[^"]+)"', site.log())[1]


def children(process: subprocess.Popen) -> dict[str, psutil.Process]:
    found = {}
    for child in psutil.Process(process.pid).children():
        words = child.cmdline()
        if "--process" in words:
            found[words[words.index("--process") + 1]] = child
    return found


@pytest.mark.timeout(200)
def test_processes_share_work_and_a_dead_one_restarts(site: Site):
    parent = site.run("--processes", "2", GATEWAY_INSTANCE="here")
    url = parent_url(site)
    until(
        lambda: get(f"{url}/readyz") == (200, "process 1: ok\nprocess 2: ok\n"),
        90,
        lambda: str(get(f"{url}/readyz")),
    )
    served = sum(len(site.ledger(name)) for name in site.services)
    until(
        lambda: processed(site) >= 1200,
        90,
        lambda: f"{served} served",
        pause=1,
    )

    text = get(f"{url}/metrics")[1]
    assert set(re.findall(r'gateway_build_info\{process="(\d)"', text)) == {"1", "2"}
    assert (
        sum(map(float, re.findall(r"^gateway_connectors_owned\{.*\} (\S+)", text, re.MULTILINE)))
        == 2
    )
    assert get(f"{url}/metrics?name[]=gateway_build_info")[1].count("\ngateway_") == 2
    page = get(url)[1]
    assert "2 connectors" in page
    assert "Demonstration register" in page, (
        "the parent's page knows what processes know and metrics do not"
    )

    victim = children(parent)["1"]
    victim.send_signal(signal.SIGKILL)
    until(lambda: "137" in get(f"{url}/readyz")[1], 60, lambda: get(f"{url}/readyz")[1])
    assert get(f"{url}/readyz")[0] == 503
    assert get(f"{url}/livez")[0] == 200
    until(lambda: get(f"{url}/readyz")[0] == 200, 90, lambda: str(get(f"{url}/readyz")))
    assert children(parent)["1"].pid != victim.pid
    assert 'gateway_worker_restarts_total{process="1"} 1.0' in get(f"{url}/metrics")[1]

    site.control("demo-rest", "add", stream="courses", count=25)
    until(
        lambda: processed(site) == 1225,
        60,
        lambda: "25 more",
        pause=1,
    )
    assert all(count == 1 for count in versions(site.read(*HARMONISED)).values())

    started = time.monotonic()
    left = children(parent)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(60) == 128 + signal.SIGTERM
    assert time.monotonic() - started < 20  # ten where nobody else works
    assert not [child for child in left.values() if child.is_running()]
    assert site.log().count('"code": 143') == 2


@pytest.mark.timeout(60)
def test_fatal_child_exit_code_ends_the_supervisor(site: Site):
    """The parent checks the files before it starts anything; a process that finds a fault by itself takes the others along."""
    parent = site.run("--processes", "2", GATEWAY_PSEUDONYM_KEY="short")
    assert parent.wait(50) == 2
    assert "process started" not in site.log()


@pytest.mark.timeout(180)
def test_processes_end_when_the_supervisor_is_killed(site: Site):
    parent = site.run("--processes", "2")
    parent_url(site)
    until(lambda: site.log().count('"event": "started"') == 3, 60, site.log)
    left = children(parent)
    assert len(left) == 2
    parent.kill()
    parent.wait()
    until(
        lambda: (
            not [
                child
                for child in left.values()
                if child.is_running() and child.status() != "zombie"
            ]
        ),
        60,
        lambda: str(left),
    )


@pytest.mark.timeout(180)
def test_processes_restart_with_backoff_when_kafka_is_absent(site: Site):
    parent = site.run("--processes", "2", GATEWAY_KAFKA_BOOTSTRAP="127.0.0.1:1")
    url = parent_url(site)
    until(lambda: '"code": 4, "next_try_seconds": 2.0' in site.log(), 60, site.log)
    until(
        lambda: "ended with code 4" in get(f"{url}/readyz")[1], 60, lambda: get(f"{url}/readyz")[1]
    )
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(15) == 128 + signal.SIGTERM
