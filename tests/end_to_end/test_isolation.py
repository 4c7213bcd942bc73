"""A connector that cannot start or whose file is not valid stops no other connector."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Site
from tests.support.hostile_registry import HEAD
from tests.support.memory_stream import stream
from tests.support.operator_commands import answer, gateway, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def file_of(site: Site, connector: str) -> Path:
    return site.folder / "connectors" / f"{connector}.yaml"


def change(site: Site, connector: str, old: str, new: str) -> None:
    file = file_of(site, connector)
    text = file.read_text()
    assert old in text
    copy = file.with_suffix(".new")
    copy.write_text(text.replace(old, new))
    copy.replace(file)


def states(site: Site) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in answer(site, "status")["streams"]:
        found.setdefault(one["connector"], set()).add(one["state"])
    return found


def reasons(site: Site, connector: str) -> str:
    streams = answer(site, "status")["streams"]
    return "\n".join(one["reason"] for one in streams if one["connector"] == connector)


def health(site: Site, path: str) -> str:
    events = (json.loads(line) for line in site.log().splitlines() if line.startswith("{"))
    url = next(event["url"] for event in events if event["event"] == "health port open")
    with urllib.request.urlopen(url + path) as reply:
        return reply.read().decode()


def notifications(site: Site) -> list[dict]:
    return [json.loads(record.value) for record in site.read("gateway.notifications.v1")]


@pytest.mark.parametrize("site", [20], indirect=True)
def test_file_that_does_not_load_stops_its_connector_only(site: Site) -> None:
    change(site, "demo-soap", "country: FI", "country: Atlantis")
    site.run()
    until(lambda: states(site).get("demo-rest") == {"running"})
    log = site.log()
    assert log.count('"connector not loaded"') == 1
    assert "demo-soap.yaml:" in log
    assert "Traceback" not in log
    shown = gateway(site, "status")
    assert "demo-soap: not loaded:" in shown.stdout
    assert "demo-soap.yaml:" in shown.stdout
    assert 'gateway_config_error_state{connector="demo-soap"} 2.0' in health(site, "/metrics")
    assert "note: connector demo-soap is not loaded" in health(site, "/readyz")
    assert "demo-soap" in health(site, "/").partition("<main")[2].partition("<section")[0]
    until(lambda: [one["connector"] for one in notifications(site)] == ["demo-soap"])

    change(site, "demo-soap", "country: Atlantis", "country: FI")
    until(lambda: states(site) == {"demo-rest": {"running"}, "demo-soap": {"running"}})
    assert "gateway_config_error_state{" not in health(site, "/metrics")

    change(site, "demo-soap", "country: FI", "country: Atlantis")
    until(lambda: "an earlier version of its file runs" in gateway(site, "status").stdout)
    change(site, "demo-rest", "title: Demonstration", "title: Renewed demonstration")
    until(lambda: '"connectors": ["demo-rest"]' in site.log())
    assert 'gateway_config_error_state{connector="demo-soap"} 1.0' in health(site, "/metrics")
    until(lambda: states(site)["demo-soap"] == {"running"})


@pytest.mark.parametrize("site", [20], indirect=True)
def test_file_of_a_named_connector_that_does_not_load_ends_the_run(site: Site) -> None:
    change(site, "demo-soap", "country: FI", "country: Atlantis")
    assert site.run("demo-soap", "demo-rest").wait(60) == 3
    assert "demo-soap.yaml:" in site.log()
    file_of(site, "demo-rest").write_text("connector: [")
    assert site.run().wait(60) == 3, "no connector is left"
    assert all(f"{name}.yaml:" in site.log(1) for name in ("demo-soap", "demo-rest"))


@pytest.mark.parametrize("site", [20], indirect=True)
def test_connector_without_url_for_the_stage_is_halted_with_the_reason(site: Site) -> None:
    text = file_of(site, "demo-soap").read_text()
    acceptance = ", acceptance" + text.partition(", acceptance")[2].partition("}")[0]
    change(site, "demo-soap", acceptance, "")
    running: subprocess.Popen = site.run(GATEWAY_STAGE="acceptance")
    until(lambda: states(site).get("demo-soap") == {"halted"})
    assert "no url for the stage 'acceptance'" in reasons(site, "demo-soap")
    until(lambda: states(site)["demo-rest"] == {"running"})
    assert "no url for the stage" in health(site, "/")
    assert 'gateway_polls_total{connector="demo-soap",outcome="halt"' in health(site, "/metrics")
    assert "Traceback" not in site.log()
    until(lambda: [one["kind"] for one in notifications(site)] == ["halted"])
    running.send_signal(signal.SIGTERM)
    running.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize("site", [20], indirect=True)
def test_missing_secret_halts_its_connector_only(site: Site) -> None:
    secret = site.folder / "secrets" / "demo-soap" / "key"
    value = secret.read_text()
    secret.unlink()
    site.run()
    until(lambda: states(site) == {"demo-rest": {"running"}, "demo-soap": {"halted"}})
    assert "secret 'demo-soap/key' is missing" in reasons(site, "demo-soap")
    secret.write_text(value)
    secret.chmod(0o600)
    until(lambda: states(site)["demo-soap"] == {"running"})


class Registry:
    """A registry that answers each path with one record, or with a status that a test sets."""

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        statuses = self.statuses

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status = next((code for word, code in statuses.items() if word in self.path), 200)
                body = b'{"items": [{"id": "%s", "t": "T"}]}' % self.path.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def connect(self, site: Site, query: str, rules: str) -> None:
        """Write the connector ``hostile``, which reads this registry."""
        text = HEAD.format(protocol="rest", url=self.url, block="", size="2MB")
        text = text.replace("attempts: 1", "attempts: 4") + stream(query, f"every: 1s\n{rules}")
        file_of(site, "hostile").write_text(text)


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = Registry()
    yield found
    found.server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("site", [20], indirect=True)
def test_institution_that_is_down_stops_no_other(site: Site, registry: Registry) -> None:
    registry.statuses["uni-a"] = 503
    addresses = (f'uni-{n}: {{url: {{production: "{registry.url}/uni-{n}"}}}}' for n in "ab")
    registry.connect(
        site, "", f"for_each: {{school: {{in: {{parties: {{{', '.join(addresses)}}}}}}}}}"
    )
    site.run("hostile")
    until(lambda: "hostile: uni-a is not called for" in gateway(site, "status").stdout)
    for _ in range(3):
        found = {one["stream"]: one for one in answer(site, "status", "hostile")["streams"]}
        assert found["awards@uni-a"]["state"] == "retrying"
        assert found["awards@uni-b"]["state"] == "running"
        assert found["awards@uni-b"]["last_success_seconds_ago"] < 15
        time.sleep(2)
    text = health(site, "/metrics")
    assert 'gateway_breaker_state{connector="hostile",institution="uni-a"} 2.0' in text
    assert 'gateway_breaker_state{connector="hostile",institution="uni-b"} 0.0' in text
    assert "open: not called (uni-a)" in health(site, "/")


@pytest.mark.parametrize("site", [20], indirect=True)
def test_loop_values_that_are_refused_are_shown(site: Site, registry: Registry) -> None:
    registry.statuses["p2"] = 401
    registry.connect(site, 'person: "{person}"', "for_each: {person: {in: {values: [p1, p2, p3]}}}")
    site.run("hostile")
    until(lambda: "1 of 3 loop values skipped: DENIED" in gateway(site, "status").stdout)
    assert states(site)["hostile"] == {"running"}
    gauge = 'gateway_loop_values_skipped{connector="hostile",stream="awards"}'
    assert f"{gauge} 1.0" in health(site, "/metrics")
    assert "1 loop values skipped" in health(site, "/")
    until(lambda: [one["kind"] for one in notifications(site)] == ["values_skipped"])
    (found,) = notifications(site)
    assert (found["reason"], found["text"]) == ("DENIED", "1 of 3 loop values skipped: DENIED")
    assert "p2" not in site.log(), "a value may name a person"
    registry.statuses.clear()
    until(lambda: f"{gauge} 0.0" in health(site, "/metrics"))
    until(lambda: "loop values skipped" not in gateway(site, "status").stdout)
    assert len(notifications(site)) == 1
