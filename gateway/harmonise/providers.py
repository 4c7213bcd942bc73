"""Find the body of a record in the registers of providers.

:class:`Providers` is an immutable view of all provider records. It joins the records that share an
identifier, because several registers may describe the same body. For example, one register holds
the charter and another one the reviews. The assessment of a body's quality assurance travels with
the record. It never rejects a record.

A connector fills :class:`gateway.records.Provider` as follows.

``organisation.identifiers`` holds each identifier of the register, by scheme (pic, schac, erasmus,
oid, eter, deqar, ror, vat). A national number has a scheme that starts with its country, such as
fi-national. More identifiers give more joins. The gateway compares them in a normalised spelling,
so case, blanks and leading zeros do not matter.

``organisation.country`` and ``countries`` hold where the body is established. An identifier of a
provider in another country than the body of a record never joins.

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

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from msgspec.structs import replace

from gateway.config.countries import state_of
from gateway.harmonise.quality_assurance import UNKNOWN_PROVIDER, BodyQuality, QualityAssurance
from gateway.harmonise.tables.institutions import BODY_FIELDS
from gateway.identifiers import is_national_scheme, normalise_identifier
from gateway.records import Credential, Issue, Organisation, Provider, Record

SCHEMES: Final = ("pic", "schac", "erasmus", "eter", "deqar", "oid", "ror", "vat")
"""Identifier schemes that are unique to one body, in the order in which they are tried."""
PROVIDER_COUNTRY_DIFFERS: Final = "provider_country_differs"
"""The code of the issue about an identifier that belongs to a provider of another country."""
_MAX_CACHED: Final = 10_000


class ProviderMatch(NamedTuple):
    """All records about one body."""

    providers: tuple[Provider, ...] = ()
    joined_by: str = ""
    """The scheme of the first identifier that matched, or an empty text."""
    foreign: tuple[tuple[str, str], ...] = ()
    """Schemes of the body's identifiers that belong to a provider of another country, and that
    country. Such a provider is not the body."""


class AssessedRecord(NamedTuple):
    """A record with its institutions completed, and what is known about its quality assurance."""

    record: Record
    facts: dict[str, str]
    issues: tuple[Issue, ...] = ()


_NO_MATCH: Final = ProviderMatch()


class _KnownBody(NamedTuple):
    """A body with all that the providers say about it."""

    match: ProviderMatch
    completed: Organisation
    quality: BodyQuality


class _Registered(NamedTuple):
    """A provider, with the keys and the states that each search for a body needs."""

    provider: Provider
    keys: list[tuple[str, str]]
    states: frozenset[str]


class Providers:
    """An immutable view of all providers. Build it once from all records and share it."""

    def __init__(self, providers: Iterable[Provider] = ()) -> None:
        self._by_identifier: dict[tuple[str, str], list[_Registered]] = {}
        self._cache: dict[object, _KnownBody] = {}
        for provider in sorted(providers, key=lambda provider: provider.id):
            keys = _identifier_keys(provider.organisation.identifiers)
            registered = _Registered(provider, keys, _states(provider))
            for key in keys:
                self._by_identifier.setdefault(key, []).append(registered)

        self.national_schemes = frozenset(
            scheme for scheme, _ in self._by_identifier if is_national_scheme(scheme)
        )
        """The schemes of the national numbers that the providers have."""

    def __len__(self) -> int:
        return len({id(found.provider) for same in self._by_identifier.values() for found in same})

    def find(self, body: Organisation | None) -> ProviderMatch:
        """Return all records about a body in its country.

        Records that share an identifier are about the same body, also through other records. A
        provider of another country is never the body. A body without a country takes the country
        of the first provider. International bodies match providers of every country.
        """
        return self._known(body).match if body is not None else _NO_MATCH

    def _known(self, body: Organisation) -> _KnownBody:
        """Return what is known about a body, from the cache if it was asked before."""
        cache_key = (body.country, body.homepage, *body.name.items(), *body.identifiers.items())
        known = self._cache.get(cache_key)
        if known is None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            match = self._find(body) if body.identifiers else _NO_MATCH
            known = self._cache[cache_key] = _KnownBody(
                match,
                _completed(body, match.providers),
                BodyQuality(match.providers, match.joined_by),
            )
        return known

    def _find(self, body: Organisation) -> ProviderMatch:
        providers: dict[int, Provider] = {}
        foreign: dict[str, str] = {}
        joined_by = ""
        states = frozenset({state_of(body.country)} - {""})
        adopts_state = not body.country
        keys_to_visit = list(_identifier_keys(body.identifiers))
        own_keys = frozenset(keys_to_visit)
        known_keys = set(keys_to_visit)
        while keys_to_visit:
            key = keys_to_visit.pop(0)
            for provider, keys, others in self._by_identifier.get(key, ()):
                if states and others and states.isdisjoint(others):
                    if key in own_keys:
                        foreign.setdefault(key[0], provider.organisation.country or "")
                    continue
                if adopts_state and not states:
                    states = others
                joined_by = joined_by or key[0]
                providers[id(provider)] = provider
                new_keys = [other for other in keys if other not in known_keys]
                keys_to_visit += new_keys
                known_keys.update(new_keys)
        return ProviderMatch(tuple(providers.values()), joined_by, tuple(foreign.items()))

    def with_known_identifiers(self, body: Organisation) -> Organisation:
        """Return the body, completed with the identifiers and properties of other registers.

        A value that the body already has stays as it is. The name is that of a register of
        reviews, if one has it, because a list of charters names the legal entity.
        """
        return self._known(body).completed

    def quality_of(self, body: Organisation) -> BodyQuality:
        """Return what the providers say about the quality assurance of a body."""
        return self._known(body).quality

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
        if body is None:
            return QualityAssurance(UNKNOWN_PROVIDER)
        return self._known(body).quality.assess(awarded_on, eqf_level, programme)

    def assess_record(self, record: Record) -> AssessedRecord:
        """Return the record with its institution completed, and its assessment.

        The assessment is empty when the record is not an award or has no date. The issues name
        the identifiers that belong to a provider of another country.
        """
        field = BODY_FIELDS.get(type(record), "")
        body: Organisation | None = getattr(record, field) if field else None
        if body is None:
            facts = (
                {"outcome": UNKNOWN_PROVIDER}
                if isinstance(record, Credential) and record.awarded_on
                else {}
            )
            return AssessedRecord(record, facts)
        known = self._known(body)
        facts = {}
        if isinstance(record, Credential) and record.awarded_on:
            facts = known.quality.facts(record.awarded_on, record.eqf_level, record.title.values())
        if known.completed is not body:
            record = replace(record, **{field: known.completed})
        foreign = known.match.foreign
        return AssessedRecord(
            record, facts, _foreign_issues(field, body, foreign) if foreign else ()
        )


def _completed(body: Organisation, providers: Sequence[Provider]) -> Organisation:
    more: dict[str, str] = {}
    for provider in providers:
        for scheme, value in provider.organisation.identifiers.items():
            more.setdefault(scheme, value)
    if not more:
        return body
    by_name = sorted(providers, key=lambda provider: provider.eche)
    named = next(
        (provider.organisation for provider in by_name if provider.organisation.name),
        Organisation(),
    )
    return Organisation(
        name=body.name or named.name,
        country=body.country or named.country,
        identifiers=more | body.identifiers,
        homepage=body.homepage or named.homepage,
    )


def _foreign_issues(
    field: str, body: Organisation, foreign: tuple[tuple[str, str], ...]
) -> tuple[Issue, ...]:
    return tuple(
        Issue(
            code=PROVIDER_COUNTRY_DIFFERS,
            field=f"{field}.identifiers.{scheme}",
            message=f"belongs to a provider in {country}, but the body is in "
            f"{body.country or 'another country'}: not used",
        )
        for scheme, country in foreign
    )


def _states(provider: Provider) -> frozenset[str]:
    """Return the states in which a provider is established. An empty set means not known."""
    countries = (provider.organisation.country, *provider.countries)
    return frozenset(state for country in countries if (state := state_of(country)))


def _identifier_keys(identifiers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the identifiers to join by: the schemes of Europe first, then national numbers."""
    schemes = [scheme for scheme in SCHEMES if scheme in identifiers]
    schemes += sorted(filter(is_national_scheme, identifiers))
    keys = ((scheme, _comparable(scheme, identifiers[scheme])) for scheme in schemes)
    return [key for key in keys if key[1]]


def _comparable(scheme: str, value: str) -> str:
    """Return an identifier to compare by. Blanks never tell Erasmus codes apart."""
    value = normalise_identifier(scheme, value)
    return value.replace(" ", "") if scheme == "erasmus" else value
