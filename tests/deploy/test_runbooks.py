"""Check the commands of the runbooks, which ``tests/end_to_end/test_alerts_*.py`` run literally."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command

from gateway.cli import app
from tests.support import alert_table
from tests.support.prometheus_server import ALERTS, shorten
from tests.support.runbooks import FOLDER, PLACEHOLDER, read_runbook

RUNBOOKS = [read_runbook(alert) for alert in ALERTS]


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda one: one.alert)
def test_runbook_has_commands_that_cure_and_explains_its_placeholders(runbook):
    assert any(runbook.cures.values()), "no block of commands under 'What to do'"
    assert "gateway why CONNECTOR" in runbook.text
    used = {name for line in runbook.commands for name in PLACEHOLDER.findall(line)}
    assert used <= runbook.placeholders, "a command has a placeholder that no table explains"
    other = set(PLACEHOLDER.findall(runbook.text.replace("```sh", "```")))
    assert runbook.placeholders <= other, "the table explains a placeholder that no line has"


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda one: one.alert)
def test_commands_and_options_of_the_runbook_exist(runbook):
    known = get_command(app).commands
    for line in runbook.commands:
        for words in re.findall(r"\bgateway ([a-z][^|&]*)", line):
            command, *rest = words.split()
            assert command in known, line
            inner = getattr(known[command], "commands", {})
            parameters = (inner[rest[0]] if inner else known[command]).params
            options = {option for one in parameters for option in one.opts}
            assert {word for word in rest if word.startswith("--")} <= options, line


def test_table_of_alerts_names_each_alert():
    assert {path.stem for path in FOLDER.glob("*.md")} == set(ALERTS)
    assert list(alert_table.read_rows()) == list(ALERTS), "run make alerts"


def test_rules_are_shortened_by_the_factor():
    assert shorten("rate(a[15m]) > 300", 30) == "rate(a[30s]) > 10"
    assert shorten("a offset 1d - 0.05", 720) == "a offset 120s - 0.05"
    assert shorten("time() - a > 86400 and b > 60", 720) == "time() - a > 120 and b > 60"
    assert shorten("(a - time()) / 86400 < 30", 720) == "(a - time()) / 86400 < 30"
