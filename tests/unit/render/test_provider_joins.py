"""Check the join of institutions by any number, in their country, and what is not known."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.config.target_fields import find_target
from gateway.harmonise.mapping.target_names import normalise_last_name
from gateway.harmonise.providers import Providers
from gateway.identifiers import normalise_identifier
from gateway.records import Credential, Organisation, Provider, QualityReport

ON = date(2023, 6, 1)
TARRAGONA = Provider(
    id="792",
    organisation=Organisation(
        name={"ca": "Universitat Rovira i Virgili"},
        country="ES",
        identifiers={
            "pic": "999880560",
            "erasmus": "E  TARRAGO01",
            "schac": "urv.cat",
            "eter": "ES0022",
            "deqar": "792",
            "oid": "E10208977",
            "vat": "ESQ9350003A",
            "ror": "https://ror.org/00g5sqv46",
        },
    ),
    reports=(QualityReport(id="7", obligatory=True, valid_from=date(2020, 1, 1)),),
)
AALTO = Provider(
    id="10",
    organisation=Organisation(
        name={"fi": "Aalto-yliopisto"}, country="FI", identifiers={"fi-national": "10076"}
    ),
)
BRIN = Provider(id="11", organisation=Organisation(country="NL", identifiers={"nl-brin": "21PE"}))
VIEW = Providers([TARRAGONA, AALTO, BRIN])


@pytest.mark.parametrize(
    ("scheme", "value"),
    [
        ("pic", "0999880560"),
        ("pic", "999 880 560"),
        ("pic", "PIC 999880560"),
        ("erasmus", "E TARRAGO01"),
        ("erasmus", "e\u00a0\u00a0tarrago01"),
        ("erasmus", " E    TARRAGO 1 "),
        ("erasmus", "ETARRAGO01"),
        ("schac", "URV.CAT"),
        ("schac", "urn:schac:homeOrganization:urv.cat"),
        ("schac", "URN:MACE:terena.org:schac:homeOrganization:urv.cat"),
        ("oid", "urn:oid:E10208977"),
        ("oid", "e10208977"),
        ("ror", "00G5SQV46"),
        ("ror", "ror.org/00g5sqv46"),
        ("ror", "http://www.ror.org/00g5sqv46/"),
        ("vat", "ES Q-9350003A"),
        ("vat", "es.q9350003a"),
        ("deqar", "DEQARINST0792"),
        ("deqar", "https://data.deqar.eu/institution/792"),
        ("eter", "es0022"),
        ("eter", "ES0022 - Universitat Rovira i Virgili"),
    ],
)
def test_identifier_joins_in_each_spelling(scheme: str, value: str):
    found = VIEW.find(Organisation(country="ES", identifiers={scheme: value}))
    assert (found.providers, found.joined_by) == ((TARRAGONA,), scheme)


@pytest.mark.parametrize(
    ("scheme", "value", "provider"),
    [
        ("fi-national", "10076", AALTO),
        ("fi-national", " 010076", AALTO),
        ("nl-brin", "21pe", BRIN),
        ("nl-brin", "21PE00", BRIN),
    ],
)
def test_national_number_joins(scheme: str, value: str, provider: Provider):
    assert VIEW.find(Organisation(identifiers={scheme: value})).providers == (provider,)


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [
        ("fi-national", ""),
        ("nl-brin", ""),
        ("local", ""),
        ("FI-national", "write 'fi-national'"),
        ("fin-national", ""),
        ("uk-national", "write 'gb-national'"),
        ("el-national", "write 'gr-national'"),
        ("qq-national", "no country of ISO 3166-1"),
    ],
)
def test_check_names_the_right_national_scheme(scheme: str, advice: str):
    target = find_target(Provider, f"organisation.identifiers.{scheme}")
    _, _, problem = normalise_last_name(target, Provider)
    assert advice in problem if advice else not problem


def test_number_of_another_country_joins_nothing():
    for scheme in ("se-national", "local", "fi-other"):
        assert not VIEW.find(Organisation(identifiers={scheme: "10076"})).providers


@pytest.mark.parametrize("value", ["", " ", "\u00a0", "/"])
@pytest.mark.parametrize("scheme", ["pic", "schac", "ror", "erasmus", "oid", "fi-national"])
def test_empty_identifier_joins_nothing(scheme: str, value: str):
    other = Provider(id="1", organisation=Organisation(identifiers={scheme: value}))
    if normalise_identifier(scheme, value) != "/":
        assert not Providers([other]).find(Organisation(identifiers={scheme: value})).providers


@pytest.mark.parametrize("country", ["IE", "GB", "BR", "PT-11"])
def test_identifier_of_another_country_is_an_issue_and_no_accreditation(country: str):
    body = Organisation(name={"en": "Example"}, country=country, identifiers={"pic": "999880560"})
    record, facts, issues = VIEW.assess_record(
        Credential(id="c", awarding_body=body, awarded_on=ON)
    )
    assert isinstance(record, Credential)
    assert record.awarding_body == body, "nothing of the Spanish provider is taken over"
    assert facts == {"outcome": "UNKNOWN_PROVIDER"}
    (issue,) = issues
    assert issue.code == "provider_country_differs"
    assert issue.field == "awarding_body.identifiers.pic"


@pytest.mark.parametrize("country", [None, "", "EU", "ES", "es", "ES-CT"])
def test_body_without_a_country_and_international_body_join(country: str | None):
    body = Organisation(country=country, identifiers={"pic": "999880560"})
    record, facts, issues = VIEW.assess_record(
        Credential(id="c", awarding_body=body, awarded_on=ON)
    )
    assert isinstance(record, Credential)
    assert (facts["outcome"], issues) == ("INSTITUTION_ACCREDITED", ())
    assert record.awarding_body is not None
    assert record.awarding_body.identifiers["vat"] == "ESQ9350003A"


@pytest.mark.parametrize(
    ("provider", "body"),
    [("GR", "EL"), ("EL", "GR"), ("UK", "GB"), ("GB", "UK-SCT"), ("FR", "RE"), ("FI", "AX")],
)
def test_two_codes_of_one_state_are_the_same_country(provider: str, body: str):
    view = Providers(
        [Provider(id="1", organisation=Organisation(country=provider, identifiers={"pic": "9"}))]
    )
    assert view.find(Organisation(country=body, identifiers={"pic": "9"})).providers


def test_transnational_provider_joins_in_each_of_its_countries():
    provider = Provider(
        id="1",
        organisation=Organisation(country="AT", identifiers={"pic": "900000001"}),
        countries=("HU",),
    )
    view = Providers([provider])
    for country, found in (("AT", (provider,)), ("HU", (provider,)), ("PL", ())):
        body = Organisation(country=country, identifiers={"pic": "900000001"})
        assert view.find(body).providers == found


def test_chain_of_identifiers_stays_in_the_country():
    here = Provider(
        id="1",
        organisation=Organisation(
            country="IE", identifiers={"schac": "example.ie", "pic": "999880560"}
        ),
    )
    found = Providers([here, TARRAGONA]).find(
        Organisation(country="IE", identifiers={"schac": "example.ie"})
    )
    assert found.providers == (here,)
    found = Providers([here, TARRAGONA]).find(Organisation(identifiers={"schac": "example.ie"}))
    assert found.providers == (here,), "the first provider gives a body without country its own"


CHARTER = Provider(
    id="2",
    organisation=Organisation(country="NO", identifiers={"erasmus": "N  OSLO01"}),
    eche=True,
    eche_from=date(2022, 1, 1),
    eche_until=date(2027, 12, 31),
    eche_list_from=date(2021, 1, 1),
)


@pytest.mark.parametrize(
    ("on", "charter"),
    [
        (date(2015, 6, 1), None),
        (date(2020, 12, 31), None),
        (date(2021, 1, 1), False),
        (date(2022, 1, 1), True),
        (date(2027, 12, 31), True),
        (date(2028, 1, 1), False),
    ],
)
def test_charter_before_the_list_is_not_known(on: date, charter: bool | None):
    body = Organisation(country="NO", identifiers={"erasmus": "N OSLO01"})
    found = Providers([CHARTER]).assess_award(body, awarded_on=on, eqf_level=6)
    assert (found.outcome, found.charter) == ("NO_REPORT_KNOWN", charter)
    assert ("charter" in found.to_provenance()) == (charter is not None)


def test_body_outside_the_list_of_charters_has_no_known_charter():
    found = VIEW.assess_award(TARRAGONA.organisation, awarded_on=ON, eqf_level=6)
    assert found.charter is None


@pytest.mark.parametrize("first", ["1", "3"])
def test_name_is_that_of_the_register_of_reviews(first: str):
    identifiers = {"erasmus": "N  OSLO01"}
    legal = Provider(
        id="2", organisation=Organisation(name={"und": "OSLO"}, identifiers=identifiers), eche=True
    )
    reviewed = Provider(
        id=first, organisation=Organisation(name={"nb": "Oslo"}, identifiers=identifiers)
    )
    body = Organisation(identifiers=identifiers)
    assert Providers([legal, reviewed]).with_known_identifiers(body).name == {"nb": "Oslo"}
    assert Providers([legal]).with_known_identifiers(body).name == {"und": "OSLO"}


def test_closed_body_without_reports_is_closed():
    closed = Provider(
        id="3", organisation=Organisation(identifiers={"pic": "9"}), closed_on=date(2010, 1, 1)
    )
    found = Providers([closed]).assess_award(closed.organisation, awarded_on=ON, eqf_level=6)
    assert found.outcome == "CLOSED_BEFORE_AWARD"


def test_body_with_reports_that_do_not_cover_the_day_has_no_valid_one():
    found = VIEW.assess_award(TARRAGONA.organisation, awarded_on=date(2019, 1, 1), eqf_level=6)
    assert found.outcome == "NO_VALID_QA"


def test_permalink_of_the_report_travels_with_the_record():
    report = QualityReport(
        id="5", obligatory=True, valid_from=date(2020, 1, 1), permalink="https://qa.example/5"
    )
    provider = Provider(
        id="4", organisation=Organisation(identifiers={"pic": "9"}), reports=(report,)
    )
    found = Providers([provider]).assess_award(provider.organisation, awarded_on=ON, eqf_level=None)
    assert found.to_provenance()["permalink"] == "https://qa.example/5"
