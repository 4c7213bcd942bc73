"""``gateway coverage``: what the tables issue, on which sources, and the review of a country."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest
from lxml import html
from typer.testing import CliRunner

from gateway.check.table_review import build_review
from gateway.check.table_review_formats import format_csv, format_markdown
from gateway.check.table_review_page import format_html
from gateway.cli.coverage import app
from gateway.errors import UsageError
from gateway.harmonise.tables.levels import LevelMatch

MAPPINGS = Path(__file__).parents[3] / "mappings"
TABLE = """
country: FI
name: Finland <script>
frameworks:
  NQF:
    name: Example | framework
    also: [EF]
    around: ["EF taso {level}"]
    versions:
      - from: 2017-03-01
        dates: verified
        relation: referenced
        referenced: 2017
        confidence: verified
        sources: [act, page]
        levels:
          - {level: "1", eqf: 1, relation: unused}
          - {level: "2", eqf: 2, awards: "=1+1", also: [II]}
          - {level: "3", eqf: 3, sources: [wiki]}
          - {level: "4", hint: "4|5", relation: split, until: 2020-12-31}
credits:
  - {unit: op, also: [opintopistettä], system: ECTS, sector: HE, ects: 1, conversion: identity, hours: [25, 30], undated: "the year alone is known", safe_from: 2006-01-01, confidence: verified, sources: [act]}
  - {unit: ov, system: old, sector: HE, conversion: institutional, until: 2005-07-31, undated: old, safe_from: 1990-01-01, confidence: known, sources: [wiki]}
grading:
  - {scale: "0-5", sector: HE, best: "5", worst: "0", pass: "1", direction: higher_better, values: ["0", "5"], confidence: known, sources: [wiki]}
sources:
  act: {kind: act, title: "An act of <b>2017</b>", article: "section 2", gazette: "Gazette 93/2017", read: 2026-11-30, address: "https://law.example/93", states: [pairing, dates, unit]}
  page: {kind: authority, title: "A page", publisher: "An agency", read: 2026-11-30, address: "javascript:alert(1)", states: [levels]}
  wiki: {kind: other, title: "Common knowledge"}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "fi.yaml").write_text(TABLE, encoding="utf-8")
    return tmp_path


def ask(*words, folder=MAPPINGS):
    result = CliRunner().invoke(app, [*words, "--mappings", str(folder)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_the_command_lists_all_tables():
    facts = json.loads(ask("--json"))
    systems = {row["country"]: row for row in facts["systems"]}
    assert len(systems) >= 51  # 50 systems with levels, and the units of the EU
    assert sum(row["levels"] for row in systems.values()) >= 555
    assert "IE" in ask()


def test_json_says_of_each_row_whether_it_issues_and_why_not(folder):
    (found,) = json.loads(ask("--json", folder=folder))["systems"]
    assert (found["levels"], found["levels_with_eqf"], found["levels_issued"]) == (4, 2, 1)
    assert found["levels_issued_by_source"] == {"act": 1, "authority": 0, "eu": 0, "other": 0}
    assert found["units_issued_by_source"] == {"act": 1, "authority": 0, "eu": 0, "other": 0}
    assert found["levels_issued_without_first_day"] == found["units_issued_without_first_day"] == 0
    rows = {row["row"]: row for row in (*found["level_rows"], *found["unit_rows"])}
    assert {row: facts["reason"] for row, facts in rows.items()} == {
        "FI/NQF/1": "level_unused",
        "FI/NQF/2": "",
        "FI/NQF/3": "source_not_official",
        "FI/NQF/4": "split_level",
        "FI/op": "",
        "FI/ov": "institutional_table",
    }
    assert rows["FI/NQF/3"]["states"] == 3
    assert rows["FI/NQF/2"]["first_day"] == "2017-03-01"
    assert rows["FI/op"]["safe_from"] == "2006-01-01"
    assert "Gazette 93/2017" in rows["FI/op"]["sources"][0]


def test_text_counts_the_sources_and_names_the_rows_that_do_not_issue(folder):
    said = ask("--country", "fi", folder=folder)
    assert "1 level rows issue a value: act 1 (100%)" in said
    assert "FI level source_not_official: NQF/3" in said
    assert "FI unit institutional_table: ov" in said


def test_the_figures_of_a_country_agree_with_its_answers(tables):
    facts = json.loads(ask("--json"))
    for system in facts["systems"]:
        for row in system["level_rows"]:
            country, framework, level = row["row"].split("/", 2)
            if row["issues"]:
                days = [
                    row["first_day"],
                    row["safe_from"],
                    "2020-06-01",
                    "2024-06-01",
                    "2010-06-01",
                ]
                found = [
                    tables.level(country, framework, level, date.fromisoformat(day))
                    for day in days
                    if day
                ]
                values = {one.eqf for one in found if isinstance(one, LevelMatch)}
                assert not values or row["states"] in values, row


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "html"), "add --country"),
        (("--country", "FI", "--format", "csv", "--json"), "not both"),
        (("--country", "finnland"), "did you mean FI"),
        (("--country", "US"), "US has no levels"),
        (("--country", "be"), "name one of its parts: BE-DG, BE-FL, BE-FR"),
    ],
)
def test_a_wrong_command_is_explained(words, message):
    with pytest.raises(UsageError, match=message):
        ask(*words)


