"""Create fictional people, institutions and subjects from ``fiction.toml``."""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

FICTION: dict[str, Any] = tomllib.loads(
    Path(__file__).with_name("fiction.toml").read_text(encoding="utf-8")
)
_CHECK = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CENTURY = 2000
_FLAW_RATIO = 0.03


@dataclass(frozen=True, slots=True)
class Person:
    """A fictional person."""

    number: str
    given: str
    family: str
    born: date


@dataclass(frozen=True, slots=True)
class Institution:
    """A fictional institution."""

    code: str
    names: dict[str, str]
    domain: str
    pic: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject: its names by language, its ISCED-F code and its learning outcomes."""

    names: dict[str, str]
    isced_f: str
    outcomes: list[str]


SUBJECTS = tuple(Subject(**subject) for subject in FICTION["subjects"])


def institutions(service: str) -> tuple[Institution, ...]:
    """Return the institutions of one service."""
    return tuple(Institution(**institution) for institution in FICTION[service]["institutions"])


def person(random_source: random.Random) -> Person:
    """Return a fictional person.

    The individual part of the number is between 900 and 999. Real people never receive such a
    number.
    """
    born = date(1965, 1, 1) + timedelta(days=random_source.randrange(14_600))
    century = "-" if born.year < _CENTURY else "A"
    individual = f"9{random_source.randrange(100):02d}"
    number = f"{born:%d%m%y}{century}{individual}{random_source.choice(_CHECK)}"
    return Person(
        number,
        random_source.choice(FICTION["people"]["given"]),
        random_source.choice(FICTION["people"]["family"]),
        born,
    )


def choose_flaw(random_source: random.Random, flaws: tuple[str, ...]) -> str:
    """Return one of ``flaws``, or an empty string for an entry without a flaw.

    About three in a hundred entries have a flaw, as in real registries.
    """
    return random_source.choice(flaws) if random_source.random() < _FLAW_RATIO else ""


def names_in_version(names: dict[str, str], version: int) -> dict[str, str]:
    """Return the names of an entry in one version. Later versions add their number to each name."""
    return (
        names
        if version == 1
        else {language: f"{name} ({version})" for language, name in names.items()}
    )
