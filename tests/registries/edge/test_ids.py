"""Two records of one id are told, and the id of an award is the id of its result."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from msgspec.structs import replace
from typer.testing import CliRunner

from gateway.check import check_document
from gateway.cli import app
from gateway.config.loading import build_connector, load_connector
from gateway.config.yaml.document import parse_yaml
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.record_selector import RecordSelector, SelectedNode
from gateway.harmonise.harmoniser import Harmoniser
from gateway.pipeline.page_writer import select_changes
from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.version_order import VersionOrder
from gateway.records import RawRecord, Rejected
from tests.support.one_stream import KEY, TABLES, connector, connector_text, raw_record

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 2, 8, tzinfo=UTC)
ELMO = "https://github.com/emrex-eu/elmo-schemas/tree/v1"


def course(
    course_id: str, result_ids: str = "", day: str = "2026-01-10", status: str = "passed"
) -> str:
    return (
        f"<learningOpportunitySpecification>{course_id}<title xml:lang='en'>Writing</title>"
        "<type>Course</type><specifies><learningOpportunityInstance>"
        f"{result_ids}<start>2025-09-01</start><date>{day}</date><status>{status}</status>"
        "</learningOpportunityInstance></specifies></learningOpportunitySpecification>"
    )


def identifier(value: str, kind: str = "local") -> str:
    return f"<identifier type='{kind}'>{value}</identifier>"


def emrex_ids(*courses: str) -> list[str]:
    """Return the ids of the records in a transcript, as they are before their keyed hash."""
    emrex = load_connector(ROOT / "connectors" / "eu-emrex.yaml")
    stream = emrex.streams["results"].model_copy(update={"id_key": None})
    selector = RecordSelector(
        emrex.connector,
        "results",
        stream,
        ExpressionCache(emrex.protocol.namespaces),
        lambda name: name.encode(),
    )
    root = etree.fromstring(
        f"<elmo xmlns='{ELMO}'><learner>{identifier('L1', 'nationalIdentifier')}</learner>"
        f"<report><issuer>{identifier('university.example', 'schac')}</issuer>"
        f"{''.join(courses)}</report></elmo>"
    )
    nodes: Any = root.findall(f".//{{{ELMO}}}report/{{{ELMO}}}learningOpportunitySpecification")
    return [selector.native_id(SelectedNode("xml", node, node, root, {}), b"x") for node in nodes]


WRITING = identifier("WRI-1", "elmo") + identifier("9")


def test_two_results_of_a_course_have_the_ids_of_the_results() -> None:
    found = emrex_ids(course(WRITING, identifier("501")), course(WRITING, identifier("502")))
    assert found == ["university.example/501/L1", "university.example/502/L1"]


def test_failed_result_does_not_share_the_id_of_the_passed_one() -> None:
    found = emrex_ids(
        course(WRITING, identifier("501")), course(WRITING, identifier("502"), status="failed")
    )
    assert len(set(found)) == 2


def test_result_without_an_id_has_that_of_its_course_with_the_day() -> None:
    found = emrex_ids(course(WRITING), course(WRITING, day="2026-06-01"))
    assert found == [
        "university.example/WRI-1@2026-01-10/L1",
        "university.example/WRI-1@2026-06-01/L1",
    ]


def test_result_of_a_course_without_an_id_has_its_own() -> None:
    results = identifier("local-7") + identifier("501", "elmo")
    assert emrex_ids(course("", results)) == ["university.example/501/L1"]


def test_result_without_any_id_is_rejected() -> None:
    (found,) = emrex_ids(course(""))
    assert found.startswith("?")


@pytest.mark.parametrize(
    ("payload", "parts"),
    [
        ({"year": "2024"}, "part 1 of 3 (office) and part 3 of 3 (number)"),
        ({"office": "a", "number": "1"}, "part 2 of 3 (year)"),
        ({"office": "a", "year": " ", "number": "1"}, "part 2 of 3 (year)"),
        ({}, "part 1 of 3 (office) and part 2 of 3 (year) and part 3 of 3 (number)"),
    ],
)
def test_rejection_names_the_missing_parts_of_an_id(payload: dict[str, Any], parts: str) -> None:
    text = connector_text("").replace("    id: id\n", "    id: [office, year, number]\n")
    made, _ = build_connector(parse_yaml(text.encode(), "office.yaml"))
    assert made is not None
    selector = RecordSelector(
        "office", "awards", made.streams["awards"], ExpressionCache({}), lambda name: name.encode()
    )
    node = {"name": "A"} | payload
    (raw,) = selector.to_raw_records(SelectedNode("json", node, node, node, {}))
    outcome = Harmoniser(made, TABLES, pseudonym_key=KEY)(raw)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("missing", "id")
    assert outcome.detail == f"expected a value for {parts} of the stream's id"


@pytest.mark.parametrize(
    ("value", "native_id"),
    [
        ({"a": 1}, None),
        ({}, None),
        ([{"a": 1}], None),
        ([["1"]], None),
        (["1", "2"], None),
        (["1"], "1"),
        (7, "7"),
    ],
)
def test_id_that_is_no_single_value_is_unreadable(value: Any, native_id: str | None) -> None:
    made = connector("")
    selector = RecordSelector(
        "office", "awards", made.streams["awards"], ExpressionCache({}), lambda name: name.encode()
    )
    node = {"id": value, "name": "A"}
    (raw,) = selector.to_raw_records(SelectedNode("json", node, node, node, {}))
    if native_id is not None:
        assert raw.native_id == native_id
        return
    assert raw.native_id.startswith("?!")
    outcome = Harmoniser(made, TABLES, pseudonym_key=KEY)(raw)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("invalid", "id")


def two(first: dict[str, Any], second: dict[str, Any], **changes: Any) -> list[RawRecord]:
    return [replace(raw_record(payload), **changes) for payload in (first, second)]


CONFLICT = "expected one content for one id"


@pytest.mark.parametrize("known", [None, 0, 1])
def test_two_contents_of_one_id_are_a_conflict(known: int | None) -> None:
    """None of the two is chosen, whichever of them an earlier poll wrote."""
    raws = two({"day": "2025-01-10"}, {"day": "2026-01-10"})
    earlier = {}
    if known is not None:
        (entry,), _ = select_changes([raws[known]], {})
        earlier = {"1": entry.value}
    (entry,), unchanged = select_changes(raws, earlier)
    assert unchanged == 1
    harmonise = Harmoniser(connector("cycle: c"), TABLES, pseudonym_key=KEY)
    outcome = harmonise(entry.raw)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.field) == ("conflict", "id")
    assert outcome.detail.startswith(CONFLICT)
    assert entry.raw.written_before == (known is not None)
    assert select_changes(raws, {"1": entry.value}) == ([], 2)


def test_three_contents_of_one_id_are_a_conflict_as_well() -> None:
    raws = [*two({"day": "2025-01-10"}, {"day": "2026-01-10"}), raw_record({"day": "2025-01-10"})]
    (entry,), unchanged = select_changes(raws, {})
    assert unchanged == 2
    assert len(entry.raw.context) == 1
    assert select_changes(raws, {"1": entry.value}) == ([], 3)


@pytest.mark.parametrize(
    "raws",
    [
        two({"name": "A"}, {"name": "A"}),
        [
            raw_record({"name": "A"}),
            RawRecord(connector="office", stream="awards", native_id="1", body=None),
        ],
    ],
    ids=["equal", "deleted"],
)
def test_equal_content_and_deletion_are_no_conflict(raws: list[RawRecord]) -> None:
    (entry,), _ = select_changes(raws, {})
    assert not entry.raw.context
    assert entry.raw.body == raws[-1].body


def test_later_change_is_no_conflict() -> None:
    older, newer = two({"name": "A"}, {"name": "B"}, changed_at=NOW)
    older = replace(older, changed_at=NOW - timedelta(days=1))
    for raws in ([older, newer], [newer, older]):
        (entry,), _ = select_changes(raws, {})
        assert entry.raw == newer


def test_change_feed_serves_its_changes_in_order() -> None:
    raws = two({"name": "A"}, {"name": "B"})
    (entry,), unchanged = select_changes(raws, {}, order=VersionOrder(in_order=True))
    assert (entry.raw, unchanged) == (raws[1], 1)
    assert isinstance(entry, RawEntry)


EXCHANGE = """\
    tests:
      - name: a list
        exchange:
          - request: GET /awards
            response: {{json: {{items: {items}}}}}
        expect_records: 2
