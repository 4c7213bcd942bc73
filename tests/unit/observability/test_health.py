"""Test the health port over a real socket, without Kafka."""

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


def test_livez_answers():
    assert ask("/livez")[:2] == (200, "ok\n")


def test_page_reloads_unless_the_reader_stops_it():
    status, text, headers = ask("/")
    assert (status, headers["Refresh"]) == (200, "60")
    assert "/?reload=no" in text
    status, text, headers = ask("/?reload=no")
    assert (status, headers.get("Refresh")) == (200, None)
    assert "does not reload by itself" in text


def test_server_answers_runbooks_and_no_other_file():
    status, text, headers = ask("/runbooks/BreakerOpen.md")
    assert (status, text.startswith("# BreakerOpen")) == (200, True)
    assert headers["Content-Type"].startswith("text/plain")
    for path in ("/runbooks/Nothing.md", "/runbooks/..%2F..%2FREADME.md", "/runbooks/../README.md"):
        assert ask(path)[0] == 404


def test_metrics_endpoint_serves_gateway_metrics():
    metrics.BUILD_INFO.labels("0.1.0").set(1)
    status, text, headers = ask("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"gateway_build_info", "gateway_polls", "gateway_records_received"} <= names
    assert all(name.startswith("gateway_") for name in names)


def test_metrics_endpoint_serves_openmetrics():
    status, text, headers = ask(
        "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert status == 200
    assert "openmetrics" in headers["Content-Type"]
    assert text.rstrip().endswith("# EOF")


def test_readyz_succeeds_when_all_checks_pass():
    async def tables() -> str:
        return ""

    assert ask("/readyz", checks={"kafka": lambda: "", "tables": tables})[:2] == (
        200,
        "kafka: ok\ntables: ok\n",
    )


def test_readyz_names_failed_and_hanging_checks(monkeypatch):
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


def test_unknown_paths_and_methods_are_refused():
    assert ask("/nope")[0] == 404
    assert ask("/metrics", method="POST")[0] == 405
    assert ask("/livez", method="HEAD")[0] == 200


def test_replies_have_security_headers():
    for path in ("/", "/metrics", "/nope"):
        headers = ask(path)[2]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


def test_failing_page_does_not_stop_the_server():
    def broken():
        raise RuntimeError("CANARY")

    status, text, _ = ask("/", snapshot=broken)
    assert status == 500
    assert "CANARY" not in text


def test_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            Unavailable, match=rf"port {port} on 127\.0\.0\.1 is in use; set GATEWAY_METRICS_PORT"
        ):
            asyncio.run(HealthServer(Settings(metrics_port=port)).start())


def test_foreign_address_is_named():
    with pytest.raises(Unavailable, match="GATEWAY_METRICS_HOST"):
        asyncio.run(HealthServer(Settings(metrics_host="192.0.2.1", metrics_port=0)).start())


def test_metric_values_of_another_registry_can_be_served():
    registry = CollectorRegistry()
    Gauge("gateway_one", "One", registry=registry).set(1)
    assert "gateway_one 1.0" in ask("/metrics", registry=registry)[1]


def test_moved_connector_leaves_no_metrics():
    for gauge in (metrics.CURSOR_TIMESTAMP, metrics.POLL_INTERVAL):
        gauge.labels("moved", "s").set(1)
        gauge.labels("stays", "s").set(1)
    metrics.BREAKER_STATE.labels("moved", "").set(2)
    metrics.RECEIVED.labels("moved", "s").inc(5)
    metrics.drop_connector("moved")
    text = ask("/metrics")[1]
    assert 'gateway_cursor_timestamp_seconds{connector="stays"' in text
    assert 'gateway_breaker_state{connector="moved"' not in text
    assert 'gateway_cursor_timestamp_seconds{connector="moved"' not in text
    assert 'gateway_records_received_total{connector="moved",stream="s"} 5.0' in text
