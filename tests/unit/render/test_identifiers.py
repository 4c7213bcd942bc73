"""Check the public test vectors of student identifiers and card numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from gateway.identifiers import (
    ISO_COUNTRIES,
    CardNumber,
    StudentIdentifier,
    is_legacy_student_identifier,
    is_well_formed,
    normalise_identifier,
    parse_card_number,
    parse_student_identifier,
)
from gateway.render import vocabularies

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def esi(reference: Path):
    return json.loads((reference / "student-card" / "esi-test-vectors.json").read_text())


@pytest.fixture(scope="module")
def escn(reference: Path):
    return json.loads((reference / "student-card" / "escn-test-vectors.json").read_text())


def test_valid_student_identifiers(esi):
    assert len(esi["valid"]) >= 11
    for vector in esi["valid"]:
        found = parse_student_identifier(vector["esi"])
        assert isinstance(found, StudentIdentifier), vector
        assert (found.value, found.scope, found.code) == (
            vector["esi"],
            vector["scope"],
            vector["code"],
        )
        assert found.national == (vector["scope_type"] == "COUNTRY")


def test_invalid_student_identifiers(esi):
    assert len(esi["invalid"]) >= 14
    for vector in esi["invalid"]:
        assert parse_student_identifier(vector["value"]) == vector["reason"].split(" ")[0], vector


def test_student_identifiers_ignore_case(esi):
    for one, other in esi["equal_ignoring_case"]:
        first, second = parse_student_identifier(one), parse_student_identifier(other)
        assert isinstance(first, StudentIdentifier)
        assert isinstance(second, StudentIdentifier)
        assert first.comparison_key == second.comparison_key
        assert first.value != second.value


def test_legacy_student_identifier_is_no_esi(esi):
    for example in esi["legacy_cc_pic_code"]["examples"]:
        assert is_legacy_student_identifier(example["value"])
        assert parse_student_identifier(example["value"]) == "NOT_A_URN"


def test_valid_card_numbers(escn):
    vectors = (
        escn["public"]
        + escn["computed_official_formula"]
        + escn["computed_plain_rfc4122_time"]["vectors"]
    )
    assert len(vectors) == 13
    for vector in vectors:
        assert parse_card_number(vector["escn"]) == CardNumber(
            vector["escn"], f"{int(vector['prefix']):03}", vector["pic"]
        )


def test_invalid_card_numbers(escn):
    for vector in escn["invalid"]:
        reason = vector["reason"].split(" ")[0]
        found = parse_card_number(vector["value"])
        if reason == "UPPERCASE":
            assert isinstance(found, CardNumber)
            assert found.value == vector["value"].lower()
        else:
            assert found == reason, vector


def test_countries_are_in_the_eu_vocabulary(reference: Path):
    with (reference / "elm" / "vocab" / "country.csv").open() as file:
        known = {row["uri"].rpartition("/")[2] for row in csv.DictReader(file)}
    assert set(vocabularies.COUNTRIES.values()) <= known
    assert set(vocabularies.COUNTRIES) - {"XK", "EL", "UK"} == ISO_COUNTRIES


def test_erasmus_codes_of_the_real_list_are_valid(reference: Path):
    with (reference / "providers" / "eche" / "eche-list-2026-04-08.csv").open() as file:
        rows = list(csv.DictReader(file))
    broken = [
        row["erasmus_code"]
        for row in rows
        if normalise_identifier("erasmus", row["erasmus_code"]) != row["erasmus_code_normalized"]
    ]
    assert len(broken) == 1, "one code of the list cannot be mended by anybody"
    assert not is_well_formed("erasmus", broken[0])
    assert all(
        is_well_formed("erasmus", row["erasmus_code_normalized"])
        for row in rows
        if row["erasmus_code_normalized"]
    )
    assert all(is_well_formed("pic", row["pic"]) for row in rows)
