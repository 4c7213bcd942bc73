"""Say how the time of an XPath expression grows with the document, before it runs.

libxml2 evaluates an expression in one piece, so nothing can stop it. A path inside a predicate is
evaluated for each node. If such a path reads the whole document, the time is the square of the
number of elements, or worse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

_TOKEN = re.compile(
    r"'[^']*'|\"[^\"]*\"|//|/|::|\.\.|\.|@|\[|\]|\(|\)|\||,|\*|\$?[^\W\d][\w.-]*(?::(?:[^\W\d][\w.-]*|\*))?"
    r"|[^\s\w]|\d+"
)
_DOWN = frozenset({"descendant", "descendant-or-self"})
_UP = frozenset({"parent", "ancestor", "ancestor-or-self"})
_ASIDE = frozenset({"following", "preceding", "following-sibling", "preceding-sibling"})
_FAR = frozenset({"following", "preceding"})
_NODE_TESTS = frozenset({"node", "text", "comment", "processing-instruction"})
_NAMED_OPERATORS = frozenset({"and", "or", "div", "mod", "*"})
_OPERATORS = frozenset({"=", "!", "<", ">", "+", "-", ",", "|"})
_BEFORE_OPERAND = _OPERATORS | {"", "@", "::", "(", "[", "/", "//"}

_LIMITS = {2: 1_000, 3: 100, 4: 30}
_UNION_LIMIT, _SIBLING_LIMIT = 300_000, 100_000
_FEWEST = 10
_COUNT_ELEMENTS: Any = etree.XPath("count(descendant-or-self::*)")


@dataclass(slots=True)
class Cost:
    """How the time of an expression grows with the number of elements."""

    degree: int = 0
    """The power of the number of elements, from one node: 1 is linear, 2 quadratic."""
    for_each: int = 1
    """The same for the evaluation from every node of a document."""
    is_wide: bool = False
    """Whether a path reads all elements of the document, or of the node."""
    leaves_node: bool = False
    """Whether a path reads elements outside the node at which the expression starts."""
    lists_root: bool = False
    """Whether a path reads a list from the root, such as ``/a/b``."""
    reads_siblings: bool = False
    """Whether each node of the document reads its neighbours."""
    merges: bool = False
    """Whether libxml2 compares the nodes of two large sets with each other."""

    def add(self, other: Cost) -> None:
        """Add another part of the expression."""
        self.degree = max(self.degree, other.degree)
        self.for_each = max(self.for_each, other.for_each)
        self.is_wide |= other.is_wide
        self.leaves_node |= other.leaves_node
        self.lists_root |= other.lists_root
        self.reads_siblings |= other.reads_siblings
        self.merges |= other.merges

    @property
    def is_quadratic(self) -> bool:
        """Whether the time is at least the square of the number of elements."""
        return self.degree > 1

    @property
    def element_limit(self) -> int | None:
        """The largest number of elements that the expression may read, or ``None``."""
        if self.is_quadratic:
            return _LIMITS.get(self.degree, _FEWEST)
        if self.reads_siblings:
            return _SIBLING_LIMIT
        return _UNION_LIMIT if self.merges else None

    def is_too_much_for(self, node: Any) -> bool:
        """Return whether a document, or a node, has more elements than the limit."""
        if self.element_limit is None:
            return False
        scope = node.getroottree().getroot() if self.is_wide else node
        return bool(_COUNT_ELEMENTS(scope) > self.element_limit)


@dataclass(slots=True)
class _Path:
    """A location path while its steps are read."""

    cost: Cost = field(default_factory=Cost)
    has_steps: bool = False
    names_steps: bool = False
    is_absolute: bool = False
    is_aside: bool = False
    scans: int = 0
    goes_up: bool = False
    reads_beside: bool = False
    axis: str = "child"

    def scan(self) -> None:
        """Take a step to all elements below the nodes so far."""
        self.is_aside |= self.goes_up
        self.cost.merges |= self.scans > 0
        self.scans += 1
        self.cost.degree = max(self.cost.degree, 1)

    def step(self) -> None:
        """Take a step along the axis."""
        if self.axis in _DOWN:
            self.scan()
        elif self.axis in _ASIDE:
            self.cost.degree = max(1, self.cost.degree) + (1 if self.scans or self.is_aside else 0)
            self.is_aside = True
            self.cost.is_wide |= self.axis in _FAR
        elif self.axis in _UP:
            self.goes_up = True
        elif self.axis == "child":
            self.reads_beside |= self.goes_up
            self.cost.degree = max(self.cost.degree, 1)
        self.has_steps = self.names_steps = True
        self.axis = "child"

    def slash(self, *, twice: bool) -> None:
        """Take the separator of two steps, or the one at the start of an absolute path."""
        self.is_absolute |= not self.has_steps
        self.has_steps = True
        if twice:
            self.scan()
        else:
            self.cost.degree = max(self.cost.degree, 1)

    def take_group(self, inner: Cost) -> None:
        """Take an expression in brackets, or the arguments of a function."""
        self.cost.add(inner)
        self.scans += inner.is_wide
        self.goes_up |= inner.leaves_node and not inner.is_wide
        self.has_steps, self.axis = True, "child"

    def filter(self, predicate: Cost) -> None:
        """Apply a predicate, which is evaluated for each node so far."""
        self.cost.degree = max(self.cost.degree, predicate.for_each)
        self.cost.merges |= predicate.merges
        self.cost.is_wide |= predicate.is_wide
        self.cost.leaves_node |= predicate.leaves_node
        self.cost.reads_siblings |= predicate.reads_siblings or predicate.lists_root
        self.reads_beside |= self.goes_up and predicate.degree > 0

    def end(self) -> Cost:
        """Return the cost of the whole path."""
        if not self.has_steps:
            return self.cost
        # A path from the root that names its steps reads lists, and not the whole document.
        reads_all = self.is_absolute and (self.scans > 0 or not self.names_steps)
        more = 1 if reads_all or self.is_aside else 0
        self.cost.lists_root |= self.is_absolute and not more
        self.cost.for_each = max(self.cost.for_each, max(1, self.cost.degree) + more)
        self.cost.is_wide |= self.is_absolute or self.scans > 0
        self.cost.leaves_node |= self.is_absolute or self.is_aside or self.goes_up
        self.cost.reads_siblings |= self.reads_beside
        return self.cost


def xpath_cost(text: str) -> Cost:
    """Return the cost of an expression that libxml2 accepts."""
    cost = _Parser(_TOKEN.findall(text)).expression()
    if not cost.is_wide:
        cost.reads_siblings = cost.merges = False
    return cost


class _Parser:
    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._next = 0
        self._before = ""

    def expression(self) -> Cost:
        """Return the cost of all paths up to the closing bracket."""
        whole, path = Cost(), _Path()
        widest_of_union = 0
        while (word := self._take()) not in {"", "]", ")"}:
            if not self._is_operator(word):
                self._part(path, word)
                continue
            widest_of_union = max(widest_of_union, path.scans) if word == "|" else 0
            whole.add(path.end())
            path = _Path()
            self._before = "|"  # an operand follows
        whole.merges |= widest_of_union > 0 and path.scans > 0
        whole.add(path.end())
        self._before = ")"
        return whole

    def _is_operator(self, word: str) -> bool:
        """Return whether a word is between two operands, by the rule of XPath."""
        is_named = word in _NAMED_OPERATORS and self._before not in _BEFORE_OPERAND
        self._before, before = word, self._before
        return word in _OPERATORS or (is_named and before not in _BEFORE_OPERAND)

    def _part(self, path: _Path, word: str) -> None:
        """Read one part of a path."""
        if word in {"/", "//"}:
            path.slash(twice=word == "//")
        elif word == ".":
            path.has_steps = True
        elif word == "..":
            path.axis = "parent"
            path.step()
        elif word == "@":
            path.axis = "attribute"
        elif word == "[":
            path.filter(self.expression())
            self._before = "]"
        elif word == "(":
            path.take_group(self.expression())
        else:
            self._name(path, word)

    def _name(self, path: _Path, word: str) -> None:
        """Read the name of an axis, of a function or of a step."""
        if self._peek() == "::":
            self._before = self._take()
            path.axis = word
        elif self._peek() == "(" and word not in _NODE_TESTS:
            pass  # a function, whose arguments follow
        elif word == "*" or word[0].isalpha() or word[0] == "_":
            path.step()
            if self._peek() == "(":
                self._next += 2  # node() and text()

    def _peek(self) -> str:
        return self._words[self._next] if self._next < len(self._words) else ""

    def _take(self) -> str:
        word = self._peek()
        self._next += 1
        return word
