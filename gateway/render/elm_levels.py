r"""Levels of the European Learning Model: EQF and national levels, and cycles.

Ids of nodes begin with ``\0``, as in :mod:`gateway.render.elm_common`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from orjson import dumps

from gateway.records import LearningRecord
from gateway.render import vocabularies

NATIONAL_LEVELS: Final = f"{vocabularies.SNB_BASE_URI}/qdr/25831c2"
CYCLES: Final = "https://schemas.qualification-gateway.eu/qf-ehea-cycles"
CYCLE_NAMES: Final = {
    "short": "Short cycle of the QF-EHEA",
    "first": "First cycle of the QF-EHEA",
    "second": "Second cycle of the QF-EHEA",
    "third": "Third cycle of the QF-EHEA",
}
_CACHE_SIZE: Final = 4096


def has_levels(record: LearningRecord) -> bool:
    """Return whether the record has both an EQF level and a national level.

    Without both, a catalogue entry is not a ``Qualification``.
    """
    return record.eqf_level is not None and bool(record.nqf_uri)


def levels(record: LearningRecord) -> bytes:
    """Return the members for the EQF level and the national level of the record."""
    return _levels(record.eqf_level, record.nqf_uri or None)


@lru_cache(maxsize=_CACHE_SIZE)
def _levels(eqf: int | None, national: str | None) -> bytes:
    json_text = (
        b',"eqfLevel":%b' % vocabularies.snb_concept("eqf", str(eqf)) if eqf is not None else b""
    )
    return json_text + (
        b',"nqfLevel":%b' % vocabularies.concept(national, NATIONAL_LEVELS) if national else b""
    )


def education_levels(record: LearningRecord, *, levels_published: bool) -> bytes:
    """Return the member for the levels that ``eqfLevel`` and ``nqfLevel`` cannot express.

    These are the cycle, and a national level without a concept of the EU. If the levels are not
    published otherwise, they follow here.
    """
    level = None if record.nqf_uri else record.nqf_level
    if levels_published:
        if record.cycle is None and level is None:
            return b""
        return _education_levels(record.cycle, None, None, record.nqf_framework, level)
    return _education_levels(
        record.cycle, record.eqf_level, record.nqf_uri, record.nqf_framework, level
    )


@lru_cache(maxsize=_CACHE_SIZE)
def _education_levels(
    cycle: str | None, eqf: int | None, uri: str | None, framework: str | None, level: str | None
) -> bytes:
    items = []
    if cycle in CYCLE_NAMES:
        items.append(vocabularies.labelled_concept(f"{CYCLES}/{cycle}", CYCLES, CYCLE_NAMES[cycle]))
    if eqf is not None:
        items.append(vocabularies.snb_concept("eqf", str(eqf)))
    if uri:
        items.append(vocabularies.concept(uri, NATIONAL_LEVELS))
    if level:
        items.append(
            b'{"id":"\0level","type":"Concept","prefLabel":{"en":%b},"notation":%b}'
            % (dumps(f"{framework} {level}" if framework else level), dumps(level))
        )
    return b',"educationLevel":[%b]' % b",".join(items) if items else b""
