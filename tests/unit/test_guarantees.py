"""Check that each guarantee names a test that exists.

The README's table of personal data must match the one that the code declares.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from gateway.messages.topics import TOPICS, personal_data_table

ROOT = Path(__file__).parents[2]
PROMISES = (ROOT / "docs" / "reference" / "guarantees.md").read_text(encoding="utf-8")
ROWS = [
    line
    for line in PROMISES.splitlines()
    if line.startswith("| ") and not line.startswith(("| promise", "|---"))
]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:60] for row in ROWS])
def test_guarantees_name_existing_tests(row: str):
    named = TEST.findall(row)
    assert named, "a promise without a test is a wish"
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert name in functions_in(path), f"{path} has no {name}"
    assert len(re.findall(r"tests/", row)) == len(named), (
        "a test is not named as `tests/file.py::test_name`"
    )


def test_guarantees_and_limits_are_listed():
    assert len(ROWS) >= 20
    assert PROMISES.count("\n- **") >= 5


def test_readme_contains_the_topic_table():
    assert personal_data_table() in (ROOT / "README.md").read_text(encoding="utf-8"), (
        "run: python docs/generate.py"
    )
    assert all(topic.legal_basis for topic in TOPICS)
