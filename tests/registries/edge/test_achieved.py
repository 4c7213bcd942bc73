"""Failed, unfinished and unknown results are not published."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway.check import check, check_document
from gateway.check.run_tests import raw_record_of_test
from gateway.check.save_test import build_test
from gateway.check.scaffold import ScaffoldAnswers, write_connector
from gateway.config.connector import Connector, Stream
from gateway.config.loading import build_connector, load_connector
from gateway.config.yaml.document import parse_yaml
from gateway.errors import Finding
from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.record_selector import RecordSelector
from gateway.harmonise.data_subjects import DataSubjectFinder
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.values.payload import xml_element
from gateway.messages.cloudevents import encode_raw_headers
from gateway.operations.explain import explain_record
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.rejection_guard import preview_page
from gateway.records import Accepted, Outcome, RawRecord, Rejected, Withheld
from tests.support.one_stream import (
    KEY,
    TABLES,
    connector_text,
    documents_of,
    issues_of,
    raw_record,
)

ROOT = Path(__file__).parents[3]
ALWAYS = 'achieved: {always: "The office lists awards only"}'
ACHIEVED, NOT, UNKNOWN = "accepted", "not_achieved", "achievement_unknown"
STATUS = "{path: status, is: passed, not: [failed, in-progress]}"


def office_text(achieved: str, rules: str = "", **parts: str) -> str:
    """Return a connector file with one stream. An empty ``achieved`` leaves the key out."""
    text = connector_text(rules, **parts)
    assert ALWAYS in text
    return text.replace(f"    {ALWAYS}\n", f"    achieved: {achieved}\n" if achieved else "")


def office(achieved: str, rules: str = "", **parts: str) -> Connector:
    document = parse_yaml(office_text(achieved, rules, **parts).encode(), "office.yaml")
    connector, findings = build_connector(document)
    assert connector is not None, [str(finding) for finding in findings]
    return connector


def outcome(connector: Connector, raw: RawRecord) -> Outcome:
    harmonise = Harmoniser(connector, TABLES, pseudonym_key=KEY)
    made = harmonise(raw)
    assert harmonise.harmonise_with_rules(raw) == made
    return made


def ending(made: Outcome) -> str:
    return ACHIEVED if isinstance(made, Accepted) else made.reason


def findings_of(text: str) -> list[Finding]:
    """Return the findings about the stream."""
    findings = check_document(parse_yaml(text.encode(), "office.yaml"), TABLES)
    return [finding for finding in findings if finding.path.startswith("streams")]


CASES = [
    # the condition, the record, and how it ends
    (STATUS, {"status": "passed"}, ACHIEVED),
    (STATUS, {"status": " passed "}, ACHIEVED),
    (STATUS, {"status": "failed"}, NOT),
    (STATUS, {"status": "in-progress"}, NOT),
    (STATUS, {"status": "approved"}, UNKNOWN),
    (STATUS, {"status": "Passed"}, UNKNOWN),
    (STATUS, {"status": "passed?"}, UNKNOWN),
    (STATUS, {"status": ""}, UNKNOWN),
    (STATUS, {"status": "  "}, UNKNOWN),
    (STATUS, {"status": None}, UNKNOWN),
    (STATUS, {}, UNKNOWN),
    (STATUS, {"status": ["passed", "failed"]}, UNKNOWN),
    (STATUS, {"status": ["failed", "failed"]}, NOT),
    (STATUS, {"status": {"code": "passed"}}, UNKNOWN),
    (STATUS, {"status": True}, UNKNOWN),
    ("{path: status, is: passed}", {"status": "passed"}, ACHIEVED),
    ("{path: status, is: passed}", {"status": "failed"}, NOT),
    ("{path: status, is: passed}", {"status": "approved"}, NOT),
    ("{path: status, is: passed}", {}, NOT),
    ("{path: status, is: [pass*, distinction]}", {"status": "passed late"}, ACHIEVED),
    ("{path: 'tries[].result', is: passed}", {"tries": [{"result": "failed"}, {"result": "passed"}]}, ACHIEVED),
    ("{path: 'tries[].result', is: passed}", {"tries": []}, NOT),
    ("{path: status, is: passed, absent: achieved}", {}, ACHIEVED),
    ("{path: status, is: passed, absent: achieved}", {"status": None}, ACHIEVED),
    ("{path: status, is: passed, absent: achieved}", {"status": ""}, NOT),
    ("{path: status, is: passed, not: failed, absent: achieved}", {"status": ""}, UNKNOWN),
    ("{path: status, is: passed, not: failed, absent: not_achieved}", {}, NOT),
    ("{path: passed, is: 'true'}", {"passed": True}, ACHIEVED),
    ("{path: passed, is: 'true'}", {"passed": False}, NOT),
    ("{path: passed, is: 'true'}", {"passed": "no"}, NOT),
    ("{path: grade, is: ['1', '2', '3', '4'], not: ['5']}", {"grade": 4}, ACHIEVED),
    ("{path: grade, is: ['1', '2', '3', '4'], not: ['5']}", {"grade": 5}, NOT),
    ("{path: grade, is: ['1', '2', '3', '4'], not: ['5']}", {"grade": 4.7}, UNKNOWN),
    ("{path: grade, is: '*', not: [F, FX]}", {"grade": "B"}, ACHIEVED),
    ("{path: grade, is: '*', not: [F, FX]}", {"grade": "FX"}, NOT),
    ("{path: grade, is: '*', not: [F, FX]}", {"grade": ""}, UNKNOWN),
    ("{path: grade, not: [F]}", {"grade": "B"}, ACHIEVED),
    ("{path: grade, not: [F]}", {"grade": "F"}, NOT),
    ("{path: grade, not: [F]}", {"grade": ""}, NOT),
    ("{path: grade, not: [F]}", {}, NOT),
    ("{path: points, over: 49}", {"points": 50}, ACHIEVED),
    ("{path: points, over: 49}", {"points": 49}, NOT),
    ("{path: points, over: -1}", {"points": "absent"}, NOT),
    ("{path: points, over: 49}", {}, NOT),
    ("{path: confirmed, since: 2020-01-01}", {"confirmed": "2024-05-31"}, ACHIEVED),
    ("{path: confirmed, since: 2020-01-01}", {"confirmed": "2019-05-31"}, NOT),
    ("{path: confirmed, since: 2020-01-01}", {"confirmed": "soon"}, NOT),
    ("{path: confirmed, exists: true}", {"confirmed": "2024-05-31"}, ACHIEVED),
    ("{path: confirmed, exists: true}", {"confirmed": ""}, NOT),
    ("{path: confirmed, exists: true}", {"confirmed": {}}, NOT),
    ("{path: confirmed, exists: true}", {"confirmed": None}, NOT),
    ("{path: confirmed, exists: true}", {}, NOT),
    ("{path: annulled, exists: false}", {}, ACHIEVED),
    ("{path: annulled, exists: false}", {"annulled": "2024-05-31"}, NOT),
    ("confirmed", {"confirmed": True}, ACHIEVED),
    ("confirmed", {"confirmed": "2024-05-31"}, ACHIEVED),
    ("confirmed", {"confirmed": "False"}, NOT),
    ("confirmed", {"confirmed": 0}, NOT),
    ("confirmed", {}, NOT),
    ("[{path: status, is: passed}, {path: confirmed, exists: true}]", {"status": "passed", "confirmed": "x"}, ACHIEVED),
    ("[{path: status, is: passed}, {path: confirmed, exists: true}]", {"status": "passed"}, NOT),
    (f"[{STATUS}, {{path: confirmed, exists: true}}]", {"status": "odd"}, NOT),
    (f"[{STATUS}, {{path: confirmed, exists: true}}]", {"status": "odd", "confirmed": "x"}, UNKNOWN),
    ('{always: "The office lists awards only"}', {}, ACHIEVED),
]  # fmt: skip


@pytest.mark.parametrize(("achieved", "payload", "expected"), CASES)
def test_only_what_the_file_names_is_an_award(achieved, payload, expected):
    made = outcome(office(achieved), raw_record(payload))
    assert ending(made) == expected
    assert isinstance(made, Withheld) == (expected == NOT)
    if isinstance(made, Rejected):
        assert made.field == "achieved"
        assert made.detail


def test_null_value_counts_as_no_value():
    achieved = "{path: status, is: passed, not: failed, absent: achieved}"
    connector = office(achieved, stream='    null_values: ["-"]\n')
    assert ending(outcome(connector, raw_record({"status": "-"}))) == ACHIEVED
    assert ending(outcome(connector, raw_record({"status": "--"}))) == UNKNOWN


def test_condition_reads_values_around_the_record():
    connector = office("{path: $state, is: passed}", stream="    keep: {state: 'parent.state'}\n")
    raw = raw_record({})
    passed = msgspec.structs.replace(raw, context={"state": "passed"})
    assert ending(outcome(connector, passed)) == ACHIEVED
    assert ending(outcome(connector, raw)) == NOT


def test_path_that_cannot_read_the_record_is_no_award():
    made = outcome(office("{path: 'length(status)', over: 3}"), raw_record({"status": 7}))
    assert isinstance(made, Rejected)


def test_file_without_achieved_still_publishes():
    assert ending(outcome(office(""), raw_record({"status": "failed"}))) == ACHIEVED


KINDS = """\
    kind: type
    kinds:
      degree: {}
      course: {achieved: {path: grade, is: [A, B], not: [F]}}
      programme: {emits: qualification, map: {kind: {const: certificate}}}
