"""A broker, two demo registries and the real ``gateway run`` as a separate process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.local.registries import rest_catalogue, soap_credits
from gateway.settings import Settings
from tests.support.alert_site import AlertSite, prepare_alert_site

ROOT = Path(__file__).parents[2]
HARMONISED = (
    "europass.qualifications.v1",
    "europass.learning-opportunities.v1",
    "europass.credentials.v1",
    "esc.student-status.v1",
)

live_alert = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not shutil.which("prometheus"),
        reason="prometheus is not on PATH (Debian package prometheus): nothing was scraped",
    ),
]
"""The marks of a test that provokes an alert and follows its runbook."""


@dataclass
class Site:
    """Everything that a test needs to run the gateway as an operator does."""

    folder: Path
    bootstrap: str
    services: dict[str, str]
    environment: dict[str, str]
    running: list[subprocess.Popen] = field(default_factory=list)

    def run(self, *arguments: str, **environment: str) -> subprocess.Popen:
        log = (self.folder / f"worker-{len(self.running)}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", *arguments],
            env=self.environment | environment,
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        self.running.append(process)
        return process

    def log(self, number: int = 0) -> str:
        return (self.folder / f"worker-{number}.log").read_text()

    def control(self, connector: str, what: str, **words: object) -> object:
        request = urllib.request.Request(
            f"{self.services[connector]}/_control/{what}",
            json.dumps(words).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def ledger(self, connector: str) -> list[dict]:
        with urllib.request.urlopen(f"{self.services[connector]}/_control/ledger") as reply:
            return json.load(reply)

    def read(self, *names: str, isolation: str = "read_committed") -> list:
        return asyncio.run(read_all(self.bootstrap, names, isolation))


async def read_all(bootstrap: str, names: tuple[str, ...], isolation: str) -> list:
    """Return all records of the topics. The consumer uses no code of the gateway."""
    consumer = AIOKafkaConsumer(
        *names,
        bootstrap_servers=bootstrap,
        isolation_level=isolation,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        group_id=None,
    )
    await consumer.start()
    found = []
    try:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=300, max_records=5000)).values():
                found += records
    finally:
        await consumer.stop()
    return found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[kafka.Broker]:
    """Start a broker for one test.

    Tests cannot share it because topic names are fixed. Cursors must not outlive the registries
    either.
    """
    with kafka.running(tmp_path / "kafka") as found:
        asyncio.run(topic_admin.create_missing(Settings(kafka_bootstrap=found.bootstrap)))
        yield found


def start_service(name: str, records: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.local.registries", name, "--records", str(records)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def address(service: subprocess.Popen) -> str:
    """Wait until a registry prints its address, and return the address."""
    return service.stdout.readline().split(" at ")[1].split(" ")[0]


def furnished(folder: Path, bootstrap: str) -> dict[str, str]:
    """Write the secrets of the demo registries and return the gateway's environment."""
    for name, value in (
        ("demo-soap/key", soap_credits.KEY),
        ("demo-rest/token", rest_catalogue.TOKEN),
    ):
        secret = folder / "secrets" / name
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text(value)
        secret.chmod(0o600)
    return os.environ | {
        "GATEWAY_KAFKA_BOOTSTRAP": bootstrap,
        "GATEWAY_CONNECTORS": str(folder / "connectors"),
        "GATEWAY_MAPPINGS": str(ROOT / "mappings"),
        "GATEWAY_SECRETS_DIR": str(folder / "secrets"),
        "GATEWAY_PSEUDONYM_KEY": "a key for tests only, never for people",
        "GATEWAY_METRICS_PORT": "0",
        "GATEWAY_LOG_FORMAT": "json",
    }


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Start two registries, write their connectors and secrets, and return the site.

    The test's parameter is the number of records in each registry.
    """
    records = getattr(request, "param", 600)
    soap, rest = (start_service(name, records) for name in ("soap_credits", "rest_catalogue"))
    broker = request.getfixturevalue("broker")  # starts while the registries start
    soap_url, rest_url = address(soap), address(rest)
    connectors = tmp_path / "connectors"
    connectors.mkdir()
    for name, url in (("demo-soap", soap_url), ("demo-rest", rest_url)):
        text = (ROOT / "connectors" / f"{name}.yaml").read_text()
        port = text.split("http://127.0.0.1:")[1].split("/")[0]
        (connectors / f"{name}.yaml").write_text(
            text.replace(f"http://127.0.0.1:{port}", url).replace("every: 10s", "every: 1s")
        )
    (connectors / "demo-soap.wsdl").write_bytes(
        (ROOT / "connectors" / "demo-soap.wsdl").read_bytes()
    )
    found = Site(
        tmp_path,
        broker.bootstrap,
        {"demo-soap": soap_url, "demo-rest": rest_url},
        furnished(tmp_path, broker.bootstrap),
    )
    yield found
    for process in [*found.running, soap, rest]:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in [*found.running, soap, rest]:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def versions(records: list) -> Counter:
    """Count the events by topic, key and event id."""
    return Counter(
        (record.topic, record.key, dict(record.headers)["ce_contentid"]) for record in records
    )


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Broker]:
    """Start a broker for the tests of one file that only disturb a registry or a worker."""
    with kafka.running(tmp_path_factory.mktemp("kafka")) as found:
        asyncio.run(topic_admin.create_missing(Settings(kafka_bootstrap=found.bootstrap)))
        yield found


@pytest.fixture
def alert_site(tmp_path: Path, shared_broker: kafka.Broker) -> Iterator[AlertSite]:
    """Prepare a registry, its connector and a folder for workers."""
    with prepare_alert_site(tmp_path, shared_broker.bootstrap) as site:
        yield site
