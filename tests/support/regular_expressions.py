"""Find every regular expression of the gateway, and texts that could make it slow.

The texts come from the parsed expression itself: repeated samples of what it accepts, followed by
something that it refuses. A match that backtracks over such a text takes superlinear time.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _constants as opcodes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

GATEWAY = Path(__file__).parents[2] / "gateway"
FUNCTIONS = ("compile", "match", "fullmatch", "search", "sub", "split", "findall", "finditer")
AUTHORS_ONLY = (
    "check/",
    "config/expressions/",
    "config/yaml/",
    "config/validation",
    "local/",
    "cli/",
)
"""Modules whose expressions read only files of an author or an operator, never a reply."""
LENGTH, FACTOR = 4_000, 4
"""The length of the longer text, and how much shorter the other one is."""
MIN_SECONDS = 0.0015
"""A linear match of the longer text takes less. Quadratic time is 8 ms or more."""
MAX_ATTACKS = 150
EXPONENT, MAX_SHORT_SECONDS = 24, 0.02
"""So many repeated parts take longer than this only in exponential time."""
MAX_GROWTH = 2.2 * FACTOR
"""Quadratic time grows by 16, linear time by 4."""


@dataclass(frozen=True)
class Expression:
    """One regular expression, and the methods that the gateway calls on it."""

    module: str
    line: int
    pattern: re.Pattern[Any]
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.module}:{self.line}"


def expressions() -> Iterator[Expression]:
    """Yield each regular expression that a module compiles or passes to a function of ``re``."""
    for path in sorted(GATEWAY.rglob("*.py")):
        source = path.read_text()
        if "re." in source and not str(path.relative_to(GATEWAY)).startswith(AUTHORS_ONLY):
            yield from _expressions_of(path, source)


def _expressions_of(path: Path, source: str) -> Iterator[Expression]:
    name = ".".join(path.relative_to(GATEWAY.parent).with_suffix("").parts)
    module = importlib.import_module(name.removesuffix(".__init__"))
    shown = str(path.relative_to(GATEWAY))
    for node in ast.walk(ast.parse(source)):
        if not _is_call_of_re(node):
            continue
        try:
            code = compile(ast.Expression(node.args[0]), shown, "eval")
            value = eval(code, vars(module))  # noqa: S307 - our own source
            flags = _flags(node, vars(module))
        except NameError:
            continue  # The text is made at run time, so a test of its own has to cover it.
        pattern = value if isinstance(value, re.Pattern) else re.compile(value, flags)
        yield Expression(shown, node.lineno, pattern, _methods(node, source))


def _is_call_of_re(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in FUNCTIONS
    )


def _flags(call: ast.Call, names: dict[str, Any]) -> int:
    for node in itertools.chain(call.args[1:], (keyword.value for keyword in call.keywords)):
        text = ast.unparse(node)
        if text.startswith("re."):
            return int(eval(text, names))  # noqa: S307 - our own source
    return 0


def _methods(call: ast.Call, source: str) -> tuple[str, ...]:
    """Return the methods that are called on the pattern; all that search when nobody can tell."""
    method = call.func.attr  # type: ignore[attr-defined]
    if method != "compile":
        return (method,)
    lines = source.splitlines()
    for line in (lines[call.lineno - 1], lines[call.lineno - 2]):
        if found := re.match(r"\s*(\w+)(?:: \w+)? = ", line):
            break
    name = found[1] if found else "pattern"  # the usual name of a member of a table
    used = re.findall(rf"\b{name}\.({'|'.join(FUNCTIONS)})\b", source)
    return tuple(sorted(set(used))) or ("fullmatch", "match", "search")


# --- texts


def attacks(pattern: re.Pattern[Any]) -> Iterator[tuple[int, Callable[[int], Any]]]:
    """Yield functions that repeat a part of a text, which could make a match slow.

    The number is the length of the part.
    """
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE & ~re.LOCALE)
    samples = sorted({text for text in _samples(tree) if text})
    pumps = {*samples, *map("".join, itertools.permutations(samples[:10], 2))}
    if len(samples) <= 5:
        pumps |= set(map("".join, itertools.permutations(samples, 3)))
    beginnings = {"", _example(tree)} | set(samples[:4])
    is_bytes = isinstance(pattern.pattern, bytes)
    texts = sorted(itertools.product(pumps, beginnings), key=lambda pair: (len(pair[1]), pair))
    for pump, beginning in texts[:MAX_ATTACKS]:

        def make(count: int, pump: str = pump, beginning: str = beginning) -> Any:
            text = beginning + pump * count + "\x00!"
            return text.encode("latin-1", "replace") if is_bytes else text

        yield len(pump), make


def _samples(tree: Any) -> Iterator[str]:
    """Yield a short text for each part of an expression, and for each repeated part as a whole."""
    for operation, argument in tree:
        name = str(operation)
        if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            yield _example(argument[2])
            yield from _samples(argument[2])
        elif name == "SUBPATTERN":
            yield _example(argument[-1])
            yield from _samples(argument[-1])
        elif name == "ATOMIC_GROUP":
            yield from _samples(argument)
        elif name == "BRANCH":
            for branch in argument[1]:
                yield _example(branch)
                yield from _samples(branch)
        elif name in {"ASSERT", "ASSERT_NOT"}:
            yield from _samples(argument[1])
        elif name == "IN":
            yield from _characters(argument)
        else:
            yield _example([(operation, argument)])


def _characters(members: Any) -> Iterator[str]:
    accepted = [text for text in " \t\nax0A-:;,.\"'<>=/@_%(\\" if _is_member(text, members)]
    yield from accepted[:3]
    for operation, argument in members:
        if str(operation) == "LITERAL":
            yield chr(argument)


def _is_member(text: str, members: Any) -> bool:
    negated, found = False, False
    for operation, argument in members:
        name = str(operation)
        if name == "NEGATE":
            negated = True
        elif name == "LITERAL":
            found |= ord(text) == argument
        elif name == "RANGE":
            found |= argument[0] <= ord(text) <= argument[1]
        elif name == "CATEGORY":
            found |= _in_category(text, argument)
    return found != negated


def _in_category(text: str, category: Any) -> bool:
    name = str(category)
    kind = text.isdigit() if "DIGIT" in name else text.isspace() if "SPACE" in name else None
    inside = (text.isalnum() or text == "_") if kind is None else kind
    return inside != ("NOT" in name)


def _example(tree: Any) -> str:
    """Return a short text that an expression accepts, apart from what it looks ahead to."""
    text = ""
    for operation, argument in tree:
        name = str(operation)
        if name == "LITERAL":
            text += chr(argument)
        elif name == "NOT_LITERAL":
            text += "a" if argument != ord("a") else "b"
        elif name == "ANY":
            text += "a"
        elif name == "IN":
            text += next(iter(_characters(argument)), "a")
        elif name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            low, high, inner = argument
            text += _example(inner) * max(low, min(1, high if high is not opcodes.MAXREPEAT else 1))
        elif name == "SUBPATTERN":
            text += _example(argument[-1])
        elif name == "ATOMIC_GROUP":
            text += _example(argument)
        elif name == "BRANCH":
            text += _example(argument[1][0])
    return text


# --- time


def slow_text(expression: Expression) -> tuple[str, str] | None:
    """Return a method and the beginning of a text that takes superlinear time, or ``None``."""
    for method in expression.methods:
        run = _runner(expression.pattern, method)
        for size, make in attacks(expression.pattern):
            # Step by step, because exponential time at the last length could be hours.
            for length in range(3, EXPONENT + 1, 3):
                if _seconds(run, make(length)) > MAX_SHORT_SECONDS:
                    return method, repr(make(length))
            if _is_superlinear(run, make, LENGTH // size):
                return method, repr(make(EXPONENT)[:60])
    return None


def _is_superlinear(run: Callable[[Any], Any], make: Callable[[int], Any], count: int) -> bool:
    long_text = make(count)
    long = _seconds(run, long_text)
    if long < MIN_SECONDS:
        return False
    # The least of several measurements is the one that other processes did not disturb.
    long = min(long, *(_seconds(run, long_text) for _ in range(2)))
    short_text = make(count // FACTOR)
    short = min(_seconds(run, short_text) for _ in range(3))
    return long >= MIN_SECONDS and long > MAX_GROWTH * short


def _seconds(run: Callable[[Any], Any], text: Any) -> float:
    began = time.thread_time()
    run(text)
    return time.thread_time() - began


def _runner(pattern: re.Pattern[Any], method: str) -> Callable[[Any], Any]:
    if method in {"sub", "split", "findall", "finditer"}:
        # These repeat a search, so a text of matches and a text without any are both of interest.
        return lambda text: sum(1 for _ in pattern.finditer(text))
    return getattr(pattern, method if method != "compile" else "search")
