"""Describe which fields a reply has and where, so that a later reply can be compared with it.

A shape contains names and places, and never a value. It looks at a few records of each list, so
its cost does not grow with the reply. A name that may be a value, such as a number that is the key
of an object, is replaced by ``*``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from lxml import etree
from msgspec import Struct

from gateway.config.expressions.compiler import is_element
from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.xml_parser import TRUSTED_PARSER

MAX_NODES = 400
"""The objects and elements that one description looks at."""
MAX_ITEMS = 10
"""The items of one list, and the elements of one name, that a description looks at."""
MAX_CHILDREN = 200
"""An object with more names than this is a map, whose names are values."""
MAX_NAMES = 300
MAX_DOCUMENTS = 3
MAX_PLACE = 300
"""A place with a longer name is not looked at."""
MAX_COUNT = 100
"""The number of objects at one place from which older replies count half."""
MAX_DIGITS = 4
"""A name with more digits than this may be an identifier."""
UNUSUAL = 0.05
"""A difference that would occur by chance more often than this is none."""
_NAME = re.compile(r"[@#$_]?[^\W\d][\w.:#$-]{0,59}")
_COLUMN = re.compile(r"[^\W\d][\w .:#/()$-]{0,59}")
ANY_NAME = "*"
RECORD, ROW = "(record)", "(row)"
"""The place of a record that was cut out of a large document, and that of a row of a table."""

Places = dict[str, tuple[int, dict[str, int]]]
"""By place: the number of objects there, and the number of those with each name."""


class ReplyShape(Struct, frozen=True):
    """The fields of the replies to one request, by their place."""

    places: Places = {}

    def names(self) -> frozenset[tuple[str, str]]:
        """Return each field as its place and its name."""
        return frozenset(
            (place, name) for place, (_, names) in self.places.items() for name in names
        )


class ShapeDifference(Struct, frozen=True, omit_defaults=True):
    """The fields that all or most earlier replies had and the last one has not, and vice versa."""

    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.gone or self.new)


def describe(documents: Sequence[DecodedDocument]) -> ReplyShape:
    """Return the shape of a reply."""
    places: Places = {}
    queue = deque(_starts(documents[:MAX_DOCUMENTS]))
    names_left = MAX_NAMES
    for _ in range(MAX_NODES):
        if not queue:
            break
        place, node, kind = queue.popleft()
        if isinstance(node, list):
            queue.extend((place + "[]", item, kind) for item in node[:MAX_ITEMS])
            continue
        fields = _fields_of(node, kind)
        if fields is None:
            continue
        count, names = places.get(place, (0, {}))
        if names_left < len(fields.keys() - names):
            break
        names_left -= len(fields.keys() - names)
        for name, children in fields.items():
            names[name] = names.get(name, 0) + 1
            inner = _join(place, name.removesuffix("[]"))
            if len(inner) <= MAX_PLACE:
                queue.extend((inner, child, kind) for child in children)
        places[place] = (count + 1, names)
    return ReplyShape(places)


def _starts(documents: Sequence[DecodedDocument]) -> Iterator[tuple[str, Any, str]]:
    """Yield the places at which a description begins, each with its node and its format."""
    for document in documents:
        if document.kind == "csv":
            yield from ((ROW, row, "csv") for row in document.root[:MAX_ITEMS])
            continue
        root = _local_name(document.root) if document.kind == "xml" else ""
        yield root, document.root, document.kind
        if document.streamed_records is not None:
            for piece in document.streamed_records.first(MAX_ITEMS):
                yield RECORD, etree.fromstring(piece, TRUSTED_PARSER), "xml"


def merge(before: ReplyShape, now: ReplyShape) -> ReplyShape:
    """Return the shape of all replies so far. Older replies count less and less."""
    places = dict(before.places)
    for place, (count, names) in now.places.items():
        old_count, old_names = places.get(place, (0, {}))
        divisor = 2 if old_count + count > MAX_COUNT else 1
        kept = {name: number // divisor for name, number in old_names.items()}
        merged = {
            name: number
            for name in [*kept, *names]
            if (number := kept.get(name, 0) + names.get(name, 0))
        }
        places[place] = (old_count // divisor + count, merged)
    size = 0
    bounded: Places = {}
    for place, (count, names) in places.items():
        size += len(names)
        if size <= MAX_NAMES:
            bounded[place] = (count, names)
    return ReplyShape(bounded)


def compare(before: ReplyShape, now: ReplyShape) -> ShapeDifference:
    """Return the fields that are gone and those that are new.

    A field that only some records have is no difference when it may be missing by chance.
    """
    gone, new = [], []
    for place, (count, names) in now.places.items():
        old_count, old_names = before.places.get(place, (0, {}))
        if not old_count:
            continue
        gone += [
            _join(place, name)
            for name, number in old_names.items()
            if name not in names and _is_unlikely(number / old_count, count)
        ]
        new += [
            _join(place, name)
            for name, number in names.items()
            if name not in old_names and _is_unlikely(number / count, old_count)
        ]
        if place == ROW and 2 * len(gone) > len(old_names):
            new = [ANY_NAME]  # The first line may be no header, so its texts may be values.
    return ShapeDifference(tuple(gone), tuple(new))


def _is_unlikely(share: float, tries: int) -> bool:
    """Return whether a field of this share would hardly be missing in all of some records."""
    return (1 - min(share, 1.0)) ** tries < UNUSUAL


def _join(place: str, name: str) -> str:
    if name.startswith("@"):
        return f"{place}/{name}"
    return f"{place}.{name}" if place else name


def _fields_of(node: Any, kind: str) -> dict[str, list[Any]] | None:
    """Return the names in a node with the children to look at; ``None`` for a value."""
    if is_element(node):
        return _element_fields(node)
    if not isinstance(node, dict):
        return None
    if len(node) > MAX_CHILDREN:
        return {ANY_NAME: list(islice(node.values(), MAX_ITEMS))}
    pattern = _COLUMN if kind == "csv" else _NAME
    fields: dict[str, list[Any]] = {}
    for key, value in node.items():
        if value is None or value == "":
            continue  # An empty list is there, and an empty value is not.
        is_list = isinstance(value, list)
        children = fields.setdefault(_plain_name(key, pattern) + ("[]" if is_list else ""), [])
        if (is_list or isinstance(value, dict)) and len(children) < MAX_ITEMS:
            children.append(value)
    return fields


def plain_name(key: object) -> str:
    """Return a name of a field, or ``*`` for a text that may be a value."""
    return _plain_name(key, _NAME)


@lru_cache(maxsize=2_048)
def _plain_name(key: object, pattern: re.Pattern[str]) -> str:
    text = str(key)
    is_name = pattern.fullmatch(text) and sum(map(str.isdigit, text)) <= MAX_DIGITS
    return text if is_name else ANY_NAME


def _element_fields(element: Any) -> dict[str, list[Any]]:
    fields: dict[str, list[Any]] = {}
    for name, value in islice(element.attrib.items(), MAX_CHILDREN):
        if value:
            fields["@" + _plain_name(etree.QName(name).localname, _NAME)] = []
    for child in islice(element.iterchildren(tag=etree.Element), MAX_CHILDREN):
        children = fields.setdefault(_local_name(child), [])
        is_holder = child.attrib or next(child.iterchildren(), None) is not None
        if is_holder and len(children) < MAX_ITEMS:
            children.append(child)
    return fields


def _local_name(element: Any) -> str:
    return _plain_name(etree.QName(element).localname, _NAME)


def shown_names(names: Iterable[str], most: int) -> str:
    """Return names for people: at most some of them, and the number of the others."""
    ordered = sorted(set(names))
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
