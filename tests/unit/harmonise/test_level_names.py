"""Levels as documents print them: EU labels, URIs, names of frameworks and words around a number."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.check.mapping_tables import check_mappings
from gateway.config.eu_levels import FRAMEWORK_LABELS, LEVEL_LABELS
from gateway.harmonise.record_rules import apply_record_rules
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.level_names import fold
from gateway.harmonise.tables.levels import LevelMatch, NoLevel, NoLevelReason

DAYS = (None, date(1990, 1, 1), date(2012, 6, 1), date(2019, 6, 1), date(2024, 6, 1))


def concept_rows(tables: Tables) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Return system, framework and levels of each EU concept."""
    found: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    for mapping in tables.mappings:
        for key, framework in mapping.frameworks.items():
            for version in framework.versions:
                for row in version.levels:
                    if row.uri:
                        _, _, levels = found.get(row.uri, ("", "", ()))
                        levels = tuple(dict.fromkeys((*levels, row.level)))
                        found[row.uri] = (mapping.country, key, levels)
    return found


def outcome(found: LevelMatch | NoLevel) -> tuple[int | None, str]:
    if isinstance(found, LevelMatch):
        return found.eqf, ""
    return None, str(found.reason)


def test_the_lists_of_the_eu_are_complete(tables):
    assert len(LEVEL_LABELS) == 381
    assert len(FRAMEWORK_LABELS) == 43
    assert concept_rows(tables).keys() == LEVEL_LABELS.keys()


@pytest.mark.parametrize("named", [True, False], ids=["with framework", "without framework"])
@pytest.mark.parametrize("day", DAYS, ids=str)
def test_every_eu_label_and_uri_is_answered_as_its_level_is(tables, named, day):
    checked, ambiguous = 0, set()
    for uri, (system, framework, levels) in concept_rows(tables).items():
        expected = {outcome(tables.level(system, framework, level, day)) for level in levels}
        if len(expected) > 1:
            expected = {(None, "level_ambiguous")}
            ambiguous.add(LEVEL_LABELS[uri])
        label = LEVEL_LABELS[uri]
        for text in (label, uri, label.upper(), uri.replace("http:", "https:")):
            found = tables.level(system, framework if named else None, text, day)
            assert outcome(found) in expected, (system, framework, text, day)
            checked += 1
    assert checked == 4 * 381
    assert ambiguous <= {"CQFW Entry 1-3"}  # E3 is EQF 1, and E1 and E2 lie below the EQF


def test_every_eu_name_of_a_framework_is_understood(tables):
    checked = 0
    for mapping in tables.mappings:
        for key, framework in mapping.frameworks.items():
            level = framework.versions[-1].levels[0].level
            expected = tables.level(mapping.country, key, level, date(2024, 6, 1))
            names = [key.lower(), framework.name, *framework.also]
            if framework.uri:
                names += [framework.uri, FRAMEWORK_LABELS[framework.uri]]
            for name in names:
                found = tables.level(mapping.country, name, level, date(2024, 6, 1))
                if found != expected:  # frameworks that follow one another share a name
                    others = [one for one in mapping.frameworks.values() if name in one.also]
                    assert len(others) > 1, (mapping.country, name)
                    assert getattr(expected, "reason", "") in {"not_in_force", "level_unknown"}
                checked += 1
    assert checked > 200


TABLE = """
country: XX
name: Example
{top}
sources:
  act:
    {{kind: act, title: Example act, article: "1", gazette: "G 1", read: 2026-11-30, states: [pairing]}}
frameworks:
  NEW:
    name: New Framework
    also: [NF, "Nový rámec", Frame]
    around: ["niveau {{level}}", "NF-niveau {{level}}", "niveau {{level}} NF", "{{level}}. úroveň NF", "stage {{level}}", "Frame {{level}}"]
    versions:
      - from: 2010-01-01
        dates: verified
        relation: legacy
        confidence: verified
        {source}
        levels:
          - {{level: "5", eqf: 5, also: ["V"]}}
          - {{level: "6", eqf: 6}}
          - {{level: "6.a", eqf: 6}}
          - {{level: "4+", eqf: 4}}
  OLD:
    name: Old Scale
    also: [Frame]
    around: ["niveau {{level}}", "Frame {{level}}"]
    versions:
      - from: 1970-01-01
        until: 2009-12-31
        dates: verified
        relation: legacy
        confidence: verified
        {source}
        levels:
          - {{level: "5", eqf: 3}}
          - {{level: "3", eqf: 5}}
"""
ON = date(2020, 1, 1)


