"""A message that the connector cannot read is refused, and never thanked for."""

from __future__ import annotations

import asyncio
import base64
import gzip
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from aiohttp import web
from typer.testing import CliRunner

from gateway.check import check_document
from gateway.cli import app
from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.config.yaml.document import parse_yaml
from gateway.fetch.push_receiver import PushReceiver, build_application
from gateway.records import RawRecord

ROOT = Path(__file__).parents[3]
V1 = "https://github.com/emrex-eu/elmo-schemas/tree/v1"
V2 = "https://github.com/emrex-eu/elmo-schemas/tree/v2"
LEARNER = (
    '<learner><identifier type="nationalIdentifier">T-1</identifier><givenNames>Test</givenNames>'
    "<familyName>Example</familyName><{0}>1990-01-01</{0}></learner>"
)
ISSUER = (
    '<issuer><country{0}>DE</country><identifier type="schac">college.example</identifier>'
    '<title xml:lang="en">Example College</title><url>https://college.example</url></issuer>'
)
COURSE = (
    '<learningOpportunitySpecification><identifier type="local">C-1</identifier>'
    '<title xml:lang="en">Compilers</title><type>Course</type><specifies>'
    '<learningOpportunityInstance><identifier type="local">C-1-W</identifier>'
    "<date>2026-03-17</date><status>passed</status><credit><scheme>ects</scheme><value>6</value>"
    "</credit></learningOpportunityInstance></specifies></learningOpportunitySpecification>"
)
PDF = (
    '<attachment><title xml:lang="en">Transcript</title><type>Transcript of Records</type>'
    "<content>data:application/pdf;base64,JVBERi0=</content></attachment>"
)


def elmo(
    namespace: str, *content: str, learner: str = "bday", country: str = "", root: str = "elmo"
) -> str:
    return (
        f'<{root} xmlns="{namespace}"><generatedDate>2026-05-01T12:00:00+02:00</generatedDate>'
        f"{LEARNER.format(learner)}<report>{ISSUER.format(country)}{''.join(content)}"
        f"<issueDate>2026-05-01T12:00:00+02:00</issueDate></report></{root}>"
    )


def emrex() -> Connector:
    """The shipped connector, without the step that verifies a signature."""
    connector = load_connector(ROOT / "connectors/eu-emrex.yaml")
    stream = connector.streams["results"]
    return connector.with_streams(
        {"results": stream.model_copy(update={"decode": ("base64", "gzip", "xml")})}
    )


def post(
    connector: Connector, path: str, **message: Any
) -> tuple[httpx2.Response, list[RawRecord]]:
    """Send one message to a real receiver, and return the answer and the stored records."""
    stored: list[RawRecord] = []

    async def store(raws: Any) -> None:
        stored.extend(raws)

    async def run() -> httpx2.Response:
        receiver = PushReceiver(connector, lambda _: b"secret", store)
        runner = web.AppRunner(build_application([receiver]))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with httpx2.AsyncClient(timeout=60) as client:
                port = runner.addresses[0][1]
                return await client.post(f"http://127.0.0.1:{port}{path}", **message)
        finally:
            await runner.cleanup()

    return asyncio.run(run()), stored


def post_elmo(document: str) -> tuple[httpx2.Response, list[RawRecord]]:
    field = base64.b64encode(gzip.compress(document.encode())).decode()
    form = {"elmo": field, "returnCode": "NCP_OK", "sessionId": "1"}
    return post(emrex(), "/emrex/results", data=form)


@pytest.mark.parametrize(
    "document",
    [
        elmo(V1, COURSE),
        elmo(V2, COURSE, learner="dateOfBirth", country=' type="ISO"'),
        elmo(V2, COURSE, COURSE.replace("C-1", "C-2")),
    ],
    ids=["1.x", "2.x", "2.x without the new elements"],
)
def test_results_of_both_versions_are_stored(document: str) -> None:
    answer, stored = post_elmo(document)
    assert answer.status_code == 200
    count = document.count("<learningOpportunitySpecification>")
    assert f"have arrived and are stored: {count}." in answer.text
    assert len(stored) == count
    assert all(raw.context["birth_date"] == "1990-01-01" for raw in stored)
    assert all(raw.context["issuer_country"] == "DE" for raw in stored)


@pytest.mark.parametrize(
    "document",
    [
        elmo("https://github.com/emrex-eu/elmo-schemas/tree/v9", COURSE),
        elmo("https://github.com/emrex-eu/elmo-schemas/tree/v3", COURSE),
        elmo(V1, PDF),
        elmo(V2, PDF),
        elmo(V1, COURSE, root="transcript"),
        elmo(V1),
        f'<elmo xmlns="{V1}"/>',
        "<html><body>Signed out</body></html>",
        '<result xmlns="urn:example:other"><course>1</course></result>',
    ],
    ids=[
        "0.x",
        "3.x",
        "PDF only",
        "2.x PDF only",
        "other root",
        "no result",
        "empty",
        "page",
        "other",
    ],
)
def test_results_that_cannot_be_read_are_refused(document: str) -> None:
    answer, stored = post_elmo(document)
    assert answer.status_code == 400
    assert "<small>Code: " in answer.text
    assert "Nothing is stored." in answer.text
    assert "arrived" not in answer.text
    assert stored == []


@pytest.mark.parametrize("code", ["NCP_NO_RESULTS", "NCP_CANCEL"])
@pytest.mark.parametrize("document", ["", elmo(V1, COURSE)], ids=["alone", "with results"])
def test_results_are_never_said_to_have_arrived_when_the_sender_sent_none(
    code: str, document: str
) -> None:
    field = base64.b64encode(gzip.compress(document.encode())).decode() if document else ""
    form = {"returnCode": code, "elmo": field, "sessionId": "1"}
    answer, stored = post(emrex(), "/emrex/results", data=form)
    assert (answer.status_code, stored) == (200, [])
    assert "No results have been sent, and nothing is stored." in answer.text
    assert "arrived" not in answer.text


