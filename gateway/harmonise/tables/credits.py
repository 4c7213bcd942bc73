"""Convert national credits to ECTS, with exact fractions that are rounded once.

The gateway converts credits only if a sourced row states the ratio. A row outside higher education
must also name the act that grants ECTS credits. Sector, date and credits per year distinguish units
of the same name. If they do not decide, the gateway does not convert. Names of units are compared
as written, then without regard to case and to the ways to encode an accent or a blank.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from fractions import Fraction

from msgspec import Struct, structs

from gateway.config.issuing_rows import may_issue_credits
from gateway.config.mapping_tables import CreditUnit, Mapping
from gateway.config.table_sources import Source, short_source
from gateway.harmonise.tables.level_names import fold
from gateway.harmonise.tables.table_periods import day_after

_CENT = Decimal("0.01")
_CACHE_SIZE = 50_000
MAX_AMOUNT = Decimal(1_000_000)
"""A larger amount is no amount of credits."""


class NoCreditsReason(StrEnum):
    """The reasons why credits give no ECTS value. The values are metric labels and stay stable."""

    COUNTRY_UNKNOWN = "country_unknown"
    UNIT_UNKNOWN = "unit_unknown"
    AMOUNT_NOT_POSITIVE = "amount_not_positive"
    NOT_HIGHER_EDUCATION = "not_higher_education"
    SECTOR_REQUIRED = "sector_required"
    SECTOR_MISMATCH = "sector_mismatch"
    DATE_REQUIRED = "date_required"
    YEAR_NORM_REQUIRED = "year_norm_required"
    NOT_IN_FORCE = "not_in_force"
    HOURS_ONLY = "by_hours_only"
    INSTITUTIONAL = "institutional_table"
    NOT_CONVERTIBLE = "not_convertible"
    UNSURE = "unsure"
    SOURCE_NOT_OFFICIAL = "source_not_official"
    FIRST_DAY_UNKNOWN = "first_day_unknown"
    DAY_IN_FUTURE = "day_in_future"


_BY_CONVERSION = {
    "by_hours_only": NoCreditsReason.HOURS_ONLY,
    "institutional": NoCreditsReason.INSTITUTIONAL,
    "not_convertible": NoCreditsReason.NOT_CONVERTIBLE,
}


class CreditMatch(Struct, frozen=True, kw_only=True):
    """An amount of ECTS credits: ``exact``, and ``points`` rounded once to two places.

    ``hours`` is the range of hours for one ECTS credit in this unit.
    """

    points: Decimal
    exact: Fraction
    ratio: Fraction
    unit: str
    system: str
    version: str
    row: str
    source: str
    confidence: str
    conversion: str
    hours: tuple[Fraction, Fraction] | None = None
    act: str = ""
    note: str = ""
    sources: tuple[Source, ...] = ()
    undated: str = ""


class NoCredits(Struct, frozen=True, kw_only=True):
    """The reason why there is no ECTS value, with the row of the unit if there is one.

    ``hint`` is the value that a row without an official source would give. It is for people only.
    """

    reason: NoCreditsReason
    unit: str = ""
    system: str = ""
    version: str = ""
    row: str = ""
    source: str = ""
    confidence: str = ""
    conversion: str = ""
    sector: str = ""
    framework: str = ""
    note: str = ""
    units: tuple[str, ...] = ()
    hint: str = ""
    sources: tuple[Source, ...] = ()
    undated: str = ""


class _Unit(Struct, frozen=True):
    row: CreditUnit
    key: str
    version: str
    ratio: Fraction | None
    hours: tuple[Fraction, Fraction] | None
    sources: tuple[Source, ...]
    is_official: bool

    @property
    def source(self) -> str:
        """The short name of the source that decides its value."""
        return short_source(self.sources, "unit")

    @property
    def granted(self) -> bool:
        """Whether an act makes the unit ECTS outside higher education."""
        return self.row.sector in {"VET", "GEN"} and self.row.act is not None

    def in_force_on(self, reference_date: date) -> bool:
        start = self.row.first_safe_day
        return (start is None or start <= reference_date) and (
            self.row.until is None or reference_date <= self.row.until
        )

    def may_have_begun_before(self, reference_date: date) -> bool:
        """Return whether the first day is unknown, and the day is too early to be safe."""
        safe_from = self.row.safe_from
        return not self.row.from_ and safe_from is not None and reference_date < safe_from


def round_credits(exact: Fraction) -> Decimal:
    """Return the fraction rounded half up to two places, without binary floating point."""
    cents = (exact.numerator * 200 + exact.denominator) // (2 * exact.denominator)
    return (Decimal(cents) / 100).quantize(_CENT, ROUND_HALF_UP)


class Credits:
    """The credit units of all education systems, except for its cache immutable."""

    __slots__ = ("_aliases", "_memo", "_units")

    def __init__(self, mappings: Iterable[Mapping]) -> None:
        self._units: dict[tuple[str, str], tuple[_Unit, ...]] = {}
        self._aliases: dict[str, str] = {}
        self._memo: dict[
            tuple[str, str, Decimal, str | None, date | None, int | None, int | None],
            CreditMatch | NoCredits,
        ] = {}
        for mapping in mappings:
            self._aliases |= dict.fromkeys((mapping.country, *mapping.also), mapping.country)
            for row in mapping.credits:
                unit = _unit(mapping.country, row, mapping)
                for name in {
                    row.unit,
                    *row.also,
                    fold(row.unit),
                    *map(fold, row.also),
                }:
                    self._units[mapping.country, name] = (
                        *self._units.get((mapping.country, name), ()),
                        unit,
                    )

    def find(
        self,
        country: str,
        unit: str,
        amount: Decimal,
        sector: str | None,
        reference_date: date | None,
        per_year: int | None = None,
        eqf: int | None = None,
    ) -> CreditMatch | NoCredits:
        """Return the ECTS value of an amount, or the reason why there is none.

        ``eqf`` is the EQF level of the award, if it is known.
        """
        cache_key = (country, unit, amount, sector, reference_date, per_year, eqf)
        answer = self._memo.get(cache_key) if amount.is_finite() else None
        if answer is None:
            if not (amount.is_finite() and 0 < amount <= MAX_AMOUNT):
                return NoCredits(reason=NoCreditsReason.AMOUNT_NOT_POSITIVE, unit=unit)
            found = self._find(country, unit, sector, reference_date, per_year, eqf)
            answer = found if isinstance(found, NoCredits) else _answer(found, Fraction(amount))
            if len(self._memo) >= _CACHE_SIZE:
                self._memo.clear()
            self._memo[cache_key] = answer
        return answer

    def changing_days(self) -> dict[str, set[date]]:
        """Return the days on which an answer with a date may change, by country code."""
        by_owner: dict[str, set[date]] = {}
        for (owner, _), units in self._units.items():
            days = by_owner.setdefault(owner, set())
            for unit in units:
                row = unit.row
                days.update(day for day in (row.first_safe_day, row.safe_from) if day)
                if row.until:
                    days.add(day_after(row.until))
        european = by_owner.get("EU", set())
        return {
            country: by_owner.get(system, set()) | european
            for country, system in self._aliases.items()
        }

    def _find(
        self,
        country: str,
        unit: str,
        sector: str | None,
        reference_date: date | None,
        per_year: int | None,
        eqf: int | None,
    ) -> _Unit | NoCredits:
        system = self._aliases.get(country)
        if system is None:
            return NoCredits(reason=NoCreditsReason.COUNTRY_UNKNOWN, unit=unit)
        named = self._units_named(system, unit)
        if not named:
            return NoCredits(reason=NoCreditsReason.UNIT_UNKNOWN, unit=unit)
        selected = _select_unit(named, sector, reference_date, per_year)
        if isinstance(selected, NoCreditsReason):
            return _no_credits(selected, unit, named)
        return _convertible_or_reason(selected, unit, eqf)

    def _units_named(self, system: str, unit: str) -> tuple[_Unit, ...]:
        folded = fold(unit)
        for owner, name in ((system, unit), (system, folded), ("EU", unit), ("EU", folded)):
            if units := self._units.get((owner, name)):
                return units
        return ()


def _unit(country: str, row: CreditUnit, mapping: Mapping) -> _Unit:
    hours = (row.hours[0] / row.ects, row.hours[1] / row.ects) if row.hours and row.ects else None
    return _Unit(
        row,
        f"{country}/{row.unit}",
        f"{row.unit}@{row.first_safe_day or 'undated'}",
        row.ects,
        hours,
        mapping.sources_of(row),
        may_issue_credits(mapping, row),
    )


def _select_unit(
    named: tuple[_Unit, ...], sector: str | None, reference_date: date | None, per_year: int | None
) -> _Unit | NoCreditsReason:
    """Return the one unit that matches sector, credits per year and date.

    If none or several match, return the reason.
    """
    candidates = _of_sector(named, sector, per_year)
    if isinstance(candidates, NoCreditsReason):
        return candidates
    if per_year is not None:
        candidates = [unit for unit in candidates if unit.row.per_year == str(per_year)]
        if not candidates:
            return NoCreditsReason.YEAR_NORM_REQUIRED
    if reference_date is not None:
        held = [unit for unit in candidates if unit.in_force_on(reference_date)]
        if not held:
            unknown = any(unit.may_have_begun_before(reference_date) for unit in candidates)
            return NoCreditsReason.FIRST_DAY_UNKNOWN if unknown else NoCreditsReason.NOT_IN_FORCE
        candidates = held
    if len(candidates) > 1:
        return (
            NoCreditsReason.DATE_REQUIRED
            if reference_date is None
            else NoCreditsReason.YEAR_NORM_REQUIRED
        )
    return candidates[0]


def _of_sector(
    named: tuple[_Unit, ...], sector: str | None, per_year: int | None
) -> list[_Unit] | NoCreditsReason:
    """Return the units of a sector. Without a sector, return those of the only possible one."""
    if sector in {"VET", "GEN"}:
        granted = [unit for unit in named if unit.granted and unit.row.sector == sector]
        return granted or NoCreditsReason.NOT_HIGHER_EDUCATION
    if sector is None:
        # Granted credits are ECTS credits too, so they do not make the name ambiguous.
        units = [unit for unit in named if not unit.granted] or list(named)
        sectors = {unit.row.sector for unit in units}
        if len(sectors) > 1 or "ALL" in sectors or (per_year is None and len(units) > 1):
            return NoCreditsReason.SECTOR_REQUIRED
        return units
    candidates = [unit for unit in named if unit.row.sector in {sector, "ALL"}]
    if candidates:
        return candidates
    return (
        NoCreditsReason.NOT_HIGHER_EDUCATION
        if named[0].row.sector in {"VET", "GEN"}
        else NoCreditsReason.SECTOR_MISMATCH
    )


def _convertible_or_reason(unit: _Unit, name: str, eqf: int | None) -> _Unit | NoCredits:
    row = unit.row
    if row.sector in {"VET", "GEN"} and not (
        unit.granted and (eqf is None or not row.eqf or eqf in row.eqf)
    ):
        return _no_credits(NoCreditsReason.NOT_HIGHER_EDUCATION, name, (unit,))
    if row.confidence == "unsure":
        return _no_credits(NoCreditsReason.UNSURE, name, (unit,))
    if unit.ratio is None:
        return _no_credits(_BY_CONVERSION[row.conversion], name, (unit,))
    return unit


def _no_credits(reason: NoCreditsReason, name: str, named: tuple[_Unit, ...]) -> NoCredits:
    if len(named) > 1:
        return NoCredits(reason=reason, unit=name, units=tuple(unit.row.unit for unit in named))
    unit, row = named[0], named[0].row
    return NoCredits(
        reason=reason,
        unit=row.unit,
        system=row.system,
        version=unit.version,
        row=unit.key,
        source=unit.source,
        confidence=row.confidence,
        conversion=row.conversion,
        sector=row.sector,
        framework=row.framework or "",
        note=row.note or "",
        units=(row.unit,),
        sources=unit.sources,
        undated=row.undated_remark,
    )


def _answer(unit: _Unit, amount: Fraction) -> CreditMatch | NoCredits:
    credit = _convert_amount(unit, amount)
    if unit.is_official:
        return credit
    refusal = _no_credits(NoCreditsReason.SOURCE_NOT_OFFICIAL, unit.row.unit, (unit,))
    return structs.replace(refusal, hint=str(credit.points))


def _convert_amount(unit: _Unit, amount: Fraction) -> CreditMatch:
    row = unit.row
    exact = amount * (unit.ratio or 0)
    return CreditMatch(
        points=round_credits(exact),
        exact=exact,
        ratio=unit.ratio or Fraction(0),
        unit=row.unit,
        system=row.system,
        version=unit.version,
        row=unit.key,
        source=unit.source,
        confidence=row.confidence,
        conversion=row.conversion,
        hours=unit.hours,
        act=row.act or "",
        note=row.note or "",
        sources=unit.sources,
        undated=row.undated_remark,
    )
