"""Messages: what happened, where, what was expected and what to do, without a personal value."""

from __future__ import annotations

import asyncio
import json
import textwrap
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from gateway.check.preview import preview_records
from gateway.check.preview_remarks import remarks
from gateway.cli import app
from gateway.config.loading import load_connector
from gateway.errors import StreamError, UsageError
from gateway.fetch.fault_text import MAX_LENGTH, fault_text_in, mask_fault_text
from gateway.fetch.http.auth import OAuth2
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.http.request_reply import RegistryReply, RegistryRequest
from gateway.fetch.offline_client import OfflineClient, make_response
from gateway.harmonise.harmoniser import Harmoniser
from tests.support.wire import Sent, poll_once

ENV11 = "http://schemas.xmlsoap.org/soap/envelope/"
ENV12 = "http://www.w3.org/2003/05/soap-envelope"
SOAP = "request: {envelope: '<ask/>'}\nrecords: //award\nid: '@id'\n"
REST = "request: {get: /a}\nrecords: items\nid: id\n"
XML = "request: {get: /a}\nrecords: /r:list/r:items/r:item\nid: r:id\n"
SPACES = "namespaces: {r: 'urn:example:1'}\n"
PERSONAL = ("Aoife", "Murphy", "12345678", "aoife", "murphy", "1990")


def message_of(folder, body: object, stream: str, block: str = "", status: int = 200, **more):
    text = body if isinstance(body, str) else json.dumps(body)
    media_type = "text/xml" if text.startswith("<") else "application/json"
    read = poll_once(folder, Sent(text.encode(), media_type, status), stream, block, **more)
    assert read.records == []
    assert not any(value in read.message for value in PERSONAL), read.message
    return read.reason, read.message


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Person 12345678A Aoife Murphy was not found", "Person … was not found"),
        ("Murphy is not registered", "… is not registered"),
        ("MURPHY, AOIFE: not registered", "… not registered"),
        ("The student O'Brien-Murphy is unknown", "The student … is unknown"),
        ("Access denied for user 'aoife'", "Access denied for user …"),
        ('no student "aoife murphy" here', "no student … here"),
        ("no student „aoife“ or «murphy» here", "no student … or … here"),
        ("aoife.murphy@school.example is unknown", "… is unknown"),
        ("user=murphy is unknown", "… is unknown"),
        ("born 1990-02-03", "born …"),
        ("born <b>3 May</b>", "born …"),
        ("NOT_FOUND: no such record", "NOT_FOUND: no such record"),
        ("Server was unable to process the request", "Server was unable to process the request"),
        ("the date isn't valid", "the date isn't valid"),
        ("Päring ebaõnnestus, andmebaas ei vasta", "… ebaõnnestus, andmebaas ei vasta"),
        ("Δεν βρέθηκε", "… βρέθηκε"),
        ("李雷 not found", "… not found"),
        ("John Field or Page is unknown", "… or … is unknown"),
        ("two\nlines\tand   spaces", "two lines and spaces"),
        (f"the token {'abc' * 11} is unknown", "the token … is unknown"),
        ("CANARY", ""),
        ("", ""),
    ],
)
def test_words_of_a_registry_stay_without_values(text, masked):
    assert mask_fault_text(text) == masked


def test_words_of_a_registry_end_after_200_characters():
    masked = mask_fault_text("the request failed " * 50)
    assert len(masked) <= MAX_LENGTH
    assert masked.endswith("…")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"error": {"code": 4, "message": "no rights"}}, "no rights"),
        ({"data": None, "errors": [{"message": "no such field", "path": ["a"]}]}, "no such field"),
        ({"errors": ["too many"]}, "too many"),
        ({"type": "about:blank", "title": "gone", "status": 410}, "gone"),
        ([{"key": "notFound", "message": "no such person"}], "no such person"),
        ({"message": "hello", "name": "a record"}, ""),
        ({"items": [{"message": "part of a record", "id": 1}]}, ""),
        (["text"], ""),
        ("text", ""),
    ],
)
def test_only_an_error_explains_itself(document, text):
    assert fault_text_in(document) == text


