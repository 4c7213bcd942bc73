"""What generated code calls while it walks a payload: children by tag, and places that are not there or there several times."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

NO_CHILDREN: Final[Any] = MappingProxyType({})
"""A place that is not there: nothing is in it."""
AMBIGUOUS_VALUES: Final[list[Any]] = []
"""What stands for everything below a place that is there several times; only the rule's closure can tell what is meant."""


class _AmbiguousElement:
    """A place that is there several times."""

    @staticmethod
    def get(_name: str) -> list[Any]:
        return AMBIGUOUS_VALUES


AMBIGUOUS_ELEMENT: Final[Any] = _AmbiguousElement()


def children_by_tag(element: Any) -> Any:
    """Return an element's children by tag: the child itself, or a list where there are several of a tag."""
    found: dict[Any, Any] = {}
    for child in element[:]:  # a slice is made in C, an iterator is asked for each
        tag = child.tag
        if tag not in found:
            found[tag] = child
        elif type(there := found[tag]) is list:
            there.append(child)
        else:
            found[tag] = [there, child]
    return found


def children_of_single(found: Any) -> Any:
    """Return the children of the one element found, by tag, or what stands for none and for several."""
    if found is None:
        return NO_CHILDREN
    return AMBIGUOUS_ELEMENT if type(found) is list else children_by_tag(found)


def single_or_ambiguous(found: Any) -> Any:
    """Return the one element found, or what stands for none and for several."""
    if found is None:
        return NO_CHILDREN
    return AMBIGUOUS_ELEMENT if type(found) is list else found


def filter_by_attribute(found: Any, key: str, value: str) -> Any:
    """Return what is left of children of one tag when an attribute has to have a value."""
    if found is None or found is AMBIGUOUS_VALUES:
        return found
    if type(found) is not list:
        return found if found.get(key) == value else None
    left = [child for child in found if child.get(key) == value]
    return left if len(left) > 1 else left[0] if left else None
