"""Country codes that connector files, mapping tables and records may use."""

from __future__ import annotations

from gateway.identifiers import ALPHA_2_BY_ALPHA_3, ISO_COUNTRIES

ACCEPTED_COUNTRIES = ISO_COUNTRIES | {"XK"}
"""The two letters of every country, and ``XK``, which the EU institutions use for Kosovo."""
COUNTRIES = (
    ALPHA_2_BY_ALPHA_3
    | {"XKX": "XK", "EL": "GR", "UK": "GB"}
    | {code: code for code in ACCEPTED_COUNTRIES}
)
"""Alpha-3 and alpha-2 codes to alpha-2. The EU institutions write ``EL`` and ``UK``."""

_TERRITORIES = (
    "AXFI FODK GLDK SJNO BVNO GPFR MQFR GFFR REFR YTFR PMFR BLFR MFFR NCFR PFFR WFFR TFFR AWNL "
    "CWNL SXNL BQNL GIGB"
)
_STATES = COUNTRIES | {word[:2]: word[2:] for word in _TERRITORIES.split()}


def state_of(country: str | None) -> str:
    """Return the state whose registers hold the bodies of a country, or an empty text.

    Overseas territories belong to their state. ``EU`` and other words name no state.
    """
    return _STATES.get((country or "").partition("-")[0].upper(), "")


def country_code_problem(code: str) -> str:
    """Return the error in the country of a connector or a table, or an empty text.

    ``EU`` means all countries. A country may have a part, such as ``BE-VLG``.
    """
    country, _, part = code.partition("-")
    if country in ACCEPTED_COUNTRIES or code == "EU":
        return ""
    alpha_2 = COUNTRIES.get(country)
    if alpha_2:
        right_code = f"{alpha_2}-{part}" if part else alpha_2
        return f"{country} is not its code by ISO 3166-1; write {right_code}"
    return (
        f"{country} is no country of ISO 3166-1; write its two letters, such as SE, "
        "or EU when it belongs to no single country"
    )
