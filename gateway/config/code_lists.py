"""The closed lists of codes that are too long for the description of a field.

They come from the vocabularies of the EU and from ISO 639. :mod:`gateway.record_parts` holds the
short lists, next to their fields.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_DATA: Final[dict[str, Any]] = json.loads(
    Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
)


def _codes(name: str) -> frozenset[str]:
    return frozenset(code for line in _DATA[name] for code in line.split())


ISCED_F: Final = _codes("isced_f")
"""The codes of ISCED-F 2013 with 2, 3 or 4 digits."""
EU_LANGUAGES: Final = _codes("languages")
"""The languages of the EU authority table, each by its code of three letters."""
LANGUAGE_CODES: Final = EU_LANGUAGES | _codes("languages_outside_eu_table")
"""Every language and group of languages of ISO 639-2, 639-3 and 639-5, by three letters."""
LANGUAGES_AS_KEYS: Final = _codes("languages_as_keys")
"""Codes of three letters that name a language where they are the key of an object.

They are the languages of ISO 639-2 and of Europe's minorities. Other codes are rather words, for
example ``url`` and ``key``.
"""
NO_SINGLE_LANGUAGE: Final = frozenset({"mul", "und", "mis", "zxx"})
"""Codes that name no single language: several, unknown, without a code, no language at all."""
