"""The health port over a real socket, with no Kafka anywhere."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from gateway.errors import Unavailable
from gateway.observability import metrics
from gateway.observability.health_server import HealthServer
from gateway.settings import Settings


def ask(
    path: str,
    *,
    checks=None,
    method: str = "GET",
    registry=metrics.REGISTRY,
    snapshot=None,
    headers=None,
):
    async def go():
        options = {"snapshot": snapshot} if snapshot else {}
        async with (
            HealthServer(Settings(metrics_port=0), checks, registry=registry, **options) as server,
            aiohttp.ClientSession() as session,
            session.request(method, server.url + path, headers=headers) as reply,
        ):
            return reply.status, await reply.text(), reply.headers

    return asyncio.run(go())


def test_alive():
    assert ask("/livez")[:2] == (200, "ok\n")


def test_metrics_are_ours_and_readable():
    metrics.BUILD_INFO.labels("0.1.0").set(1)
    status, text, headers = ask("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"gateway_build_info", "gateway_polls", "gateway_records_received"} <= names
    assert all(name.startswith("gateway_") for name in names)


def test_metrics_in_openmetrics_form_when_asked():
    status, text, headers = ask(
        "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert status == 200
    assert "openmetrics" in headers["Content-Type"]
    assert text.rstrip().endswith("# EOF")


def test_ready_when_every_check_is_well():
    async def tables() -> str:
        return ""

    assert ask("/readyz", checks={"kafka": lambda: "", "tables": tables})[:2] == (
        200,
        "kafka: ok\ntables: ok\n",
    )


def test_not_ready_says_why_and_a_check_that_raises_or_hangs_counts_as_not_well(monkeypatch):
    monkeypatch.setattr("gateway.observability.health_server.CHECK_SECONDS", 0.05)

    async def hangs() -> str:
        await asyncio.sleep(60)
        return ""

    def raises() -> str:
        raise ValueError("CANARY")

    status, text, _ = ask(
        "/readyz",
        checks={
            "kafka": lambda: "no broker at 127.0.0.1:9092",
            "slow": hangs,
            "odd": raises,
            "tables": lambda: "",
        },
    )
    assert status == 503
    assert (
        text
        == "kafka: no broker at 127.0.0.1:9092\nslow: no answer within 0.05 s\nodd: failed: ValueError\ntables: ok\n"
    )


def test_unknown_paths_and_methods():
    assert ask("/nope")[0] == 404
    assert ask("/metrics", method="POST")[0] == 405
    assert ask("/livez", method="HEAD")[0] == 200


def test_every_reply_carries_protective_headers():
    for path in ("/", "/metrics", "/nope"):
        headers = ask(path)[2]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


def test_a_failing_page_does_not_end_the_server():
    def broken():
        raise RuntimeError("CANARY")

    status, text, _ = ask("/", snapshot=broken)
    assert status == 500
    assert "CANARY" not in text


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            Unavailable, match=rf"port {port} on 127\.0\.0\.1 is in use; set GATEWAY_METRICS_PORT"
        ):
            asyncio.run(HealthServer(Settings(metrics_port=port)).start())


def test_an_address_of_another_machine_is_named():
    with pytest.raises(Unavailable, match="GATEWAY_METRICS_HOST"):
        asyncio.run(HealthServer(Settings(metrics_host="192.0.2.1", metrics_port=0)).start())


def test_metric_values_of_another_registry_can_be_served():
    registry = CollectorRegistry()
    Gauge("gateway_one", "One", registry=registry).set(1)
    assert "gateway_one 1.0" in ask("/metrics", registry=registry)[1]


def test_a_connector_that_moved_away_leaves_no_state_behind():
    for gauge in (metrics.CURSOR_TIMESTAMP, metrics.POLL_INTERVAL):
        gauge.labels("moved", "s").set(1)
        gauge.labels("stays", "s").set(1)
    metrics.BREAKER_STATE.labels("moved").set(2)
    metrics.RECEIVED.labels("moved", "s").inc(5)
    metrics.drop_connector("moved")
    text = ask("/metrics")[1]
    assert 'gateway_cursor_timestamp_seconds{connector="stays"' in text
    assert 'gateway_breaker_state{connector="moved"' not in text
    assert 'gateway_cursor_timestamp_seconds{connector="moved"' not in text
    assert 'gateway_records_received_total{connector="moved",stream="s"} 5.0' in text
