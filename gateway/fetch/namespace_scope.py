"""Limit the XML namespaces in scope, because each record is written with all of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lxml import etree

from gateway.errors import StreamHalted

MAX_NAMESPACES = 256
MAX_NAMESPACE_CHARACTERS = 65_536
NAMESPACE_EVENTS = ("start-ns", "end-ns")


class NamespaceScope:
    """The namespaces in scope while a document is parsed."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._sizes: list[int] = []
        self._characters = 0

    def without_namespaces(self, events: Iterable[Any]) -> Iterator[Any]:
        """Yield the other events; raise ``LIMIT_NAMESPACES`` when too many are in scope."""
        for event, value in events:
            if event == "start-ns":
                self._sizes.append(len(value[0] or "") + len(value[1] or ""))
                self._characters += self._sizes[-1]
                _refuse_wide_scope(len(self._sizes), self._characters, self._where)
            elif event == "end-ns":
                self._characters -= self._sizes.pop()
            else:
                yield event, value


def require_narrow_scopes(records: Iterable[etree._Element], where: str) -> None:
    """Raise ``LIMIT_NAMESPACES`` when records inherit too many namespaces.

    A record is written with all namespaces in its scope, so that each record would repeat them.
    """
    parent: etree._Element | None = None
    for record in records:
        if (above := record.getparent()) is not parent:
            parent = above
            require_narrow_scope(parent, where)


def require_narrow_scope(element: etree._Element | None, where: str) -> None:
    """Raise ``LIMIT_NAMESPACES`` when the children of an element inherit too many namespaces."""
    if element is not None and (scope := element.nsmap):
        characters = sum(len(prefix or "") + len(name) for prefix, name in scope.items())
        _refuse_wide_scope(len(scope), characters, where)


def _refuse_wide_scope(count: int, characters: int, where: str) -> None:
    if count > MAX_NAMESPACES or characters > MAX_NAMESPACE_CHARACTERS:
        raise StreamHalted(
            "LIMIT_NAMESPACES",
            f"{where}: an element has more than {MAX_NAMESPACES} namespaces, or names of more than "
            f"{MAX_NAMESPACE_CHARACTERS} characters for them; "
            "ask the registry to declare only what it uses",
        )