"""


def kinds_of(text: str) -> str:
    return text.replace(
        "programme: {emits: qualification, map: {kind: {const: certificate}}}", "x: {skip: no}"
    )


def test_kind_has_its_own_condition():
    connector = office(STATUS, stream=kinds_of(KINDS))
    raw = raw_record({"status": "failed", "grade": "A"})
    degree, course = (msgspec.structs.replace(raw, kind=kind) for kind in ("degree", "course"))
    assert ending(outcome(connector, degree)) == NOT
    assert ending(outcome(connector, course)) == ACHIEVED


def test_condition_does_not_concern_records_of_another_type():
    rules = "title.en: name"
    text = office_text("{path: status, is: passed}").replace(
        "emits: credential", "emits: qualification"
    )
    text = text.replace("      kind: {const: certificate}\n", "").replace(
        "      awarded_on: day\n", ""
    )
    document = parse_yaml(text.encode(), "office.yaml")
    connector, findings = build_connector(document)
    assert connector is not None, (rules, findings)
    assert ending(outcome(connector, raw_record({"status": "failed"}))) == ACHIEVED


# Parts

PARTS = """\
parts: {each: modules, achieved: {path: state, is: passed, not: failed}, map: {id: code, title.en: label, credit_amount: ects, credit_unit: {const: ECTS}, credit_sector: {const: HE}}}
credit_amount: {const: 10}
credit_unit: {const: ECTS}
credit_sector: {const: HE}
"""


def module(code: str, state: str | None = "passed", ects: int = 5) -> dict[str, Any]:
    return {"code": code, "label": f"Module {code}", "ects": ects, "state": state}


def test_failed_parts_are_left_out_and_bring_no_credits():
    modules = [module("M1"), module("M2", "failed"), module("M3"), module("M4", "failed")]
    made = outcome(
        office(ALWAYS.removeprefix("achieved: "), PARTS), raw_record({"modules": modules})
    )
    assert isinstance(made, Accepted)
    assert [part.id for part in made.record.parts] == ["M1", "M3"]
    assert sum(part.credit_points for part in made.record.parts) == made.record.credit_points == 10
    assert issues_of(made) == [("part_not_achieved", "parts")]
    assert made.provenance.issues[0].message == "2 left out"
    written = b"".join(
        document.value or b"" for document in documents_of(made, raw_record({})).documents
    )
    assert b"Module M1" in written
    assert b"Module M2" not in written


def test_part_with_an_unknown_state_is_left_out_and_noted():
    modules = [module("M1"), module("M2", "resit"), module("M3", None), module("M4", "failed")]
    made = outcome(
        office(ALWAYS.removeprefix("achieved: "), PARTS), raw_record({"modules": modules})
    )
    assert isinstance(made, Accepted)
    assert [part.id for part in made.record.parts] == ["M1"]
    codes = {issue.code: issue.message for issue in made.provenance.issues}
    assert codes["part_achievement_unknown"] == "2 left out"
    assert codes["part_not_achieved"] == "1 left out"


@pytest.mark.parametrize("modules", [[], None, [module("M2", "failed")], module("M2", "failed")])
def test_record_without_an_achieved_part_has_no_parts(modules):
    made = outcome(
        office(ALWAYS.removeprefix("achieved: "), PARTS), raw_record({"modules": modules})
    )
    assert isinstance(made, Accepted)
    assert made.record.parts == ()


def test_single_part_is_checked_as_well():
    made = outcome(
        office(ALWAYS.removeprefix("achieved: "), PARTS), raw_record({"modules": module("M1")})
    )
    assert isinstance(made, Accepted)
    assert [part.id for part in made.record.parts] == ["M1"]


# What becomes of such a record


def processed(connector: Connector, raw: RawRecord) -> ProcessedRecord:
    harmoniser = Harmoniser(connector, TABLES, pseudonym_key=KEY)
    record = SimpleNamespace(
        key=raw.key.encode(),
        value=raw.body,
        headers=encode_raw_headers(raw),
        timestamp=0,
        topic="gateway.raw.v1",
        partition=0,
        offset=7,
    )
    return RecordProcessor({raw.connector: harmoniser}.get, KEY)(record)


def test_result_that_is_no_longer_achieved_leaves_the_topics():
    connector = office(STATUS)
    passed = processed(connector, raw_record({"status": "passed"}))
    assert passed.outcome == "accepted"
    published = {(one.topic, one.key) for one in passed.outgoing if one.value is not None}
    again = msgspec.structs.replace(raw_record({"status": "failed"}), written_before=True)
    failed = processed(connector, again)
    assert (failed.outcome, failed.reason) == ("deleted", NOT)
    assert published <= {(one.topic, one.key) for one in failed.outgoing if one.value is None}
    assert all(one.value is None for one in failed.outgoing)


def test_unknown_result_leaves_the_topics_with_a_rejection():
    again = msgspec.structs.replace(raw_record({"status": "odd"}), written_before=True)
    unknown = processed(office(STATUS), again)
    assert (unknown.outcome, unknown.reason, unknown.field) == ("rejected", UNKNOWN, "achieved")
    assert [one.topic for one in unknown.outgoing if one.value is not None] == [
        "gateway.rejections.v1"
    ]


@pytest.mark.parametrize(("status", "rejected"), [("failed", 0), ("odd", 30)])
def test_failed_results_are_no_failure_of_the_registry(status, rejected):
    harmonise = Harmoniser(office(STATUS), TABLES, pseudonym_key=KEY)
    entries = [RawEntry(raw_record({"status": status}), b"", None) for _ in range(30)]
    page = asyncio.run(preview_page(entries, harmonise))
    assert page.rejected == rejected


def test_person_is_found_in_a_record_that_is_not_achieved():
    connector = office(STATUS, "holder.pseudonym: {from: person, pseudonym: fi-national-number}")
    find = DataSubjectFinder(connector, (KEY,))
    passed, failed, odd = (
        find(raw_record({"status": word, "person": "010190-901A"}))
        for word in ("passed", "failed", "odd")
    )
    assert passed == failed == odd
    assert len(passed) == 1


def test_explanation_states_why_the_record_is_not_published():
    connector = office(STATUS)
    page = explain_record(connector, raw_record({"status": "failed"}), TABLES).to_text()
    assert "not published (not_achieved)" in page
    assert "achieved: no" in page
    assert "expected status to be passed" in page
    page = explain_record(connector, raw_record({"status": "resit"}), TABLES).to_text()
    assert "achieved: not known" in page
    assert "status = resit" in page


def test_explanation_hides_a_grade_that_a_personal_rule_reads():
    rules = "assessment.grade: {from: note, basis: award document}"
    page = explain_record(
        office("{path: note, is: [A], not: [F]}", rules), raw_record({"note": "F"}), TABLES
    )
    assert "achieved: no" in page.to_text()
    assert "note = (personal, not shown)" in page.to_text()
    assert "= F" not in page.to_text()


def test_saved_test_of_a_failed_result_keeps_the_outcome_and_no_personal_value():
    rules = "assessment.grade: {from: note, basis: award document}\n" + PARTS.replace(
        "title.en: label", "title.en: label, assessment.grade: {from: mark, basis: award document}"
    )
    achieved = "{path: note, is: [Excellent], not: [Insufficient]}"
    connector = office(achieved, rules)
    failed = raw_record({"note": "Insufficient"})
    assert build_test(connector, "awards", failed, TABLES)["expect_withheld"] == NOT
    assert build_test(connector, "awards", raw_record({"note": "Excellent"}), TABLES)["expect"]
    modules = [module("M1") | {"mark": "B"}, module("M2", "failed") | {"mark": "F"}]
    saved = build_test(
        connector, "awards", raw_record({"note": "Excellent", "modules": modules}), TABLES
    )
    assert [part["id"] for part in saved["expect"]["parts"]] == ["M1"]
    assert {part["mark"] for part in saved["given"]["modules"]}.isdisjoint({"B", "F"})
    withheld = build_test(
        connector, "awards", raw_record({"note": "Insufficient", "modules": modules}), TABLES
    )
    assert {part["mark"] for part in withheld["given"]["modules"]}.isdisjoint({"B", "F"})


# What the check of a file says

MISTAKES = [
    ("", "achieved-missing", "achieved: {path: STATUS"),
    ("[]", "achieved-missing", "achieved: {path: STATUS"),
    ("always", "incomplete", '{always: "why every record is an award"}'),
    ("{always: ' '}", "incomplete", "the reason"),
    ("{always: true}", "wrong-type", "expected a text"),
    ("{always: TODO}", "achieved-todo", "decide which records are an award"),
    ("{path: TODO, is: [passed]}", "achieved-todo", "decide which records are an award"),
    ("{is: [passed]}", "one-of", "always, path"),
    ("{path: status, is: []}", "incomplete", "at least one value"),
    ("{path: status, is: true}", "wrong-type", "put each in quotes"),
    (
        "{path: status, is: [passed, x], not: [x]}",
        "bad-value",
        "x cannot be under is and under not",
    ),
    ("{path: status, is: passed, over: 3}", "bad-value", "list of conditions"),
    ("{path: status, absent: achieved}", "incomplete", "is, not, over or since"),
    ("{path: status, is: passed, absent: unknown}", "unknown-word", "not_achieved"),
    ("{path: status, is: passed, otherwise: failed}", "unknown-key", "otherwise"),
    ("{path: 'status[', is: passed}", "bad-expression", ""),
    ("{path: $nobody, is: passed}", "unknown-name", "$nobody"),
]


@pytest.mark.parametrize(("achieved", "code", "remedy"), MISTAKES)
def test_check_refuses_a_file_that_does_not_say_what_an_award_is(achieved, code, remedy):
    errors = [one for one in findings_of(office_text(achieved)) if one.severity == "error"]
    assert [one.code for one in errors] == [code]
    assert remedy in errors[0].message
    assert errors[0].line > 1


def test_check_warns_of_a_condition_that_accepts_unknown_values():
    (finding,) = [
        one
        for one in findings_of(office_text("{path: state, not: [failed]}"))
        if "achieved" in one.code
    ]
    assert (finding.code, finding.severity) == ("achieved-open", "warning")


def test_check_refuses_parts_without_a_condition():
    text = office_text(
        STATUS, PARTS.replace("achieved: {path: state, is: passed, not: failed}, ", "")
    )
    (finding,) = [one for one in findings_of(text) if one.code == "achieved-missing"]
    assert finding.path == "streams.awards.map.parts"
    assert finding.severity == "error"


def test_check_refuses_a_condition_on_a_list_that_is_no_part():
    rules = "learning_outcomes: {each: outcomes, achieved: {path: ok, is: 'true'}, map: {title.en: text}}"
    (finding,) = [one for one in findings_of(office_text(STATUS, rules)) if one.severity == "error"]
    assert finding.code == "wrong-rule"


def test_check_looks_at_each_kind():
    text = office_text("", stream=KINDS)
    found = [one.path for one in findings_of(text) if one.code == "achieved-missing"]
    assert found == ["streams.awards.kinds.degree"]
    other = office_text("", stream=KINDS.replace("emits: qualification", "emits: credential"))
    other = other.replace("emits: credential\n    request", "emits: student_status\n    request")
    found = [one.path for one in findings_of(other) if one.code == "achieved-missing"]
    assert found == ["streams.awards.kinds.programme"]


# The shipped connectors

FILES = [*(ROOT / "connectors").glob("*.yaml"), *(ROOT / "tests/registries/others").glob("*.yaml")]
SHIPPED = [
    (file, name)
    for file in sorted(FILES)
    for name, stream in load_connector(file).streams.items()
    if "credential" in {stream.emits, *(kind.emits for kind in stream.kinds.values())}
]


def stream_of(file: Path, name: str) -> tuple[Connector, Stream]:
    connector = load_connector(file)
    return connector, connector.streams[name]


def outcomes_of_tests(file: Path, name: str) -> list[Outcome]:
    connector, stream = stream_of(file, name)
    harmonise = Harmoniser(connector, TABLES, pseudonym_key=KEY)
    examples = [example for example in stream.tests if example.exchange is None]
    return [harmonise(raw_record_of_test(connector, name, example)) for example in examples]


@pytest.mark.parametrize(("file", "name"), SHIPPED, ids=lambda value: getattr(value, "stem", value))
def test_shipped_stream_shows_a_result_that_is_not_achieved(file, name):
    _, stream = stream_of(file, name)
    assert stream.achieved
    if any(rule.always for rule in stream.achieved):
        return
    made = outcomes_of_tests(file, name)
    assert any(isinstance(one, Withheld) and one.reason in {NOT, "deleted"} for one in made)
    accepted = any(isinstance(one, Accepted) for one in made)
    assert accepted or any(example.exchange is not None for example in stream.tests)


@pytest.mark.parametrize(("file", "name"), SHIPPED, ids=lambda value: getattr(value, "stem", value))
def test_shipped_stream_states_the_source_of_its_condition(file, name):
    lines = file.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line == f"  {name}:")
    place = next(n for n in range(begin, len(lines)) if lines[n].startswith("    achieved:"))
    assert "#" in lines[place - 1] or "#" in lines[place] or "always:" in lines[place]


@pytest.mark.parametrize("file", sorted(FILES), ids=lambda file: file.stem)
def test_shipped_file_passes_the_check(file):
    assert [str(one) for one in check(file, TABLES) if one.code.startswith("achieved")] == []


ELMO = """\
<learningOpportunitySpecification xmlns="https://github.com/emrex-eu/elmo-schemas/tree/v1">
  <identifier type="local">H1</identifier><title xml:lang="en">History of Examples</title><type>{kind}</type>
  <specifies><learningOpportunityInstance><date>2025-06-30</date>{status}<credit><scheme>ects</scheme>
    <value>15</value></credit></learningOpportunityInstance></specifies>{parts}
