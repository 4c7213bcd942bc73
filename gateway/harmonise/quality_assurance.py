"""Who is a trusted provider, and was this award quality-assured? Judged at the date of the award, never at today's.

:class:`Providers` is an immutable view of the provider records the gateway knows, joined by any identifier they share: the same body
may stand in several registers, each with another part of the truth (a charter here, its reviews there). The judgement is a fact that
travels with the record; it never rejects one.

What a connector should put into :class:`gateway.records.Provider`:

- ``organisation.identifiers``: every identifier the register holds, by scheme (pic schac erasmus oid eter deqar ror vat): more
  identifiers, more joins. They are compared in a normalised spelling, so no-break spaces and case do no harm.
- ``reports``: every report, also those that are over today: an award of ten years ago is judged by what was valid then.
- ``QualityReport.obligatory``: the report belongs to the obligatory system, which counts as accreditation; otherwise it is voluntary.
- ``QualityReport.positive`` is false for a negative decision only; "with conditions" and "not applicable" are positive.
- ``levels``: EQF levels 5-8 the body may award; empty when the register does not say, and then nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from msgspec.structs import replace

from gateway.identifiers import normalise_identifier
from gateway.records import Credential, Organisation, Provider, QualityReport, Record, StudentStatus

SCHEMES: Final = ("pic", "schac", "erasmus", "eter", "deqar", "oid", "ror", "vat")
"""Identifiers that are unique to one body, in the order they are tried."""
VALID_YEARS: Final = 6
"""A report without an end is valid for so many years."""

PROGRAMME_ACCREDITED: Final = "PROGRAMME_ACCREDITED"
INSTITUTION_ACCREDITED: Final = "INSTITUTION_ACCREDITED"
QA_VOLUNTARY_ONLY: Final = "QA_VOLUNTARY_ONLY"
NO_VALID_QA: Final = "NO_VALID_QA"
UNKNOWN_PROVIDER: Final = "UNKNOWN_PROVIDER"
CLOSED_BEFORE_AWARD: Final = "CLOSED_BEFORE_AWARD"
LEVEL_NOT_COVERED: Final = "LEVEL_NOT_COVERED"
OUTCOMES: Final = (
    PROGRAMME_ACCREDITED,
    INSTITUTION_ACCREDITED,
    QA_VOLUNTARY_ONLY,
    NO_VALID_QA,
    UNKNOWN_PROVIDER,
    CLOSED_BEFORE_AWARD,
    LEVEL_NOT_COVERED,
)


@dataclass(frozen=True, slots=True)
class QualityAssurance:
    """Whether an award was quality-assured on its day: an outcome of :data:`OUTCOMES` and the report it rests on."""

    outcome: str
    report: QualityReport | None = None
    matched_by: str = ""
    charter: bool = False
    """Whether an Erasmus Charter was valid on that day: supporting evidence, not quality assurance."""

    def to_provenance(self) -> dict[str, str]:
        """Return what travels in the provenance of the record."""
        found = {"outcome": self.outcome}
        if self.matched_by:
            found["joined_by"] = self.matched_by
            found["charter"] = str(self.charter).lower()
        report = self.report
        if report is not None:
            found["report"] = report.id
            found |= {"agency": report.agency} if report.agency else {}
            found |= {"valid_from": report.valid_from.isoformat()} if report.valid_from else {}
            found["valid_until"] = _report_end(report).isoformat() if report.valid_from else ""
        return {name: value for name, value in found.items() if value}


class Providers:
    """An immutable view of every provider; build it once from all records and share it."""

    def __init__(self, providers: Iterable[Provider] = ()) -> None:
        self._by_identifier: dict[tuple[str, str], list[Provider]] = {}
        for provider in sorted(providers, key=lambda one: one.id):
            for key in _identifier_keys(provider.organisation.identifiers):
                self._by_identifier.setdefault(key, []).append(provider)

    def __len__(self) -> int:
        return len({id(provider) for found in self._by_identifier.values() for provider in found})

    def find(self, body: Organisation | None) -> tuple[tuple[Provider, ...], str]:
        """Return every record about a body and the scheme that joined first; records that share any identifier belong together."""
        if body is None:
            return (), ""
        found: dict[int, Provider] = {}
        joined_by = ""
        keys_to_visit = list(_identifier_keys(body.identifiers))
        seen = set(keys_to_visit)
        while keys_to_visit:
            key = keys_to_visit.pop(0)
            for provider in self._by_identifier.get(key, ()):
                joined_by = joined_by or key[0]
                found[id(provider)] = provider
                new = [
                    other
                    for other in _identifier_keys(provider.organisation.identifiers)
                    if other not in seen
                ]
                keys_to_visit += new
                seen.update(new)
        return tuple(found.values()), joined_by

    def with_known_identifiers(self, body: Organisation) -> Organisation:
        """Return a body with the identifiers other registers know it by; what it already says stays as it is."""
        found, _ = self.find(body)
        more: dict[str, str] = {}
        for provider in found:
            for scheme, value in provider.organisation.identifiers.items():
                more.setdefault(scheme, value)
        if not more:
            return body
        known = next(
            (provider.organisation for provider in found if provider.organisation.name),
            Organisation(),
        )
        return Organisation(
            name=body.name or known.name,
            country=body.country or known.country,
            identifiers=more | body.identifiers,
            homepage=body.homepage or known.homepage,
        )

    def assess_award(
        self,
        body: Organisation | None,
        *,
        awarded_on: date,
        eqf_level: int | None,
        programme: Iterable[str] = (),
    ) -> QualityAssurance:
        """Return whether an award of ``body`` was quality-assured on its day; ``programme`` holds the names it goes by."""
        found, joined_by = self.find(body)
        if not found:
            return QualityAssurance(UNKNOWN_PROVIDER)
        charter = any(_has_charter(provider, awarded_on) for provider in found)
        if any(provider.closed_on and provider.closed_on < awarded_on for provider in found):
            return QualityAssurance(CLOSED_BEFORE_AWARD, None, joined_by, charter)
        reports = [
            report
            for provider in found
            for report in provider.reports
            if _report_applies(report, awarded_on)
        ]
        outcome, report = _decide_outcome(
            reports, _levels(found), eqf_level, {name.casefold() for name in programme}
        )
        return QualityAssurance(outcome, report, joined_by, charter)

    def assess_record(self, record: Record) -> tuple[Record, dict[str, str]]:
        """Return a record with the identifiers of its institution completed, and what is known of its quality assurance.

        Only an award with a date is judged. Catalogue entries are not awards and stay as they are.
        """
        if isinstance(record, StudentStatus) and record.institution:
            return replace(record, institution=self.with_known_identifiers(record.institution)), {}
        if not isinstance(record, Credential):
            return record, {}
        body = record.awarding_body
        facts: dict[str, str] = {}
        if record.awarded_on:
            judged = self.assess_award(
                body,
                awarded_on=record.awarded_on,
                eqf_level=record.eqf_level,
                programme=record.title.values(),
            )
            facts = judged.to_provenance()
        return (
            replace(record, awarding_body=self.with_known_identifiers(body)) if body else record
        ), facts


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


def _report_applies(report: QualityReport, on: date) -> bool:
    """Return whether a report speaks for an award of a day. The last day of its validity still counts."""
    return (
        report.positive
        and not report.high_alert
        and report.valid_from is not None
        and report.valid_from <= on <= _report_end(report)
    )


def _report_end(report: QualityReport) -> date:
    if report.valid_until is not None:
        return report.valid_until
    begun = report.valid_from or date.min
    try:
        return begun.replace(year=begun.year + VALID_YEARS)
    except ValueError:  # 29 February in a year that has none
        return begun.replace(year=begun.year + VALID_YEARS, day=28)


def _newest_first(report: QualityReport) -> tuple[int, str]:
    return (-(report.valid_from or date.min).toordinal(), report.id)


def _levels(found: Iterable[Provider]) -> frozenset[int]:
    return frozenset(level for provider in found for level in provider.levels)


def _has_charter(provider: Provider, on: date) -> bool:
    return provider.eche and (provider.eche_from or date.min) <= on <= (
        provider.eche_until or date.max
    )


def _identifier_keys(identifiers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (scheme, normalise_identifier(scheme, identifiers[scheme]))
        for scheme in SCHEMES
        if identifiers.get(scheme)
    ]
