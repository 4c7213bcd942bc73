"""Plant every common mistake in a connector file.

The report gives the file, line, column, code and remedy of each mistake.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.check import check
from gateway.harmonise.tables.compiled_tables import Tables

HERE = Path(__file__).parent
GOOD = (HERE / "good.yaml").read_text()
TABLES = Tables.load(HERE.parents[2] / "mappings")

MISTAKES = [
    # what is written, what it should have been, the code, and a part of the remedy
    ("every: 15m", "evry: 15m", "unknown-key", "did you mean 'every'"),
    ("every: 15m", "every: 15 minutes", "bad-value", "such as 15m"),
    ("emits: credential", "emits: credentials", "unknown-word", "did you mean 'credential'"),
    ("  limits: {rate: 5/s", "\tlimits: {rate: 5/s", "tab", "two spaces"),
    ("password: {secret: good/password}", "password: hunter2", "literal-secret", "write {secret: NAME}"),
    ('"t:school[1]"', '"t:school["', "bad-expression", "check brackets"),
    ('"//t:award"', '"//q:award"', "undefined-prefix", "add it under namespaces"),
    ('"t:school[1]"', '"upper-case(t:school)"', "unknown-function", "XPath 1.0"),
    ("table: kind", "table: knd", "unknown-table", "add it"),
    ("start: 2020-01-01", "start: 2020-13-01", "bad-value", "such as 2019-01-01"),
    ("page: 1}", "page: 012}", "leading-zero", 'write "012"'),
    ("title: A registry", "title: Twice\ntitle: A registry", "duplicate-key", "remove one"),
    ("operation: ListAwards\n", "operation: ListAward\n", "unknown-operation", "it has ListAwards"),
    ("body: {from: \"{since", "body: {fro: \"{since", "bad-request", "fro"),
    ("kind: diploma\n", "kind: certificate\n", "test-failed", "expected 'certificate'"),
    ("nb: Fagbrev}", "nb: Svennebrev}", "test-failed", "expected 'Svennebrev'"),
    ('expect_ids: ["1", "2"]', 'expect_ids: ["1", "3"]', "test-failed", "expected 1, 3"),
    ("body_contains: [2026-01-01,", "body_contains: [2026-01-02,", "test-failed", "does not hold"),
    ("      kind: {from:", "      eqf_levle: t:level\n      kind: {from:", "unknown-field", "did you mean 'eqf_level'"),
    ("      kind: {from:", "      eqf_level: t:level\n      kind: {from:", "derived-field", "map what it is derived from"),
    ('{from: "t:person", pseudonym: national-id}', '"t:person"', "personal-field", "pseudonym: KIND"),
    (", basis: award document}", "}", "personal-field", "basis"),
    ("title: {languages: {each", "title: \"t:title\"\n      description: {languages: {each", "language-needed", "title.en"),
    ('as: {date: "%d.%m.%Y"}', "as: dat", "unknown-cast", "there are"),
    ('page: "{page}"', 'page: "{pge}"', "unknown-placeholder", "did you mean 'page'"),
    ("to: \"{until:%Y-%m-%d}\", page: \"{page}\"}", "to: \"{until:%Y-%m-%d}\", page: 1}", "unused-placeholder", "{page}"),
    ("country: \"NO\"", "country: Norway", "bad-text", "ISO 3166"),
    ("connector: good", "connector: better", "wrong-name", "name both alike"),
    ("wsdl: good.wsdl", "wsdl: god.wsdl", "missing-file", "next to this file"),
    ("connector: good", "connector: &name good", "anchor", "remove it"),
    ("owner: {name: Tests, contact: tests@example.org}\n", "", "missing-key", "add it"),
    ('    list: "//t:r"\n    records: "//t:award"', '    list: "//q:r"\n    records: "//t:award"',
     "undefined-prefix", "add it under namespaces"),
    ("  errors: by_status\n", "", "errors-missing", "errors: by_status"),
    ('    list: "//t:r"\n    records: "//t:award"', '    records: "//t:award"', "list-missing", "list: "),
    ("language: 1", "language: 2", "unknown-word", "expected 1"),
    ("    every: 15m", "    record_country: FR\n    every: 15m", "record-country", "country of the connector"),
    ("    every: 15m", "    record_country: BE-FL\n    every: 15m", "record-country", "country of the connector"),
    ("    every: 15m", "    record_country: $land\n    every: 15m", "unknown-name", "add it under keep"),
    ("soap:\n", "rest: {url: {production: \"https://x.example\"}}\nsoap:\n", "one-of", "give exactly one"),
    ("  limits: {rate", "limits: {rate", "bad-yaml", "indentation"),
    ("    every: 15m", "  every: 15m", "bad-yaml", "indentation"),
    ("    emits: provider\n", "    emits: provider\n    limits: {rate: 1/s}\n", "unknown-key", "known here"),
    ('{from: "t:person", pseudonym', '{from: "$nobody", pseudonym', "unknown-name", "add it under keep"),
    ("title: A registry for tests", "title: A registry: for tests", "bad-yaml", "quotes"),
    ("cursor: {window: 30d, start: 2020-01-01}", "cursor: {window: 30d}", "incomplete", "start"),
    ("paging: {page_number:", "paging: {page_numbr:", "unknown-key", "did you mean 'page_number'"),
    ("title: A registry for tests", "title: A registry\u202e for tests", "control-character", "remove it"),
    ("basis: award document}", "basis: award document, pick: middle}", "unknown-word", "'first' or 'last'"),
    ("every: 15m", "every: 15m\n    zone: Europe/Olso", "bad-value", "IANA"),
    ("https://registry.example/soap", "registry.example/soap", "bad-text", "begins with https://"),
    ("    emits: provider\n", "    emit: provider\n", "unknown-key", "did you mean 'emits'"),
    ("map: {D: diploma, C: certificate}", "map: {D: diploma, C: certificate}\n    unmapped: skip", "unknown-word", "'null' or 'flag'"),
    ('as: {date: "%d.%m.%Y"}', 'as: {date: "dd.mm.yyyy"}', "bad-value", "%d for the day"),
    ('as: {date: "%d.%m.%Y"}', "as: {period: {K: june}}", "bad-value", "such as 06-01"),
    ("table: kind}", "table: kind, at: award_date}", "unknown-field", "has no 'award_date'"),
    ("table: kind}", "table: kind, at: title}", "wrong-rule", "a target that is a date"),
    ('language: "@lang"}', 'language: "@lang", otherwise: norsk}', "bad-language", "such as en"),
    ("cursor: {window: 30d, start: 2020-01-01}", "cursor: all", "bad-value", "write scan"),
    ('awarding_body.name.en: "t:school[1]"', "awarding_body.name.en:", "empty", "remove the line"),
    ('awarding_body.name.en: "t:school[1]"', "awarding_body.name.en: [a, b]", "wrong-type", "first_of"),
    ('"t:school[1]"', '"exists(t:school)"', "unknown-function", "has no function 'exists'"),
    ("      kind: {from:", "      holder: x\n      kind: {from:", "wrong-rule", "one line a part"),
    ("      kind: {from:", "      holder.esi: {from: x, pseudonym: esi}\n      kind: {from:", "personal-field", "basis"),
    ("    id: \"t:id\"\n    changed_at", "    id: \"t:id\"\n    deleted: {path: x, is: true}\n    changed_at", "wrong-type", "in quotes"),
    ("password: {secret: good/password}", "password: {secret: the password}", "bad-text", "such as ie-awards/password"),
    ("      kind: {from:", "      nqf_framework: {const: NFQ}\n      kind: {from:", "unknown-framework", "it has "),
]  # fmt: skip


def planted(tmp_path: Path, old: str, new: str) -> Path:
    assert old in GOOD, old
    shutil.copy(HERE / "good.wsdl", tmp_path)
    file = tmp_path / "good.yaml"
    file.write_text(GOOD.replace(old, new, 1))
    return file


def test_correct_file_has_no_findings() -> None:
    assert check(HERE / "good.yaml", TABLES) == []


@pytest.mark.parametrize(
    ("old", "new", "code", "remedy"), MISTAKES, ids=[f"{m[2]}-{n}" for n, m in enumerate(MISTAKES)]
)
def test_mistake_is_reported_at_its_position(
    tmp_path: Path, old: str, new: str, code: str, remedy: str
) -> None:
    file = planted(tmp_path, old, new)
    findings = check(file, TABLES)
    assert [finding.code for finding in findings if finding.code == code], [
        str(finding) for finding in findings
    ]
    finding = next(finding for finding in findings if finding.code == code)
    assert finding.file == str(file)
    assert remedy in finding.message, finding
    lines = file.read_text().splitlines()
    assert 1 <= finding.column <= len(lines[finding.line - 1])
    first = len(GOOD[: GOOD.index(old)].splitlines()) or 1
    assert first - 2 <= finding.line <= first + 1 + new.count("\n") + 2 * (
        code == "bad-yaml"
    ) or code in {
        "missing-key",
        "errors-missing",
        "test-failed",
        "one-of",
    }, finding
    others = [other for other in findings if other.code != code and other.severity == "error"]
    assert len(others) <= 1, [str(other) for other in others]


def test_invalid_key_is_shown_and_other_streams_are_checked(
    tmp_path: Path,
) -> None:
    text = planted(tmp_path, "  schools:", "  Schools:").read_text()
    (tmp_path / "good.yaml").write_text(text.replace('"t:school[1]"', '"t:school["'))
    first, second = check(tmp_path / "good.yaml", TABLES)
    assert (first.code, second.code, second.column) == ("bad-expression", "bad-text", 3)
    assert "lower case" in second.message


@pytest.mark.parametrize(
    ("changes", "severity", "line", "said"),
    [
        (
            [
                ('awarding_body.country: {const: "NO"}', 'awarding_body.country: "@country"'),
                (', country: "NO"}', "}"),
            ],
            "note",
            "    tests:",
            "add a test with a publishable record",
        ),
        (
            [
                (
                    '      awarding_body.name.en: "t:school[1]"\n      awarding_body.country: {const: "NO"}\n',
                    "",
                ),
                ('          awarding_body: {name: {en: School}, country: "NO"}\n', ""),
            ],
            "warning",
            "    map:",
            "a credential needs an awarding body with its name and country",
        ),
    ],
    ids=["in its tests", "in its rules"],
)
def test_check_warns_when_a_stream_publishes_nothing(
    tmp_path: Path, changes: Any, severity: str, line: str, said: str
) -> None:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    shutil.copy(HERE / "good.wsdl", tmp_path)
    (tmp_path / "good.yaml").write_text(text)
    finding = next(
        one for one in check(tmp_path / "good.yaml", TABLES) if one.code == "unpublished"
    )
    assert (finding.severity, text.splitlines()[finding.line - 1]) == (severity, line)
    assert said in finding.message


def test_yaml_test_of_an_xml_stream_shows_how_to_write_it(
    tmp_path: Path,
) -> None:
    given = '<t:school xmlns:t="urn:example:good"><t:id>7</t:id><t:name>School</t:name></t:school>'
    (finding,) = check(planted(tmp_path, f"given: '{given}'", "given: {id: 7}"), TABLES)
    assert (finding.code, "an element as text" in finding.message) == ("test-failed", True)


def test_invalid_wsdl_fails_no_other_test(tmp_path: Path) -> None:
    assert [
        finding.code
        for finding in check(planted(tmp_path, "wsdl: good.wsdl", "wsdl: good.yaml"), TABLES)
    ] == ["bad-wsdl"]


def test_second_protocol_is_reported_and_the_rest_is_checked(
    tmp_path: Path,
) -> None:
    file = planted(tmp_path, "soap:\n", 'rest: {url: {production: "https://x.example"}}\nsoap:\n')
    file.write_text(file.read_text().replace("table: kind}", "table: knd}"))
    found = [
        (finding.code, finding.path)
        for finding in check(file, TABLES)
        if finding.severity == "error"
    ]
    assert found == [("one-of", "rest"), ("unknown-table", "streams.awards.map.kind.table")]


def test_duplicate_id_of_two_streams_is_reported(tmp_path: Path) -> None:
    file = planted(tmp_path, "<t:id>7</t:id>", "<t:id>42</t:id>")
    text = file.read_text().replace("expect_some: {id: school/7", 'expect_some: {id: "42"')
    file.write_text(text.replace("""["'school'", "t:id"]""", '"t:id"'))
    numbering, finding = sorted(check(file, TABLES), key=lambda one: one.code, reverse=True)
    assert (numbering.code, numbering.severity) == ("shared-numbering", "warning")
    assert (finding.code, finding.severity) == ("shared-id", "warning")
    assert "'42' is also a record of awards" in finding.message


def test_unknown_paging_word_lists_the_known_ones(tmp_path: Path) -> None:
    found = check(
        planted(
            tmp_path,
            "paging: {page_number: {start: 1, more: \"boolean(//t:more[.='true'])\"}}",
            "paging: pages",
        ),
        TABLES,
    )
    assert [finding.code for finding in found] == ["bad-value"]
    assert "link_header, page_number, atom" in found[0].message


def test_inline_table_lookup_has_no_date(tmp_path: Path) -> None:
    (finding,) = check(planted(tmp_path, "table: kind}", "table: kind, at: awarded_on}"), TABLES)
    assert (finding.code, "leave at out" in finding.message) == ("wrong-rule", True)


def test_thirty_mistakes_give_exactly_their_findings(tmp_path: Path) -> None:
    """Each line of thirty.yaml names, after ``# !``, what is wrong with it."""
    shutil.copy(HERE / "good.wsdl", tmp_path)
    file = Path(shutil.copy(HERE / "thirty.yaml", tmp_path))
    planted_here = {
        (number, code.strip())
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if "# ! " in line
        for code in line.split("# ! ")[1].split(",")
    }
    found = check(file, TABLES)
    assert len(planted_here) >= 30
    assert {(finding.line, finding.code) for finding in found} == planted_here
    assert all(finding.column > 0 and finding.message for finding in found)


@pytest.mark.parametrize("seed", range(12))
def test_mistakes_do_not_hide_each_other(tmp_path: Path, seed: int) -> None:
    """Ten mistakes of the list in one file, drawn by a seed; those that would have to stand at one place are left out."""
    shutil.copy(HERE / "good.wsdl", tmp_path)
    text, codes = GOOD, []
    alone = {
        "wrong-name",
        "missing-file",
        "one-of",
        "unknown-operation",
        "test-failed",
        "unknown-word",
        "unknown-framework",
    }  # they say what others would be judged by
    for old, new, code, _remedy in random.Random(seed).sample(MISTAKES, len(MISTAKES)):
        if len(codes) < 10 and code not in alone and old in text:
            text = text.replace(old, new, 1)
            codes.append(code)
    (tmp_path / "good.yaml").write_text(text)
    found = [finding.code for finding in check(tmp_path / "good.yaml", TABLES)]
    assert not Counter(codes) - Counter(found), (codes, found)


def test_unquoted_no_is_norway(tmp_path: Path) -> None:
    file = planted(tmp_path, 'country: "NO"', "country: NO")
    assert check(file, TABLES) == []
