"""Check the lists of institutions: the name and identifiers that a number had on a day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gateway.check.mapping_tables import check_mappings
from gateway.config.mapping_tables import read_mapping
from gateway.harmonise.providers import Providers
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.institutions import Institutions
from gateway.records import Credential, LearningOpportunity, Organisation, Provider

MAPPINGS = Path(__file__).parents[3] / "mappings"
HEAD = """country: FI
name: Finland
institutions:
  - scheme: {scheme}
    name: Institution codes
    source: A source
    as_of: 2026-01-31
    rows:
{rows}
"""
ROWS = """\
      - {number: "00001", name: {fi: Vanha}, identifiers: {pic: "999990011"}, until: 2018-12-31}
      - {number: "00001", name: {fi: Uusi}, from: 2019-01-01, source: Another source}
      - {number: "00002", name: {fi: Toinen}}"""


def mapping(folder: Path, rows: str = ROWS, scheme: str = "fi-national") -> Path:
    path = folder / "fi.yaml"
    path.write_text(HEAD.format(scheme=scheme, rows=rows))
    return path


@pytest.fixture
def institutions(tmp_path: Path) -> Institutions:
    found, _, findings = read_mapping(mapping(tmp_path))
    assert found is not None, findings
    return Institutions([found])


@pytest.mark.parametrize(
    ("on", "name"),
    [
        (date(1990, 1, 1), "Vanha"),
        (date(2018, 12, 31), "Vanha"),
        (date(2019, 1, 1), "Uusi"),
        (None, "Uusi"),
    ],
)
def test_award_has_the_name_of_its_day(institutions: Institutions, on: date | None, name: str):
    body = Organisation(identifiers={"fi-national": "1"})
    record, lookups = institutions.complete_record(
        Credential(id="c", awarding_body=body, awarded_on=on)
    )
    assert isinstance(record, Credential)
    assert record.awarding_body is not None
    assert (record.awarding_body.name, record.awarding_body.country) == ({"fi": name}, "FI")
    (lookup,) = lookups
    assert (lookup.field, lookup.row, lookup.version) == ("awarding_body", "00001", "2026-01-31")
    assert lookup.source == ("Another source" if name == "Uusi" else "A source")


def test_name_of_the_registry_stays(institutions: Institutions):
    body = Organisation(name={"sv": "Skolan"}, country="FI", identifiers={"fi-national": "00001"})
    completed, lookup = institutions.complete(body, date(2010, 1, 1), "provider")
    assert completed.name == {"sv": "Skolan"}
    assert completed.identifiers == {"fi-national": "00001", "pic": "999990011"}
    assert lookup is not None


@pytest.mark.parametrize(
    "body",
    [
        Organisation(identifiers={"fi-national": "00003"}),
        Organisation(identifiers={"local": "00001"}),
        Organisation(identifiers={"se-national": "00001"}),
        Organisation(country="SE", identifiers={"fi-national": "00001"}),
        Organisation(name={"fi": "Nimi"}),
    ],
)
def test_number_that_no_list_has_gives_no_name(institutions: Institutions, body: Organisation):
    record = LearningOpportunity(id="o", provider=body)
    assert institutions.complete_record(record) == (record, ())


def test_number_joins_the_register_of_providers_through_the_list(institutions: Institutions):
    register = Provider(
        id="1",
        organisation=Organisation(
            name={"en": "OLD"}, country="FI", identifiers={"pic": "999990011", "vat": "FI1"}
        ),
    )
    body = Organisation(identifiers={"fi-national": "00001"})
    record, _ = institutions.complete_record(
        Credential(id="c", awarding_body=body, awarded_on=date(2010, 1, 1))
    )
    record, facts, _ = Providers([register]).assess_record(record)
    assert isinstance(record, Credential)
    assert record.awarding_body is not None
    assert record.awarding_body.name == {"fi": "Vanha"}
    assert record.awarding_body.identifiers["vat"] == "FI1"
    assert (facts["outcome"], facts["joined_by"]) == ("NO_REPORT_KNOWN", "pic")


@pytest.mark.parametrize(
    ("rows", "scheme", "code"),
    [
        (ROWS, "se-national", "wrong-country"),
        (ROWS.replace(", from: 2019-01-01", ""), "fi-national", "overlap"),
        (ROWS.replace("999990011", "99999001"), "fi-national", "bad-identifier"),
        (ROWS.replace('number: "00002", ', ""), "fi-national", "missing-key"),
    ],
)
def test_check_names_the_wrong_row(tmp_path: Path, rows: str, scheme: str, code: str):
    mapping(tmp_path, rows, scheme)
    (finding,) = check_mappings(tmp_path)
    assert finding.code == code
    assert finding.line


@pytest.mark.parametrize(
    ("scheme", "number", "name"),
    [
        ("fi-national", "10076", "Aalto-yliopisto"),
        ("fi-national", "02535", "Yrkeshögskolan Arcada"),
        ("nl-brin", "21PE", "Erasmus Universiteit Rotterdam"),
        ("nl-brin", "28DN", "Hogeschool van Amsterdam"),
        ("se-larosate", "29", "Kungliga Tekniska högskolan"),
        ("ee-registry-code", "74001073", "Tartu Ülikool"),
        ("no-registry-code", "971035854", "Universitetet i Oslo"),
        ("be-national", "110131", "Katholieke Universiteit Leuven"),
    ],
)
def test_shipped_lists_name_institutions(scheme: str, number: str, name: str):
    body = Organisation(identifiers={scheme: number})
    completed, _ = Tables.load(MAPPINGS).institutions.complete(body, None, "provider")
    assert list(completed.name.values()) == [name]
    assert {"pic", "erasmus", "oid"} <= completed.identifiers.keys()
