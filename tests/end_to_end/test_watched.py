"""Let a real Prometheus scrape the real gateway.

The scraped figures add up. An alert fires when a registry fails and clears when it recovers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.end_to_end.conftest import Site
from tests.support.operator_commands import until
from tests.support.prometheus_server import Prometheus, get, quick_rules

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("prometheus"),
        reason="prometheus is not on PATH (Debian package prometheus): nothing was scraped",
    ),
]


@pytest.fixture
def watched(site: Site, tmp_path: Path) -> Iterator[tuple[Site, str, Prometheus]]:
    """The gateway with a health port, and a Prometheus with the rules of ``deploy/`` without ``for``."""
    port = free_port()
    site.run(GATEWAY_METRICS_PORT=str(port))
    prometheus = Prometheus.start(tmp_path / "prometheus", free_port(), [port], quick_rules(), "1s")
    try:
        yield site, f"http://127.0.0.1:{port}", prometheus
    finally:
        prometheus.stop()


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
