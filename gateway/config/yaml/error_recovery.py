"""Read on after a YAML syntax mistake: one line is put right in memory, so that a first mistake does not hide the next ones.

Nothing here decides what a file means: a file with a syntax mistake is refused whatever the repair made of it. A repair only has to make
the rest readable, and is chosen for how far the reader comes with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

MAX_REPAIRS = 30
MAX_CHARACTERS = 100_000
"""In a larger file only the first syntax mistake is reported: each repair reads the file some ten times."""
ENOUGH_LINES = 30
"""A repair that lets the reader come so many lines further is good enough."""

_KEY = re.compile(r"(\s*(?:- )*[\w.\"'-]+: +)(.*)")


def first_error_line(text: str, until: int) -> int | None:
    """Return the line, from 0, of the first place that is not YAML, or ``None`` when there is none down to a line."""
    yaml = YAML(typ="rt", pure=True)
    yaml.version = "1.2"
    try:
        for event in yaml.parse(text):
            if event.start_mark.line > until:
                return None
    except MarkedYAMLError as error:
        return line_of(error)
    return None


def line_of(error: MarkedYAMLError) -> int:
    """Return the line of a mistake, from 0."""
    mark = error.problem_mark or error.context_mark
    return mark.line if mark else 0


def repair_line(text: str, error: MarkedYAMLError) -> str | None:
    """Return the text with one line changed, whose first mistake lies further down, or ``None`` when no change helps."""
    lines = text.splitlines()
    if not lines or len(text) > MAX_CHARACTERS:
        return None
    at = min(line_of(error), len(lines) - 1)
    best, furthest_line = None, line_of(error)
    for candidate in _candidates(lines, at, error):
        changed = "\n".join(candidate) + "\n"
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
        slipped = " " * _indent(lines[at]) + lines[before].lstrip(
            " "
        )  # this line stands where others stand: the one before it does not
        yield [*lines[:before], slipped, *lines[before + 1 :]]
    suspects = dict.fromkeys(number for number in (at, before, opened) if number is not None)
    for number in suspects:
        yield from _with_quotes(lines, number)
    if before is not None:
        for level in dict.fromkeys([_indent(lines[before]), *above, _indent(lines[before]) + 2]):
            yield _reindented(lines, at, level)
    for number in suspects:
        yield [*lines[:number], "", *lines[number + 1 :]]


def _with_quotes(lines: list[str], number: int) -> Iterator[list[str]]:
    """Put the text after the key in quotes: for a colon, an open bracket or an open quote in it."""
    if found := _KEY.fullmatch(lines[number]):
        text = found[2].replace("'", "")
        yield [*lines[:number], f"{found[1]}'{text}'", *lines[number + 1 :]]


def _reindented(lines: list[str], number: int, indent: int) -> list[str]:
    """One line and what is nested under it at another indentation."""
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
