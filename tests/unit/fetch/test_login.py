"""Log in to a registry with a name and a password.

The client keeps and renews the token and never shows it.
"""

from __future__ import annotations

import asyncio
import json
import textwrap

import pytest

from gateway.config.loading import load_connector
from gateway.errors import StreamHalted
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from tests.support.raw_http_server import ReceivedRequest, Server, reply
from tests.unit.fetch.test_stream import WINDOW

FILE = """
language: 1
connector: own-login
country: EE
title: A registry with a login
owner: {{name: Tests, contact: tests@example.org}}
rest:
  url: {{production: "{url}"}}
  auth:
    login:
      url: "{url}/login"
      fields: {{user: gateway, password: {{secret: own-login/password}}}}
      token: data.token
      header: X-Token
      prefix: ""
streams:
  things:
    emits: provider
    request: {{get: /things, query: {{page: "{{page}}"}}}}
    paging: {{page_number: {{start: 1, more: more}}}}
    records: items
    id: id
    map: {{organisation.name.en: id}}
    tests:
      - name: one
        given: {{id: a}}
        expect_some: {{id: a}}
"""


def ask(tmp_path, answer) -> tuple[list[str], Server]:
    async def run():
        async with Server(answer) as server:
            (tmp_path / "own-login.yaml").write_text(textwrap.dedent(FILE).format(url=server.url))
            connector = load_connector(tmp_path / "own-login.yaml")
            async with RegistryClient(
                connector, {"own-login/password": b"hunter2"}.__getitem__, "production"
            ) as client:
                found = [
                    page
                    async for page in read_pages(
                        connector, "things", TimeWindow(WINDOW.since, WINDOW.until), client
                    )
                ]
            return [raw.native_id for page in found for raw in page.records], server

    return asyncio.run(run())


def test_login_token_is_cached_and_renewed(tmp_path):
    tokens = iter(["one", "two"])
    valid = ["one", "two", "two"]

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        if asked.target == "/login":
            assert json.loads(asked.body) == {"user": "gateway", "password": "hunter2"}
            reply(
                writer,
                json.dumps({"data": {"token": next(tokens)}}).encode(),
                content_type="application/json",
            )
        elif asked.headers.get("x-token") != valid[0]:
            valid.pop(0)
            reply(writer, b"", 401)
        else:
            page = int(asked.target[-1])
            if page == 1:
                valid.pop(0)  # the first token ends after the first page
            reply(
                writer,
                json.dumps({"items": [{"id": f"r{page}"}], "more": page == 1}).encode(),
                content_type="application/json",
            )

    ids, server = ask(tmp_path, answer)
    assert ids == ["r1", "r2"]
    assert [asked.target for asked in server.asked] == [
        "/login",
        "/things?page=1",
        "/things?page=2",
        "/login",
        "/things?page=2",
    ]


@pytest.mark.parametrize(
    "answer_of_login",
    [(200, b'{"data": {}}'), (403, b'{"data": {"token": "x"}}'), (200, b"<html>CANARY</html>")],
)
def test_login_without_a_token_halts_without_details(tmp_path, answer_of_login):
    status, body = answer_of_login

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        assert asked.target == "/login", "nothing is asked without a token"
        reply(writer, body, status, content_type="application/json")

    with pytest.raises(StreamHalted) as caught:
        ask(tmp_path, answer)
    assert caught.value.reason == "TOKEN_REFUSED"
    assert "hunter2" not in str(caught.value)
    assert "CANARY" not in str(caught.value)
