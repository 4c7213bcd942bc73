r"""Credit points of the European Learning Model, in ECTS or in the unit of the registry.

Ids of nodes begin with ``\0``, as in :mod:`gateway.render.elm_common`.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Final

from gateway.records import LearningRecord
from gateway.render import vocabularies

NO_LANGUAGE: Final = "en"
"""The tag of names that have no language, because the model requires a language tag."""
UNIT_NOT_STATED: Final = "unit not stated"
ECTS: Final = vocabularies.snb_concept("education-credit", vocabularies.ECTS)
_EU_CREDITS: Final = f"{vocabularies.SNB_BASE_URI}/education-credit/"
_CACHE_SIZE: Final = 4096


@lru_cache(maxsize=_CACHE_SIZE)
def decimal_text(value: Decimal | None) -> str | None:
    """Return a decimal in the form of ELM credit points: plain digits without trailing zeros."""
    if value is None:
        return None
    return format(value.normalize(), "f")


def credit_point(record: LearningRecord) -> bytes | None:
    """Return the credit points of a record, or ``None`` if it states no amount.

    An amount that is not ECTS has its own framework.
    """
    if record.credit_points is not None:
        return _credit_point(record.credit_points, ECTS)
    if record.credit_amount is None or record.credit_framework is None:
        return None
    unit = unit_label(record.credit_unit, record.credit_sector)
    return _credit_point(record.credit_amount, _framework(record.credit_framework, unit))


def national_amount(record: LearningRecord) -> str | None:
    """Return the amount of the registry as text, if the record states another number in ECTS."""
    amount, points = record.credit_amount, record.credit_points
    if amount is None or points is None or amount == points or not record.credit_unit:
        return None
    return f"{decimal_text(amount)} {record.credit_unit}"


@lru_cache(maxsize=_CACHE_SIZE)
def unit_label(unit: str | None, sector: str | None) -> str:
    """Return the unit as the registry writes it.

    A unit that the registry calls ECTS and no act makes ECTS also states its sector.
    """
    if not unit:
        return UNIT_NOT_STATED
    return f"{unit} ({sector})" if sector and "ects" in unit.casefold() else unit


@lru_cache(maxsize=_CACHE_SIZE)
def _credit_point(amount: Decimal, framework: bytes) -> bytes:
    return b'{"id":"\0credit","type":"CreditPoint","framework":%b,"point":"%b"}' % (
        framework,
        (decimal_text(amount) or "").encode(),
    )


@lru_cache(maxsize=_CACHE_SIZE)
def _framework(iri: str, unit: str) -> bytes:
    if iri.startswith(_EU_CREDITS):
        return vocabularies.concept(iri, f"{_EU_CREDITS}25831c2")
    return vocabularies.labelled_concept(iri, iri.rpartition("/")[0], unit)
