"""Links in replies are followed to the registry itself, over https, or not at all."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.check import check_document
from gateway.config.loading import load_connector
from gateway.config.yaml.document import read_yaml
from gateway.errors import ConfigError, StreamError
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.offline_client import OfflineClient, Request, Response, make_response

CONNECTOR = """language: 1
connector: links
country: FI
title: A registry behind a proxy that ends TLS
owner: {{name: Example office, contact: registry@office.example}}
rest:
  url: {{production: "https://api.office.example/v2"}}
  auth: {{bearer: {{token: {{secret: token}}}}}}
  {block}
streams:
  awards:
    emits: qualification
    request: {{get: /awards}}
    paging: {paging}
    cursor: scan
    records: items
    id: id
    map: {{title.en: t}}
    tests: [{{name: shape, given: {{id: "1", t: T}}, expect_some: {{id: "1"}}}}]
"""
WINDOW = TimeWindow(None, datetime(2026, 3, 1, tzinfo=UTC))


class Registry:
    """A registry that writes the link ``target`` into its first reply, and records requests."""

    def __init__(self, target: str, *, in_header: bool = False) -> None:
        self.target = target
        self.in_header = in_header
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        number = len(self.requests)
        value: dict[str, Any] = {"items": [{"id": str(number)}]}
        headers = {"content-type": "application/json"}
        if number == 1 and self.in_header:
            headers["link"] = f'<{self.target}>; rel="next"'
        elif number == 1:
            value["next"] = self.target
        return make_response(200, headers, json.dumps(value).encode())

    @property
    def called(self) -> list[str]:
        return [str(request.url) for request in self.requests]


def write(tmp_path: Any, paging: str, block: str = "") -> Any:
    file = tmp_path / "links.yaml"
    file.write_text(CONNECTOR.format(paging=paging, block=block or "headers: {}"))
    return file


def read(tmp_path: Any, registry: Registry, paging: str, block: str = "") -> Any:
    """Return the ids of all pages, or the error that ended the poll."""
    connector = load_connector(write(tmp_path, paging, block))

    async def run() -> list[str]:
        client = OfflineClient(connector, lambda _name: b"T0KEN", "production")
        client.answer = registry
        async with client:
            pages = read_pages(connector, "awards", WINDOW, client)
            return [raw.native_id async for page in pages for raw in page.records]

    try:
        return asyncio.run(run())
    except StreamError as error:
        return error


@pytest.mark.parametrize("in_header", [False, True])
@pytest.mark.parametrize(
    "target",
    [
        "http://api.office.example/v2/awards?page=2",
        "http://API.OFFICE.example:80/v2/awards?page=2",
        "http://api.office.example:443/v2/awards?page=2",
        "//api.office.example/v2/awards?page=2",
        "https://user:word@api.office.example/v2/awards?page=2",
        "/v2/awards?page=2",
        "?page=2",
    ],
)
def test_link_to_the_registry_itself_is_followed_over_https(tmp_path, target, in_header) -> None:
    registry = Registry(target, in_header=in_header)
    paging = "link_header" if in_header else "{next_url: next}"
    assert read(tmp_path, registry, paging) == ["1", "2"]
    assert registry.called[1] == "https://api.office.example/v2/awards?page=2"
    assert registry.requests[1].headers["authorization"] == "Bearer T0KEN"


@pytest.mark.parametrize(
    ("target", "differs"),
    [
        ("http://backend:8080/awards?page=2", "scheme, host and port"),
        ("https://api.office.example@evil.example/awards", "host"),
        ("//evil.example/v2/awards", "host"),
        ("https://api.office.example:9443/v2/awards", "port"),
        ("http://api.office.example:8080/v2/awards", "scheme and port"),
        ("https://аpi.office.example/v2/awards", "host"),
    ],
)
def test_link_to_another_origin_is_refused_and_sends_nothing(tmp_path, target, differs) -> None:
    registry = Registry(target)
    error = read(tmp_path, registry, "{next_url: next}")
    assert isinstance(error, StreamError)
    assert error.reason == "CURSOR_FOREIGN"
    assert f"differs from https://api.office.example in {differs}" in str(error)
    assert "keep: query" in str(error)
    assert "page=2" not in str(error)
    assert len(registry.requests) == 1


@pytest.mark.parametrize(
    "target", ["https://api.office.example\\@evil.example/", "http:\\\\evil", "https://[x/"]
)
def test_link_that_is_no_address_is_refused(tmp_path, target) -> None:
    registry = Registry(target)
    error = read(tmp_path, registry, "{next_url: next}")
    assert isinstance(error, StreamError)
    assert error.reason == "URL_INVALID"
    assert len(registry.requests) == 1


@pytest.mark.parametrize(
    ("paging", "in_header"),
    [
        ("{next_url: {from: next, keep: query}}", False),
        ("{link_header: {keep: query}}", True),
    ],
)
def test_query_of_a_link_with_an_inner_host_is_kept(tmp_path, paging, in_header) -> None:
    registry = Registry("http://backend:8080/internal/list?page=2", in_header=in_header)
    assert read(tmp_path, registry, paging) == ["1", "2"]
    assert registry.called[1] == "https://api.office.example/v2/awards?page=2"


def test_path_of_a_link_with_an_inner_host_is_kept(tmp_path) -> None:
    registry = Registry("http://backend:8080/v2/more?page=2")
    assert read(tmp_path, registry, "{next_url: {from: next, keep: path}}") == ["1", "2"]
    assert registry.called[1] == "https://api.office.example/v2/more?page=2"


def test_link_in_a_placeholder_obeys_the_same_rule(tmp_path) -> None:
    paging = '{cursor: {from: next, request: {get: "{cursor}"}}}'
    registry = Registry("http://api.office.example/v2/awards?page=2")
    assert read(tmp_path, registry, paging) == ["1", "2"]
    assert registry.called[1] == "https://api.office.example/v2/awards?page=2"
    registry = Registry("http://backend/v2/awards?page=2")
    assert read(tmp_path, registry, paging).reason == "CURSOR_FOREIGN"


@pytest.mark.parametrize(
    ("hosts", "code"),
    [
        ('["http://api.office.example"]', "insecure-url"),
        ('["http://10.0.0.7:8080"]', "insecure-url"),
        ('["https://user:word@files.example"]', "bad-value"),
        ('["files example"]', "bad-value"),
        ('["169.254.169.254"]', "bad-value"),
        ("[files.office.example, 'https://b.example:8443', 'http://127.0.0.1:9']", ""),
    ],
)
def test_hosts_obey_the_rule_of_url(tmp_path, hosts, code) -> None:
    file = write(tmp_path, "{next_url: next}", f"hosts: {hosts}")
    findings = check_document(read_yaml(file))
    found = [finding for finding in findings if finding.path.startswith("rest.hosts")]
    assert [finding.code for finding in found] == ([code] if code else [])
    assert all(finding.severity == "error" and finding.line == 9 for finding in found)
    if code == "bad-value":
        with pytest.raises(ConfigError):
            load_connector(file)
    else:
        load_connector(file)


@pytest.mark.parametrize("entry", ["http://files.office.example", "files.office.example"])
def test_file_with_a_host_in_clear_still_sends_no_token_in_clear(tmp_path, entry) -> None:
    registry = Registry("http://files.office.example/list?page=2")
    assert read(tmp_path, registry, "{next_url: next}", f'hosts: ["{entry}"]') == ["1", "2"]
    assert registry.called[1] == "https://files.office.example/list?page=2"


@pytest.mark.parametrize(
    ("address", "codes"),
    [
        ("http://api.office.example/{id}", ["insecure-url"]),
        ("http://127.0.0.1:9/x", []),
        ("https://api.office.example/x", []),
        ("{id}", []),
    ],
)
def test_whole_address_of_a_request_needs_https(tmp_path, address, codes) -> None:
    file = tmp_path / "links.yaml"
    text = CONNECTOR.format(paging="none", block="headers: {}")
    expand = f"    expand: {{request: {{get: '{address}'}}, id: id}}\n    records"
    file.write_text(text.replace("    records", expand))
    found = [finding for finding in check_document(read_yaml(file)) if "expand" in finding.path]
    assert [finding.code for finding in found] == codes


@pytest.mark.parametrize(
    "host",
    ["ws://files.example", "ftp://files.example", "files.example/path", "https://files.example/a",
     "files.example?x=1", "files.example#x", "https://files.example/?x"],
)  # fmt: skip
def test_host_with_a_path_or_another_scheme_is_refused(tmp_path, host) -> None:
    file = write(tmp_path, "{next_url: next}", f'hosts: ["{host}"]')
    found = [one for one in check_document(read_yaml(file)) if one.path.startswith("rest.hosts")]
    assert [finding.code for finding in found] == ["bad-value"]
    assert f"'{host}' is no host; write its name alone" in found[0].message
