"""Read simple YAML files with libyaml, forty times as fast as the reader that explains mistakes.

:func:`read_simple_yaml` returns values only where :mod:`gateway.config.yaml.document` would return
the same values without a finding. Otherwise it returns :data:`NOT_SIMPLE`. That happens when the
file has something to report, such as a tag, a tab, a duplicate key or a syntax mistake. It also
happens when the file has text that means one thing in YAML 1.1 and another in YAML 1.2, because
libyaml reads YAML 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from yaml import YAMLError
from yaml.events import (
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

try:
    from yaml.cyaml import CParser  # type: ignore[attr-defined]
except ImportError:
    # Some platforms have no wheel with libyaml. There the other reader reads every file.
    CParser = None  # type: ignore[assignment, misc]

MAX_DEPTH: Final = 40
MAX_NODES: Final = 100_000
NOT_SIMPLE: Final = object()
"""The result for a file that needs the reader that explains mistakes."""

NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
TRUE: Final = frozenset({"true", "True", "TRUE"})
FALSE: Final = frozenset({"false", "False", "FALSE"})
INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
DECIMAL: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)?\.[0-9]+|[-+]?(0|[1-9][0-9]*)\.")
LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9_]+")
AMBIGUOUS_NUMBER: Final = re.compile(
    r"[-+]?(0x[0-9a-fA-F]+|0o[0-7]+|\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    r"|[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+)"
)

_LONGEST_INTEGER: Final = 30
_NOT_SIMPLE_TEXT: Final = re.compile(
    r"^(?:%|---|\.\.\.)|\$\{[A-Z_]|[|>][-+0-9]*#"
    r"|[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]",
    re.MULTILINE,
)
"""The pattern of text that needs the other reader.

It matches directives, document markers and ``${VARIABLES}``. It matches a comment directly after
the sign of a block text, because only libyaml reads it as a comment. It also matches invisible
characters, and line breaks that not every reader recognises.
"""


class _NotSimple(Exception):
    """The file needs the reader that explains mistakes."""


@lru_cache(maxsize=8192)
def resolve_plain_scalar(text: str) -> Any:
    """Return the value of a text without quotes.

    The value is ``None``, a bool, a whole or decimal number, or the text itself.
    """
    if text in NULL:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if INTEGER.fullmatch(text):
        return int(text) if len(text) < _LONGEST_INTEGER else text
    return Decimal(text) if DECIMAL.fullmatch(text) else text


@lru_cache(maxsize=8192)
def is_ambiguous(text: str) -> bool:
    """Return whether YAML readers disagree about a text without quotes."""
    return bool(LEADING_ZERO.fullmatch(text) or AMBIGUOUS_NUMBER.fullmatch(text))


def read_simple_yaml(text: str) -> Any:
    """Return the values of a file, or :data:`NOT_SIMPLE`."""
    if CParser is None or _NOT_SIMPLE_TEXT.search(text):
        return NOT_SIMPLE
    try:
        return _Reader(text if text.endswith("\n") else f"{text}\n").document()
    except (YAMLError, _NotSimple, RecursionError):
        return NOT_SIMPLE


class _Reader:
    def __init__(self, text: str) -> None:
        self._next: Callable[[], Any] = CParser(text).get_event
        self._nodes_left = MAX_NODES

    def document(self) -> Any:
        self._next()
        start = self._next()
        if not isinstance(start, DocumentStartEvent):
            raise _NotSimple
        root = self._next()
        if type(root) is ScalarEvent:
            # A configuration file is never a single text, and readers disagree about its lines.
            raise _NotSimple
        value = self._value(root, 0)
        self._next()
        if not isinstance(self._next(), StreamEndEvent):
            raise _NotSimple
        return value

    def _value(self, event: Event, depth: int) -> Any:
        self._nodes_left -= 1
        if (
            self._nodes_left < 0
            or depth >= MAX_DEPTH
            or getattr(event, "tag", None)
            or getattr(event, "anchor", None)
        ):
            raise _NotSimple
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if kind is MappingStartEvent:
            return self._mapping(depth + 1)
        if kind is SequenceStartEvent:
            return self._sequence(depth + 1)
        raise _NotSimple

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.style:
            return text
        if is_ambiguous(text):
            raise _NotSimple
        return resolve_plain_scalar(text)

    def _mapping(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while True:
            key = self._next()
            if type(key) is MappingEndEvent:
                return values
            if type(key) is not ScalarEvent:
                raise _NotSimple
            name = key.value
            if (
                key.tag
                or key.anchor
                or name in values
                or (not key.style and (name == "<<" or LEADING_ZERO.fullmatch(name)))
            ):
                raise _NotSimple
            values[name] = self._value(self._next(), depth)

    def _sequence(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while True:
            event = self._next()
            if type(event) is SequenceEndEvent:
                return items
            items.append(self._value(event, depth))
