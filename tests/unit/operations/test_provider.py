"""Check the look-up of an institution by any number, on a day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.harmonise.providers import Providers
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.operations.provider import ProviderAnswers, format_answer, look_up
from gateway.records import Organisation, Provider, QualityReport

MAPPINGS = Path(__file__).parents[3] / "mappings"
ON = date(2015, 6, 1)
AALTO = Provider(
    id="10",
    organisation=Organisation(
        name={"und": "Aalto University"},
        country="FI",
        identifiers={
            "fi-national": "10076",
            "eter": "FI0001",
            "erasmus": "SF ESPOO12",
            "ror": "https://ror.org/020hwjq30",
            "schac": "aalto.fi",
            "oid": "E10181958",
        },
    ),
    reports=(
        QualityReport(
            id="900",
            agency="XQA",
            obligatory=True,
            valid_from=date(2014, 1, 1),
            permalink="https://qa.example/900",
        ),
    ),
)
TARRAGONA = Provider(
    id="792", organisation=Organisation(country="ES", identifiers={"pic": "999880560"})
)
ROTTERDAM = Provider(
    id="11", organisation=Organisation(country="NL", identifiers={"erasmus": "NL ROTTERD01"})
)
VIEW = Providers([AALTO, TARRAGONA, ROTTERDAM])


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(MAPPINGS)


def ask(
    tables: Tables, country: str = "", number: str = "", on: date = ON, **identifiers: str
) -> ProviderAnswers:
    return look_up(VIEW, tables.institutions, country, number, identifiers, on)


def test_national_number_gives_name_identifiers_and_report(tables: Tables):
    (answer,) = ask(tables, "FI", "10076").found
    assert answer.identifiers["pic"] == "991256096", "from the list of institutions"
    assert answer.identifiers["eter"] == "FI0001", "from the register of providers"
    assert (answer.outcome, answer.report and answer.report.id) == (
        "INSTITUTION_ACCREDITED",
        "900",
    )
    text = "\n".join(format_answer(answer))
    for part in ("Aalto-yliopisto (FI)", "2015-06-01", "https://qa.example/900", "not known"):
        assert part in text


@pytest.mark.parametrize(
    "code", ["NL ROTTERD01", "NLROTTERD01", "nl  rotterd1", "N LROTTERD01", "NL\u00a0ROTTERD 01"]
)
def test_blanks_never_tell_erasmus_codes_apart(tables: Tables, code: str):
    (answer,) = ask(tables, erasmus=code).found
    assert answer.providers == ("11",)


@pytest.mark.parametrize("number", [" 010076 ", "0010076", "10076"])
def test_a_number_is_shown_as_its_list_writes_it(tables: Tables, number: str):
    found = look_up(Providers(), tables.institutions, "FI", number, {}, ON)
    (answer,) = found.found
    assert answer.identifiers["fi-national"] == "10076"


def test_a_number_without_a_country_is_looked_for_in_every_country(tables: Tables):
    found = ask(tables, "", "10076").found
    assert [answer.name["fi"] for answer in found if answer.country == "FI"] == ["Aalto-yliopisto"]


@pytest.mark.parametrize(
    ("country", "identifiers"),
    [
        ("", {"erasmus": "SF ESPOO12"}),
        ("FI", {"erasmus": "SF  ESPOO12"}),
        ("", {"erasmus": "SFESPOO 12"}),
        ("", {"ror": "020hwjq30"}),
        ("", {"ror": "https://ror.org/020hwjq30"}),
        ("fi", {"schac": "AALTO.FI"}),
        ("FIN", {"oid": "urn:oid:E10181958"}),
        ("", {"eter": "FI0001"}),
    ],
)
def test_each_identifier_finds_it(tables: Tables, country: str, identifiers: dict[str, str]):
    (answer,) = ask(tables, country, **identifiers).found
    assert answer.providers == ("10",)


def test_number_of_a_list_joins_the_register(tables: Tables):
    for number in ("21PE", "21pe00"):
        (answer,) = ask(tables, "NL", number).found
        assert answer.providers == ("11",)
        assert answer.name == {"nl": "Erasmus Universiteit Rotterdam"}
        assert (answer.outcome, answer.charter) == ("NO_REPORT_KNOWN", None)


def test_number_that_only_a_list_has_is_found(tables: Tables):
    (answer,) = ask(tables, "FI", "01905").found
    assert (answer.name, answer.outcome) == ({"fi": "Tampereen yliopisto"}, "UNKNOWN_PROVIDER")
    assert answer.listed_by


def test_nothing_found_says_what_was_looked_for(tables: Tables):
    answers = ask(tables, "FI", "99999")
    assert answers.found == ()
    assert "fi-national 99999" in answers.looked_for
    assert "FI" in answers.looked_for


def test_number_of_another_country_is_named(tables: Tables):
    answers = ask(tables, "IE", pic="999880560")
    assert answers.found == ()
    assert answers.refused == ("pic 999880560 belongs to a provider in ES",)
    assert ask(tables, "ES", pic="0999880560").found


def test_country_that_is_none_is_refused(tables: Tables):
    with pytest.raises(UsageError, match="two letters of a country"):
        ask(tables, "Finland", "10076")


def test_day_decides_what_was_held(tables: Tables):
    for on, outcome in (
        (date(2013, 12, 31), "NO_VALID_QA"),
        (date(2014, 1, 1), "INSTITUTION_ACCREDITED"),
        (date(2020, 1, 2), "NO_VALID_QA"),
    ):
        (answer,) = ask(tables, "FI", "10076", on).found
        assert answer.outcome == outcome
