"""Let a real Prometheus scrape the real gateway.

The scraped figures add up. An alert fires when a registry fails and clears when it recovers.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import free_port
from tests.end_to_end.conftest import Site
from tests.support.operator_commands import until

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("prometheus"),
        reason="prometheus is not on PATH (Debian package prometheus): nothing was scraped",
    ),
]


def get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


class Prometheus:
    def __init__(self, base: str) -> None:
        self.base = base

    def query(self, expression: str) -> list[dict]:
        text = get(f"{self.base}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        answer = json.loads(text or '{"status": "none"}')
        assert answer["status"] in {"success", "none"}, (expression, answer)
        return answer.get("data", {}).get("result", [])

    def number(self, expression: str) -> float:
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else float("nan")

    def firing(self) -> set[str]:
        found = json.loads(get(f"{self.base}/api/v1/alerts") or '{"data": {"alerts": []}}')
        return {
            one["labels"]["alertname"]
            for one in found["data"]["alerts"]
            if one["state"] == "firing"
        }


@pytest.fixture
def watched(site: Site, tmp_path: Path) -> Iterator[tuple[Site, str, Prometheus]]:
    """The gateway with a health port, and a Prometheus with the rules of ``deploy/`` whose patience is taken away."""
    port, web = free_port(), free_port()
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if "alert" in rule:
                rule["for"] = "0s"
    folder = tmp_path / "prometheus"
    folder.mkdir()
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": "gateway", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    site.run(GATEWAY_METRICS_PORT=str(port))
    process = subprocess.Popen(
        [
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{web}", "--log.level=error",
        ]
    )  # fmt: skip
    try:
        yield site, f"http://127.0.0.1:{port}", Prometheus(f"http://127.0.0.1:{web}")
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("site", [200], indirect=True)
@pytest.mark.timeout(280)
def test_prometheus_sees_the_balance_and_a_failing_registry(
    watched: tuple[Site, str, Prometheus],
):
    site, gateway, prometheus = watched
    until(lambda: "poll: ok" in get(f"{gateway}/readyz"), 60, "ready")
    received, ended = "sum(gateway_records_received_total)", "sum(gateway_records_total)"
    until(
        lambda: prometheus.number('sum(gateway_records_total{outcome="accepted"})') > 300,
        60,
        "harmonised records in Prometheus",
    )
    until(
        lambda: prometheus.number(f"{received} - {ended}") == 0,
        60,
        "received = accepted + rejected + unchanged + deleted",
    )
    assert prometheus.number("sum(gateway_table_lookups_total)") > 0
    until(lambda: prometheus.number("gateway:consumer_lag:records") == 0, 60, "no record waits")
    assert not prometheus.firing() & {
        "BreakerOpen",
        "PublishBlocked",
        "RecordsUnbalanced",
        "ConnectorsUnowned",
        "WorkerDown",
    }

    for path in sorted((ROOT / "deploy/grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                prometheus.query(
                    target["expr"]
                    .replace("$connector", ".*")
                    .replace("$stream", ".*")
                    .replace("$country", ".*")
                )

    site.control("demo-rest", "misbehave", kind="error", times=None, status=503)
    until(lambda: "BreakerOpen" in prometheus.firing(), 60, "BreakerOpen fires")
    assert "poll: ok" in get(f"{gateway}/readyz"), "a registry that fails must not fail readiness"
    assert "registry not answering" in get(f"{gateway}/")
    assert prometheus.query('gateway_breaker_state{connector="demo-soap"} == 0'), (
        "the other registry goes on"
    )

    site.control("demo-rest", "behave")
    until(lambda: "BreakerOpen" not in prometheus.firing(), 130, "BreakerOpen clears")
    until(lambda: prometheus.number(f"{received} - {ended}") == 0, 60, "balanced again")
