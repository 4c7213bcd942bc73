"""Say who an institution is, and what quality assurance it held on a day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from msgspec import Struct, to_builtins

from gateway.config.countries import COUNTRIES
from gateway.errors import Unavailable, UsageError
from gateway.harmonise.providers import ProviderMatch, Providers
from gateway.harmonise.quality_assurance import OUTCOME_MEANINGS, report_end
from gateway.harmonise.tables.institutions import Institutions
from gateway.kafka.connection import KafkaError
from gateway.messages.topics import PROVIDERS
from gateway.pipeline.provider_cache import read_providers
from gateway.records import Organisation, QualityReport
from gateway.settings import Settings


class ProviderAnswer(Struct, frozen=True, kw_only=True):
    """What the registers and the lists of institutions know about one body on a day."""

    looked_for: str
    name: dict[str, str]
    country: str
    identifiers: dict[str, str]
    on: date
    outcome: str
    meaning: str
    report: QualityReport | None
    charter: bool | None
    """Whether it held an Erasmus Charter. ``None`` means not known."""
    providers: tuple[str, ...]
    """The ids of the records of ``reference.providers.v1`` that describe it."""
    listed_by: str
    """The list of institutions that names it, or an empty text."""

    def to_dict(self) -> dict[str, Any]:
        """Return the answer for programs."""
        made = to_builtins(self)
        assert isinstance(made, dict)  # noqa: S101 - a Struct becomes a mapping
        return made


class ProviderAnswers(Struct, frozen=True):
    """All bodies that a number names, and why identifiers named none."""

    looked_for: str
    found: tuple[ProviderAnswer, ...]
    refused: tuple[str, ...] = ()


async def load_providers(settings: Settings) -> Providers:
    """Return the committed provider records, or raise ``Unavailable``."""
    try:
        return Providers((await read_providers(settings)).values())
    except (KafkaError, OSError) as error:
        raise Unavailable(
            f"{PROVIDERS.name} cannot be read now ({type(error).__name__}); "
            "check GATEWAY_KAFKA_BOOTSTRAP, or start a broker with `gateway kafka start`"
        ) from None


def look_up(
    providers: Providers,
    institutions: Institutions,
    country: str,
    number: str,
    identifiers: Mapping[str, str],
    on: date,
) -> ProviderAnswers:
    """Return every body that a national number, or these identifiers, name in a country.

    An empty country means every country.
    """
    state, number = _state(country), number.strip()
    wanted = [dict(identifiers)] if identifiers else []
    if number:
        prefix = f"{state.lower()}-" if state else ""
        schemes = providers.national_schemes | institutions.schemes
        schemes |= {f"{prefix}national"} if state else set()
        wanted += [{scheme: number} for scheme in sorted(schemes) if scheme.startswith(prefix)]
    answers: dict[object, ProviderAnswer] = {}
    refused: list[str] = []
    for each in wanted:
        body = Organisation(country=state or None, identifiers=each)
        answer = _answer(providers, institutions, body, on)
        if answer is not None:
            answers.setdefault((answer.providers, *answer.name.items()), answer)
        refused += [
            f"{scheme} {each[scheme]} belongs to a provider in {other}"
            for scheme, other in providers.find(body).foreign
        ]
    return ProviderAnswers(
        "; ".join(map(_words, wanted)) + (f", in {state}" if state else ""),
        tuple(answers.values()),
        tuple(refused),
    )


def _state(country: str) -> str:
    state = COUNTRIES.get(country.upper(), "") if country else ""
    if country and not state:
        raise UsageError(
            f"COUNTRY: expected the two letters of a country, such as FI, found {country}"
        )
    return state


def _answer(
    providers: Providers, institutions: Institutions, asked: Organisation, on: date
) -> ProviderAnswer | None:
    body, lookup = institutions.complete(asked, on, "provider")
    match = providers.find(body)
    if not match.providers and lookup is None:
        return None
    known = providers.with_known_identifiers(body)
    quality = providers.assess_award(body, awarded_on=on, eqf_level=None)
    listed = {lookup.table.rpartition(":")[2]: lookup.row} if lookup else {}
    return ProviderAnswer(
        looked_for=_words(asked.identifiers),
        name=known.name,
        country=known.country or "",
        identifiers=dict(sorted({**known.identifiers, **listed, **_as_registered(match)}.items())),
        on=on,
        outcome=quality.outcome,
        meaning=OUTCOME_MEANINGS[quality.outcome],
        report=quality.report,
        charter=quality.charter,
        providers=tuple(provider.id for provider in match.providers),
        listed_by=f"{lookup.source} ({lookup.version})" if lookup else "",
    )


def _as_registered(match: ProviderMatch) -> dict[str, str]:
    """Return the identifiers in the spelling of the registers of providers."""
    identifiers: dict[str, str] = {}
    for provider in match.providers:
        for scheme, value in provider.organisation.identifiers.items():
            identifiers.setdefault(scheme, value)
    return identifiers


def _words(identifiers: Mapping[str, str]) -> str:
    return ", ".join(f"{scheme} {value}" for scheme, value in identifiers.items())


def format_answer(answer: ProviderAnswer) -> Iterator[str]:
    """Yield the lines of an answer for people."""
    name = next(iter(answer.name.values()), "no name known")
    yield f"{name} ({answer.country or 'country not known'})"
    for language, text in list(answer.name.items())[1:]:
        yield f"  {'name':<12} {text} ({language})"
    for scheme, value in answer.identifiers.items():
        yield f"  {scheme:<12} {value}"
    yield f"  {'on':<12} {answer.on}"
    yield f"  {'held':<12} {answer.outcome}: {answer.meaning}"
    if answer.report is not None:
        yield from _report_lines(answer.report)
    charter = {True: "held", False: "not held", None: "not known"}[answer.charter]
    yield f"  {'charter':<12} {charter}"
    if answer.providers:
        yield f"  {'registers':<12} records {', '.join(answer.providers)} of {PROVIDERS.name}"
    if answer.listed_by:
        yield f"  {'listed by':<12} {answer.listed_by}"


def _report_lines(report: QualityReport) -> Iterator[str]:
    agency = f" of {report.agency}" if report.agency else ""
    yield f"  {'report':<12} {report.id}{agency}, {report.kind}"
    yield f"  {'valid':<12} {report.valid_from} to {report_end(report)}"
    if report.permalink:
        yield f"  {'permalink':<12} {report.permalink}"
