"""The table of bad inputs: each row is an input, what we promise about it, and the code that tries it.

A row's function makes the input, runs it through the real code and answers with how it ended; the row says beforehand what that
answer is. ``tests/hostile/README.md`` is written from the same rows by ``make hostile``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Try = Callable[[Any], str]

CONFIGURATION, PAYLOADS, COMMANDS = (
    "Configuration files",
    "What registries answer",
    "Command line and surroundings",
)


@dataclass(frozen=True)
class BadInput:
    number: int
    name: str
    given: str
    ends: str
    differs: str = ""
    """Why ours ends otherwise than the list asks, where that is better or the item means nothing here."""
    gap: str = ""
    """What is missing."""
    elsewhere: str = ""
    """A test that tries it with more around it, as ``path::name``."""
    attempt: Try | None = None

    @property
    def group(self) -> str:
        return CONFIGURATION if self.number <= 36 else PAYLOADS if self.number <= 76 else COMMANDS

    @property
    def verdict(self) -> str:
        return "gap" if self.gap else "differs" if self.differs else "as asked"


ROWS: list[BadInput] = []


def bad(number: int, given: str, ends: str, **more: str) -> Callable[[Try], Try]:
    """Add a row that the decorated function tries."""

    def add(attempt: Try) -> Try:
        ROWS.append(BadInput(number, attempt.__name__, given, ends, attempt=attempt, **more))
        return attempt

    return add


def told(number: int, name: str, given: str, ends: str, **more: str) -> None:
    """Add a row that is tried elsewhere, or cannot be tried at all."""
    ROWS.append(BadInput(number, name, given, ends, **more))
