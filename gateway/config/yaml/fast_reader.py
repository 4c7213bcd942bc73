"""The values of a YAML file in which nothing is unusual, by libyaml: forty times as fast as the reader that explains mistakes.

:func:`values` answers only where :mod:`gateway.config.yaml.document` would answer the same without a finding. Whatever that reader has words
for (tags, anchors, tabs, duplicate keys, numbers with leading zeros, a syntax mistake) and whatever YAML 1.1, which libyaml reads, means
otherwise than YAML 1.2, is :data:`UNREAD` here and read there.
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
except (
    ImportError
):  # a platform for which no wheel with libyaml exists: everything is read by the other reader
    CParser = None  # type: ignore[assignment, misc]

MAX_DEPTH: Final = 40
MAX_NODES: Final = 100_000
NOT_SIMPLE: Final = object()
"""The file has to be read by the reader that explains."""

NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
TRUE: Final = frozenset({"true", "True", "TRUE"})
FALSE: Final = frozenset({"false", "False", "FALSE"})
INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
DECIMAL: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)?\.[0-9]+|[-+]?(0|[1-9][0-9]*)\.")
LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9_]+")
AMBIGUOUS_NUMBER: Final = re.compile(
    r"[-+]?(0x[0-9a-fA-F]+|0o[0-7]+|\.(inf|Inf|INF)|\.(nan|NaN|NAN)|[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+)"
)

_LONGEST_INTEGER: Final = 30
_NOT_SIMPLE_TEXT: Final = re.compile(
    r"^(?:%|---|\.\.\.)|\$\{[A-Z_]|[|>][-+0-9]*#"
    r"|[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]",
    re.MULTILINE,
)
"""Directives, document marks, ``${VARIABLES}``, a comment that touches the sign of a block text (libyaml takes it for one), every
character that a person does not see, and line breaks that not everybody takes for one."""


class _NotSimple(Exception):
    """Something the other reader has words for."""


@lru_cache(maxsize=8192)
def resolve_plain_scalar(text: str) -> Any:
    """Return what a text without quotes means: null, true, false, a whole or decimal number, or itself."""
    if text in NULL:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if INTEGER.fullmatch(text):
        return int(text) if len(text) < _LONGEST_INTEGER else text
    return Decimal(text) if DECIMAL.fullmatch(text) else text


@lru_cache(maxsize=8192)
def is_ambiguous(text: str) -> bool:
    """Return whether readers differ about a text without quotes."""
    return bool(LEADING_ZERO.fullmatch(text) or AMBIGUOUS_NUMBER.fullmatch(text))


def read_simple_yaml(text: str) -> Any:
    """Return the values of a file, or :data:`UNREAD`."""
    if CParser is None or _NOT_SIMPLE_TEXT.search(text):
        return NOT_SIMPLE
    try:
        return _Reader(text if text.endswith("\n") else f"{text}\n").document()
    except (YAMLError, _NotSimple, RecursionError):
        return NOT_SIMPLE


class _Reader:
    def __init__(self, text: str) -> None:
        self._next: Callable[[], Any] = CParser(text).get_event
        self._left = MAX_NODES

    def document(self) -> Any:
        self._next()
        start = self._next()
        if not isinstance(start, DocumentStartEvent):
            raise _NotSimple
        root = self._next()
        if (
            type(root) is ScalarEvent
        ):  # a file that is one text is no file of ours, and the readers differ about its lines
            raise _NotSimple
        made = self._value(root, 0)
        self._next()
        if not isinstance(self._next(), StreamEndEvent):
            raise _NotSimple
        return made

    def _value(self, event: Event, depth: int) -> Any:
        self._left -= 1
        if (
            self._left < 0
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
        made: dict[str, Any] = {}
        while True:
            key = self._next()
            if type(key) is MappingEndEvent:
                return made
            if type(key) is not ScalarEvent:
                raise _NotSimple
            name = key.value
            if (
                key.tag
                or key.anchor
                or name in made
                or (not key.style and (name == "<<" or LEADING_ZERO.fullmatch(name)))
            ):
                raise _NotSimple
            made[name] = self._value(self._next(), depth)

    def _sequence(self, depth: int) -> list[Any]:
        made: list[Any] = []
        while True:
            event = self._next()
            if type(event) is SequenceEndEvent:
                return made
            made.append(self._value(event, depth))
