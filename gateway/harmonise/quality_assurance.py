"""Assess the quality assurance of an award on the date of the award.

:class:`Providers` is an immutable view of all provider records. It joins the records that share an
identifier, because several registers may describe the same body. For example, one register holds
the charter and another one the reviews. The assessment travels with the record. It never rejects
a record.

A connector fills :class:`gateway.records.Provider` as follows.

``organisation.identifiers`` holds each identifier of the register, by scheme (pic, schac, erasmus,
oid, eter, deqar, ror, vat). More identifiers give more joins. The gateway compares them in a
normalised spelling, so case and no-break spaces do not matter.

``reports`` holds each report, also expired ones. An award of ten years ago is assessed with the
reports that were valid at that time.

``QualityReport.obligatory`` marks a report of the obligatory system, which counts as accreditation.
Other reports are voluntary.

``QualityReport.positive`` is false for a negative decision only. Both "with conditions" and "not
applicable" are positive.

``levels`` holds the EQF levels 5 to 8 that the body may award. An empty value means that the
register does not state them, and the gateway concludes nothing from it.
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
"""Identifier schemes that are unique to one body, in the order in which they are tried."""
VALID_YEARS: Final = 6
"""How many years a report without an end date is valid."""

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
    """The quality assurance of an award on its date.

    ``outcome`` is one of :data:`OUTCOMES`. ``report`` is the report that supports it.
    """

    outcome: str
    report: QualityReport | None = None
    matched_by: str = ""
    charter: bool = False
    """Whether an Erasmus Charter was valid on that date.

    A charter is supporting evidence. It is not quality assurance.
    """

    def to_provenance(self) -> dict[str, str]:
        """Return the facts that the provenance of the record carries, without empty ones."""
        facts = {"outcome": self.outcome}
        if self.matched_by:
            facts["joined_by"] = self.matched_by
            facts["charter"] = str(self.charter).lower()
        report = self.report
        if report is not None:
            facts["report"] = report.id
            facts |= {"agency": report.agency} if report.agency else {}
            facts |= {"valid_from": report.valid_from.isoformat()} if report.valid_from else {}
            facts["valid_until"] = _report_end(report).isoformat() if report.valid_from else ""
        return {name: value for name, value in facts.items() if value}


class Providers:
    """An immutable view of all providers. Build it once from all records and share it."""

    def __init__(self, providers: Iterable[Provider] = ()) -> None:
        self._by_identifier: dict[tuple[str, str], list[Provider]] = {}
        for provider in sorted(providers, key=lambda provider: provider.id):
            for key in _identifier_keys(provider.organisation.identifiers):
                self._by_identifier.setdefault(key, []).append(provider)

    def __len__(self) -> int:
        return len({id(provider) for same in self._by_identifier.values() for provider in same})

    def find(self, body: Organisation | None) -> tuple[tuple[Provider, ...], str]:
        """Return all records about a body, and the identifier scheme of the first match.

        Records that share an identifier are about the same body, also through other records.
        """
        if body is None:
            return (), ""
        providers: dict[int, Provider] = {}
        joined_by = ""
        keys_to_visit = list(_identifier_keys(body.identifiers))
        known_keys = set(keys_to_visit)
        while keys_to_visit:
            key = keys_to_visit.pop(0)
            for provider in self._by_identifier.get(key, ()):
                joined_by = joined_by or key[0]
                providers[id(provider)] = provider
                new_keys = [
                    other
                    for other in _identifier_keys(provider.organisation.identifiers)
                    if other not in known_keys
                ]
                keys_to_visit += new_keys
                known_keys.update(new_keys)
        return tuple(providers.values()), joined_by

    def with_known_identifiers(self, body: Organisation) -> Organisation:
        """Return the body, completed with the identifiers and properties of other registers.

        A value that the body already has stays as it is.
        """
        providers, _ = self.find(body)
        more: dict[str, str] = {}
        for provider in providers:
            for scheme, value in provider.organisation.identifiers.items():
                more.setdefault(scheme, value)
        if not more:
            return body
        named = next(
            (provider.organisation for provider in providers if provider.organisation.name),
            Organisation(),
        )
        return Organisation(
            name=body.name or named.name,
            country=body.country or named.country,
            identifiers=more | body.identifiers,
            homepage=body.homepage or named.homepage,
        )

    def assess_award(
        self,
        body: Organisation | None,
        *,
        awarded_on: date,
        eqf_level: int | None,
        programme: Iterable[str] = (),
    ) -> QualityAssurance:
        """Return the quality assurance of an award of ``body`` on its date.

        ``programme`` holds the names of the programme, for example in several languages.
        """
        providers, joined_by = self.find(body)
        if not providers:
            return QualityAssurance(UNKNOWN_PROVIDER)
        charter = any(_has_charter(provider, awarded_on) for provider in providers)
        if any(provider.closed_on and provider.closed_on < awarded_on for provider in providers):
            return QualityAssurance(CLOSED_BEFORE_AWARD, None, joined_by, charter)
        reports = [
            report
            for provider in providers
            for report in provider.reports
            if _report_applies(report, awarded_on)
        ]
        outcome, report = _decide_outcome(
            reports, _levels(providers), eqf_level, {name.casefold() for name in programme}
        )
        return QualityAssurance(outcome, report, joined_by, charter)

    def assess_record(self, record: Record) -> tuple[Record, dict[str, str]]:
        """Return the record with the identifiers of its institution completed, and its assessment.

        The assessment is empty when the record is not an award or has no date. Catalogue entries
        are not awards and stay as they are.
        """
        if isinstance(record, StudentStatus) and record.institution:
            return replace(record, institution=self.with_known_identifiers(record.institution)), {}
        if not isinstance(record, Credential):
            return record, {}
        body = record.awarding_body
        facts: dict[str, str] = {}
        if record.awarded_on:
            assessment = self.assess_award(
                body,
                awarded_on=record.awarded_on,
                eqf_level=record.eqf_level,
                programme=record.title.values(),
            )
            facts = assessment.to_provenance()
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
    """Return whether a report covers an award of a date, up to and including its last day."""
    return (
        report.positive
        and not report.high_alert
        and report.valid_from is not None
        and report.valid_from <= on <= _report_end(report)
    )


def _report_end(report: QualityReport) -> date:
    if report.valid_until is not None:
        return report.valid_until
    start = report.valid_from or date.min
    try:
        return start.replace(year=start.year + VALID_YEARS)
    except ValueError:  # 29 February does not exist in that year
        return start.replace(year=start.year + VALID_YEARS, day=28)


def _newest_first(report: QualityReport) -> tuple[int, str]:
    return (-(report.valid_from or date.min).toordinal(), report.id)


def _levels(providers: Iterable[Provider]) -> frozenset[int]:
    return frozenset(level for provider in providers for level in provider.levels)


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
