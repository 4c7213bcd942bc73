"""Read the country that a person typed, and suggest the right one after a slip."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from gateway.config.countries import ACCEPTED_COUNTRIES, COUNTRIES
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.harmonise.tables.compiled_tables import Tables


def read_country(text: str, tables: Tables) -> str:
    """Return the code of a country. Capitals do not matter.

    A country of ISO 3166-1 without tables is an answer of its own. For any other text without
    tables, raise :class:`~gateway.errors.UsageError` with the country that was probably meant.
    """
    code = text.strip().upper()
    if tables.has_tables(code):
        return code
    if parts := parts_of(code, tables):
        raise UsageError(
            f"{code} has no tables of its own; name one of its parts: {', '.join(parts)}"
        )
    if code in ACCEPTED_COUNTRIES:
        return code
    near = _near(code, tables)
    hint = f"did you mean {near}?" if near else "'gateway coverage' lists the countries"
    raise UsageError(f"no country is called {text!r}; {hint}")


def parts_of(country: str, tables: Tables) -> tuple[str, ...]:
    """Return the parts of a country that have tables of their own, such as those of Belgium."""
    codes = (one.country for one in tables.mappings)
    return tuple(sorted(code for code in codes if code.startswith(f"{country}-")))


def _near(code: str, tables: Tables) -> str:
    """Return the country of a code of three letters, of a name, or of a similar text."""
    names = {one.name.upper(): one.country for one in tables.mappings}
    alpha_2 = COUNTRIES.get(code)
    if alpha_2 and tables.has_tables(alpha_2):
        return alpha_2
    if code in names:
        return names[code]
    codes = [code for one in tables.mappings for code in (one.country, *one.also)]
    if alike := difflib.get_close_matches(code, codes, 1, 0.6):
        return alike[0]
    alike = difflib.get_close_matches(code, names, 1, 0.6)
    return f"{names[alike[0]]} ({alike[0].title()})" if alike else ""
