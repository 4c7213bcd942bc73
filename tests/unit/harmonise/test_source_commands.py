"""Show act, article, gazette and address, and say what keeps a row from issuing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.tables import app
from gateway.errors import UsageError

FILE = """country: XX
name: X
outside_eqf_since: 2020-12-31
sources:
  act: {kind: act, title: Act on levels, article: section 2, gazette: OJ 1/2010, read: 2026-01-02, address: "https://example.org/act", note: read as a whole, states: [pairing, unit]}
  wiki: {kind: other, title: A wiki}
frameworks:
  A:
    name: A
    versions:
      - undated: the act has no day
        safe_from: 2010-01-01
        relation: law
        referenced: [2011, 2023]
        confidence: verified
        sources: [wiki, act]
        levels:
          - {level: "1", eqf: 1}
          - {level: "4", eqf: 4, sources: [wiki]}
credits:
  - {unit: good, system: S, sector: HE, ects: "1/2", conversion: fixed_ratio, from: 2010-01-01, confidence: verified, sources: [act]}
  - {unit: bad, system: S, sector: HE, ects: "1/2", conversion: fixed_ratio, from: 2010-01-01, confidence: verified, sources: [wiki]}
"""
TOMORROW = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
SOURCE = "Act on levels, OJ 1/2010: section 2"
ADDRESS = "https://example.org/act"


@pytest.fixture
def ask(tmp_path: Path):
    (tmp_path / "xx.yaml").write_text(FILE)

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, [*words, "--mappings", str(tmp_path)])
        assert result.exception is None, result.exception
        return result.output

    return run


@pytest.mark.parametrize("words", [("level", "XX", "A", "1"), ("credits", "XX", "good", "30")])
def test_an_answer_shows_act_gazette_and_article_and_its_address_on_request(ask, words):
    short = ask(*words, "--on", "2015-01-01")
    assert SOURCE in short
    assert ADDRESS not in short
    assert "wiki" not in short
    full = ask(*words, "--on", "2015-01-01", "--sources")
    assert SOURCE in full
    assert ADDRESS in full
    assert "act; read on 2026-01-02; states pairing, unit" in full
    (act,) = [
        one
        for one in json.loads(ask(*words, "--on", "2015-01-01", "--json"))["sources"]
        if one["kind"] == "act"
    ]
    assert (act["article"], act["address"], act["read"]) == ("section 2", ADDRESS, "2026-01-02")


def test_a_level_without_an_official_source_is_a_hint(ask):
    answer = ask("level", "XX", "A", "4", "--on", "2015-01-01")
    assert "no EQF level" in answer
    assert "source_not_official" in answer
    assert "possibly 4; never published" in answer


def test_credits_without_an_official_source_are_a_hint(ask):
    answer = ask("credits", "XX", "bad", "30", "--on", "2015-01-01")
    assert "no ECTS value" in answer
    assert "source_not_official" in answer
    assert "possibly 15.00 ECTS credits; never published" in answer


def test_an_undated_row_names_its_safe_day(ask):
    answer = ask("level", "XX", "A", "1", "--on", "2009-12-31")
    assert "first_day_unknown" in answer
    assert "not known (the act has no day); used from 2010-01-01" in answer


@pytest.mark.parametrize("words", [("level", "XX", "A", "1"), ("credits", "XX", "good", "30")])
def test_a_day_in_the_future_is_refused(ask, words):
    answer = ask(*words, "--on", TOMORROW)
    assert "day_in_future" in answer
    assert json.loads(ask(*words, "--on", TOMORROW, "--json"))["reason"] == "day_in_future"


def test_a_day_in_the_future_of_a_file_of_questions_is_refused(ask, tmp_path: Path):
    questions = tmp_path / "questions.csv"
    questions.write_text(
        f"country,framework,level,date\nXX,A,1,{TOMORROW}\nXX,A,1,2015-01-01\nXX,A,4,2015-01-01\n"
    )
    answer = ask("level", "--batch", str(questions))
    assert "day_in_future" in answer
    assert "OJ 1/2010,outside the EQF since 31 December 2020" in answer
    assert "source_not_official" in answer
    assert "possibly 4; never published; outside the EQF" in answer


@pytest.mark.parametrize("day", ["2012-01-01", "2020-12-31", "2024-01-01"])
def test_every_answer_of_a_country_outside_the_eqf_says_so(ask, day: str):
    for level in ("1", "4"):
        answer = ask("level", "XX", "A", level, "--on", day)
        assert "outside the EQF since 31 December 2020" in answer
        assert "referenced 2011, 2023" in answer


@pytest.mark.parametrize("code", ["UK-SCT", "UK-ENI", "UK-WLS"])
def test_the_shipped_tables_say_it_of_the_united_kingdom(code: str):
    mappings = Path(__file__).parents[3] / "mappings"
    names = {"UK-SCT": ("SCQF", "10"), "UK-ENI": ("RQF", "6"), "UK-WLS": ("CQFW", "6")}[code]
    words = ["level", code, *names, "--on", "2024-06-30", "--mappings", str(mappings)]
    answer = CliRunner().invoke(app, words).output
    assert "EQF 6" in answer
    assert "outside the EQF since 31 December 2020" in answer


@pytest.mark.parametrize("sector", ["he", "He", " HE "])
def test_a_sector_is_read_in_any_case(ask, sector):
    assert "5.00 ECTS credits" in ask("credits", "XX", "good", "10", "--sector", sector)


@pytest.mark.parametrize("amount", ["1e400", "1e-400", "NaN", "inf", "0", "-5", "x", "1000001"])
def test_an_amount_out_of_range_is_one_message(amount):
    with pytest.raises(UsageError, match=r"expected a number from 0\.01 to 1000000") as told:
        CliRunner().invoke(app, ["credits", "XX", "good", "--", amount], catch_exceptions=False)
    assert str(told.value).endswith(f"found {amount}")
