"""Every language of ISO 639 is one, by its shortest code; ``mul`` and its kind are none."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from gateway.harmonise.values.iso_codes import LANGUAGES, THREE_LETTER_CODES
from gateway.messages.topics import CREDENTIALS_TOPIC
from gateway.records import Accepted, Rejected
from gateway.render import vocabularies
from gateway.render.json_schemas import schemas
from tests.support.one_stream import (
    check_errors,
    documents_of,
    issues_of,
    outcome_of,
    raw_record,
)

REFERENCE = Path(
    os.environ.get("GATEWAY_REFERENCE", Path(__file__).parents[3].parent / "shared" / "reference")
)
AUTHORITY = "http://publications.europa.eu/resource/authority/language/"


@pytest.mark.parametrize(
    ("written", "tag", "concept"),
    [
        ("hsb", "hsb", "HSB"),
        ("CSB", "csb", "CSB"),
        ("Szl", "szl", "SZL"),
        ("smj", "smj", "SMJ"),
        ("fkv", "fkv", "FKV"),
        ("rmy", "rmy", "RMY"),
        ("rup", "rup", "RUP"),
        ("gsw-CH", "gsw-CH", "GSW"),
        ("cnr_ME", "cnr-ME", "CNR"),
        ("cnr-Latn-ME", "cnr-Latn-ME", "CNR"),
        ("sma", "sma", "SMA"),
        ("ger", "de", "DEU"),
        ("DEU", "de", "DEU"),
        ("wel", "cy", "CYM"),
        ("nob", "nb", "NOB"),
        ("nor", "nb", "NOB"),
        ("ara", "ar", "ARA"),
        ("es-419", "es-419", "SPA"),
        ("ca-valencia", "ca-valencia", "CAT"),
        ("sr_rs_latn", "sr-Latn-RS", "SRP"),
    ],
)
def test_language_has_its_shortest_code(written: str, tag: str, concept: str) -> None:
    outcome = outcome_of("languages: l", {"l": [written]})
    assert issues_of(outcome) == []
    assert isinstance(outcome, Accepted)
    assert outcome.record.languages == (tag,)
    document = documents_of(outcome, raw_record({})).documents[0]
    assert document.topic == CREDENTIALS_TOPIC
    assert document.value is not None
    assert f'"{AUTHORITY}{concept}"'.encode() in document.value


@pytest.mark.parametrize("code", ["mul", "und", "MIS", "zxx"])
def test_code_for_no_single_language_is_an_issue(code: str) -> None:
    outcome = outcome_of("languages: l", {"l": [code, "fi"]})
    assert issues_of(outcome) == [("language_unknown", "languages")]
    assert isinstance(outcome, Accepted)
    assert outcome.record.languages == ("fi",)


@pytest.mark.parametrize("code", ["xx", "Finnish", "en-", "en-UK-GB", "x", "mul-FI", "1"])
def test_text_that_is_no_language_is_rejected(code: str) -> None:
    outcome = outcome_of("languages: l", {"l": [code]})
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("not_a_language", "languages")


def test_text_keeps_its_language_of_three_letters() -> None:
    rules = "description: {languages: {each: texts, language: lang, text: text}}"
    texts = [
        {"lang": "hsb", "text": "Přikład"},
        {"lang": "nds", "text": "Bispill"},
        {"lang": "fin", "text": "Esimerkki"},
        {"lang": "mul", "text": "Example, Beispiel"},
    ]
    outcome = outcome_of(rules, {"texts": texts})
    assert issues_of(outcome) == [("language_unknown", "description")]
    assert isinstance(outcome, Accepted)
    expected = {"hsb": "Přikład", "nds": "Bispill", "fi": "Esimerkki"}
    assert outcome.record.description == expected
    document = documents_of(outcome, raw_record({})).documents[0]
    assert document.value is not None
    value = json.loads(document.value)
    Draft202012Validator(schemas()[CREDENTIALS_TOPIC]).validate(value)
    assert value["credentialSubject"]["hasClaim"]["description"] == expected


TITLE = "title: {{languages: {{each: texts, language: lang, text: text{more}}}}}"


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("und", "the registry gave the language und,"),
        ("MUL", "the registry gave the language mul,"),
        ("mis", "the registry gave the language mis,"),
        ("Klingonish", "the registry gave a language that is no code of ISO 639"),
        ("", "the registry gave no language"),
        (None, "the registry gave no language"),
    ],
)
def test_title_in_no_known_language_is_rejected_for_its_language(
    lang: str | None, words: str
) -> None:
    base = "kind: {const: diploma}\n" + BODY
    payload = {"texts": [{"lang": lang, "text": "Weaving"}]}
    outcome = outcome_of(TITLE.format(more=""), payload, base=base)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("language_unknown", "title")
    assert words in outcome.detail
    assert "`languages.otherwise`" in outcome.detail
    assert "Klingonish" not in outcome.detail
    known = outcome_of(TITLE.format(more=", otherwise: fi"), payload, base=base)
    assert isinstance(known, Accepted)
    assert known.record.title == {"fi": "Weaving"}


def test_title_that_is_absent_is_missing() -> None:
    outcome = outcome_of(
        TITLE.format(more=""), {"texts": []}, base="kind: {const: diploma}\n" + BODY
    )
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("missing", "title")


def test_title_in_one_known_language_is_accepted_with_an_issue() -> None:
    texts = [{"lang": "und", "text": "x"}, {"lang": "fi", "text": "Kudonta"}]
    outcome = outcome_of(
        TITLE.format(more=""), {"texts": texts}, base="kind: {const: diploma}\n" + BODY
    )
    assert issues_of(outcome) == [("language_unknown", "title")]
    assert isinstance(outcome, Accepted)
    assert outcome.record.title == {"fi": "Kudonta"}


def test_title_in_a_language_of_three_letters_selects_the_display_language() -> None:
    outcome = outcome_of("title.cnr: name", {}, base="kind: {const: diploma}\n" + BODY)
    document = documents_of(outcome, raw_record({})).documents[0]
    assert document.value is not None
    display = json.loads(document.value)["displayParameter"]
    assert display["primaryLanguage"]["id"] == f"{AUTHORITY}CNR"


def test_word_of_three_letters_is_no_language_as_a_key() -> None:
    names = {
        "szl": "Przikłod",
        "fi": "Esimerkki",
        "url": "https://x.example",
        "key": "x",
        "map": "y",
    }
    outcome = outcome_of("description: {languages: {object: names}}", {"names": names})
    assert issues_of(outcome) == []
    assert isinstance(outcome, Accepted)
    assert outcome.record.description == {"szl": "Przikłod", "fi": "Esimerkki"}


BODY = """\
awarded_on: day
awarding_body.name.en: {const: Example office}
awarding_body.country: {const: FI}
"""


def test_check_accepts_a_language_of_three_letters() -> None:
    assert check_errors("title.cnr: name\nlanguages: {const: [nds, gsw]}") == []
    (error,) = check_errors("description: {languages: {fields: {deu: name, xx: name}}}")
    assert "'xx'" in error.message


def test_every_code_of_the_eu_table_is_a_language() -> None:
    path = REFERENCE / "elm" / "vocab" / "language.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there; set GATEWAY_REFERENCE to the reference material")
    with path.open(encoding="utf-8", newline="") as file:
        codes = [row["uri"].rpartition("/")[2] for row in csv.DictReader(file)]
    for code in codes:
        if len(code) == 3 and code not in {"MUL", "UND", "MIS", "ZXX"}:
            tag = LANGUAGES[code.lower()]
            concept = vocabularies.language(tag)
            assert concept is not None
            if code != "NOR":  # read as its written form, Bokmål
                assert f"{AUTHORITY}{code}".encode() in concept


def test_short_and_long_codes_belong_together() -> None:
    for short, long in THREE_LETTER_CODES.items():
        assert LANGUAGES[long] == short
        assert LANGUAGES[short] == short
    assert all(len(code) in {2, 3} and code == code.lower() for code in LANGUAGES)
