"""Repair YAML syntax mistakes in memory, so that one mistake does not hide the next ones.

A repair never decides the meaning of a file, because the gateway refuses every file with a syntax
mistake. A repair only makes the rest readable. This module chooses the repair that lets the parser
read furthest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from yaml import MarkedYAMLError, YAMLError

from gateway.config.yaml.reader import iterate_events

MAX_REPAIRS = 20
MAX_PARSED_CHARACTERS = 5_000_000
"""The limit for all repairs of one file together, because each parses a text about ten times.

The parser in Python counts ten times. Beyond the limit, the gateway reports no further mistake.
"""
ENOUGH_LINES = 30
"""A repair is good enough when the parser reads this many further lines."""

_KEY = re.compile(r"(\s*(?:- )*[\w.\"'-]+: +)(.*)")


@dataclass(slots=True)
class ParseBudget:
    """The number of characters that repairs of one file may still parse."""

    characters: int = MAX_PARSED_CHARACTERS

    def take_for_python(self, characters: int) -> bool:
        """Subtract the length of a text for the parser in Python, which is slow."""
        return self.take(10 * characters)

    def take(self, characters: int) -> bool:
        """Subtract the length of a text. Return whether it may be parsed."""
        self.characters -= characters
        return self.characters >= 0


def first_error_line(text: str, until: int) -> int | None:
    """Return the line of the first syntax mistake, from 0.

    The result is ``None`` when there is no mistake up to the line ``until``.
    """
    try:
        for event in iterate_events(text):
            if event.start_mark.line > until:
                return None
    except MarkedYAMLError as error:
        return line_of(error)
    return None


def first_mistake(text: str) -> YAMLError | None:
    """Return the first syntax mistake of a text, in the words of the parser in Python."""
    try:
        for _ in iterate_events(text, pure=True):
            pass
    except YAMLError as error:
        return error
    return None


def line_of(error: MarkedYAMLError) -> int:
    """Return the line of a syntax mistake, from 0."""
    mark = error.problem_mark or error.context_mark
    return mark.line if mark else 0


def repair_line(text: str, error: MarkedYAMLError, budget: ParseBudget) -> str | None:
    """Return the text with one repaired line, or ``None`` when no repair helps.

    The result is also ``None`` when the budget is used up.

    The first mistake of the returned text is on a later line, or there is none.
    """
    lines = text.splitlines()
    if not lines:
        return None
    at = min(line_of(error), len(lines) - 1)
    best, furthest_line = None, line_of(error)
    for candidate in _candidates(lines, at, error):
        changed = "\n".join(candidate) + "\n"
        if not budget.take(len(changed)):
            return best
        mistake = first_error_line(changed, at + ENOUGH_LINES)
        if mistake is None:
            return changed
        if mistake > furthest_line:
            best, furthest_line = changed, mistake
    return best


def _candidates(lines: list[str], at: int, error: MarkedYAMLError) -> Iterator[list[str]]:
    before = next((number for number in range(at - 1, -1, -1) if lines[number].strip()), None)
    opened = min(error.context_mark.line, at) if error.context_mark else at
    above = list(
        dict.fromkeys(_indent(line) for line in reversed(lines[: before or 0]) if line.strip())
    )
    if before is not None and _indent(lines[before]) != _indent(lines[at]) in above:
        # This line has the indentation of lines above, but the line before it has not.
        aligned = " " * _indent(lines[at]) + lines[before].lstrip(" ")
        yield [*lines[:before], aligned, *lines[before + 1 :]]
    suspects = dict.fromkeys(number for number in (at, before, opened) if number is not None)
    for number in suspects:
        yield from _with_quotes(lines, number)
    if before is not None:
        for level in dict.fromkeys([_indent(lines[before]), *above, _indent(lines[before]) + 2]):
            yield _reindented(lines, at, level)
    for number in suspects:
        yield [*lines[:number], "", *lines[number + 1 :]]


def _with_quotes(lines: list[str], number: int) -> Iterator[list[str]]:
    """Yield the lines with the text after a key in quotes.

    That repairs a colon, an open bracket or an open quote in the text.
    """
    if match := _KEY.fullmatch(lines[number]):
        text = match[2].replace("'", "")
        yield [*lines[:number], f"{match[1]}'{text}'", *lines[number + 1 :]]


def _reindented(lines: list[str], number: int, indent: int) -> list[str]:
    """Return the lines with one line and its nested lines at another indentation."""
    shift = indent - _indent(lines[number])
    end = number + 1
    while end < len(lines) and (
        not lines[end].strip() or _indent(lines[end]) > _indent(lines[number])
    ):
        end += 1
    moved = [" " * max(0, _indent(line) + shift) + line.lstrip(" ") for line in lines[number:end]]
    return [*lines[:number], *moved, *lines[end:]]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
