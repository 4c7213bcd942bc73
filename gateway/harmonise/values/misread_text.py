"""Tell texts in UTF-8 that somebody read as Latin-1."""

from __future__ import annotations

import re

_MOJIBAKE = re.compile(
    r"[\u00c2-\u00c5]"
    r"[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u2013-\u203a]"
    r"|\u00e2\u20ac|\ufffd"
)
_MOJIBAKE_START = re.compile("[\u00c2-\u00c5\u00e2\ufffd]")
"""The first characters of a misread letter. This search is faster than the whole pattern."""


def is_suspect(text: str) -> bool:
    """Return whether a text looks like UTF-8 that was read as Latin-1."""
    return (
        not text.isascii()
        and _MOJIBAKE_START.search(text) is not None
        and _MOJIBAKE.search(text) is not None
    )
