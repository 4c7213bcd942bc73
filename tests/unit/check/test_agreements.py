"""``gateway check`` refuses an agreement of every person that has no name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.check import check
from gateway.check.agreements import UNNAMED
from gateway.check.preview import format_record, preview_record
from gateway.config.loading import load_connector
from gateway.errors import Finding
from gateway.harmonise.harmoniser import Harmoniser
from gateway.records import RawRecord

CARDS = """language: 1
connector: xx-cards
country: IE
title: A register of cards
owner: {name: Tests, contact: tests@register.example}
rest: {url: {production: "https://register.example"}, errors: by_status}
streams:
  cards:
    emits: card
    request: {get: /cards}
    records: cards
    id: id
    map:
      card_type: type
      esc_agreement: AGREEMENT
    tests: [{name: one, given: {id: "1", type: PASSIVE}, EXPECTED}]
"""
PUBLISHED, WITHHELD = "expect_some: {id: '1'}", "expect_withheld: no_agreement"


def unnamed(folder: Path, agreement: str, *, expected: str = PUBLISHED) -> list[Finding]:
    file = folder / "xx-cards.yaml"
    file.write_text(CARDS.replace("AGREEMENT", agreement).replace("EXPECTED", expected))
    load_connector(file)
    return [finding for finding in check(file) if finding.code == UNNAMED]


@pytest.mark.parametrize(
    "agreement",
    [
        "{const: true}",
        "{const: 'true', as: boolean}",
        "{from: agreed, default: true}",
        "{first_of: [{from: agreed}, {const: true}]}",
        "{first_of: [{from: agreed, default: true}]}",
        "{const: true, when: {path: agreed, exists: true}, default: true}",
    ],
)
def test_agreement_of_everybody_needs_a_name(tmp_path: Path, agreement: str) -> None:
    (finding,) = unnamed(tmp_path, agreement)
    assert (finding.severity, finding.line) == ("error", 15)
    assert "add `basis:` to esc_agreement" in finding.message


@pytest.mark.parametrize(
    ("agreement", "expected"),
    [
        ("{const: true, basis: 'Terms of the card 2026, registry office'}", PUBLISHED),
        ("{first_of: [agreed, {const: true, basis: 'Terms of the card 2026'}]}", PUBLISHED),
        ("agreed", WITHHELD),
        ("{const: true, when: {path: agreed, is: 'ja'}}", WITHHELD),
        ("{const: false}", WITHHELD),
        ("{from: agreed, default: false}", WITHHELD),
    ],
)
def test_agreement_that_is_named_or_recorded_is_accepted(
    tmp_path: Path, agreement: str, expected: str
) -> None:
    assert not unnamed(tmp_path, agreement, expected=expected)


def test_consent_of_the_holders_of_credentials_needs_a_name_too(tmp_path: Path) -> None:
    file = tmp_path / "xx-cards.yaml"
    file.write_text(
        CARDS.replace("emits: card", "emits: credential\n    achieved: {always: Awards alone}")
        .replace("card_type: type", "title.en: type")
        .replace(
            "      esc_agreement: AGREEMENT",
            "    kind: type\n    kinds: {PASSIVE: {map: {holder_consent: {const: true}}}}",
        )
        .replace("EXPECTED", f"kind: PASSIVE, {PUBLISHED}")
    )
    (finding,) = (finding for finding in check(file) if finding.code == UNNAMED)
    assert finding.path == "streams.cards.kinds.PASSIVE.map.holder_consent"


def test_preview_says_how_to_name_an_agreement(tmp_path: Path) -> None:
    file = tmp_path / "xx-cards.yaml"
    file.write_text(
        CARDS.replace("      esc_agreement: AGREEMENT\n", "").replace("EXPECTED", WITHHELD)
    )
    connector = load_connector(file)
    raw = RawRecord(connector="xx-cards", stream="cards", native_id="1", body=b'{"id":"1"}')
    harmonise = Harmoniser(connector, None, pseudonym_key=b"k" * 32)
    (line,) = format_record(preview_record(connector, raw, harmonise))
    assert line.startswith("1: withheld: no_agreement; a card needs the agreement of the student")
    assert "add `esc_agreement:` to `map`" in line
