"""A connector says how an error inside an ordinary reply looks, and where its list is."""

from __future__ import annotations

import pytest

from gateway.check import check_document
from gateway.config.loading import build_connector
from gateway.config.yaml.document import parse_yaml
from gateway.errors import Finding
from tests.support.one_stream import TABLES

FILE = """\
language: 1
connector: office
country: FI
title: An office
owner: {{name: Example office, contact: registry@office.example}}
{protocol}:
{block}
streams:
  awards:
    emits: qualification
{stream}
    id: id
    map: {{title.en: name}}
    tests: [{{name: one, given: {given}, expect_some: {{id: "1"}}}}]
"""
JSON = ('{id: "1", name: Statistics}', "    request: {get: /awards}\n    records: items")
XML = (
    '"<a><id>1</id><name>Statistics</name></a>"',
    '    request: {envelope: "<ask/>"}\n    records: "/r/list/a"',
)
PUSHED = ('{id: "1", name: Statistics}', "    records: items")
URL = '  url: {production: "https://office.example"}\n'
CODES = {"errors-missing", "list-missing", "errors-contradict"}


def findings(protocol: str, more: str, stream: tuple[str, str]) -> list[Finding]:
    head = "  path: /awards\n" if protocol == "push" else URL
    given, lines = stream
    text = FILE.format(protocol=protocol, block=head + more, stream=lines, given=given)
    document = parse_yaml(text.encode(), "office.yaml")
    assert build_connector(document)[0] is not None, "the file must still load"
    return [finding for finding in check_document(document, TABLES) if finding.code in CODES]


@pytest.mark.parametrize(
    ("protocol", "stream"), [("rest", JSON), ("file", JSON), ("soap", XML), ("push", PUSHED)]
)
@pytest.mark.parametrize(
    ("more", "codes"),
    [
        ("", ["errors-missing"]),
        ("  replies: [{when: {path: hint, exists: true}, then: empty}]", ["errors-missing"]),
        ("  replies: [{when: {status: 404}, then: stop}]", ["errors-missing"]),
        ("  errors: by_status", []),
        ("  replies: [{when: {path: error, exists: true}, then: stop}]", []),
        ("  replies: [{when: {path: code, is: busy}, then: retry}]", []),
        ("  replies: [{when: {path: code, is: no}, then: denied}]", []),
        (
            "  errors: by_status\n  replies: [{when: {path: error}, then: stop}]",
            ["errors-contradict"],
        ),
    ],
)
def test_connector_says_how_an_error_looks(
    protocol: str, stream: tuple[str, str], more: str, codes: list[str]
) -> None:
    found = findings(protocol, more, stream)
    assert [finding.code for finding in found] == codes
    for finding in found:
        assert finding.line > 1
        assert "errors: by_status" in finding.message
    assert all(
        "replies: [{when:" in finding.message
        for finding in found
        if finding.code == "errors-missing"
    )


def test_soap_fault_rule_says_how_an_error_looks() -> None:
    assert findings("soap", '  replies: [{when: {fault: "*Busy*"}, then: retry}]', XML) == []


@pytest.mark.parametrize(
    ("records", "is_derived"),
    [
        ('"//a"', False),
        ("\"//a[@kind = 'x']\"", False),
        ('"//*[self::a or self::b]"', False),
        ('"(//a)[1]"', False),
        ('"//list/a"', True),
        ('"/r/list/*"', True),
        ('"//list//a"', True),
        ("\"//*[local-name()='list']/*[local-name()='a']\"", True),
        ('"//*[self::list or self::rows]/a"', True),
        ('"//*/a"', False),
        ('"/*/a"', False),
        ('"/*[1]/a"', False),
        ('"/*/*"', False),
        ('"*"', False),
        ('"*/a"', False),
        ('"./a"', False),
        ('"/node()/a"', False),
        ('"/*/list/a"', True),
        ("\"/*[local-name()='list']/a\"", True),
        ('"/list/*"', True),
        ('"//x/a | //y/a"', True),
        ('"//x/a | //a"', False),
        ('["//list/a", b]', True),
        ('["//a", b]', False),
        ('"."', True),
        ('"/a"', True),
    ],
)
def test_place_of_the_list_is_demanded_when_no_container_is_named(
    records: str, is_derived: bool
) -> None:
    lines = '    request: {envelope: "<ask/>"}\n    records: ' + records
    found = findings("soap", "  errors: by_status", (XML[0], lines))
    assert [finding.code for finding in found] == ([] if is_derived else ["list-missing"])
    if not is_derived:
        assert 'list: "//r:records"' in found[0].message
        declared = (XML[0], lines + '\n    list: "//list"')
        assert findings("soap", "  errors: by_status", declared) == []