@pytest.mark.parametrize(
    "body",
    [
        (
            f'<s:Envelope xmlns:s="{ENV11}"><s:Body><s:Fault><faultcode>s:Client</faultcode>'
            "<faultstring>The service is closed for Aoife Murphy 12345678</faultstring>"
            "</s:Fault></s:Body></s:Envelope>"
        ),
        (
            f'<e:Envelope xmlns:e="{ENV12}"><e:Body><e:Fault><e:Code><e:Value>e:Sender</e:Value></e:Code>'
            '<e:Reason><e:Text xml:lang="en">The service is closed for Aoife Murphy</e:Text></e:Reason>'
            "</e:Fault></e:Body></e:Envelope>"
        ),
    ],
)
def test_soap_fault_is_quoted(tmp_path, body):
    reason, message = message_of(tmp_path, body, SOAP, protocol="soap", status=500)
    assert reason == "SOAP_FAULT"
    assert 'the registry says: "The service is closed for …"' in message


def test_fault_of_x_road_is_quoted(tmp_path):
    body = (
        f'<s:Envelope xmlns:s="{ENV11}" xmlns:x="http://x-road.eu/xsd/xroad.xsd"><s:Body><answer>'
        "<x:faultCode>Server.Down</x:faultCode><x:faultString>database is down</x:faultString>"
        "</answer></s:Body></s:Envelope>"
    )
    reason, message = message_of(tmp_path, body, SOAP, protocol="soap")
    assert reason == "LIST_MISSING"
    assert 'the registry says: "database is down"' in message


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"error": {"message": "period is closed for Murphy"}}, 200, "period is closed for …"),
        ({"title": "Bad Request", "detail": "the date 1990 is wrong"}, 400, "the date … is wrong"),
        ({"message": "Forbidden"}, 403, "Forbidden"),
        ("<error><message>no such service</message></error>", 404, "no such service"),
        ({"errors": ["service overloaded"]}, 503, "service overloaded"),
    ],
)
def test_error_body_is_quoted(tmp_path, body, status, words):
    _, message = message_of(tmp_path, body, REST, status=status)
    assert f'the registry says: "{words}"' in message


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            400,
            {"error": "invalid_scope", "error_description": "the scope of Murphy is closed"},
            '(invalid_scope); check client_id, secret and scope; the registry says: "the scope of … is',
        ),
        (401, {"error": "invalid_client"}, "(invalid_client); check client_id, secret and scope"),
        (503, {"error": "temporarily_unavailable"}, "answered 503 (temporarily_unavailable)"),
        (400, {"error": "Murphy 1990"}, "answered 400; check client_id, secret and scope"),
    ],
)
def test_refusal_of_a_token_is_quoted(status, body, words):
    flow = OAuth2("https://sso.example/token", lambda: "client", lambda: "secret").flow(
        RegistryRequest("GET", "https://registry.example/a"), datetime(2026, 1, 1, tzinfo=UTC)
    )
    next(flow)
    data = ReplyBody.from_bytes(json.dumps(body).encode())
    with pytest.raises(StreamError) as raised:
        flow.send(RegistryReply(status, {"content-type": "application/json"}, data, ""))
    assert words in str(raised.value)
    assert not any(value in str(raised.value) for value in PERSONAL)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("<html><body>Aoife Murphy</body></html>", 500),
        ("{not json", 500),
        ({"name": "Aoife", "message": "for you"}, 404),
        ("<!DOCTYPE a><error>x</error>", 400),
        ("", 404),
    ],
)
def test_body_that_explains_no_error_is_not_quoted(tmp_path, body, status):
    _, message = message_of(tmp_path, body, REST, status=status)
    assert "the registry says" not in message


def test_reason_of_a_rule_is_in_the_message(tmp_path):
    block = (
        "replies:\n"
        "  - {when: {status: 404}, then: empty}\n"
        "  - {when: {path: status, is: [break]}, then: stop, reason: TERM_BREAK}\n"
    )
    body = {"status": "break", "message": "the register is closed"}
    reason, message = message_of(tmp_path, body, REST, block)
    assert reason == "TERM_BREAK"
    assert "rule 2 under `replies` (then: stop, reason: TERM_BREAK)" in message
    assert 'the registry says: "the register is closed"' in message


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (
            '<list xmlns="urn:example:2"><items/></list>',
            [
                "an element `list` in the namespace urn:example:2",
                "r is urn:example:1",
                "add its namespace under `namespace_versions`",
            ],
        ),
        ("<list><items/></list>", ["an element `list` without a namespace"]),
        (
            '<list xmlns="urn:example:1"><entries/><more/></list>',
            ["`/r:list` is an element with `entries` in the namespace urn:example:1, `more`"],
        ),
        ('<list xmlns="urn:example:1"/>', ["`/r:list` is an empty element without `r:items`"]),
        (
            '<list xmlns="urn:example:1"><items><row/></items></list>',
            ["`/r:list/r:items` is an element with `row`", "expected records, or nothing"],
        ),
    ],
)
def test_missing_list_names_the_elements_that_stand_there(tmp_path, body, texts):
    reason, message = message_of(tmp_path, body, XML, SPACES)
    assert reason == "LIST_MISSING"
    for text in texts:
        assert text in message


