"""Every address in a connector file obeys one rule, in every spelling of its host."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.check import check_document
from gateway.config.loading import load_connector
from gateway.config.yaml.document import parse_yaml
from gateway.errors import ConfigError, Finding

FILE = """language: 1
connector: office
country: FI
title: An office of awards
owner: {name: Example office, contact: registry@office.example}
rest:
  url: {production: 'https://api.office.example/v2'}
  errors: by_status
streams:
  awards:
    emits: qualification
    request: {get: /awards}
    paging: none
    cursor: scan
    records: items
    id: id
    map: {title.en: t}
    tests: [{name: shape, given: {id: "1", t: T}, expect_some: {id: "1"}}]
"""
LOGIN = "{login: {url: '%s', fields: {u: x}, token: t}}"
OAUTH = "{oauth2_client_credentials: {token_url: '%s', client_id: x, client_secret: {secret: s}}}"
PARTIES = (
    "    for_each: {school: {in: {parties: {a: {url: {production: '%s'}}}}}}\n    request: {get:"
)
EXPORT = (
    "    export: {start: {get: /e}, keep: {j: j}, status: {get: '/e/{j}'}, state: s, "
    "pending: [p], done: [d], files: f, hosts: ['%s']}\n"
)
PLACES = {
    "url": ("https://api.office.example/v2", "%s"),
    "acceptance": ("v2'}", "v2', acceptance: '%s'}"),
    "hosts": ("  errors:", "  hosts: ['%s']\n  errors:"),
    "token_url": ("  errors:", f"  auth: {OAUTH}\n  errors:"),
    "login": ("  errors:", f"  auth: {LOGIN}\n  errors:"),
    "parties": ("    request: {get:", PARTIES),
    "export": ("    request: {get: /awards}\n", EXPORT),
}
"""For each place of an address, the text that it replaces in the file, and the text with it."""
FOREIGN = [
    "https://169.254.169.254",
    "https://2852039166",
    "https://0xa9fea9fe",
    "https://0251.0376.0251.0376",
    "https://169.254.43518",
    "https://169.254.169.254.",
    "https://[::ffff:169.254.169.254]",
    "https://[::a9fe:a9fe]",
    "https://[64:ff9b::a9fe:a9fe]",
    "https://[2002:a9fe:a9fe::1]",
    "https://[fe80::1%25eth0]",
    "https://%31%36%39.254.169.254",
    "https://169。254。169。254",
    "https://１６９.254.169.254",
    "https://METADATA.google.internal",
    "https://0",
    "https://[::]",
    "https://224.0.0.1",
    "https://127.1",
    "https://0x7f000001",
    "https://2130706433:8443",
    "https://user:word@office.example",
    "https://user@office.example",
    "https://@office.example",
    r"https://office.example\@169.254.169.254",
    "https://office.example:0",
    "https://office.example:70000",
    "https://office.example:port",
    "https://*.office.example",
    "https://[::1",
    "https:///api",
    "file:///etc",
    "ftp://office.example",
    "gopher://office.example",
    "unix:///run/x.sock",
]


def file_with(place: str, address: str) -> str:
    """Return a connector file with an address at a place."""
    old, new = PLACES[place]
    assert old in FILE
    return FILE.replace(old, new % address, 1)


def refusals(text: str) -> list[Finding]:
    """Return the errors of ``gateway check``, but not those about other keys."""
    found = check_document(parse_yaml(text.encode(), "office.yaml"))
    return [one for one in found if one.severity == "error" and not one.code.startswith("unused")]


@pytest.mark.parametrize("place", PLACES)
def test_usual_addresses_are_accepted_everywhere(place: str, tmp_path: Path) -> None:
    for address in ("https://files.office.example", "https://10.2.3.4:8443", "http://127.0.0.1:9"):
        file = tmp_path / "office.yaml"
        file.write_text(file_with(place, address))
        load_connector(file)
        codes = {one.code for one in refusals(file.read_text())}
        assert not codes & {"bad-value", "bad-text", "insecure-url"}, (place, address, codes)


@pytest.mark.parametrize("address", FOREIGN)
@pytest.mark.parametrize("place", PLACES)
def test_address_that_is_no_registry_is_refused_with_its_line(
    place: str, address: str, tmp_path: Path
) -> None:
    text = file_with(place, address)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if address in row)
    found = [one for one in refusals(text) if one.code in {"bad-value", "bad-text", "one-of"}]
    assert found, refusals(text)
    assert found[0].line == line
    file = tmp_path / "office.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load_connector(file)


@pytest.mark.parametrize("place", PLACES)
def test_address_in_clear_to_another_machine_is_refused(place: str) -> None:
    found = refusals(file_with(place, "http://10.0.0.1:8080"))
    assert any(one.code == "insecure-url" for one in found), found


@pytest.mark.parametrize("entry", ["*", "", " ", "office.example, other.example", "a\tb.example"])
def test_entry_of_hosts_that_names_no_host_is_refused(entry: str) -> None:
    text = FILE.replace("  errors:", f'  hosts: ["{entry}"]\n  errors:')
    found = refusals(text)
    assert any(one.path.startswith("rest.hosts") for one in found), found


@pytest.mark.parametrize(
    "address",
    ["https://169.254.169.254/x", "https://2852039166/{id}", "https://u:p@office.example/"],
)
def test_whole_address_of_a_request_obeys_the_same_rule(address: str) -> None:
    found = refusals(FILE.replace("get: /awards", f"get: '{address}'"))
    assert [one.path for one in found if one.code == "bad-value"] == ["streams.awards.request.get"]


def test_permanent_address_of_a_record_publishes_no_password() -> None:
    iri = "    iri: 'https://user:word@office.example/awards/{id}'\n    id: id\n"
    found = refusals(FILE.replace("    id: id\n", iri))
    assert [one.path for one in found if one.code == "bad-value"] == ["streams.awards.iri"]


def test_long_address_is_refused_at_once() -> None:
    began = time.process_time()
    assert refusals(file_with("hosts", "%25" * 300_000))
    assert time.process_time() - began < 1
