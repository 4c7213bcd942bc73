"""The list of what publishing requires is true: with it a record is published, else it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.loading import load_connector
from gateway.config.publishing_needs import NEEDS, Need, needed_targets, unmapped_needs, unmet_needs
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.messages.topics import INCOMPLETE_ENTRIES_TOPIC
from gateway.records import Accepted, RawRecord, Rejected, Withheld
from gateway.render.publication import Publication, publication
from gateway.render.render import TOPICS_OF

ROOT = Path(__file__).parents[3]
TABLES = Tables.load(ROOT / "mappings")
PIC = "999880560"
RULES: dict[str, Any] = {
    "title": {"title.en": {"const": "Statistics"}},
    "isced_f": {"isced_f": {"const": "0542"}},
    "learning_outcomes": {"learning_outcomes": {"each": "items", "map": {"title.en": "name"}}},
    "languages": {"languages": {"const": "en"}},
    "homepage": {"homepage": {"const": "https://college.example/statistics"}},
    "provider": {
        "provider.name.en": {"const": "College"},
        "provider.country": {"const": "IE"},
    },
    "awarding_body": {
        "awarding_body.name.en": {"const": "College"},
        "awarding_body.country": {"const": "IE"},
    },
    "awarded_on": {"awarded_on": {"const": "2026-02-27"}},
    "holder.esi": {
        "holder.esi": {
            "const": "urn:schac:personalUniqueCode:int:esi:college.example:7",
            "basis": "agreement",
        }
    },
    "institution.identifiers.pic": {"institution.identifiers.pic": {"const": PIC}},
    "active": {"active": {"const": True}},
    "valid_until": {"valid_until": {"const": "2026-12-31"}},
    "esc_agreement": {"esc_agreement": {"const": True}},
    "card_number": {
        "card_number": {"const": f"9f2d6c20-7b1a-11ee-a1b2-001{PIC}", "basis": "agreement"}
    },
    "issued_on": {"issued_on": {"const": "2026-01-01"}},
    "expires_on": {"expires_on": {"const": "2027-01-01"}},
    "issuer.identifiers.pic": {"issuer.identifiers.pic": {"const": PIC}},
}
"""Rules that meet each need, by the field of the need."""
EACH_NEED = [(emits, need) for emits, needs in NEEDS.items() for need in needs]


def published(folder: Path, emits: str, rules: dict[str, Any]) -> Publication:
    connector: dict[str, Any] = {
        "language": 1,
        "connector": "xx-needs",
        "country": "IE",
        "title": "A register",
        "owner": {"name": "Tests", "contact": "tests@register.example"},
        "rest": {"url": {"production": "https://register.example"}},
        "streams": {
            "records": {
                "emits": emits,
                "request": {"get": "/records"},
                "records": "records",
                "id": "id",
                "map": rules or {"changed_at": "changed"},
                "tests": [{"name": "one", "given": {"id": "1"}, "expect_some": {"id": "1"}}],
            }
        },
    }
    file = folder / "xx-needs.yaml"
    file.write_text(yaml.safe_dump(connector))
    loaded = load_connector(file)
    raw = RawRecord(
        connector="xx-needs",
        stream="records",
        native_id="1",
        body=b'{"id": "1", "items": [{"name": "reads tables"}]}',
    )
    made = publication(Harmoniser(loaded, TABLES, pseudonym_key=b"k" * 32)(raw), raw, loaded)
    assert isinstance(made, Publication)
    return made


def rules_for(needs: tuple[Need, ...]) -> dict[str, Any]:
    return {target: rule for need in needs for target, rule in RULES[need.field].items()}


@pytest.mark.parametrize("emits", NEEDS)
def test_record_with_exactly_what_is_needed_is_published(tmp_path: Path, emits: str) -> None:
    made = published(tmp_path, emits, rules_for(NEEDS[emits]))
    assert isinstance(made.outcome, Accepted), made.outcome
    assert made.topics == TOPICS_OF[emits][:1]
    assert list(unmet_needs(emits, made.outcome.record)) == []
    met = needed_targets(emits, made.outcome.record)
    assert all(any(met >= set(paths) for paths in need.choices) for need in NEEDS[emits])


@pytest.mark.parametrize(("emits", "left_out"), EACH_NEED)
def test_record_without_one_need_is_not_published_as_a_complete_one(
    tmp_path: Path, emits: str, left_out: Need
) -> None:
    rest = tuple(need for need in NEEDS[emits] if need is not left_out)
    made = published(tmp_path, emits, rules_for(rest))
    outcome = made.outcome
    if left_out.only_loq:
        assert made.topics == (INCOMPLETE_ENTRIES_TOPIC,)
        assert made.missing == (left_out.field,)
        return
    if left_out.withheld:
        assert outcome == Withheld(reason=left_out.withheld)
        return
    assert isinstance(outcome, Rejected)
    assert (outcome.field, outcome.reason) == (left_out.field, "missing")


@pytest.mark.parametrize(("emits", "left_out"), EACH_NEED)
def test_rules_without_one_need_are_found(tmp_path: Path, emits: str, left_out: Need) -> None:
    rest = tuple(need for need in NEEDS[emits] if need is not left_out)
    published(tmp_path, emits, rules_for(rest))
    stream = load_connector(tmp_path / "xx-needs.yaml").streams["records"]
    assert list(unmapped_needs(emits, stream.map)) == [left_out]


def test_level_takes_the_place_of_the_language_of_a_qualification(tmp_path: Path) -> None:
    needs = tuple(need for need in NEEDS["qualification"] if need.field != "languages")
    level = {"nqf_level": {"const": "8", "framework": "NFQ"}}
    made = published(tmp_path, "qualification", rules_for(needs) | level)
    assert made.topics == TOPICS_OF["qualification"][:1]
    stream = load_connector(tmp_path / "xx-needs.yaml").streams["records"]
    assert list(unmapped_needs("qualification", stream.map)) == []


def test_awarding_body_takes_the_place_of_the_provider_of_an_opportunity(tmp_path: Path) -> None:
    needs = tuple(need for need in NEEDS["learning_opportunity"] if need.field != "provider")
    body = RULES["awarding_body"]
    made = published(tmp_path, "learning_opportunity", rules_for(needs) | body)
    assert made.topics == TOPICS_OF["learning_opportunity"][:1]