@pytest.mark.parametrize(
    ("body", "records", "text"),
    [
        ({"itmes": [], "count": 0}, "items", "without `items` (did you mean `itmes`?)"),
        ({"data": {"courseList": []}}, "data.courselist", "(did you mean `courseList`?)"),
        ({"Murphy": [], "12345678": []}, "items", "an object without `items`. This is not"),
    ],
)
def test_missing_list_names_a_similar_name_only(tmp_path, body, records, text):
    stream = REST.replace("records: items", f"records: {records}")
    reason, message = message_of(tmp_path, body, stream)
    assert reason == "LIST_MISSING"
    assert text in message


def test_message_names_the_stream(tmp_path):
    body = {"items": [{"id": "1"}], "next": "/b"}
    stream = REST + "paging: {next_url: next}\n"
    read = poll_once(tmp_path, Sent(json.dumps(body).encode(), "application/json"), stream)
    assert read.reason in {"PAGE_REPEATED", "CURSOR_LOOP"}
    assert read.message.startswith("wire.awards: ")


def test_messages_of_a_missing_id_name_the_part(tmp_path):
    stream = (
        "request: {get: /a}\ndecode: [xml]\nrecords: /r:list/r:item\nid: [r:school/@code, r:number]\n"
        "map: {title.en: r:title}\n"
    )
    file = tmp_path / "edge.yaml"
    head = CONNECTOR.partition("    request:")[0].format()
    head = head.replace("  errors:", "  namespaces: {r: urn:example:1}\n  errors:")
    tests = "tests: [{name: a, given: <a/>, expect_some: {}}]\n"
    file.write_text(head + textwrap.indent(stream + tests, "    "))
    sample = tmp_path / "reply.xml"
    sample.write_text(
        '<list xmlns="urn:example:1"><item><school code="Murphy"/><title>Aoife</title></item></list>'
    )
    result = CliRunner().invoke(app, ["preview", str(file), "--sample", str(sample)])
    assert "rejected: missing at id; expected a value for part 2 of 2 (r:number)" in result.output
    assert "Murphy" not in result.output


CONNECTOR = """
language: 1
connector: edge
country: FI
title: A registry of an authority
owner: {{name: An authority, contact: registry@authority.example}}
rest:
  url: {{production: "https://registry.example/api"}}
  replies: [{{when: {{status: 404}}, then: empty}}]
  errors: by_status
streams:
  courses:
    emits: learning_opportunity
    cursor: scan
    request: {{get: "/courses"}}
    records: items
    id: id
{more}
    map:
      title: {{languages: {{object: name, otherwise: en}}}}
      description.en: about
      homepage: site
    tests:
      - name: shape
        given: {{id: "1", name: {{en: Weaving}}}}
        expect_some: {{title: {{en: Weaving}}}}
"""
COURSE = {"id": "c-1", "name": {"en": "Weaving"}}


def preview(folder, *samples: object, more: str = "", options: tuple[str, ...] = ()) -> str:
    file = folder / "edge.yaml"
    file.write_text(CONNECTOR.format(more=textwrap.indent(textwrap.dedent(more), "    ")))
    arguments = ["preview", str(file), *options]
    for number, sample in enumerate(samples):
        saved = folder / f"reply{number}.json"
        saved.write_text(json.dumps(sample))
        arguments += ["--sample", str(saved)]
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.output


def test_preview_lists_rules_that_found_nothing(tmp_path):
    second = {**COURSE, "id": "c-2", "site": "https://school.example"}
    shown = preview(tmp_path, {"items": [COURSE, second]})
    assert "rules that found nothing in any of 2 records: description.en\n" in shown


def test_preview_says_nothing_of_rules_that_found_a_value(tmp_path):
    whole = {**COURSE, "about": "Of looms.", "site": "https://school.example"}
    assert "found nothing" not in preview(tmp_path, {"items": [COURSE, whole]})


