"""Check that the example for Alertmanager names existing alerts and routes them by owner."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

from tests.deploy.test_prometheus import ALERTS, DEPLOY

FILE = DEPLOY / "prometheus/alertmanager.yml"
AMTOOL = shutil.which("amtool")
needs_amtool = pytest.mark.skipif(
    not AMTOOL,
    reason="amtool is not on PATH (Debian package prometheus-alertmanager): no route was tried",
)


def matched(rule: dict, side: str) -> set[str]:
    """The alerts that one side of an inhibition names."""
    text = next(one for one in rule[f"{side}_matchers"] if one.startswith("alertname"))
    return set(re.findall(r"[A-Z]\w+", text))


def amtool(*arguments: str) -> str:
    done = subprocess.run(
        [AMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_inhibitions_name_existing_alerts_and_share_labels():
    by_name = {alert["alert"]: alert for alert in ALERTS}
    rules = yaml.safe_load(FILE.read_text())["inhibit_rules"]
    for rule in rules:
        sources, targets = matched(rule, "source"), matched(rule, "target")
        assert sources | targets <= by_name.keys()
        # An alert that hides itself would hide what it is about.
        assert not sources & targets or rule["source_matchers"] != rule["target_matchers"]
        for name in sources | targets:
            for label in rule.get("equal", ()):
                assert label in by_name[name]["annotations"]["summary"], (name, label)


def test_no_page_is_hidden_by_a_ticket():
    severity = {alert["alert"]: alert["labels"]["severity"] for alert in ALERTS}
    for rule in yaml.safe_load(FILE.read_text())["inhibit_rules"]:
        if "page" in {severity[name] for name in matched(rule, "target")}:
            assert {severity[name] for name in matched(rule, "source")} == {"page"}


@needs_amtool
def test_alertmanager_accepts_the_example():
    assert "SUCCESS" in amtool("check-config", str(FILE))


@needs_amtool
@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (("severity=page", "connector=fi-virta"), "gateway-pager,owner-of-fi"),
        (("severity=ticket", "connector=fi-virta"), "owner-of-fi"),
        (("severity=page", "connector=se-register"), "gateway-pager"),
        (("severity=page", "role=poll"), "gateway-pager"),
        (("severity=ticket", "country=SE"), "gateway-tickets"),
    ],
)
def test_alerts_reach_the_owner_of_their_connector(labels: tuple[str, ...], receivers: str):
    assert amtool("config", "routes", "test", f"--config.file={FILE}", *labels) == receivers
