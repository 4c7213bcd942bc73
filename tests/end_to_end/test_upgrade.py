"""Upgrade to this release and go back, with a worker of an earlier release on the same topics.

``GATEWAY_TEST_EARLIER`` names the earlier release: a tag or a commit of this repository.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.conftest import HARMONISED, Site
from tests.support.operator_commands import gateway, until, wait_until_settled

ROOT = Path(__file__).parents[2]
EARLIER = os.environ.get("GATEWAY_TEST_EARLIER", "")

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not EARLIER, reason="GATEWAY_TEST_EARLIER names no earlier release"),
]


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Unpack the code of the earlier release. It runs with the packages of this one."""
    folder = tmp_path / "earlier"
    archive = subprocess.run(
        ["git", "archive", EARLIER, "gateway", "mappings", "schemas"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def work(site: Site, count: int, **environment: str) -> None:
    """Add records, run one worker until they are published, and stop it."""
    for connector, stream in (("demo-soap", "degrees"), ("demo-rest", "courses")):
        site.control(connector, "add", stream=stream, count=count)
    worker = site.run(**environment)
    log = len(site.running) - 1
    until(lambda: '"polled"' in site.log(log), what=lambda: site.log(log)[-3000:])
    wait_until_settled(site)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 128 + signal.SIGTERM


def events(site: Site) -> Counter:
    return Counter(
        (record.topic, record.key, dict(record.headers)["ce_contentid"])
        for record in site.read(*HARMONISED)
        if record.value is not None
    )


@pytest.mark.parametrize("site", [60], indirect=True)
def test_upgrade_and_rollback_publish_nothing_twice(site: Site, earlier: Path):
    old = {"PYTHONPATH": str(earlier), "GATEWAY_MAPPINGS": str(earlier / "mappings")}
    new = {"GATEWAY_MAPPINGS": str(earlier / "mappings")}  # the tables are no part of this test
    site.environment |= new

    for count, release in ((3, old), (4, new), (5, old), (6, new)):
        work(site, count, **release)

    assert (
        "earlier"
        in subprocess.run(
            [sys.executable, "-c", "import gateway; print(gateway.__file__)"],
            env=site.environment | old,
            cwd=site.folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    for connector in site.services:
        done = gateway(site, "verify", connector)
        assert done.returncode == 0, done.stdout + done.stderr
    assert set(events(site).values()) == {1}