"""


def findings(tests: str, **parts: str) -> list[tuple[str, str]]:
    document = parse_yaml(connector_text("", tests=tests, **parts).encode(), "office.yaml")
    found = check_document(document, TABLES)
    return [(finding.code, finding.severity) for finding in found if finding.code == "repeated-id"]


def items(*records: dict[str, Any]) -> str:
    base = {"id": "1", "name": "Statistics", "day": "2024-01-01"}
    return EXCHANGE.format(items=json.dumps([base | record for record in records]))


def test_check_finds_two_records_of_one_id_in_an_exchange() -> None:
    assert findings(items({}, {"day": "2025-01-01"})) == [("repeated-id", "error")]
    assert findings(items({}, {"id": "2"})) == []
    assert findings(items({}, {})) == []


def test_check_accepts_two_versions_that_are_told_apart() -> None:
    versions = items({"v": "1"}, {"v": "2", "day": "2025-01-01"})
    assert findings(versions, stream="    version: v\n") == []
    assert findings(versions) == [("repeated-id", "error")]


def test_check_finds_two_test_records_of_one_id() -> None:
    tests = "    tests:\n" + "".join(
        f"      - name: {day}\n        given: {{id: '1', name: Statistics, day: '{day}'}}\n"
        f"        expect_some: {{awarded_on: {day}}}\n"
        for day in ("2024-01-01", "2025-01-01")
    )
    assert findings(tests) == [("repeated-id", "warning")]
    assert findings(tests.replace("{id: '1'", "{id: '2'", 1)) == []


@pytest.mark.parametrize(("second", "warns"), [("1", True), ("2", False)])
def test_preview_warns_of_two_records_of_one_id(tmp_path: Path, second: str, warns: bool) -> None:
    file, sample = tmp_path / "office.yaml", tmp_path / "awards.json"
    file.write_text(connector_text(""), encoding="utf-8")
    records = [
        {"id": "1", "name": "A", "day": "2024-01-01"},
        {"id": second, "name": "B", "day": "2025-01-01"},
    ]
    sample.write_text(json.dumps({"items": records}), encoding="utf-8")
    result = CliRunner().invoke(app, ["preview", str(file), "--sample", str(sample)])
    assert result.exit_code == 0
    assert ("warning: two different contents have the id '1'" in result.stdout) == warns
