"""Decide which rows of a mapping file may issue an EQF level or ECTS credits.

A row needs a source that is official, that a person read, and that states the fact. Without such
a source, the row answers ``source_not_official`` and names the value only as a hint.
"""

from __future__ import annotations

from gateway.config.mapping_tables import (
    RELATIONS_WITH_LEVEL,
    CreditUnit,
    FrameworkVersion,
    Mapping,
    NationalLevel,
)
from gateway.config.table_sources import official_source


def states_level(version: FrameworkVersion, level: NationalLevel) -> bool:
    """Return whether a row states an EQF level, from any source."""
    return (
        level.eqf is not None
        and (level.relation or version.relation) in RELATIONS_WITH_LEVEL
        and (level.confidence or version.confidence) != "unsure"
    )


def states_credits(unit: CreditUnit) -> bool:
    """Return whether a row states an ECTS value, from any source."""
    return (
        unit.ects is not None
        and unit.confidence != "unsure"
        and (unit.sector in {"HE", "ALL"} or unit.act is not None)
    )


def may_issue_level(mapping: Mapping, version: FrameworkVersion, level: NationalLevel) -> bool:
    """Return whether an official source that a person read states the level of a row."""
    return official_source(mapping.sources_of(level, version), "pairing") is not None


def may_issue_credits(mapping: Mapping, unit: CreditUnit) -> bool:
    """Return whether an official source that a person read states the value of a unit."""
    return official_source(mapping.sources_of(unit), "unit") is not None