def test_markdown_holds_the_whole_table(folder):
    said = ask("--country", "FI", "--format", "markdown", folder=folder)
    assert said.startswith("# Finland \\<script\\>: levels, credits and grades\n")
    assert "## Example \\| framework (NQF)" in said
    assert "| 2 | 2 | =1+1 |  | [1] [2] | act | also written II |  |  |" in said
    assert "would be 3" in said
    assert "possibly 4 or 5" in said
    assert "From 2017-03-01 until 2020-12-31" in said
    assert "First day unknown (the year alone is known); used from 2006-01-01" in said
    assert "Article: section 2; Gazette: Gazette 93/2017; Read on: 2026-11-30" in said
    assert "Read on: not read" in said
    assert "EF taso …" in said
    for line in ("Name", "Function", "Body", "Date", "Signature"):
        assert f"- {line}: ___" in said


def test_csv_is_one_table_with_each_source_in_full(folder):
    rows = list(
        csv.DictReader(io.StringIO(ask("--country", "FI", "--format", "csv", folder=folder)))
    )
    assert len(rows) == 4 + 2 + 1
    second = rows[1]
    assert (second["Level"], second["EQF"], second["Table"]) == (
        "2",
        "2",
        "Example | framework (NQF)",
    )
    assert "Gazette 93/2017" in second["Sources in full"]
    assert second["Correct"] == second["Remark"] == ""
    assert rows[4]["ECTS for one"] == "1"
    assert second["Awards"] == "'=1+1"  # a spreadsheet shows it, and calculates nothing


def test_the_page_is_complete_and_safe(folder):
    said = ask("--country", "FI", "--format", "html", folder=folder)
    page = html.fromstring(said)
    assert "<script" not in said
    assert not page.xpath("//@href[starts-with(., 'javascript')]")
    assert not page.xpath("//link[not(starts-with(@href, 'data:'))] | //img | //iframe | //script")
    assert page.get("lang") == "en"
    assert page.findtext(".//title") == "Finland <script>: levels, credits and grades"
    headings = [heading.text_content() for heading in page.iter("h2")]
    assert headings == [
        "Example | framework (NQF)",
        "Units of credit",
        "Grading scales",
        "Sources",
        "Signature",
    ]
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    targets = [link[1:] for link in page.xpath("//@href") if link.startswith("#")]
    assert targets
    assert set(targets) <= set(ids)
    for table in page.iter("table"):
        heads = [cell.text_content() for cell in table.xpath("./thead//th")]
        for row in table.xpath("./tbody/tr"):
            assert [cell.get("data-label") for cell in row] == heads
            assert row[0].get("scope") == "row"
        assert table.get("aria-labelledby") in ids


def test_the_version_changes_with_the_file_alone(folder):
    def version():
        found = ask("--country", "FI", "--format", "markdown", folder=folder)
        return re.search(r"Version of this table: (\w+)", found)[1]

    first = version()
    (folder / "se.yaml").write_text(TABLE.replace("country: FI", "country: SE"), encoding="utf-8")
    assert version() == first
    (folder / "fi.yaml").write_text(TABLE.replace("=1+1", "other"), encoding="utf-8")
    assert version() != first


@pytest.mark.parametrize("write", [format_html, format_csv, format_markdown])
def test_every_country_can_be_reviewed(tables, write):
    for mapping in tables.mappings:
        if mapping.frameworks or mapping.credits:
            said = write(build_review(mapping, MAPPINGS, tables, date(2026, 11, 30)))
            assert mapping.country in said
            for framework in mapping.frameworks:
                assert framework in said


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_fits_its_window(folder, tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium on PATH: the page was not drawn")
    page = ask("--country", "FI", "--format", "html", folder=folder)
    probe = "<script>document.title=document.documentElement.scrollWidth</script>"
    # A frame has the width that a window of this size has; headless windows have a least width.
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{probe}</body>"), "utf-8")
    (tmp_path / "frame.html").write_text(
        f'<iframe id="f" src="page.html" width="{width}" height="900"></iframe>'
        "<script>f.onload=()=>document.body.dataset.width=f.contentDocument.title</script>",
        "utf-8",
    )
    drawn = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
            "--virtual-time-budget=3000", "--dump-dom", f"file://{tmp_path}/frame.html",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert int(re.search(r'data-width="(\d+)"', drawn.stdout)[1]) <= width
