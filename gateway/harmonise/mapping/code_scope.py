"""Name the variables of generated code that hold a record, its values and its paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NodePath = tuple[Any, ...]


@dataclass(slots=True)
class Scope:
    """The record, or an item inside it: its node, its values, and the variables of its paths."""

    node: str
    values: str
    state: str
    places: dict[NodePath, str] = field(default_factory=dict)
    children: dict[NodePath, str] = field(default_factory=dict)
    containers: dict[tuple[str, ...], str] = field(default_factory=dict)
    shared_targets: frozenset[tuple[str, ...]] = frozenset()
    """Targets that several rules fill: texts by language, as a whole and one by one."""


def state_of(values: str) -> str:
    """Return the expression for the state of a record whose values have this name."""
    return f"State({values}, lookups, issues, country)"
