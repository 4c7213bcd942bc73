"""Placeholders in each text of a request, and the findings about those that cannot be filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.check import check
from tests.support.wire import Sent, poll_once

EMPTY = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><list/></s:Body>'
    "</s:Envelope>"
)
LOOP = "for_each: {school: {in: {values: [a1]}}}\n"


def soap_headers(tmp_path, request: str, block: str = ""):
    stream = f"{LOOP}request: {{envelope: '<ask/>', {request}}}\nrecords: //list/x\nid: '@id'\n"
    found = poll_once(tmp_path, Sent(EMPTY.encode(), "text/xml"), stream, block, protocol="soap")
    assert len(found.asked) == 1, found.message
    return found.asked[0]


@pytest.mark.parametrize(
    ("request_keys", "block", "sent"),
    [
        ('action: "urn:{school}/ask"', "", '"urn:a1/ask"'),
        ("", 'action: "urn:{school}/{kind}"\nvariables: {kind: all}', '"urn:a1/all"'),
        ('headers: {SOAPAction: "urn:{school}"}', "", "urn:a1"),
        ("", "headers: {SOAPAction: 'urn:own'}", "urn:own"),
        ("", "headers: {soapaction: 'urn:own'}", "urn:own"),
        ("action: 'urn:key'", "headers: {SOAPAction: 'urn:own'}", '"urn:key"'),
        ("", "action: 'urn:key'\nheaders: {SOAPAction: 'urn:own'}", '"urn:key"'),
        ("", "action: '{urn:x}Ask'", '"{urn:x}Ask"'),
        ("action: ''", "", '""'),
        ("", "", '""'),
    ],
)
def test_soap_action_is_filled_and_sent(tmp_path, request_keys, block, sent):
    assert soap_headers(tmp_path, request_keys, block).headers["soapaction"] == sent


def test_headers_of_a_soap_request_are_sent(tmp_path):
    asked = soap_headers(
        tmp_path, 'headers: {X-School: "{school}"}', 'headers: {X-All: "{school}", Accept: a/b}'
    )
    assert asked.headers["x-school"] == "a1"
    assert asked.headers["x-all"] == "a1"
    assert asked.headers["accept"] == "a/b"
    assert asked.headers["content-type"] == "text/xml; charset=utf-8"


def test_query_of_a_soap_request_is_sent(tmp_path):
    asked = soap_headers(tmp_path, 'query: {school: "{school}", page: "{cursor}"}')
    assert asked.target == "/api?school=a1"


def test_check_finds_an_action_that_no_message_carries(tmp_path):
    found = check_file(tmp_path, protocol="rest", request="get: /a, action: x")
    assert [finding.code for finding in found] == ["without-effect"]


def test_action_of_soap_12_is_filled(tmp_path):
    asked = soap_headers(tmp_path, 'action: "urn:{school}"', 'version: "1.2"')
    assert asked.headers["content-type"].endswith('action="urn:a1"')


def test_addressing_and_xroad_are_filled(tmp_path):
    block = """
    addressing: {to: "urn:to:{school}", action: "urn:do:{school}", check_relates_to: false}
    xroad:
      client: {instance: X, member_class: GOV, member: "1", subsystem: us}
      service: {instance: X, member_class: GOV, member: "{school}", service: list}
      user_id: "U{school}"
    """
    body = soap_headers(tmp_path, "action: x", block).body.decode()
    for text in ("urn:to:a1<", "urn:do:a1<", ">a1</iden:memberCode>", ">Ua1</xro:userId>"):
        assert text in body


def test_member_of_a_rest_service_is_filled(tmp_path):
    block = """
    xroad:
      client: {instance: X, member_class: GOV, member: "1", subsystem: us}
      service: {instance: X, member_class: GOV, member: "{school}", service: list}
    """
    stream = f"{LOOP}request: {{get: /x}}\nrecords: items\nid: id\n"
    found = poll_once(tmp_path, Sent(b'{"items": []}', "application/json"), stream, block)
    assert found.asked[0].target == "/api/r1/X/GOV/a1/list/x"


def test_header_that_is_only_a_placeholder_without_a_value_is_left_out(tmp_path):
    stream = """
    request: {get: /x, headers: {X-Since: "{since}", X-Page: "{page}", X-Now: "{now:%Y}"}}
    records: items
    id: id
    """
    block = 'headers: {If-Modified-Since: "{since:%a}"}'
    found = poll_once(tmp_path, Sent(b'{"items": []}', "application/json"), stream, block)
    sent = found.asked[0].headers
    assert found.reason == ""
    assert "x-now" in sent
    assert not {"x-since", "x-page", "if-modified-since"} & set(sent)


@pytest.mark.parametrize("value", ["Åbo", "a\\r\\nX-Other: b", "a\\u0007"])
@pytest.mark.parametrize("key", ["headers: {X-School: '{school}'}", "action: 'urn:{school}'"])
def test_value_that_no_header_can_carry_stops_the_stream(tmp_path, value, key):
    stream = f"""
    for_each: {{school: {{in: {{values: ["{value}"]}}}}}}
    request: {{envelope: '<ask/>', {key}}}
    records: //list/x
    id: "@id"
    """
    found = poll_once(tmp_path, Sent(EMPTY.encode(), "text/xml"), stream, protocol="soap")
    assert (found.kind, found.reason, found.asked) == ("StreamHalted", "HEADER_INVALID", [])


def test_quotes_in_a_soap_action_are_escaped(tmp_path):
    asked = soap_headers(tmp_path, "action: 'a\"b'")
    assert asked.headers["soapaction"] == r'"a\"b"'


def test_header_of_the_author_replaces_the_one_of_a_body(tmp_path):
    for key in ("content-type", "Content-Type"):
        stream = f"""
        request: {{post: /x, json: {{a: 1}}, headers: {{{key}: application/vnd.own+json}}}}
        records: items
        id: id
        """
        found = poll_once(tmp_path, Sent(b'{"items": []}', "application/json"), stream)
        assert found.asked[0].headers["content-type"] == "application/vnd.own+json"


CONNECTOR = """\
language: 1
connector: wire
country: FI
title: A registry of an authority
owner: {{name: An authority, contact: registry@authority.example}}
{protocol}:
  url: {{production: "https://registry.example/{url}"}}
{block}
streams:
  awards:
    emits: credential
    request: {{{request}}}
{loop}
    cursor: scan
    records: //a
    id: id
    tests: [{{name: shape, given: <a><id>1</id></a>, expect_some: {{id: "1"}}}}]
