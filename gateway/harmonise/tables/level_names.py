"""Understand the names of frameworks and levels that documents print.

A document may print the EU's label of a level ("NFQ Level 8"), the URI of its EU concept, or words
around it ("Niveau 6 des DQR"). A text is understood only if it equals a declared spelling in full.
Nothing is trimmed or guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from unicodedata import normalize

from msgspec import Struct

from gateway.config.eu_levels import FRAMEWORK_LABELS, LEVEL_LABELS
from gateway.config.mapping_tables import Framework, Mapping


def _translation(latin: str, other: str) -> dict[int, str]:
    return dict(zip(map(ord, other), latin, strict=True))


HOMOGLYPHS = {
    **_translation(
        "ABEKMHOPCTXISJ",
        "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0405\u0408",
    ),  # Cyrillic capitals
    **_translation(
        "aeopcxisj", "\u0430\u0435\u043e\u0440\u0441\u0445\u0456\u0455\u0458"
    ),  # Cyrillic small letters
    **_translation(
        "ABEZHIKMNOPTYX",
        "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
    ),  # Greek capitals
}
"""Code points, each with the Latin letter that it resembles."""
_SIGNS = {
    **dict.fromkeys(map(ord, "\u00a0\u202f\u2007"), " "),  # blanks that do not break a line
    **dict.fromkeys(map(ord, "\u2010\u2011"), "-"),
    **dict.fromkeys(map(ord, "\u2019\u02bc"), "'"),
}
_DOTTED_I = "i\u0307"
"""The small letter of the Turkish capital I with a dot, which a document writes as a plain i."""


def fold(text: str) -> str:
    """Return a name as names are compared.

    Case, the two ways to encode an accent, and the kinds of blank, hyphen and apostrophe do not
    matter. Every other character does.
    """
    if text.isascii():
        return text.lower()
    folded = normalize("NFC", text).casefold().replace(_DOTTED_I, "i")
    return normalize("NFC", folded).translate(_SIGNS)


class NamedLevel(Struct, frozen=True):
    """A level that a text may mean.

    ``plain`` is the level in words as plain as "Level 6", as the document writes it. It is empty
    if the text says the framework.
    """

    framework: str
    level: str
    plain: str = ""


class LevelNames:
    """The declared names of the frameworks and levels of all systems. Immutable."""

    __slots__ = ("_frameworks", "_levels")

    def __init__(self, mappings: Iterable[Mapping]) -> None:
        self._frameworks: dict[tuple[str, str], tuple[str, ...]] = {}
        self._levels: dict[tuple[str, str], tuple[NamedLevel, ...]] = {}
        for mapping in mappings:
            for key, framework in mapping.frameworks.items():
                self._add(mapping.country, key, framework)

    def _add(self, country: str, key: str, framework: Framework) -> None:
        for name in _framework_names(key, framework):
            place = (country, fold(name))
            self._frameworks[place] = tuple(sorted({*self._frameworks.get(place, ()), key}))
        for text, named in _level_names(key, framework):
            place = (country, fold(text))
            known = self._levels.get(place, ())
            if named not in known:
                self._levels[place] = (*known, named)

    def frameworks(self, system: str, name: str) -> tuple[str, ...]:
        """Return the keys of the frameworks that have a name."""
        return self._frameworks.get((system, fold(name)), ())

    def levels(self, system: str, framework: str | None, text: str) -> tuple[NamedLevel, ...]:
        """Return the levels that a text may mean, of one framework if it is known."""
        found = self._levels.get((system, fold(text)), ())
        if framework is None or not found:
            return found
        return tuple(named for named in found if named.framework == framework)


def _framework_names(key: str, framework: Framework) -> Iterator[str]:
    yield from (key, framework.name, *framework.also)
    if framework.uri:
        yield from _uri_spellings(framework.uri)
        if label := FRAMEWORK_LABELS.get(framework.uri):
            yield label


def _uri_spellings(uri: str) -> tuple[str, ...]:
    # Europe's portals answer at both addresses, and documents print both.
    return uri, uri.replace("http://", "https://", 1)


def _level_names(key: str, framework: Framework) -> Iterator[tuple[str, NamedLevel]]:
    says_framework = _mentions((key, *framework.also))
    words = [(pattern, says_framework(pattern)) for pattern in framework.around]
    for version in framework.versions:
        for row in version.levels:
            if row.uri:
                named = NamedLevel(key, row.level)
                label = LEVEL_LABELS.get(row.uri)
                for text in (*_uri_spellings(row.uri), *((label,) if label else ())):
                    yield text, named
            for pattern, says in words:
                for text in (row.level, *row.also):
                    named = NamedLevel(key, row.level, "" if says else text)
                    yield pattern.replace("{level}", text), named


def _mentions(names: tuple[str, ...]) -> Callable[[str], bool]:
    """Return a function that tells whether words hold one of the names as a whole word."""
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(fold(name))}(?!\w)" for name in names))
    return lambda words: pattern.search(fold(words)) is not None
