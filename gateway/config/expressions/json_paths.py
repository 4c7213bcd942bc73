"""Walk simple JSON paths without JMESPath: names, positions and ``[]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Walk = Callable[[Any, Mapping[str, Any]], list[Any]]
Step = str | int | None
"""A name, a position, or ``None`` for every item of a list."""

_PLAIN_STEP = re.compile(r"(?P<name>[^\W\d]\w*)|\"(?P<quoted>[^\"\\]+)\"")
_INDEX = re.compile(r"\[(-?\d+|\*?)\]")


def parse_json_path(text: str) -> list[Step] | None:
    """Return the steps of a path such as ``a.b[0].c[].d``, or ``None`` for any other text."""
    steps: list[Step] = []
    position = 0
    while position < len(text):
        if text[position] == "[":
            match = _INDEX.match(text, position)
            if not match or match[1] == "*":
                return None
            steps.append(int(match[1]) if match[1] else None)
        else:
            if steps:
                if text[position] != ".":
                    return None
                position += 1
            match = _PLAIN_STEP.match(text, position)
            if not match:
                return None
            steps.append(match["name"] or match["quoted"])
        position = match.end()
    if None in steps and any(isinstance(step, int) for step in steps[steps.index(None) :]):
        return None
    return steps or None


def compile_json_path(steps: list[Step]) -> Walk:
    """Return a function that walks the steps with the results of JMESPath."""
    if len(steps) == 1 and isinstance(steps[0], str):
        return _compile_single_key(steps[0])
    if None in steps:
        return _compile_list_walk(steps)

    def walk_keys(node: Any, _context: Mapping[str, Any]) -> list[Any]:
        for step in steps:
            if type(node) is dict:
                node = node.get(step)
            elif type(node) is list and type(step) is int and -len(node) <= step < len(node):
                node = node[step]
            else:
                return []
        return as_list(node)

    return walk_keys


def _compile_single_key(key: str) -> Walk:
    def read_key(node: Any, _context: Mapping[str, Any]) -> list[Any]:
        value = node.get(key) if type(node) is dict else None
        if value is None:
            return []
        return as_list(value) if type(value) is list else [value]

    return read_key


def _compile_list_walk(steps: list[Step]) -> Walk:
    def walk_lists(node: Any, _context: Mapping[str, Any]) -> list[Any]:
        nodes, flattened = [node], False
        for step in steps:
            if step is None:
                # Like JMESPath, spread each item that is a list once, and keep any other item.
                values = (
                    nodes
                    if flattened
                    else next((value for value in nodes if type(value) is list), [])
                )
                nodes = [
                    item
                    for value in values
                    for item in (value if type(value) is list else (value,))
                ]
                flattened = True
            elif type(step) is int:
                nodes = [
                    value[step]
                    for value in nodes
                    if type(value) is list and -len(value) <= step < len(value)
                ]
            else:
                nodes = [
                    item
                    for value in nodes
                    if type(value) is dict and (item := value.get(step)) is not None
                ]
        return [item for item in nodes if item is not None]

    return walk_lists


def as_list(value: Any) -> list[Any]:
    """Return the value as a list without ``None``."""
    if value is None:
        return []
    if type(value) is list:
        return [item for item in value if item is not None]
    return [value]
