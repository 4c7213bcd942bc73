"""Name the framework of an amount of credits that is not ECTS."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote

ECVET: Final = "http://data.europa.eu/snb/education-credit/60b314e826"
"""The EU's concept of the European credit system for vocational education and training."""
NATIONAL_UNITS: Final = "https://schemas.qualification-gateway.eu/credit-units"
UNIT_NOT_STATED: Final = "not-stated"
"""The last part of the IRI for an amount whose unit the registry does not state."""


def credit_framework(country: str, unit: str, european: str = "") -> str:
    """Return the IRI of the credit framework of a unit that is not ECTS.

    It is the EU's concept of ECVET if the row of the unit says so. Otherwise, it is an IRI of the
    gateway for the unit in its country.
    """
    if european == "ECVET":
        return ECVET
    latin = unicodedata.normalize("NFKD", unit).encode("ascii", "ignore").decode().casefold()
    word = re.sub(r"[^a-z0-9]+", "-", latin).strip("-") if unit else UNIT_NOT_STATED
    return f"{NATIONAL_UNITS}/{quote(country, safe='-')}/{word or quote(unit, safe='')}"
