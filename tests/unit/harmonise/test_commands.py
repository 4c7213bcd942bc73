"""Run the commands that query the mapping tables and check their text and JSON output."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.tables import app
from gateway.errors import UsageError

MAPPINGS = str(Path(__file__).parents[3] / "mappings")


def ask(*words):
    result = CliRunner().invoke(app, [*words, "--mappings", MAPPINGS])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_level_command_shows_the_source():
    said = ask("level", "IE", "NFQ", "8", "--on", "2020-06-30").output
    assert said.startswith("IE NFQ 8 on 2020-06-30: EQF 6\n")
    assert "NFQ@2003-11-01" in said
    assert "referenced 2009" in said


def test_level_command_explains_a_missing_level():
    said = ask("level", "FR", "", "3", "--on", "2018-06-01").output
    assert "no EQF level" in said
    assert "framework_required" in said
    assert "CNCP, RNCP-1969" in said


def test_level_command_prints_json():
    facts = json.loads(ask("level", "NO", "NKR", "6.1", "--on", "2020-06-01", "--json").output)
    assert (facts["eqf_level"], facts["cycle"], facts["level"]) == (6, "short", "6.1")


def test_credits_command_converts_an_amount():
    assert "60.00 ECTS credits" in ask("credits", "NO", "vekttall", "20", "--sector", "HE").output
    assert (
        "year_norm_required"
        in ask("credits", "LV", "KP", "40", "--sector", "HE", "--on", "2023-06-01").output
    )
    facts = json.loads(
        ask(
            "credits",
            "NL",
            "studiepunt",
            "10",
            "--sector",
            "HE",
            "--on",
            "2001-01-01",
            "--per-year",
            "42",
            "--json",
        ).output
    )
    assert (facts["points"], facts["exact"]) == ("14.29", "100/7")


def test_level_command_reads_a_file(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text(
        "\ufeffno,country,framework,level,date\n1,IE,NFQ,8,2020-06-30\n2,FR,,3,2018-06-01\n3,NL,NLQF,4+,\n4,XX,A,1,\n",
        encoding="utf-8",
    )
    answers = list(csv.DictReader(io.StringIO(ask("level", "--batch", str(path)).stdout)))
    assert [(row["no"], row["level"], row["eqf_level"], row["reason"]) for row in answers] == [
        ("1", "8", "6", ""), ("2", "3", "", "framework_required"), ("3", "4+", "4", ""), ("4", "1", "", "country_unknown"),
    ]  # fmt: skip
    assert answers[0]["table_version"] == "NFQ@2003-11-01"
    assert answers[0]["source"]


def test_invalid_date_is_reported_and_other_rows_are_answered(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("country;framework;level;date\nIE;NFQ;8;2020-02-30\nIE;NFQ;8;2020-02-28\n")
    result = ask("level", "--batch", str(path))
    assert result.exit_code == 1
    assert [row["reason"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["bad_date", ""]


@pytest.mark.parametrize(
    "words",
    [
        ("level", "IE"),
        ("level", "IE", "NFQ", "8", "--on", "yesterday"),
        ("credits", "IE", "ECTS", "many"),
        ("credits", "IE", "ECTS", "1", "--sector", "X"),
    ],
)
def test_level_command_rejects_impossible_input(words):
    with pytest.raises(UsageError):
        ask(*words)


@pytest.mark.parametrize("country", ["IE", "ie", "Ie"])
def test_capitals_of_the_country_do_not_matter(country):
    assert ask("level", country, "nfq", "8").output.startswith("IE NFQ 8: EQF 6\n")
    facts = json.loads(ask("credits", country, "ects", "5", "--sector", "HE", "--json").output)
    assert facts["country"] == "IE"


@pytest.mark.parametrize(
    ("country", "meant"),
    [("IRL", "IE"), ("Ireland", "IE"), ("irland", "IE (Ireland)"), ("uk-sc", "UK-SCT")],
)
@pytest.mark.parametrize("command", [("level", "NFQ", "8"), ("credits", "ECTS", "5")])
def test_a_misspelt_country_gets_a_suggestion(country, meant, command):
    with pytest.raises(UsageError, match=re.escape(f"did you mean {meant}?")):
        ask(command[0], country, *command[1:])


def test_a_text_that_is_no_country_is_a_mistake_of_the_command():
    with pytest.raises(UsageError, match="no country is called 'QQ'; 'gateway coverage' lists"):
        ask("level", "QQ", "NFQ", "8")


def test_a_country_without_tables_is_an_answer():
    assert "country_unknown" in ask("level", "US", "NFQ", "8").output


def test_a_country_whose_parts_have_tables_names_them():
    assert "BE-DG, BE-FL, BE-FR have tables of their own" in ask("level", "BE", "CFC", "6").output
