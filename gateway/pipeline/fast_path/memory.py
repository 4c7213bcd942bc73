"""Remember parts of documents that many records share.

Nothing here is about a person. A key holds only values of fields that are not personal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.config.expressions.compiler import is_element

MAX_ENTRIES = 4_096
MAX_KEY_CHARACTERS = 1_000
"""The length of the texts of a key, at most. It limits the memory that a registry can fill."""

Entry = tuple[Any, ...]
Trials = list[tuple[dict[Any, Entry], Any]]
"""New entries with their keys, which no other way has confirmed yet."""


class NotFastError(Exception):
    """The fast path does not know this record, so it goes the ordinary way."""


class Memory:
    """The entries of one group of fields.

    ``fields`` are the target fields whose values the keys hold. ``make`` returns the entry of a
    key, or raises an exception if the fast path does not know such records. Each new entry is added
    to ``trials``.
    """

    def __init__(
        self, name: str, fields: tuple[str, ...], make: Callable[..., Entry], trials: Trials
    ) -> None:
        self.name = name
        self.fields = fields
        self.entries: dict[Any, Entry] = {}
        self._make = make
        self._trials = trials

    def learn(self, key: Any, *arguments: Any) -> Entry:
        """Make the entry of a key and remember it. Raises ``NotFastError`` for a bad key.

        An empty entry is remembered for values that the fast path does not know.
        """
        if key in self.entries or not _is_short(key):
            raise NotFastError
        if len(self.entries) >= MAX_ENTRIES:
            self.entries.clear()
        try:
            entry = self._make(*arguments)
        except Exception as error:
            self.entries[key] = ()
            raise NotFastError from error
        self.entries[key] = entry
        self._trials.append((self.entries, key))
        return entry


def key_of_value(value: Any) -> Any:
    """Return a value of JSON other than a text as a part of a key.

    ``1``, ``1.0`` and ``true`` are equal in Python, and different values of a registry.
    """
    if type(value) is int:
        return value
    if type(value) is float or type(value) is bool:
        return type(value), value
    raise NotFastError


def key_of_list(found: Any) -> Any:
    """Return the texts of a list, or one text, as a part of a key."""
    if type(found) is list:
        "".join(found)  # fails for anything but texts
        return tuple(found)
    if found is None or type(found) is str:
        return found
    raise NotFastError


def key_of_found(found: list[Any]) -> tuple[Any, ...]:
    """Return the values that an expression selects as a part of a key."""
    return tuple([value if type(value) is str else _key_of_one(value) for value in found])


def key_of_element(found: Any) -> str | None:
    """Return the text of a single XML element without children as a part of a key."""
    if found is None:
        return None
    if type(found) is list or len(found):
        raise NotFastError
    return found.text or ""


def key_of_elements(found: Any) -> tuple[str | None, ...] | None:
    """Return the texts of XML elements of one name as a part of a key."""
    if found is None:
        return None
    elements = found if type(found) is list else [found]
    if not elements:  # the element above occurs several times
        raise NotFastError
    return tuple([key_of_element(element) for element in elements])


def key_of_labelled(found: Any, label: bytes) -> tuple[str | None, ...] | None:
    """Return the labels and texts of XML elements of one name as a part of a key."""
    if found is None:
        return None
    elements = found if type(found) is list else [found]
    if not elements or any(map(len, elements)):
        raise NotFastError
    return tuple([part for each in elements for part in (each.get(label), each.text)])


def _key_of_one(value: Any) -> Any:
    return key_of_element(value) if is_element(value) else key_of_value(value)


def key_of_mapped(value: Any) -> Any:
    """Return a value that a rule gave as a part of a key."""
    return tuple(value.items()) if type(value) is dict else value


def _is_short(key: Any) -> bool:
    return len(repr(key)) <= MAX_KEY_CHARACTERS