def test_error_of_the_sender_is_told_in_words() -> None:
    form = {"returnCode": "NCP_ERROR", "returnMessage": "x", "sessionId": "1"}
    answer, stored = post(emrex(), "/emrex/results", data=form)
    assert (answer.status_code, stored) == (400, [])
    assert "The service that sent your results reported an error" in answer.text
    assert "<small>Code: STOPPED</small>" in answer.text


TWO_REPORTS = elmo(V1, COURSE).replace("</elmo>", f"<report>{PDF}</report></elmo>")


@pytest.mark.parametrize(
    "document",
    [
        elmo(V1, COURSE, PDF),
        TWO_REPORTS,
        elmo(V1, COURSE, COURSE.replace("Specification>", 'Specification xmlns="urn:other">', 1)),
    ],
    ids=["document beside it", "second report", "other namespace"],
)
def test_answer_counts_what_is_stored_and_no_more(document: str) -> None:
    answer, stored = post_elmo(document)
    assert answer.status_code == 200
    assert len(stored) == 1
    assert "have arrived and are stored: 1." in answer.text
    assert "PDF files are not stored" in answer.text


TWO_STREAMS = """language: 1
connector: two-kinds
country: IE
title: A register that sends two kinds
owner: {name: Tests, contact: tests@example.org}
push:
  path: /in
  replies: [{when: {path: status, is: none}, then: empty}]
  accepted: {body: "{count} stored"}
  refused: {status: 422, body: "{reason}"}
streams:
  awards: {emits: qualification, records: awards, id: id, map: {title.en: t}, tests: [{name: s, given: {}, expect_some: {}}]}
  courses: {emits: qualification, records: courses, id: id, map: {title.en: t}, tests: [{name: s, given: {}, expect_some: {}}]}
"""


@pytest.mark.parametrize(
    ("message", "status", "count"),
    [
        ({"awards": [{"id": "1"}]}, 200, 1),
        ({"courses": [{"id": "2"}]}, 200, 1),
        ({"awards": [], "courses": [{"id": "2"}]}, 200, 1),
        ({"status": "none"}, 200, 0),
        ({"awards": []}, 422, 0),
        ({"data": {"awards": [{"id": "1"}]}}, 422, 0),
        ({"error": "timeout"}, 422, 0),
        ({}, 422, 0),
        ([], 422, 0),
    ],
)
def test_message_of_two_streams_needs_the_list_of_one(
    tmp_path: Path, message: object, status: int, count: int
) -> None:
    file = tmp_path / "two-kinds.yaml"
    file.write_text(TWO_STREAMS)
    answer, stored = post(load_connector(file), "/in", json=message)
    assert (answer.status_code, len(stored)) == (status, count)
    if status == 422:
        assert answer.text == "NO_RECORDS"
    else:
        assert answer.text == (f"{count} stored" if count else "")


def test_answer_to_a_message_without_records_is_the_declared_one(tmp_path: Path) -> None:
    file = tmp_path / "two-kinds.yaml"
    answer = '  nothing: {status: 202, media_type: text/plain, body: "{count} records"}\n'
    file.write_text(TWO_STREAMS.replace("streams:\n", f"{answer}streams:\n"))
    got, stored = post(load_connector(file), "/in", json={"status": "none"})
    assert (got.status_code, got.text, stored) == (202, "0 records", [])
    assert got.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        ("", ["answer-missing"]),
        ('  nothing: {body: "none"}\n', []),
        ("  nothing: {}\n", []),
        ('  nothing: {body: "{conut}"}\n', ["unknown-placeholder"]),
    ],
)
def test_check_asks_for_the_answer_to_a_message_without_records(
    answer: str, codes: list[str]
) -> None:
    text = TWO_STREAMS.replace("streams:\n", f"{answer}streams:\n")
    found = check_document(parse_yaml(text.encode(), "two-kinds.yaml"), None)
    wanted = {"answer-missing", "unknown-placeholder"}
    assert [finding.code for finding in found if finding.code in wanted] == codes


def preview(*arguments: object) -> str:
    """Return the output and the error text of ``gateway preview``."""
    result = CliRunner().invoke(app, ["preview", *map(str, arguments)])
    return result.output + str(result.exception or "")


@pytest.mark.parametrize("form", [True, False], ids=["whole message", "document of a field"])
def test_preview_reads_a_saved_message(tmp_path: Path, form: bool) -> None:
    document = elmo(V2, COURSE, learner="dateOfBirth", country=' type="ISO"')
    field = base64.b64encode(gzip.compress(document.encode())).decode()
    sample = tmp_path / ("message.txt" if form else "results.xml")
    sample.write_text(urlencode({"elmo": field, "returnCode": "NCP_OK"}) if form else document)
    output = preview(ROOT / "connectors/eu-emrex.yaml", "--sample", sample)
    assert "accepted, published on europass.credentials.v1" in output
    assert "title.en = Compilers" in output


def test_preview_shows_why_a_message_is_refused(tmp_path: Path) -> None:
    sample = tmp_path / "results.xml"
    sample.write_text(elmo("https://github.com/emrex-eu/elmo-schemas/tree/v9", COURSE))
    assert "no stream finds a record in the message" in preview(
        ROOT / "connectors/eu-emrex.yaml", "--sample", sample
    )


def test_preview_of_a_push_connector_asks_for_a_message() -> None:
    assert "save a message and add --sample FILE" in preview(ROOT / "connectors/eu-emrex.yaml")
