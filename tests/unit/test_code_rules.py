"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from gateway.observability import metrics

ROOT = Path(__file__).parents[2]
CODE = sorted((ROOT / "gateway").rglob("*.py"))
REGISTRIES = re.compile(
    r"\b(virta|koski|ytr|eperusteet|ooapi|kutseregister|ehis|ladok|rncp|magda|duo_rio|rad-?on|skolverket|deqar|eche)\b",
    re.IGNORECASE,
)
COUNTRIES = re.compile(
    r"""["'](AT|BE|BG|HR|CY|CZ|DK|EE|FI|FR|DE|GR|HU|IE|IT|LV|LT|LU|MT|NL|PL|PT|RO|SK|SI|ES|SE|NO|CH|UA|UK-SCT)["']"""
)
MAY_NAME_PROVIDER_REGISTERS = {
    "records.py",
    "record_parts.py",
    "providers.py",
    "quality_assurance.py",
    "provider.py",
    "identifiers.py",
}
"""The two European registers of trusted providers are terms of the field: identifier schemes and charters carry their names."""


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_names_no_registry(path: Path):
    text = path.read_text()
    names = {name.lower() for name in REGISTRIES.findall(text)}
    if path.name in MAY_NAME_PROVIDER_REGISTERS or "render" in path.parts:
        names -= {"deqar", "eche"}
    # Field descriptions of the language name the registry that needed a knob: that is documentation, not behaviour.
    if path.parent.name == "config":
        names = {
            name.lower()
            for line in text.splitlines()
            if "description" not in line
            for name in REGISTRIES.findall(line)
        }
    assert not names


def test_one_module_commits_transactions():
    found = [path.relative_to(ROOT) for path in CODE if "commit_transaction(" in path.read_text()]
    assert found == [Path("gateway/kafka/transactions.py")]


def test_metrics_are_unique_and_named_by_convention():
    names = [family.name for family in metrics.REGISTRY.collect()]
    assert len(names) == len(set(names))
    assert all(name.startswith("gateway_") for name in names)
    assert "_created" not in generate_latest(metrics.REGISTRY).decode()


def test_files_stay_below_the_line_limit():
    long = {
        str(path.relative_to(ROOT)): count
        for path in CODE
        if (count := len(path.read_text().splitlines())) > 450
    }
    assert not long


def test_test_files_have_different_names():
    """pytest imports test files by their bare names, so a second one of a name is not run."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