</learningOpportunitySpecification>"""
PART = """<hasPart><learningOpportunitySpecification><identifier type="local">{id}</identifier>
  <title xml:lang="en">{id}</title><type>Course</type><specifies><learningOpportunityInstance><date>2025-01-15</date>
  {status}<credit><scheme>ects</scheme><value>5</value></credit></learningOpportunityInstance></specifies>
  {parts}</learningOpportunitySpecification></hasPart>"""
VIRTA = """\
<v:Opintosuoritus xmlns:v="urn:mace:funet.fi:virta/2015/09/01" avain="1"><v:SuoritusPvm>2024-05-31</v:SuoritusPvm>
  <v:Laajuus><v:Opintopiste>5</v:Opintopiste></v:Laajuus>{grade}<v:Myontaja>90001</v:Myontaja><v:Laji>{kind}</v:Laji>
  <v:Nimi kieli="fi">Esimerkki</v:Nimi></v:Opintosuoritus>"""
SCALE = (
    '<v:Arvosana><v:Muu><v:Asteikko avain="7"><v:AsteikkoArvosana avain="1"><v:Koodi>HYV</v:Koodi></v:AsteikkoArvosana>'
    '<v:AsteikkoArvosana avain="2"><v:Koodi>HYL</v:Koodi></v:AsteikkoArvosana></v:Asteikko><v:Koodi>{}</v:Koodi></v:Muu></v:Arvosana>'
)


def xml_outcome(name: str, stream: str, body: str) -> Outcome:
    connector = load_connector(ROOT / "connectors" / f"{name}.yaml")
    raw = RawRecord(
        connector=name, stream=stream, native_id="1", body=body.encode(), media_type="application/xml",
        context={"issuer_country": "FI", "issuer_title": "Example University"},
    )  # fmt: skip
    return outcome(connector, raw)


def status(word: str) -> str:
    return f"<status>{word}</status>"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (status("passed"), ACHIEVED),
        (status("\n passed\n"), ACHIEVED),
        ("", ACHIEVED),
        (status("failed"), NOT),
        (status("in-progress"), NOT),
        (status("in progress"), UNKNOWN),
        (status("PASSED"), UNKNOWN),
        (status("withdrawn"), UNKNOWN),
        ("<status/>", UNKNOWN),
        (status("passed") + status("failed"), UNKNOWN),
    ],
)
@pytest.mark.parametrize("kind", ["Course", "Degree Programme"])
def test_elmo_result_counts_only_when_passed(kind, given, expected):
    made = xml_outcome("eu-emrex", "results", ELMO.format(kind=kind, status=given, parts=""))
    assert ending(made) == expected


def test_elmo_degree_contains_its_passed_courses_alone():
    parts = (
        PART.format(id="P1", status="", parts="")
        + PART.format(id="P2", status=status("failed"), parts=PART.format(id="P3", status=status("passed"), parts=""))
        + PART.format(id="P4", status=status("in-progress"), parts="")
    )  # fmt: skip
    made = xml_outcome(
        "eu-emrex", "results", ELMO.format(kind="Degree Programme", status="", parts=parts)
    )
    assert isinstance(made, Accepted)
    assert [part.id for part in made.record.parts] == ["P1", "P3"]
    assert ("part_not_achieved", "parts") in issues_of(made)


@pytest.mark.parametrize(
    ("kind", "grade", "expected"),
    [
        ("2", "<v:Arvosana><v:Viisiportainen>3</v:Viisiportainen></v:Arvosana>", ACHIEVED),
        (
            "1",
            "<v:Arvosana><v:EiKaytossa>Arvosana ei kaytossa</v:EiKaytossa></v:Arvosana>",
            ACHIEVED,
        ),
        ("1", "<v:Arvosana><v:Tutkielma>L</v:Tutkielma></v:Arvosana>", ACHIEVED),
        ("2", SCALE.format("1"), ACHIEVED),
        ("2", SCALE.format("2"), NOT),
        ("2", SCALE.format("3"), UNKNOWN),
        ("1", "<v:Arvosana><v:Tutkielma>I</v:Tutkielma></v:Arvosana>", NOT),
        ("2", "<v:Arvosana><v:Viisiportainen>0</v:Viisiportainen></v:Arvosana>", NOT),
        ("2", "<v:Arvosana><v:Hyvaksytty>HYL</v:Hyvaksytty></v:Arvosana>", NOT),
        ("3", "<v:Arvosana><v:Viisiportainen>3</v:Viisiportainen></v:Arvosana>", NOT),
        ("4", "<v:Arvosana><v:Viisiportainen>3</v:Viisiportainen></v:Arvosana>", NOT),
        ("5", "<v:Arvosana><v:Viisiportainen>3</v:Viisiportainen></v:Arvosana>", UNKNOWN),
        ("2", "", UNKNOWN),
    ],
)
def test_virta_achievement_counts_only_with_a_passing_grade(kind, grade, expected):
    made = xml_outcome("fi-virta", "achievements", VIRTA.format(kind=kind, grade=grade))
    assert ending(made) == expected


def json_outcome(name: str, stream: str, payload: dict[str, Any]) -> Outcome:
    connector = load_connector(ROOT / "connectors" / f"{name}.yaml")
    body = json.dumps(payload).encode()
    raw = RawRecord(connector=name, stream=stream, native_id="1", body=body)
    return outcome(connector, raw)


STUDY = {"tyyppi": {"koodiarvo": "ammatillinentutkinto"}, "koulutusmoduuli": {"tunniste": {"koodiarvo": "351999", "nimi": {"fi": "Esimerkki"}}}}  # fmt: skip
CONFIRMED = {"vahvistus": {"päivä": "2024-05-31"}}


@pytest.mark.parametrize(
    ("study", "state", "expected"),
    [
        (STUDY | CONFIRMED, "valmistunut", ACHIEVED),
        (STUDY, "eronnut", NOT),
        (STUDY, "katsotaaneronneeksi", NOT),
        (STUDY, "valmistunut", NOT),
        (STUDY | {"vahvistus": None}, "lasna", NOT),
        (STUDY | {"vahvistus": {"päivä": ""}}, "lasna", NOT),
        (STUDY | CONFIRMED | {"arviointi": [{"hyväksytty": False}]}, "valmistunut", NOT),
        (STUDY | CONFIRMED | {"arviointi": [{"hyväksytty": False}, {"hyväksytty": True}]}, "valmistunut", ACHIEVED),
    ],
)  # fmt: skip
def test_koski_study_right_counts_only_with_a_confirmation(study, state, expected):
    right = {
        "oid": "1.2.3",
        "tyyppi": {"koodiarvo": "ammatillinenkoulutus"},
        "tila": {"opiskeluoikeusjaksot": [{"alku": "2021-08-01", "tila": {"koodiarvo": state}}]},
        "päättymispäivä": "2024-06-30",
        "suoritukset": [study],
    }
    assert ending(json_outcome("fi-koski", "achievements", right)) == expected
    person = {"henkilö": {"oid": "1.2"}, "opiskeluoikeudet": [right]}
    confirmed = study.get("vahvistus") == CONFIRMED["vahvistus"]
    assert ending(json_outcome("fi-koski", "transcripts", person)) == (
        ACHIEVED if confirmed else NOT
    )


@pytest.mark.parametrize("day", [None, "", "absent"])
def test_matriculation_candidate_without_a_graduation_has_no_credential(day):
    candidate = {"ssn": "010199-903C", "examinations": [], "graduationDate": day}
    if day == "absent":
        del candidate["graduationDate"]
    assert ending(json_outcome("fi-ytr", "examinations", candidate)) == NOT


@pytest.mark.parametrize(
    ("code", "expected"), [("1", ACHIEVED), ("10", NOT), ("7", UNKNOWN), ("", UNKNOWN)]
)
def test_flemish_proof_counts_only_when_registered(code, expected):
    body = f"""<Bewijs><BewijsstatusLed><Code>{code}</Code></BewijsstatusLed><Basis><Bewijstype><Naam>Diploma</Naam></Bewijstype>
      <VolledigeNaam>Voorbeeldkunde</VolledigeNaam></Basis></Bewijs>"""
    assert ending(xml_outcome("be-led", "certificates", body)) == expected


def transcript(*courses: str) -> list[RawRecord]:
    """Return the records that the connector selects from a transcript."""
    connector = load_connector(ROOT / "connectors" / "eu-emrex.yaml")
    text = (
        '<elmo xmlns="https://github.com/emrex-eu/elmo-schemas/tree/v1"><learner>'
        '<identifier type="nationalIdentifier">L1</identifier></learner><report><issuer><country>FI</country>'
        '<identifier type="schac">university.example</identifier><title xml:lang="en">Example University</title></issuer>'
        f"{''.join(courses)}</report></elmo>"
    )
    selector = RecordSelector(
        connector.connector,
        "results",
        connector.streams["results"],
        ExpressionCache(connector.protocol.namespaces),
        lambda _secret: b"a key",
    )
    items = selector.items(DecodedDocument("xml", xml_element(text.encode()), ""), {})
    return [raw for item in items for raw in selector.to_raw_records(item)]


def test_passed_courses_of_an_unfinished_degree_are_published_on_their_own():
    inner = (
        PART.format(id="P1", status=status("passed"), parts="")
        + PART.format(id="P2", status=status("failed"), parts="")
        + PART.format(id="M1", status=status("passed"), parts=PART.format(id="P3", status="", parts=""))
    )  # fmt: skip
    degree = ELMO.format(kind="Degree Programme", status=status("in-progress"), parts=inner)
    connector = load_connector(ROOT / "connectors" / "eu-emrex.yaml")
    raws = transcript(degree)
    made = [outcome(connector, raw) for raw in raws]
    assert len({raw.native_id for raw in raws}) == len(raws)
    assert [ending(one) for one in made] == [NOT, ACHIEVED, NOT, ACHIEVED]
    accepted = [one.record for one in made if isinstance(one, Accepted)]
    assert [record.title["en"] for record in accepted] == ["P1", "M1"]
    assert [part.id for part in accepted[1].parts] == ["P3"]
    assert accepted[0].awarding_body.name == {"en": "Example University"}


def test_courses_of_a_passed_degree_are_its_parts_alone():
    inner = PART.format(id="P1", status=status("passed"), parts="")
    degree = ELMO.format(kind="Degree Programme", status="", parts=inner)
    assert len(transcript(degree)) == 1


def test_virta_grade_of_a_local_scale_is_the_grade_and_not_its_key():
    made = xml_outcome("fi-virta", "achievements", VIRTA.format(kind="2", grade=SCALE.format("1")))
    assert isinstance(made, Accepted)
    assert made.record.assessment.grade == "HYV"


def test_new_connector_of_credentials_needs_a_decision(tmp_path):
    answers = ScaffoldAnswers(country="IE", protocol="rest", name="awards")
    file = write_connector(answers, tmp_path)
    text = file.read_text()
    assert "always" not in text
    file.write_text(text.replace("emits: qualification", "emits: credential"))
    found = [one for one in check(file, TABLES) if one.code == "achieved-missing"]
    assert [one.severity for one in found] == ["error"]