def test_preview_says_that_a_list_is_empty(tmp_path):
    shown = preview(tmp_path, {"items": []})
    assert "no record: the list in the reply is empty. " in shown
    assert "rule" not in shown


@pytest.mark.parametrize(
    ("status", "body", "rules", "clause"),
    [
        (404, {}, "", "the reply (status 404) fits rule 1 under `replies` (then: empty)"),
        (200, {"code": "none"}, "{when: {path: code, is: none}, then: empty}", "(status 200) fits rule 2"),
        (410, {}, "{when: {status: 410}, then: empty, complete: true}", "(status 410) fits rule 2"),
    ],
)  # fmt: skip
def test_preview_names_the_rule_that_read_a_reply_as_empty(tmp_path, status, body, rules, clause):
    file = tmp_path / "edge.yaml"
    first = "[{when: {status: 404}, then: empty}"
    text = CONNECTOR.format(more="").replace(f"{first}]", f"{first}, {rules}]")
    file.write_text(text)
    connector = load_connector(file)
    client = OfflineClient(connector, lambda _: b"", "production")
    client.answer = lambda _request: make_response(
        status, {"content-type": "application/json"}, json.dumps(body).encode()
    )
    harmonise = Harmoniser(connector, None, pseudonym_key=b"k" * 32)
    shown = asyncio.run(preview_records(connector, "courses", client, harmonise, 5))
    [remark] = remarks(connector, "courses", shown)
    assert remark.startswith("no record: ")
    assert clause in remark
    assert "reads it as an empty list" in remark


def test_preview_says_which_loop_has_no_value(tmp_path):
    more = """
        for_each:
          school: {in: {request: {request: {get: /schools}, select: "schools[].code"}}}
    """
    shown = preview(tmp_path, {"schools": []}, more=more)
    assert "loop 'school' has no value" in shown
    assert "check its source under `for_each.school`" in shown


def test_preview_says_which_join_found_nothing(tmp_path):
    more = """
        join:
          - {into: parts, records: parts, key: course, to: id}
          - {into: places, records: places, key: course, to: id}
    """
    reply = {
        "items": [COURSE],
        "parts": [{"course": "other"}],
        "places": [{"course": "c-1", "name": "Hall"}],
    }
    shown = preview(tmp_path, reply, more=more)
    assert "join 'parts' found nothing for any record: compare `key: course` with `to: id`" in shown
    assert "'places'" not in shown


DELETED = "deleted: {path: state, is: [gone]}\n"


def check_passes(folder) -> str:
    result = CliRunner().invoke(app, ["check", str(folder / "edge.yaml")])
    assert "0 errors" in result.output or result.exit_code == 0, result.output
    return (folder / "edge.yaml").read_text()


def test_saved_test_is_the_first_record_with_content(tmp_path):
    gone = {"id": "c-0", "state": "gone"}
    shown = preview(tmp_path, {"items": [gone, COURSE]}, more=DELETED, options=("--save-test",))
    assert "test written" in shown
    assert "c-1" in check_passes(tmp_path)


def test_no_test_is_saved_when_each_record_is_deleted(tmp_path):
    gone = {"id": "c-0", "state": "gone"}
    shown = preview(tmp_path, {"items": [gone]}, more=DELETED, options=("--save-test",))
    assert "no test written: no record with content was read" in shown
    assert "TODO" not in check_passes(tmp_path)


def test_saved_test_keeps_the_institution_that_the_file_names(tmp_path):
    more = """
        for_each:
          school: {in: {parties: {weavers: {}, joiners: {}}}}
    """
    shown = preview(tmp_path, {"items": [COURSE]}, more=more, options=("--save-test",))
    assert "test written" in shown
    assert "school: weavers" in check_passes(tmp_path)


def test_no_test_is_saved_between_brackets(tmp_path):
    file = tmp_path / "edge.yaml"
    text = CONNECTOR.format(more="")
    head, _, _ = text.partition("    tests:")
    text = head + '    tests: [{name: shape, given: {id: "1"}, expect_some: {id: "1"}}]\n'
    file.write_text(text)
    (tmp_path / "reply.json").write_text(json.dumps({"items": [COURSE]}))
    sample = ["--sample", str(tmp_path / "reply.json")]
    result = CliRunner().invoke(app, ["preview", str(file), *sample, "--save-test"])
    assert isinstance(result.exception, UsageError)
    assert "the tests are inside [ ]" in str(result.exception)
    assert file.read_text() == text