"""


def check_file(tmp_path: Path, block: str = "", loop: str = "", **how: str):
    request = how.get("request", "envelope: '<ask/>'")
    text = CONNECTOR.format(
        protocol=how.get("protocol", "soap"),
        url=how.get("url", ""),
        block="\n".join(f"  {line}" for line in block.splitlines()),
        request=request,
        loop="\n".join(f"    {line}" for line in (loop or LOOP).splitlines()),
    )
    file = tmp_path / "wire.yaml"
    file.write_text(text)
    codes = {"unknown-placeholder", "unfilled-placeholder", "action-twice", "unused-placeholder"}
    codes.add("without-effect")
    return [finding for finding in check(file) if finding.code in codes]


XROAD = """\
xroad:
  service: {instance: a, member_class: b, member: c}
  client: {instance: a, member_class: b, member: "{x}"}
"""
OAUTH = """\
auth:
  oauth2_client_credentials:
    token_url: https://login.example/token
    client_id: us
    client_secret: {secret: key}
    parameters: {subject: "{school}"}
"""


@pytest.mark.parametrize(
    ("block", "how", "code", "place"),
    [
        ('action: "{shool}"', {}, "unknown-placeholder", "soap.action"),
        ("action: '{urn:x}Ask'", {}, "unknown-placeholder", "soap.action"),
        ('headers: {X-A: "{shool}"}', {}, "unknown-placeholder", "soap.headers.X-A"),
        ('addressing: {to: "{adress}"}', {}, "unknown-placeholder", "soap.addressing.to"),
        (
            XROAD,
            {},
            "unknown-placeholder",
            "soap.xroad.client.member",
        ),
        (OAUTH, {}, "unfilled-placeholder", "soap.auth"),
        ('variables: {a: "{school}"}', {}, "unfilled-placeholder", "soap.variables.a"),
        ('variables: {a: "{anything}"}', {}, "unfilled-placeholder", "soap.variables.a"),
        ("", {"url": "{school}"}, "unfilled-placeholder", "soap.url.production"),
        (
            "",
            {"loop": 'for_each: {school: {in: {values: [a]}}, p: {in: {secret: "list-{school}"}}}'},
            "unfilled-placeholder",
            "streams.awards.for_each.p.in.secret",
        ),
        (
            "headers: {SOAPAction: a}\naction: b",
            {},
            "action-twice",
            "soap.headers.SOAPAction",
        ),
        (
            "headers: {soapaction: a}",
            {"request": "envelope: '<ask/>', action: b"},
            "action-twice",
            "streams.awards.request.action",
        ),
        (
            "",
            {"request": "envelope: '<ask/>', action: b, headers: {SOAPAction: c}"},
            "action-twice",
            "streams.awards.request.headers.SOAPAction",
        ),
    ],
)
def test_check_finds_a_placeholder_that_cannot_be_filled(tmp_path, block, how, code, place):
    found = check_file(tmp_path, block, **how)
    assert [(finding.code, finding.path.startswith(place)) for finding in found] == [(code, True)]
    assert found[0].line > 1
    assert found[0].severity == "error"


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ("{count} results for {session}, {reason}, {kind}, {now:%Y}", ""),
        ("{cuont} results", "did you mean 'count'?"),
        ("<style>p{color:red}</style>", "{{color}}"),
        ("<style>p{{color:red}}</style>", ""),
        ('{"ok": true}', ""),
    ],
)
def test_check_finds_a_placeholder_of_an_answer_that_stays_empty(tmp_path, body, missing):
    file = tmp_path / "wire.yaml"
    file.write_text(
        f"""\
language: 1
connector: wire
country: FI
title: A registry
owner: {{name: An authority, contact: a@authority.example}}
push:
  path: /in
  fields: [results, session]
  accepted: {{body: '{body}'}}
streams:
  awards:
    emits: credential
    keep: {{kind: "//kind"}}
    decode: xml
    records: //award
    id: id
    tests: [{{name: shape, given: <a/>, expect_some: {{}}}}]
"""
    )
    found = [finding for finding in check(file) if finding.code == "unknown-placeholder"]
    assert [finding.line for finding in found] == ([9] if missing else [])
    assert not missing or missing in found[0].message


@pytest.mark.parametrize(
    ("block", "how"),
    [
        ('action: "urn:{school}"', {}),
        ("action: '{{urn:x}}Ask'", {}),
        ('headers: {X-A: "{school}", X-B: "{now:%Y}", X-C: {secret: plain}}', {}),
        (OAUTH.replace("{school}", "urn:{other}"), {}),
        ("headers: {SOAPAction: a}", {}),
    ],
)
def test_check_accepts_placeholders_with_a_value(tmp_path, block, how):
    assert check_file(tmp_path, block, **how) == []
