"""Fictional people, institutions and subjects, out of ``fiction.toml``."""

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
    """Somebody who was made up."""

    number: str
    given: str
    family: str
    born: date


@dataclass(frozen=True, slots=True)
class Institution:
    """A school that was made up."""

    code: str
    names: dict[str, str]
    domain: str
    pic: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that can be studied: names by language, ISCED-F code, and what a learner is able to do afterwards."""

    names: dict[str, str]
    isced_f: str
    outcomes: list[str]


SUBJECTS = tuple(Subject(**subject) for subject in FICTION["subjects"])


def institutions(service: str) -> tuple[Institution, ...]:
    """Give the institutions of one service."""
    return tuple(Institution(**institution) for institution in FICTION[service]["institutions"])


def person(random_source: random.Random) -> Person:
    """Make up somebody. The number has an individual part of 900-999, which is never given to a person."""
    born = date(1965, 1, 1) + timedelta(days=random_source.randrange(14_600))
    number = f"{born:%d%m%y}{'-' if born.year < _CENTURY else 'A'}9{random_source.randrange(100):02d}{random_source.choice(_CHECK)}"
    return Person(
        number,
        random_source.choice(FICTION["people"]["given"]),
        random_source.choice(FICTION["people"]["family"]),
        born,
    )


def choose_flaw(random_source: random.Random, flaws: tuple[str, ...]) -> str:
    """Give the mistake an entry has, or nothing: about three in a hundred have one, as in real registries."""
    return random_source.choice(flaws) if random_source.random() < _FLAW_RATIO else ""


def names_in_version(names: dict[str, str], version: int) -> dict[str, str]:
    """Give the names an entry bears in a version."""
    return (
        names
        if version == 1
        else {language: f"{name} ({version})" for language, name in names.items()}
    )
