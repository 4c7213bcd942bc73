"""A reply in which the list is not there deletes nothing, and an empty list is still empty."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StreamError
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream
from tests.support.wire import Read, Sent, poll

SCAN = stream("", "cursor: scan")
NAMESPACES = 'namespaces: {t: "urn:t"}'
ENVELOPE = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>%s</s:Body>'
    "</s:Envelope>"
)


def read(
    folder: Path,
    body: str | bytes,
    records: str,
    more: str = "",
    *,
    media_type: str = "application/json",
    status: int = 200,
    block: str = "",
    protocol: str = "rest",
) -> Read:
    content = body if isinstance(body, bytes) else body.encode()
    request = "{envelope: <ask/>}" if protocol == "soap" else "{get: /awards}"
    identifier = '"@id"' if media_type == "text/xml" else "id"
    text = f"request: {request}\nrecords: {json.dumps(records)}\nid: {identifier}\n{more}"
    return poll(folder, Sent(content, media_type, status), text, block, protocol=protocol)[0]


def outcome(read: Read) -> str:
    """Return `empty`, `records` or the reason of the stop."""
    if read.reason:
        assert not read.complete
        return read.reason
    assert read.complete
    return "records" if read.records else "empty"


# --- nothing is deleted


@pytest.mark.parametrize(
    "wrong",
    [
        {"error": {"code": 500, "message": "out of order"}},
        {"data": [item("a"), item("b")]},
        {"items": None},
        {"items": "processing"},
        {"items": 0},
        {"items": {"message": "no connection"}},
        {"items": [None]},
        {"result": {"items": []}},
        {"Items": []},
        {},
        [],
        None,
        json.dumps({"items": [item("a")]}),
        (202, {"status": "processing"}),
        (206, {"part": 1}),
    ],
)
def test_reply_without_its_list_deletes_nothing(wrong: Any) -> None:
    state = MemoryStreamState()
    poll_route(lambda _path, _query: {"items": [item("a"), item("b")]}, SCAN, state)
    before = state.cursor
    result = poll_route(lambda _path, _query: wrong, SCAN, state)
    assert isinstance(result, StreamError), result
    assert result.reason == "LIST_MISSING"
    assert state.published == {"a", "b"}
    assert state.cursor == before


def test_empty_list_deletes_what_it_no_longer_contains() -> None:
    state = MemoryStreamState()
    poll_route(lambda _path, _query: {"items": [item("a"), item("b")]}, SCAN, state)
    result = poll_route(lambda _path, _query: {"items": []}, SCAN, state)
    result = poll_route(lambda _path, _query: {"items": []}, SCAN, state)
    assert isinstance(result, PollResult), result
    assert state.published == set()


def test_stream_recovers_when_the_list_is_back() -> None:
    state = MemoryStreamState()
    for reply in ({"items": [item("a")]}, {"down": True}, {"items": [item("a"), item("c")]}):
        result = poll_route(lambda _path, _query, reply=reply: reply, SCAN, state)
    assert isinstance(result, PollResult), result
    assert state.published == {"a", "c"}


# --- JSON


@pytest.mark.parametrize(
    ("records", "body", "expected"),
    [
        ("items", {"items": []}, "empty"),
        ("items", {"items": {"id": "1"}}, "records"),
        ("data.items", {"data": {"items": []}}, "empty"),
        ("data.items", {"data": None}, "LIST_MISSING"),
        ("data.items", {"data": []}, "LIST_MISSING"),
        ("[]", [], "empty"),
        ("[]", {"detail": "x"}, "LIST_MISSING"),
        ("@", [], "empty"),
        ("@", {"id": "1"}, "records"),
        ("@", {"detail": "x"}, "LIST_MISSING"),
        ("[@]", {"detail": "x"}, "LIST_MISSING"),
        ("items || [@]", {"items": []}, "empty"),
        ("items || [@]", {"id": "1"}, "records"),
        ("items || [@]", {"gateway": {}, "responses": {"x": {"items": [{"id": "1"}]}}}, "LIST_MISSING"),
        ("items || data", {"data": []}, "empty"),
        ("items || data", {"rows": []}, "LIST_MISSING"),
        ("items[?kind=='a']", {"items": [{"id": "1", "kind": "b"}]}, "empty"),
        ("items[?kind=='a']", {"items": [{"id": "1", "type": "a"}]}, "LIST_MISSING"),
        ("items[?kind=='a']", {"rows": []}, "LIST_MISSING"),
        ("sort_by(items, &id)", {"items": []}, "empty"),
        ("sort_by(items, &id)", {"items": "x"}, "LIST_MISSING"),
        ("values(items)[]", {"items": {}}, "empty"),
        ("values(items)[]", {}, "LIST_MISSING"),
        ("data.edges[].node", {"data": {"edges": []}}, "empty"),
        ("data.edges[].node", {"data": {"edges": [{"node": {"id": "1"}}]}}, "records"),
        ("data.edges[].node", {"data": {"edges": [{"node": {"id": "1"}}, {"node": None}]}}, "LIST_MISSING"),
        ("schools[].awards[]", {"schools": [{"awards": []}]}, "empty"),
        ("*.awards[]", {}, "LIST_MISSING"),
        ("schools[].awards[]", {"schools": [{"awards": [{"id": "1"}]}, {"name": "x"}]}, "LIST_MISSING"),
        ("[awards, courses][]", {"awards": [{"id": "1"}], "courses": []}, "records"),
        ("[awards, courses][]", {"awards": [{"id": "1"}]}, "LIST_MISSING"),
        ("items[0:9]", {"items": []}, "empty"),
        ("items[0:9]", {"items": "a text"}, "LIST_MISSING"),
    ],
)  # fmt: skip
def test_json_list_is_told_from_its_absence(
    tmp_path: Path, records: str, body: Any, expected: str
) -> None:
    assert outcome(read(tmp_path, json.dumps(body), records)) == expected


@pytest.mark.parametrize("records", ["@", "[@]", "items || [@]", "items"])
def test_error_with_an_id_of_its_own_is_no_record(tmp_path: Path, records: str) -> None:
    more = "map: {title.en: name.en}\nchanged_at: changed\n"
    for body, expected in (
        ({"id": "7f3", "error": "out of order"}, "LIST_MISSING"),
        ({"id": "7f3", "name": {"en": "Statistics"}}, "records"),
        ({"id": "7f3", "changed": "2025-01-01T00:00:00Z"}, "records"),
    ):
        content = {"items": body} if records == "items" else body
        assert outcome(read(tmp_path, json.dumps(content), records, more)) == expected, body


def test_second_step_is_told_from_its_absence(tmp_path: Path) -> None:
    text = 'request: {get: /a}\nrecords: ["[] || [@]", "rights[]"]\nid: id\n'
    for body, expected in (
        ([{"rights": [{"id": "1"}]}], "records"),
        ({"rights": [{"id": "1"}]}, "records"),
        ([], "empty"),
        ({"key": "error", "message": "x"}, "LIST_MISSING"),
        ([{"key": "error"}], "LIST_MISSING"),
    ):
        sent = Sent(json.dumps(body).encode(), "application/json")
        assert outcome(poll(tmp_path, sent, text)[0]) == expected, body


@pytest.mark.parametrize("extra", ["x", {}, {"items": 1}, None])
def test_line_without_the_list_stops_the_reply(tmp_path: Path, extra: Any) -> None:
    lines = "\n".join(json.dumps(line) for line in ({"items": [{"id": "1"}]}, extra))
    result = read(tmp_path, lines, "[].items[]", "decode: [{json: {lines: true}}]\n")
    assert outcome(result) == "LIST_MISSING"


def test_declared_list_lets_inner_lists_be_absent(tmp_path: Path) -> None:
    more = "list: schools\n"
    body = {"schools": [{"awards": [{"id": "1"}]}, {"name": "x"}]}
    assert outcome(read(tmp_path, json.dumps(body), "schools[].awards[]", more)) == "records"
    assert outcome(read(tmp_path, '{"schools": []}', "schools[].awards[]", more)) == "empty"
    assert outcome(read(tmp_path, '{"error": 1}', "schools[].awards[]", more)) == "LIST_MISSING"


def test_total_of_zero_stands_for_the_list(tmp_path: Path) -> None:
    more = "paging: {offset: {size: 10, total: total}}\n"
    assert outcome(read(tmp_path, '{"total": 0}', "items", more)) == "empty"
    assert outcome(read(tmp_path, '{"total": 3}', "items", more)) == "LIST_MISSING"


def test_reply_rule_says_how_an_empty_list_looks(tmp_path: Path) -> None:
    block = "replies: [{when: {path: message, is: no results}, then: empty}]"
    assert outcome(read(tmp_path, '{"message": "no results"}', "items", block=block)) == "empty"
    assert outcome(read(tmp_path, '{"message": "busy"}', "items", block=block)) == "LIST_MISSING"


# --- XML and SOAP


LIST = '<t:list xmlns:t="urn:t">%s</t:list>'


@pytest.mark.parametrize(
    ("records", "body", "expected"),
    [
        ("/t:list/t:award", LIST % "", "empty"),
        ("/t:list/t:award", LIST % "<!-- none -->\n", "empty"),
        ("/t:list/t:award", LIST % '<t:award id="1"/>', "records"),
        ("/t:list/t:award", LIST % '<t:prize id="1"/>', "LIST_MISSING"),
        ("/t:list/t:award", LIST % "service down", "LIST_MISSING"),
        ("/t:list/t:award", "<list/>", "LIST_MISSING"),
        ("/t:list/t:award", '<list xmlns="urn:t:2"/>', "LIST_MISSING"),
        ("/t:list/t:award", "<error/>", "LIST_MISSING"),
        ("/t:list/t:award[@state='A']", LIST % '<t:award id="1" state="B"/>', "empty"),
        ("/t:list/t:award[@state='A']", LIST % '<t:award id="1" status="A"/>', "LIST_MISSING"),
        ("//t:list/t:award", f"<r>{LIST % ''}</r>", "empty"),
        ("//t:list/t:award", "<r/>", "LIST_MISSING"),
        ("t:list//t:award", f"<r>{LIST % ''}</r>", "empty"),
        ("//t:award", LIST % '<t:award id="1"/>', "records"),
        ("//t:award", LIST % "<t:message/>", "LIST_MISSING"),
        ("//t:award", "<maintenance/>", "LIST_MISSING"),
        ("//t:award", "<t:error xmlns:t='urn:t'/>", "LIST_MISSING"),
        ("//t:a/t:x | //t:b/t:x", '<r xmlns:t="urn:t"><t:b/></r>', "empty"),
        ("//t:a/t:x | //t:b/t:x", '<r xmlns:t="urn:t"><t:c/></r>', "LIST_MISSING"),
        ("//*[local-name()='list']/*[local-name()='award']", LIST % "", "empty"),
        ("//*[local-name()='list']/*[local-name()='award']", "<fault/>", "LIST_MISSING"),
        ("//*[local-name()='list']/*[local-name()='award']", "<other/>", "LIST_MISSING"),
        ("/*/award", '<list><award id="1"/></list>', "records"),
        ("/*/award", "<e/>", "LIST_MISSING"),
        ("/*/award", "<list/>", "LIST_MISSING"),
        ("/*[1]/award", "<e/>", "LIST_MISSING"),
        ("*/award", "<e/>", "LIST_MISSING"),
        ("/*/*", "<e/>", "LIST_MISSING"),
        ("/*/t:award", "<e/>", "LIST_MISSING"),
        ("/*/t:award", LIST % "", "empty"),
        ("/*/list/award", "<r><list/></r>", "empty"),
        ("/list/*", "<list/>", "empty"),
        ("/list/*", "<other/>", "LIST_MISSING"),
        (".", '<award id="1"/>', "records"),
        (".", "<error/>", "LIST_MISSING"),
        ("/t:award", '<t:award xmlns:t="urn:t" id="1"/>', "records"),
        ("/t:award", "<problem/>", "LIST_MISSING"),
        ("/atom:feed/atom:entry", '<feed xmlns="http://www.w3.org/2005/Atom"><title>x</title></feed>', "empty"),
        ("/atom:feed/atom:entry", '<feed xmlns="http://example.org/"><title>x</title></feed>', "LIST_MISSING"),
    ],
)  # fmt: skip
def test_xml_list_is_told_from_its_absence(
    tmp_path: Path, records: str, body: str, expected: str
) -> None:
    result = read(tmp_path, body, records, media_type="text/xml", block=NAMESPACES)
    assert outcome(result) == expected


@pytest.mark.parametrize(("body", "expected"), [("<list/>", "empty"), ("<e/>", "LIST_MISSING")])
def test_wildcard_root_has_an_empty_list_where_list_names_it(
    tmp_path: Path, body: str, expected: str
) -> None:
    result = read(
        tmp_path, body, "/*/award", "list: /list\n", media_type="text/xml", block=NAMESPACES
    )
    assert outcome(result) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('<t:answer xmlns:t="urn:t"><t:list/></t:answer>', "empty"),
        ('<t:answer xmlns:t="urn:t"><t:list><t:award id="1"/></t:list></t:answer>', "records"),
        ('<t:answer xmlns:t="urn:t"/>', "LIST_MISSING"),
        ('<answer xmlns="urn:other"><list/></answer>', "LIST_MISSING"),
        ('<t:reply xmlns:t="urn:t"><t:list/></t:reply>', "LIST_MISSING"),
        ('<t:answer xmlns:t="urn:t"><faultCode>9</faultCode><faultString>x</faultString></t:answer>', "LIST_MISSING"),
        ('<t:answer xmlns:t="urn:t"><t:list/><t:faultCode>9</t:faultCode></t:answer>', "LIST_MISSING"),
        ('<t:answer xmlns:t="urn:t"><t:list xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:nil="true"/></t:answer>', "LIST_MISSING"),
        ('<t:answer xmlns:t="urn:t"><t:list href="#id0"/></t:answer><multiRef id="id0"/>', "LIST_MISSING"),
        ("", "LIST_MISSING"),
    ],
)  # fmt: skip
def test_soap_list_is_told_from_its_absence(tmp_path: Path, body: str, expected: str) -> None:
    result = read(
        tmp_path,
        ENVELOPE % body,
        "/soap:Envelope/soap:Body/t:answer/t:list/t:award",
        media_type="text/xml",
        block=NAMESPACES,
        protocol="soap",
    )
    assert outcome(result) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<t:page>1</t:page>", "empty"),
        ('<t:page>1</t:page><t:award id="1"/>', "records"),
        ('<t:page>1</t:page><t:prize id="1"/>', "LIST_MISSING"),
        ("<t:error>database</t:error>", "LIST_MISSING"),
    ],
)
def test_declared_list_may_hold_other_elements(tmp_path: Path, body: str, expected: str) -> None:
    more = 'list: "/t:list"\n'
    result = read(tmp_path, LIST % body, "//t:award", more, media_type="text/xml", block=NAMESPACES)
    assert outcome(result) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [("<t:award id='1'>%s</t:award>", "records"), ("<t:prize id='1'>%s</t:prize>", "LIST_MISSING")],
)
def test_streamed_reply_has_the_same_rule(tmp_path: Path, body: str, expected: str) -> None:
    large = LIST % (body % ("x" * 9_000_000))
    result = read(tmp_path, large, "/t:list/t:award", media_type="text/xml", block=NAMESPACES)
    assert outcome(result) == expected


# --- tables and archives


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("id,name\n", "empty"),
        ("id,name\n1,x\n", "records"),
        ("code,name\n", "LIST_MISSING"),
        ("code,name\n1,x\n", "LIST_MISSING"),
        ("id;name\n", "LIST_MISSING"),
        ('{"error": "out of order"}', "LIST_MISSING"),
        ("Service out of order", "LIST_MISSING"),
        ("<html><body>Maintenance</body></html>", "NOT_A_REGISTRY_RESPONSE"),
        ("", "EMPTY_BODY"),
        (" \n", "EMPTY_BODY"),
    ],
)
def test_table_is_told_from_another_file(tmp_path: Path, body: str, expected: str) -> None:
    result = read(tmp_path, body, "@", "decode: csv\n", media_type="text/csv")
    assert outcome(result) == expected


@pytest.mark.parametrize(
    ("header", "expected"), [("Course code;Title", "empty"), ("Course;Title", "LIST_MISSING")]
)
def test_column_with_a_space_is_needed_too(tmp_path: Path, header: str, expected: str) -> None:
    text = 'request: {get: /a}\nrecords: "@"\nid: Course code\ndecode: [{csv: {separator: ";"}}]\n'
    sent = Sent(f"{header}\n".encode(), "text/csv")
    assert outcome(poll(tmp_path, sent, text)[0]) == expected


def test_text_without_cells_is_no_table(tmp_path: Path) -> None:
    more = "decode: [{csv: {header: [id, name]}}]\n"
    result = read(tmp_path, "Service out of order", "@", more, media_type="text/csv")
    assert outcome(result) == "LIST_MISSING"


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, text in files.items():
            opened.writestr(name.replace("_", "."), text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (archive(), "FILE_MISSING"),
        (archive(readme_txt="x"), "FILE_MISSING"),
        (archive(a_json=""), "EMPTY_BODY"),
        (archive(a_json='{"items": []}'), "empty"),
        (archive(a_json='{"items": [{"id": "1"}]}', b_json='{"error": 1}'), "LIST_MISSING"),
        (archive(a_json='{"items": [{"id": "1"}]}', b_json='{"items": []}'), "records"),
    ],
)
def test_each_file_of_an_archive_has_its_list(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    more = 'decode: [zip, "*.json", json]\n'
    assert outcome(read(tmp_path, content, "items", more, media_type="application/zip")) == expected


@pytest.mark.parametrize(
    ("second", "expected"),
    [("<r><data>[]</data></r>", "records"), ("<r><error/></r>", "DECODE_EMPTY")],
)
def test_document_inside_each_file_is_needed(tmp_path: Path, second: str, expected: str) -> None:
    content = archive(a_xml='<r><data>[{"id": "1"}]</data></r>', b_xml=second)
    more = 'decode: [zip, "*.xml", xml, "/r/data/text()", json]\n'
    result = read(tmp_path, content, "[]", more, media_type="application/zip")
    assert outcome(result) == expected


@pytest.mark.parametrize("steps", ["[gzip, json]", "[base64, json]", "[base64, gzip, json]"])
def test_nothing_in_a_container_is_no_list(tmp_path: Path, steps: str) -> None:
    content = gzip.compress(b"") if steps.startswith("[gzip") else b""
    result = read(tmp_path, content, "items", f"decode: {steps}\n", media_type="text/plain")
    assert outcome(result) in {"EMPTY_BODY", "INCOMPLETE_BODY"}


def test_no_content_is_no_empty_list(tmp_path: Path) -> None:
    assert outcome(read(tmp_path, b"", "items", status=204)) == "EMPTY_BODY"


# --- the message


def test_message_names_the_step_that_matched_and_no_value(tmp_path: Path) -> None:
    result = read(tmp_path, '{"data": {"rows": ["secret"]}}', "data.items")
    assert "wire.awards" in result.message
    assert "`data.items`" in result.message
    assert "`data` is an object without `items`" in result.message
    assert "secret" not in result.message
    assert "rows" not in result.message


def test_message_says_what_to_write_when_no_container_is_named(tmp_path: Path) -> None:
    body = LIST % "<t:message>secret</t:message>"
    result = read(tmp_path, body, "//t:award", media_type="text/xml", block=NAMESPACES)
    assert "under `list`" in result.message
    assert "secret" not in result.message
