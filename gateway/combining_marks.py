"""Find texts whose Unicode normalisation would take very long.

Normalisation sorts the combining marks after a letter, in a time that grows with the square of
their number. A text of 500,000 marks would take minutes. No language writes more than a few.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import combining, normalize

MAX_MARKS = 100
"""The largest number of combining marks in a row. Unicode recommends 30 (UAX #15)."""
_END_OF_MARKS = 0x20000
"""Behind it, no character is a combining mark."""


def has_too_many_marks(text: str) -> bool:
    """Return whether a text has more than :data:`MAX_MARKS` combining marks in a row."""
    if len(text) <= MAX_MARKS or text.isascii():
        return False
    a_mark, too_many = _patterns()
    # A longer row covers one of these places, so most texts are not searched as a whole.
    places = text[MAX_MARKS :: MAX_MARKS + 1]
    return a_mark.search(places) is not None and too_many.search(text) is not None


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    marks = "".join(
        mark
        for mark in map(chr, range(0x80, _END_OF_MARKS))
        if combining(normalize("NFKD", mark)[0])
    )
    return re.compile(f"[{marks}]"), re.compile(f"[{marks}]{{{MAX_MARKS + 1}}}")
