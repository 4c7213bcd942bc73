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

from gateway.cli import app
from gateway.config.connector import Connector
from gateway.config.loading import load_connector
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
    assert "have arrived" in answer.text
    assert len(stored) == document.count("<learningOpportunitySpecification>")
    assert all(raw.context["birth_date"] == "1990-01-01" for raw in stored)
    assert all(raw.context["issuer_country"] == "DE" for raw in stored)


@pytest.mark.parametrize(
    "document",
    [
        elmo("http://purl.org/net/elmo", COURSE),
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
    assert "could not be read (" in answer.text
    assert "arrived" not in answer.text
    assert stored == []


def test_results_without_a_record_are_accepted_when_the_sender_says_so() -> None:
    form = {"returnCode": "NCP_NO_RESULTS", "sessionId": "1"}
    answer, stored = post(emrex(), "/emrex/results", data=form)
    assert (answer.status_code, stored) == (200, [])


TWO_STREAMS = """language: 1
connector: two-kinds
country: IE
title: A register that sends two kinds
owner: {name: Tests, contact: tests@example.org}
push:
  path: /in
  replies: [{when: {path: status, is: none}, then: empty}]
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
    sample.write_text(elmo("http://purl.org/net/elmo", COURSE))
    assert "no stream finds a record in the message" in preview(
        ROOT / "connectors/eu-emrex.yaml", "--sample", sample
    )


def test_preview_of_a_push_connector_asks_for_a_message() -> None:
    assert "save a message and add --sample FILE" in preview(ROOT / "connectors/eu-emrex.yaml")
