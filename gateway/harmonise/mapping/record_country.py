"""Find the country of a record, for sources that hold records of several countries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gateway.config.countries import COUNTRIES
from gateway.config.expressions.compiler import Context, Evaluate, text_of
from gateway.harmonise.mapping.rule_functions import FieldRejected
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.rule_codes import Code
from gateway.records import Issue

FIELD: Final = "record_country"
"""The key of a stream that gives the country, and the field that issues about it name."""
NO_SINGLE_COUNTRY: Final = "EU"
"""The tables that judge a record whose country is not known. They hold what all countries share."""


class RecordCountry(NamedTuple):
    """The country whose tables judge a record.

    ``known`` is empty if the record does not name one country. ``issues`` then say why.
    """

    tables: str
    known: str = ""
    issues: tuple[Issue, ...] = ()


CountryFinder = Callable[[Any, Context], RecordCountry]


def compile_record_country(
    select: Evaluate, nulls: frozenset[str], tables: Tables | None
) -> CountryFinder:
    """Return a function that finds the country of a record.

    The function raises :class:`~gateway.harmonise.mapping.rule_functions.FieldRejected` for a
    country that has no tables.
    """

    def find(node: Any, context: Context) -> RecordCountry:
        texts = {text for value in select(node, context) if (text := text_of(value).strip())}
        codes = {_country_code(text, tables) for text in texts - nulls}
        if len(codes) != 1:
            return _unknown(Code.COUNTRY_AMBIGUOUS if codes else Code.COUNTRY_MISSING)
        code = codes.pop()
        if not code:
            return _unknown(Code.COUNTRY_UNREADABLE)
        if tables is not None and not tables.has_tables(code):
            raise FieldRejected(
                "table",
                FIELD,
                "country_without_tables",
                f"expected a country with tables: {code} has none; "
                f"add mappings/{code.lower()}.yaml, then replay the rejections",
            )
        return RecordCountry(code, code)

    return find


def _country_code(text: str, tables: Tables | None) -> str:
    """Return the code of a country, with its part if the part has tables, or an empty text."""
    country, _, part = text.upper().partition("-")
    code = COUNTRIES.get(country, "")
    whole = f"{code}-{part}"
    return whole if code and part and tables is not None and tables.has_tables(whole) else code


def _unknown(code: Code) -> RecordCountry:
    return RecordCountry(NO_SINGLE_COUNTRY, "", (Issue(code=str(code), field=FIELD),))
