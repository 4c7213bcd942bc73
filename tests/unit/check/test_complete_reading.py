"""Findings about lists that would be read in part."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.check import check_document
from gateway.config.loading import load_connector
from gateway.config.yaml.document import read_yaml
from tests.support.one_stream import check_errors

CONNECTOR = """language: 1
connector: lists
country: FI
title: A registry with several lists
owner: {{name: Example office, contact: registry@office.example}}
rest:
  url: {{production: "https://api.office.example"}}
streams:
  awards:
    emits: qualification
    request: {{get: /awards, query: {{page: "{{page}}", offset: "{{offset}}", size: "{{size}}"}}}}
    cursor: scan
    records: {records}
    id: id
    {keys}
    map: {{title.en: t}}
    tests: [{{name: shape, given: {{id: "1", t: T}}, expect_some: {{id: "1"}}}}]
"""
JOIN = "join: [{into: x, request: {get: /x}, records: r, key: k, to: id"
JOIN_BY_PAGE = JOIN.replace("/x", '"/x/{page}"')
LOOP = "for_each: {s: {in: {request: {request: {get: /x}, select: r"
OTHERS = {"errors-missing", "list-missing", "unpublished"}


def findings(tmp_path: Any, keys: str, records: str = "items") -> list[tuple[str, str]]:
    file = tmp_path / "lists.yaml"
    file.write_text(CONNECTOR.format(keys=keys, records=records))
    load_connector(file)
    return [
        (finding.code, finding.path)
        for finding in check_document(read_yaml(file))
        if finding.code not in OTHERS and finding.severity == "error"
    ]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            f"{JOIN}, paging: {{offset: {{size: 9}}}}}}]",
            [("unused-placeholder", "streams.awards.join.0.paging")],
        ),
        (
            "expand: {request: {get: '/x/{id}'}, id: id, records: r, paging: page_number}",
            [("unused-placeholder", "streams.awards.expand.paging")],
        ),
        (
            f"{LOOP}, paging: {{cursor: {{from: t}}}}}}}}}}}}",
            [("unused-placeholder", "streams.awards.for_each.s.in.request.paging")],
        ),
        (
            "expand: {request: {get: '/x/{id}'}, id: id, paging: {next_url: next}}",
            [("incomplete", "streams.awards.expand.paging")],
        ),
        (
            "join: [{into: x, records: r, key: k, to: id, total: n}]",
            [("incomplete", "streams.awards.join.0.total")],
        ),
        (
            f"{JOIN}, paging: {{next_url: 'a['}}}}]",
            [("bad-expression", "streams.awards.join.0.paging.next_url.from")],
        ),
        (
            "join: [{into: x, request: {get: /x}, records: 'r[', key: k, to: id}]",
            [("bad-expression", "streams.awards.join.0.records")],
        ),
        (
            "paging: {next_url: {from: next, total: 'a..'}}",
            [("bad-expression", "streams.awards.paging.next_url.total")],
        ),
        (f"{JOIN_BY_PAGE}, paging: page_number}}]", []),
        (f"{JOIN}, paging: none}}]", []),
    ],
)
def test_second_list_is_checked_like_the_main_list(tmp_path, keys, expected) -> None:
    found = findings(tmp_path, keys)
    assert [path for _, path in found] == [path for _, path in expected]
    if expected and expected[0][0] != "bad-expression":
        assert found == expected


@pytest.mark.parametrize(
    ("paging", "is_refused"),
    [
        ("{page_number: {size: 5}}", True),
        ("{offset: {size: 5, total: n}}", True),
        ("{page_number: {more: m}}", False),
        ("{page_number: {pages: p}}", False),
        ("{next_url: next}", False),
    ],
)
def test_filter_must_not_hide_counted_records(tmp_path, paging, is_refused) -> None:
    found = findings(tmp_path, f"paging: {paging}", "\"items[?kind=='x']\"")
    assert found == ([("filtered-pages", "streams.awards.records")] if is_refused else [])


@pytest.mark.parametrize(
    ("more", "found_codes"),
    [("batch: 5", ["incomplete"]), ("batch: 5, key: id", []), ("batch: 1", []), ("", [])],
)
def test_batch_needs_the_key_of_its_records(more: str, found_codes: list[str]) -> None:
    rule = f"{{request: {{get: '/d/{{ids}}'}}, id: id, records: items, {more}}}"
    found = [
        finding
        for finding in check_errors("", stream=f"    expand: {rule}\n")
        if finding.path.endswith("expand.batch")
    ]
    assert [finding.code for finding in found] == found_codes
    assert all("expand with batch needs key: EXPR" in finding.message for finding in found)
