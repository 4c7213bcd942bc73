"""Help generated code to walk a payload.

The functions group children by tag, and handle elements that are missing or occur several times.
"""

from __future__ import annotations

import builtins
import keyword
import linecache
from types import MappingProxyType
from typing import Any, Final

from gateway.harmonise.mapping.achievement import select_achieved
from gateway.harmonise.mapping.rule_functions import MappingState, apply_rules, set_field
from gateway.harmonise.part_ids import number_parts
from gateway.harmonise.values.text import clean_text

NO_CHILDREN: Final[Any] = MappingProxyType({})
"""The children of an element or object that does not exist."""
AMBIGUOUS_VALUES: Final[list[Any]] = []
"""The value of each path below an element that occurs several times.

Generated code then calls the closure of the rule, because only the closure handles several values.
"""


class _AmbiguousElement:
    """An element that occurs several times."""

    @staticmethod
    def get(_name: str) -> list[Any]:
        return AMBIGUOUS_VALUES


AMBIGUOUS_ELEMENT: Final[Any] = _AmbiguousElement()


def children_by_tag(element: Any) -> Any:
    """Return an element's children by tag: the child itself, or a list if a tag occurs again."""
    children: dict[Any, Any] = {}
    for child in element[:]:  # a slice is built in C, which is faster than an iterator
        tag = child.tag
        if tag not in children:
            children[tag] = child
        elif type(previous := children[tag]) is list:
            previous.append(child)
        else:
            children[tag] = [previous, child]
    return children


def children_of_single(found: Any) -> Any:
    """Return the children of a single element by tag.

    ``None`` gives :data:`NO_CHILDREN`, and a list gives :data:`AMBIGUOUS_ELEMENT`.
    """
    if found is None:
        return NO_CHILDREN
    return AMBIGUOUS_ELEMENT if type(found) is list else children_by_tag(found)


def single_or_ambiguous(found: Any) -> Any:
    """Return a single element.

    ``None`` gives :data:`NO_CHILDREN`, and a list gives :data:`AMBIGUOUS_ELEMENT`.
    """
    if found is None:
        return NO_CHILDREN
    return AMBIGUOUS_ELEMENT if type(found) is list else found


def filter_by_attribute(found: Any, key: str, value: str) -> Any:
    """Return the children of one tag whose attribute ``key`` has the given value.

    Several matches give a list, one match gives the element, and no match gives ``None``.
    """
    if found is None or found is AMBIGUOUS_VALUES:
        return found
    if type(found) is not list:
        return found if found.get(key) == value else None
    matches = [child for child in found if child.get(key) == value]
    return matches if len(matches) > 1 else matches[0] if matches else None


def compile_source(source: str, bound: dict[str, Any], title: str) -> dict[str, Any]:
    """Return the names that a generated source defines.

    The source holds names and literals of the rules, and never a part of a payload.
    """
    file = f"<{title}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = dict(bound)
    exec(compile(source, file, "exec"), scope)  # noqa: S102 - our own text; literals of a connector file go through repr()
    return scope


RUNTIME_NAMES: dict[str, Any] = {
    "State": MappingState,
    "apply": apply_rules,
    "put": set_field,
    "clean": clean_text,
    "number_parts": number_parts,
    "EMPTY": NO_CHILDREN,
    "AMBIGUOUS": AMBIGUOUS_VALUES,
    "children": children_by_tag,
    "below": children_of_single,
    "placed": single_or_ambiguous,
    "chosen": filter_by_attribute,
    "achieved_items": select_achieved,
}
"""Functions and constants that every generated function uses."""
RESERVED_NAMES = {
    *keyword.kwlist,
    *dir(builtins),
    *("run", "node", "context", "values", "lookups", "issues", "hidden", "country"),
}
"""Names that a generated variable must not have."""
