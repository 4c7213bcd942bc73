"""Assess the quality assurance of an award on the date of the award.

The assessment uses the reports and charters of all provider records about the body, which
:mod:`gateway.harmonise.providers` finds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from gateway.records import (
    Provider,
    QualityReport,
)

VALID_YEARS: Final = 6
"""How many years a report without an end date is valid."""

PROGRAMME_ACCREDITED: Final = "PROGRAMME_ACCREDITED"
INSTITUTION_ACCREDITED: Final = "INSTITUTION_ACCREDITED"
QA_VOLUNTARY_ONLY: Final = "QA_VOLUNTARY_ONLY"
NO_VALID_QA: Final = "NO_VALID_QA"
"""Reports about the body are known, and none of them covers the day."""
NO_REPORT_KNOWN: Final = "NO_REPORT_KNOWN"
"""No report about the body is known, so nothing is known about its quality assurance."""
UNKNOWN_PROVIDER: Final = "UNKNOWN_PROVIDER"
CLOSED_BEFORE_AWARD: Final = "CLOSED_BEFORE_AWARD"
LEVEL_NOT_COVERED: Final = "LEVEL_NOT_COVERED"
OUTCOME_MEANINGS: Final = {
    PROGRAMME_ACCREDITED: "a report of the obligatory system covers the programme",
    INSTITUTION_ACCREDITED: "a report of the obligatory system covers the institution",
    QA_VOLUNTARY_ONLY: "only a voluntary report covers the institution",
    NO_VALID_QA: "reports about the body are known, and none covers the day",
    NO_REPORT_KNOWN: "no report about the body is known",
    UNKNOWN_PROVIDER: "no register of providers names the body in its country",
    CLOSED_BEFORE_AWARD: "the body was closed before that day",
    LEVEL_NOT_COVERED: "a report covers the institution, but not at this EQF level",
}
"""What each outcome says about the body on the day of the award."""
OUTCOMES: Final = tuple(OUTCOME_MEANINGS)
_MAX_CACHED_FACTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class QualityAssurance:
    """The quality assurance of an award on its date.

    ``outcome`` is one of :data:`OUTCOMES`. ``report`` is the report that supports it.
    """

    outcome: str
    report: QualityReport | None = None
    matched_by: str = ""
    charter: bool | None = None
    """Whether an Erasmus Charter was valid on that date. ``None`` means not known.

    A charter is supporting evidence. It is not quality assurance.
    """

    def to_provenance(self) -> dict[str, str]:
        """Return the facts that the provenance of the record carries, without empty ones."""
        facts = {"outcome": self.outcome}
        if self.matched_by:
            facts["joined_by"] = self.matched_by
        if self.charter is not None:
            facts["charter"] = str(self.charter).lower()
        report = self.report
        if report is not None:
            facts["report"] = report.id
            facts |= {"permalink": report.permalink} if report.permalink else {}
            facts |= {"agency": report.agency} if report.agency else {}
            facts |= {"valid_from": report.valid_from.isoformat()} if report.valid_from else {}
            facts["valid_until"] = report_end(report).isoformat() if report.valid_from else ""
        return {name: value for name, value in facts.items() if value}


class BodyQuality:
    """What the records of one body say about its quality assurance. It remembers assessments."""

    __slots__ = (
        "_changes",
        "_facts",
        "_joined_by",
        "_levels",
        "_programmes",
        "_providers",
        "_reports",
    )

    def __init__(self, providers: Sequence[Provider], joined_by: str) -> None:
        self._providers = providers
        self._joined_by = joined_by
        self._reports = [report for provider in providers for report in provider.reports]
        self._programmes = frozenset(
            name.casefold() for report in self._reports for name in report.programmes
        )
        self._levels = _levels(providers)
        self._changes = _days_of_change(providers, self._reports)
        self._facts: dict[object, dict[str, str]] = {}

    def facts(self, on: date, level: int | None, programme: Iterable[str]) -> dict[str, str]:
        """Return the facts of an assessment for the provenance. Do not change them."""
        names = frozenset[str]()
        if self._programmes:
            names = self._programmes.intersection(map(str.casefold, programme))
        # The assessment is the same on all days between two changes.
        key = (bisect_right(self._changes, on), level, names)
        facts = self._facts.get(key)
        if facts is None:
            if len(self._facts) >= _MAX_CACHED_FACTS:
                self._facts.clear()
            facts = self._facts[key] = self.assess(on, level, names).to_provenance()
        return facts

    def assess(self, on: date, level: int | None, programme: Iterable[str]) -> QualityAssurance:
        """Return the quality assurance of an award on its day."""
        providers, joined_by = self._providers, self._joined_by
        if not providers:
            return QualityAssurance(UNKNOWN_PROVIDER)
        charter = _held_charter(providers, on)
        if any(provider.closed_on and provider.closed_on < on for provider in providers):
            return QualityAssurance(CLOSED_BEFORE_AWARD, None, joined_by, charter)
        if not self._reports:
            return QualityAssurance(NO_REPORT_KNOWN, None, joined_by, charter)
        outcome, report = _decide_outcome(
            [report for report in self._reports if report_applies(report, on)],
            self._levels,
            level,
            {name.casefold() for name in programme},
        )
        return QualityAssurance(outcome, report, joined_by, charter)


def _decide_outcome(
    reports: list[QualityReport], awards: frozenset[int], level: int | None, names: set[str]
) -> tuple[str, QualityReport | None]:
    obligatory = sorted((report for report in reports if report.obligatory), key=_newest_first)
    for report in obligatory:
        named = names & {name.casefold() for name in report.programmes}
        if (
            report.kind == "programme"
            and named
            and (level is None or not report.levels or level in report.levels)
        ):
            return PROGRAMME_ACCREDITED, report
    institutional = [report for report in obligatory if report.kind == "institutional"]
    if institutional:
        covered = [
            report
            for report in institutional
            if level is None or level in (report.levels or awards or {level})
        ]
        return (
            (INSTITUTION_ACCREDITED, covered[0])
            if covered
            else (LEVEL_NOT_COVERED, institutional[0])
        )
    voluntary = sorted((report for report in reports if not report.obligatory), key=_newest_first)
    return (QA_VOLUNTARY_ONLY, voluntary[0]) if voluntary else (NO_VALID_QA, None)


def report_applies(report: QualityReport, on: date) -> bool:
    """Return whether a report covers an award of a date, up to and including its last day."""
    return (
        report.positive
        and not report.high_alert
        and report.valid_from is not None
        and report.valid_from <= on <= report_end(report)
    )


def report_end(report: QualityReport) -> date:
    """Return the last day of a report, which is six years after its first if it states none."""
    if report.valid_until is not None:
        return report.valid_until
    start = report.valid_from or date.min
    try:
        return start.replace(year=start.year + VALID_YEARS)
    except ValueError:  # 29 February does not exist in that year
        return start.replace(year=start.year + VALID_YEARS, day=28)


def _days_of_change(providers: Iterable[Provider], reports: Iterable[QualityReport]) -> list[date]:
    """Return the days from which an assessment may differ from that of the day before."""
    starts: list[date | None] = [report.valid_from for report in reports]
    ends: list[date | None] = [report_end(report) for report in reports]
    for provider in providers:
        starts += (provider.eche_from, provider.eche_list_from)
        ends += (provider.eche_until, provider.closed_on)
    after = (end + timedelta(days=1) for end in ends if end is not None and end < date.max)
    return sorted({*(start for start in starts if start is not None), *after})


def _newest_first(report: QualityReport) -> tuple[int, str]:
    return (-(report.valid_from or date.min).toordinal(), report.id)


def _levels(providers: Iterable[Provider]) -> frozenset[int]:
    return frozenset(level for provider in providers for level in provider.levels)


def _held_charter(providers: Iterable[Provider], on: date) -> bool | None:
    """Return whether one of the records holds a charter on a day, or ``None`` if not known.

    A list of charters says nothing about the days before its first day.
    """
    held: bool | None = None
    for provider in providers:
        if not provider.eche:
            continue
        starts = provider.eche_from or date.min
        if starts <= on <= (provider.eche_until or date.max):
            return True
        if on >= (provider.eche_list_from or starts):
            held = False
    return held
