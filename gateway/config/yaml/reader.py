"""Turn the events of libyaml into plain values, with the line and column of each value.

libyaml reads YAML 1.1. This module resolves plain texts by YAML 1.2, so ``NO`` and ``on`` are
texts. It reports everything that YAML readers disagree about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Protocol

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

MAX_DEPTH: Final = 40
MAX_NODES: Final = 100_000

NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
TRUE: Final = frozenset({"true", "True", "TRUE"})
FALSE: Final = frozenset({"false", "False", "FALSE"})
INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
DECIMAL: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)?\.[0-9]+|[-+]?(0|[1-9][0-9]*)\.")
LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9_]+")
AMBIGUOUS_NUMBER: Final = re.compile(
    r"[-+]?(0x[0-9a-fA-F]+|0o[0-7]+|\.(inf|Inf|INF)|\.(nan|NaN|NAN)|[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+)"
)

_MAX_INTEGER_DIGITS: Final = 30
_TOUCHING_COMMENT: Final = re.compile(r"[|>][-+0-9]*#")
"""libyaml takes this for a comment, although YAML demands a space before it."""
_VARIABLE: Final = re.compile(r"\$\{[A-Z_][A-Z0-9_]*\}")

DocumentPath = tuple[str | int, ...]
Position = tuple[int, int]
"""Line and column, from 1."""


class Listener(Protocol):
    """The object that receives positions and findings while a text is read."""

    def set_position(self, path: DocumentPath, place: Position, *, key: bool = False) -> None:
        """Store the position of a key or of a value."""

    def position_of(self, path: DocumentPath, *, key: bool = True) -> Position:
        """Return a stored position."""

    def add_finding(self, code: str, path: DocumentPath, message: str, place: Position) -> None:
        """Store a finding."""


class UnreadableError(Exception):
    """The text has a finding after which no value can be given."""


@lru_cache(maxsize=8192)
def resolve_plain_scalar(text: str) -> Any:
    """Return the value of a text without quotes: null, a boolean, a number, or the text itself."""
    if text in NULL:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if INTEGER.fullmatch(text):
        return int(text) if len(text) < _MAX_INTEGER_DIGITS else text
    return Decimal(text) if DECIMAL.fullmatch(text) else text


def iterate_events(text: str, *, pure: bool = False) -> Iterator[Any]:
    """Yield the events of a text. Raises :class:`yaml.YAMLError` at the first syntax mistake.

    ``pure`` uses the parser in Python. It is slow, but its errors name the mistake more clearly.
    """
    loader = yaml.SafeLoader if pure else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    parser: Any = loader(text)
    try:
        while parser.check_event():
            yield parser.get_event()
    finally:
        parser.dispose()


def read_values(text: str, listener: Listener) -> Any:
    """Return the value of the only document in a text, or ``None`` if the text has no document.

    Raises :class:`UnreadableError` after a finding that leaves no value. Raises
    :class:`yaml.YAMLError` at a syntax mistake.
    """
    return _Reader(text, listener).read_document()


class _Reader:
    def __init__(self, text: str, listener: Listener) -> None:
        self._text = text
        self._next: Callable[[], Any] = iterate_events(text).__next__
        self._listener = listener
        self._count = 0
        self._depth = 0
        self._has_alias = False

    def read_document(self) -> Any:
        self._next()  # the start of the stream
        if not isinstance(self._next(), DocumentStartEvent):
            return None
        value = self._value(self._next(), ())
        self._next()  # the end of the document
        event = self._next()
        if not isinstance(event, StreamEndEvent):
            self._add("several-documents", (), "one file holds one document; remove '---'", event)
            raise UnreadableError
        if self._has_alias:
            raise UnreadableError
        return value

    def _value(self, event: Any, path: DocumentPath) -> Any:
        self._count += 1
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        self._check_node(event)
        if self._count > MAX_NODES:
            message = f"more than {MAX_NODES} values; split the file"
            self._listener.add_finding("too-many-values", path, message, place)
            raise UnreadableError
        self._listener.set_position(path, place)
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event, path, place)
        if kind is AliasEvent:
            return None
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._add("too-deep", (), f"nested more than {MAX_DEPTH} deep; flatten it", event)
            raise UnreadableError
        value = self._mapping(path) if kind is MappingStartEvent else self._sequence(path)
        self._depth -= 1
        return value

    def _check_node(self, event: NodeEvent) -> None:
        """Report what files must not use: aliases, tags and anchors."""
        if isinstance(event, AliasEvent):
            self._has_alias = True
            self._add("alias", (), "aliases (*name) are not read; write the value out", event)
        elif tag := getattr(event, "tag", None):
            self._add("tag", (), f"tags ({tag}) are not read; remove it", event)
        elif event.anchor:
            self._add("anchor", (), "anchors (&name) are not read; remove it", event)

    def _sequence(self, path: DocumentPath) -> list[Any]:
        values: list[Any] = []
        while type(event := self._next()) is not SequenceEndEvent:
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: DocumentPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while type(key := self._next()) is not MappingEndEvent:
            if (name := self._key(key, path, values)) is None:
                self._skip(self._next())
            else:
                values[name] = self._value(self._next(), (*path, name))
        return values

    def _key(self, event: Any, path: DocumentPath, values: dict[str, Any]) -> str | None:
        """Return the name of a key, or ``None`` for a key that cannot be used, with a finding."""
        self._check_node(event)
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        if type(event) is not ScalarEvent:
            self._listener.add_finding("bad-key", path, "a key is a plain text", place)
            self._skip_children(event)
            return None
        name: str = event.value
        here = (*path, name)
        if name == "<<" and not event.style:
            message = "merge keys (<<) are not read; write the values out"
            self._listener.add_finding("merge-key", path, message, place)
            return None
        if name in values:
            line = self._listener.position_of(here)[0]
            message = f"'{name}' is given twice; the first is in line {line}; remove one"
            self._listener.add_finding("duplicate-key", here, message, place)
            return None
        if not event.style and LEADING_ZERO.fullmatch(name):
            message = f'{name} reads as a number; write "{name}"'
            self._listener.add_finding("leading-zero", here, message, place)
        self._listener.set_position(here, place, key=True)
        return name

    def _skip(self, event: Any) -> None:
        self._check_node(event)
        self._skip_children(event)

    def _skip_children(self, event: Any) -> None:
        open_nodes = int(isinstance(event, MappingStartEvent | SequenceStartEvent))
        while open_nodes:
            event = self._next()
            if isinstance(event, NodeEvent):
                self._check_node(event)
            open_nodes += isinstance(event, MappingStartEvent | SequenceStartEvent)
            if open_nodes > MAX_DEPTH:
                self._add("too-deep", (), f"nested more than {MAX_DEPTH} deep; flatten it", event)
                raise UnreadableError
            open_nodes -= isinstance(event, MappingEndEvent | SequenceEndEvent)

    def _scalar(self, event: Any, path: DocumentPath, place: Position) -> Any:
        text: str = event.value
        if "${" in text and (found := _VARIABLE.search(text)):
            message = (
                f"{found[0]} is not replaced: files have no variables, so that they mean the same "
                "everywhere; write the value itself"
            )
            self._listener.add_finding("variable", path, message, place)
        if event.style:
            if _TOUCHING_COMMENT.match(self._text, event.start_mark.index):
                message = "a comment needs a space before '#'; add the space"
                self._listener.add_finding("bad-yaml", path, message, place)
            return text
        if LEADING_ZERO.fullmatch(text):
            message = f'some YAML readers read {text} as a number, others as a code; write "{text}"'
            self._listener.add_finding("leading-zero", path, message, place)
        elif AMBIGUOUS_NUMBER.fullmatch(text):
            message = (
                f'YAML readers disagree about {text}; write "{text}" or a plain decimal number'
            )
            self._listener.add_finding("odd-number", path, message, place)
        return resolve_plain_scalar(text)

    def _add(self, code: str, path: DocumentPath, message: str, event: Any) -> None:
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        self._listener.add_finding(code, path, message, place)