def load(folder, top="note: nothing", text=TABLE, source="sources: [act]"):
    (folder / "xx.yaml").write_text(text.format(top=top, source=source), encoding="utf-8")
    return Tables.load(folder)


@pytest.fixture
def example(tmp_path):
    return load(tmp_path)


def row_of(found: LevelMatch | NoLevel) -> str:
    return found.row or str(getattr(found, "reason", ""))


@pytest.mark.parametrize(
    ("framework", "text", "row"),
    [
        (None, "NF-niveau 6", "XX/NEW/6"),
        (None, "nf-NIVEAU 6", "XX/NEW/6"),
        (None, "NF‑niveau\u00a06", "XX/NEW/6"),
        (None, "niveau 6 NF", "XX/NEW/6"),
        (None, "niveau 6", "XX/NEW/6"),
        (None, "niveau 6.a", "XX/NEW/6.a"),
        (None, "niveau 4+", "XX/NEW/4+"),
        (None, "niveau V", "XX/NEW/5"),
        (None, "6. u\u0301roven\u030c NF", "XX/NEW/6"),
        ("Nový RÁMEC", "6", "XX/NEW/6"),
        ("nf", "niveau 5", "XX/NEW/5"),
        ("Old Scale", "niveau 5", "XX/OLD/5"),
        (None, "niveau 5", "framework_required"),
        ("Frame", "6", "XX/NEW/6"),
        ("Frames", "6", "framework_unknown"),
        (None, "stage 5", "framework_required"),
        (None, "stage 6", "XX/NEW/6"),
        ("NEW", "stage 5", "XX/NEW/5"),
        (None, "niveau 7", "level_unknown"),
        (None, "niveau  6", "level_unknown"),
        (None, " niveau 6", "level_unknown"),
        (None, "niveau 6²", "level_unknown"),
        (None, "niveau 6 (NF)", "level_unknown"),
        (None, "niveau", "level_unknown"),
        (None, "niveau {level}", "level_unknown"),
        ("OLD", "NF-niveau 5", "level_unknown"),
        ("OLD", "niveau 6", "level_unknown"),
    ],
)
def test_only_whole_declared_spellings_are_understood(example, framework, text, row):
    assert row_of(example.level("XX", framework, text, ON)) == row


def test_frameworks_that_follow_one_another_may_share_a_name(example):
    """The day decides between them. Without a day, or where both hold, the key is needed."""
    for day, row in ((ON, "XX/NEW/5"), (date(2000, 1, 1), "XX/OLD/5")):
        assert row_of(example.level("XX", "Frame", "5", day)) == row
        assert row_of(example.level("XX", None, "Frame 5", day)) == row
        assert row_of(example.level("XX", None, "niveau 5", day)) == "framework_required"
    for framework, text in (("Frame", "5"), (None, "Frame 5")):
        assert row_of(example.level("XX", framework, text, None)) == "framework_required"


def test_plain_words_are_as_ambiguous_as_the_number_alone(tmp_path):
    tables = load(tmp_path, top="bare_numbers: framework_required")
    for text in ("6", "niveau 6"):
        assert row_of(tables.level("XX", None, text, ON)) == "framework_required"
    assert row_of(tables.level("XX", None, "NF-niveau 6", ON)) == "XX/NEW/6"
    assert row_of(tables.level("XX", "NEW", "niveau 6", ON)) == "XX/NEW/6"


