"""A record is deleted because of a value in it, and never because the value is not there."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from gateway.config.connection import Condition
from gateway.config.expressions.conditions import compile_deletion_condition
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

NOT_ACTIVE = [
    {"path": "status", "not": "active"},
    {"path": "status", "not": ["active", "draft*"]},
    {"path": "status != 'active'"},
    {"path": "status != 'active'", "is": "true"},
    {"path": "!contains(['active', 'draft'], status)"},
]


def is_deleted(kind: Any, condition: dict[str, Any], record: Any) -> bool:
    node = etree.fromstring(record) if kind == "xml" else record
    return compile_deletion_condition(Condition.model_validate(condition), kind, {})(node, {})


@pytest.mark.parametrize("condition", NOT_ACTIVE)
def test_state_that_is_not_there_deletes_nothing(condition: dict[str, Any]) -> None:
    assert is_deleted("json", condition, {"status": "withdrawn"})
    assert not is_deleted("json", condition, {"status": "active"})
    for record in ({"state": "active"}, {"status": None}, {"status": " "}, {}):
        assert not is_deleted("json", condition, record), record


@pytest.mark.parametrize(
    "condition",
    [
        {"path": "@status", "not": "active"},
        {"path": "not(@status = 'active')"},
        {"path": "@status != 'active'"},
    ],
)
def test_state_that_is_not_in_an_element_deletes_nothing(condition: dict[str, Any]) -> None:
    assert is_deleted("xml", condition, "<r status='withdrawn'/>")
    assert not is_deleted("xml", condition, "<r status='active'/>")
    assert not is_deleted("xml", condition, "<r state='active'/>")


def test_column_that_is_not_there_deletes_nothing() -> None:
    condition = {"path": "status", "not": "active"}
    assert is_deleted("csv", condition, {"status": "gone"})
    assert not is_deleted("csv", condition, {"state": "active"})


def test_absence_deletes_when_the_connector_says_so() -> None:
    condition = {"path": "name", "exists": False}
    assert is_deleted("json", condition, {"id": "1"})
    assert not is_deleted("json", condition, {"id": "1", "name": "x"})


def test_renamed_state_keeps_all_records() -> None:
    text = stream("", "cursor: scan\ndeleted: {path: status, not: active}")
    state = MemoryStreamState()
    items = [item(name, status="active") for name in "abc"]
    poll_route(lambda _path, _query: {"items": items}, text, state)
    renamed = [item(name, state="active") for name in "abc"]
    poll_route(lambda _path, _query: {"items": renamed}, text, state)
    assert state.published == {"a", "b", "c"}
    gone = [item("a", status="withdrawn"), *items[1:]]
    poll_route(lambda _path, _query: {"items": gone}, text, state)
    assert state.published == {"b", "c"}
