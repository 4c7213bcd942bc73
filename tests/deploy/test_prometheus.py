"""Check that rules, rule tests, runbooks and dashboards agree with ``metrics.py``."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections import Counter
from itertools import chain
from pathlib import Path

import aiohttp
import pytest
import yaml
from prometheus_client import CollectorRegistry, Gauge

from gateway.observability import metrics
from gateway.observability.health_server import HealthServer
from gateway.settings import Settings
from tests.conftest import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
RULE_TESTS = {
    path.name: yaml.safe_load(path.read_text())["tests"]
    for path in sorted((DEPLOY / "prometheus").glob("rules_test*.yml"))
}
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RECORDS = {
    rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule
}
DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana").glob("*.json"))
}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="promtool is not on PATH (Debian package prometheus): rules were not run"
)


def declared() -> dict[str, set[str]]:
    """Every metric as Prometheus names it, with its labels."""
    found = {}
    for collector in set(metrics.REGISTRY._collector_to_names):
        name = collector._name + ("_total" if collector._type == "counter" else "")
        found[name] = set(collector._labelnames)
    return found


def expressions() -> dict[str, str]:
    """Every PromQL expression in rules, dashboards and their variables, by where it stands."""
    found = {
        rule.get("alert") or rule["record"]: rule["expr"]
        for group in RULES["groups"]
        for rule in group["rules"]
    }
    for name, board in DASHBOARDS.items():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                found[f"{name}/{panel['title']}/{target['refId']}"] = target["expr"]
        for one in board["annotations"]["list"]:
            found[f"{name}/{one['name']}"] = one["expr"]
        for one in board["templating"]["list"]:
            if one["type"] == "query":
                found[f"{name}/${one['name']}"] = re.sub(
                    r"^label_values\((.*), \w+\)$", r"\1", one["definition"]
                )
    return found


def named(text: str) -> set[str]:
    return {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in re.findall(r"\bgateway_[a-z0-9_]+", text)
    }


def run(*command: str, cwd: Path = DEPLOY) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dashboards_and_rules_read_existing_metrics():
    known = declared()
    for place, expression in expressions().items():
        assert named(expression) <= known.keys(), place
        assert set(re.findall(r"gateway:[a-z0-9_:]+", expression)) <= RECORDS, place


def test_every_metric_is_read():
    read = set().union(*map(named, expressions().values()))
    assert declared().keys() - read == set()


def test_every_recording_rule_is_read():
    others = " ".join(expressions().values())
    assert {name for name in RECORDS if name not in others} == set()


def test_selectors_use_existing_labels():
    known = declared()
    for place, expression in expressions().items():
        for name, selector in re.findall(r"\b(gateway_[a-z0-9_]+)\{([^}]*)\}", expression):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known[base], place


def test_metric_names_follow_the_convention():
    for name in declared():
        assert name.startswith("gateway_")
        assert re.search(
            r"_(total|seconds|ratio|info|records|state|owned|withheld|skipped)$", name
        ), name


def test_alerts_are_complete_and_have_runbooks():
    names = [alert["alert"] for alert in ALERTS]
    assert len(names) == len(set(names))
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert alert["annotations"]["summary"]
        runbook = Path(alert["annotations"]["runbook"])
        text = (DEPLOY.parent / runbook).read_text()
        assert alert["annotations"]["runbook_url"] == f"https://runbooks.example.org/{runbook.name}"
        assert re.search(r"gateway (why|status)\b", alert["annotations"]["why"])
        assert text.startswith(f"# {alert['alert']}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
            "What it means",
            "What to look at",
            "What to do",
            "Is anything lost?",
        ]
    assert {path.stem for path in (DEPLOY / "runbooks").glob("*.md")} == set(names)


def test_runbooks_name_existing_metrics_and_alerts():
    names = {alert["alert"] for alert in ALERTS}
    for path in (DEPLOY / "runbooks").glob("*.md"):
        text = path.read_text()
        assert named(text) <= declared().keys(), path.name
        assert set(re.findall(r"gateway:[a-z0-9_:]+", text)) <= RECORDS, path.name
        assert set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", text)) <= names, path.name


def test_runbook_and_guide_commands_exist():
    from typer.main import get_command

    from gateway.cli import app

    known = get_command(app).commands
    root = DEPLOY.parent
    for path in [
        *(DEPLOY / "runbooks").glob("*.md"),
        DEPLOY / "README.md",
        root / "CONTRIBUTING.md",
        root / "SECURITY.md",
    ]:
        for command, rest in re.findall(r"`gateway ([a-z]+)([^`]*)`", path.read_text()):
            assert command in known, (path.name, command)
            first = rest.split()[0] if rest.split() else ""
            inner = getattr(known[command], "commands", None)
            assert inner is None or first in inner, (path.name, command, first)
            options = {
                option
                for parameter in (inner[first] if inner else known[command]).params
                for option in parameter.opts
            }
            assert set(re.findall(r"--[a-z-]+", rest)) <= options, (path.name, command)


def test_rule_tests_show_each_alert_fire_and_clear():
    fired, cleared = set(), set()
    for test in chain.from_iterable(RULE_TESTS.values()):
        for one in test["alert_rule_test"]:
            (fired if one["exp_alerts"] else cleared).add(one["alertname"])
    names = {alert["alert"] for alert in ALERTS}
    assert fired == names
    assert cleared == names


@needs_promtool
def test_promtool_accepts_the_rules_and_the_configuration():
    run(PROMTOOL, "check", "rules", "prometheus/rules.yml")
    run(PROMTOOL, "check", "config", "prometheus/prometheus.yml")


@needs_promtool
@pytest.mark.parametrize("file", RULE_TESTS)
def test_promtool_runs_the_rule_tests(file: str):
    run(PROMTOOL, "test", "rules", file, cwd=DEPLOY / "prometheus")


@needs_promtool
def test_promtool_accepts_every_expression_of_the_dashboards(tmp_path):
    rules = []
    for number, (place, expression) in enumerate(expressions().items()):
        filled = (
            expression.replace("$connector", "aa").replace("$stream", "s").replace("$country", "AA")
        )
        assert "$" not in filled, place
        rules.append({"record": f"check:{number}", "expr": filled})
    file = tmp_path / "dashboards.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    run(PROMTOOL, "check", "rules", str(file))


@needs_promtool
def test_promtool_accepts_the_metrics():
    from prometheus_client import generate_latest

    done = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=generate_latest(metrics.REGISTRY),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard_ids_are_unique_and_panels_do_not_overlap():
    assert sorted(DASHBOARDS) == ["connector", "fleet", "mapping"]
    uids = Counter(board["uid"] for board in DASHBOARDS.values())
    assert set(uids.values()) == {1}
    for name, board in DASHBOARDS.items():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids)), name
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not taken & cells, (name, panel["title"])
            taken |= cells
        assert all(panel["datasource"]["uid"] == "${datasource}" for panel in board["panels"])
        assert board["editable"] is False


async def fetch(session: aiohttp.ClientSession, url: str) -> dict:
    async with session.get(url) as reply:
        return (await reply.json())["data"]


@pytest.mark.skipif(
    not shutil.which("prometheus"),
    reason="prometheus is not on PATH (Debian package prometheus): nothing was scraped",
)
def test_prometheus_scrapes_and_an_alert_fires_and_clears(tmp_path):
    registry = CollectorRegistry()
    blocked = Gauge(
        "gateway_publish_blocked_seconds", "As in metrics.py", ["role"], registry=registry
    )
    assert metrics.PUBLISH_BLOCKED._labelnames == ("role",)
    blocked.labels("poll").set(0)
    rules = json.loads(json.dumps(RULES))
    for group in rules["groups"]:
        group["interval"] = "500ms"
        for rule in group["rules"]:
            if rule.get("alert") == "PublishBlocked":
                rule["for"] = "0s"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))

    async def alerts(session, base) -> list[str]:
        return [
            one["labels"]["alertname"]
            for one in (await fetch(session, f"{base}/api/v1/alerts"))["alerts"]
            if one["state"] == "firing"
        ]

    async def until(wanted, ask) -> None:
        async with asyncio.timeout(60):
            while not wanted(await ask()):
                await asyncio.sleep(0.2)

    async def go() -> None:
        async with (
            HealthServer(Settings(metrics_port=0), registry=registry) as server,
            aiohttp.ClientSession() as session,
        ):
            target = server.url.removeprefix("http://")
            config = {
                "global": {
                    "scrape_interval": "500ms",
                    "scrape_timeout": "500ms",
                    "evaluation_interval": "500ms",
                },
                "rule_files": ["rules.yml"],
                "scrape_configs": [
                    {"job_name": "gateway", "static_configs": [{"targets": [target]}]}
                ],
            }
            (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
            port = free_port()
            base = f"http://127.0.0.1:{port}"
            process = await asyncio.create_subprocess_exec(
                "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error", cwd=tmp_path,
            )  # fmt: skip
            try:
                async with asyncio.timeout(60):
                    while True:
                        try:
                            found = await fetch(session, f"{base}/api/v1/query?query=up")
                            if any(one["value"][1] == "1" for one in found["result"]):
                                break
                        except (aiohttp.ClientError, KeyError):
                            pass
                        await asyncio.sleep(0.2)
                assert "PublishBlocked" not in await alerts(session, base)
                blocked.labels("poll").set(90)
                await until(lambda found: "PublishBlocked" in found, lambda: alerts(session, base))
                blocked.labels("poll").set(0)
                await until(
                    lambda found: "PublishBlocked" not in found, lambda: alerts(session, base)
                )
            finally:
                process.terminate()
                await asyncio.wait_for(process.wait(), 20)

    asyncio.run(go())