def test_a_label_of_several_levels_says_so(tmp_path):
    text = TABLE.replace('"6", eqf: 6', '"6", eqf: 6, also: ["B"]').replace(
        '"6.a", eqf: 6', '"6.a", eqf: 6, also: ["b"]'
    )
    tables = load(tmp_path, text=text)
    found = tables.level("XX", "NEW", "niveau B", ON)
    assert found.reason is NoLevelReason.LEVEL_AMBIGUOUS
    assert found.note == "It may mean the levels 6, 6.a."
    assert tables.level("XX", "NEW", "B", ON).row == "XX/NEW/6"


def test_a_label_of_several_refused_levels_gives_their_reason(tables):
    found = tables.level("UK-ENI", None, "RQF Entry Levels 1-2", ON)
    assert found.reason is NoLevelReason.BELOW_EQF
    assert "E1, E2" in found.note


def test_a_label_belongs_to_the_level_on_the_day_of_the_award(tables):
    uri = next(uri for uri, label in LEVEL_LABELS.items() if label == "LQF Level 5")
    key = tables.level("LV", "LKI", "5", date(2009, 1, 1))
    assert isinstance(key, NoLevel)
    assert tables.level("LV", None, uri, date(2009, 1, 1)).reason is key.reason


def test_look_alike_letters_are_read_in_words_too(example):
    found = example.level("XX", None, "NF-nivеau 6", ON)  # the second vowel is Cyrillic
    assert (found.row, found.level, found.normalised) == ("XX/NEW/6", "6", True)


def test_names_differ_in_everything_but_case_accents_and_kinds_of_signs():
    assert fold("CRE\u0301DITS\u00a0ECTS") == fold("crédits ects")
    assert fold("SEVİYE") == fold("Seviye")
    assert fold("crédits") != fold("credits")
    assert fold("Level 1²") != fold("Level 12")
    assert fold("a  b") != fold("a b")


@pytest.mark.parametrize(
    "words", ["niveau", "{level}", "{level} {level}", " niveau {level}", "{niveau} 6", "a {level} "]
)
def test_words_without_one_level_are_refused(tmp_path, words):
    from gateway.errors import ConfigError

    with pytest.raises(ConfigError, match="words around a level"):
        load(
            tmp_path,
            text=TABLE.replace(
                '"niveau {{level}}"', repr(words).replace("{", "{{").replace("}", "}}"), 1
            ),
        )


def test_a_connector_may_name_a_framework_by_any_of_its_names(example, tables):
    for name in ("NEW", "new", "NF", "nový RÁMEC", "New Framework"):
        assert example.has_framework("XX", name)
    assert not example.has_framework("XX", "NE")
    assert not example.has_framework("YY", "NEW")
    assert tables.has_framework("DE", "German National Qualifications Framework")


@pytest.mark.parametrize(
    ("framework", "text"),
    [
        (None, "NFQ Level 8"),
        ("Irish National Framework of Qualifications", "8"),
        ("nfq", "IE NQF Level 8"),
        ("NFQ", "8"),
    ],
)
def test_a_record_holds_the_level_and_the_framework_of_the_row(tables, framework, text):
    values = {"nqf_level": text, "awarded_on": date(2020, 6, 30), "kind": "degree"}
    if framework:
        values["nqf_framework"] = framework
    record = apply_record_rules(values, country="IE", emits="credential", tables=tables)[0]
    assert (record["nqf_framework"], record["nqf_level"]) == ("NFQ", "8")
    assert record["eqf_level"] == 6
    assert record["nqf_uri"].startswith("http://data.europa.eu/snb/qdr/c_")


def test_check_finds_a_concept_that_the_list_of_the_eu_does_not_have(tmp_path):
    text = TABLE.replace('"4+", eqf: 4', '"4+", eqf: 4, uri: c_00000000')
    load(tmp_path, text=text)
    found = [one for one in check_mappings(tmp_path) if one.code == "concept-unknown"]
    assert len(found) == 1
    assert found[0].severity == "warning"
    assert "has no such concept" in found[0].message
