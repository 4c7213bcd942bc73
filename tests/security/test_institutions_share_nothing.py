"""Institutions of one connector share no credentials, cookies, origins, tokens and clocks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from gateway.config.split_streams import split_by_party
from gateway.errors import StreamError
from gateway.fetch.http.client_pool import MAX_IDLE_CLIENTS
from gateway.fetch.registry_client import RegistryClient
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.poll import PollContext, poll_once
from tests.support.hostile_registry import connector_at
from tests.support.memory_stream import NOW, MemoryStreamState, stream
from tests.support.raw_http_server import ReceivedRequest, Server, reply

SECRETS = {"a": b"TOKEN-OF-A", "b": b"TOKEN-OF-B", "k": b"TOKEN-OF-ALL"}
Respond = Callable[[ReceivedRequest], tuple[dict[str, str], Any]]
PAGED = "paging: {next_url: next}\nfor_each: {school: {in: {parties: {PARTIES}}}}"


def party(name: str, url: str = "", more: str = "") -> str:
    parts = [f'url: {{production: "{url}"}}'] * bool(url)
    parts += [more or f"auth: {{bearer: {{token: {{secret: {name}}}}}}}"]
    return f"{name}: {{{', '.join(parts)}}}"


def records(*names: str, **more: Any) -> dict[str, Any]:
    return {"items": [{"id": name, "t": "T"} for name in names], **more}


class Network:
    """Several registries on loopback. Each one records its requests."""

    def __init__(self, *responds: Respond, times: int = 1) -> None:
        self.responds, self.times = responds, times
        self.asked: list[list[ReceivedRequest]] = [[] for _ in responds]
        self.clocks: dict[str, timedelta] = {}

    def poll(
        self, parties: Callable[[list[str]], str], *, more: str = PAGED, block: str = ""
    ) -> dict[str, StreamError | PollResult]:
        """Poll all streams with one client, and return the result of each stream."""

        async def run() -> dict[str, StreamError | PollResult]:
            async with AsyncExitStack() as servers:
                urls = [
                    (await servers.enter_async_context(Server(self._answer(number)))).url
                    for number in range(len(self.responds))
                ]
                self.urls = urls
                text = stream("", more.replace("PARTIES", parties(urls)))
                for number, url in enumerate(urls):
                    text = text.replace(f"URL-{number}", url)
                connector = split_by_party(connector_at(urls[0], text, block=block))
                return await self._poll_all(connector)

        return asyncio.run(run())

    async def _poll_all(self, connector: Any) -> dict[str, StreamError | PollResult]:
        results: dict[str, StreamError | PollResult] = {}
        async with RegistryClient(connector, SECRETS.__getitem__, "production") as client:
            for _ in range(self.times):
                for name in connector.streams:
                    context = PollContext(connector, name, client, MemoryStreamState())  # type: ignore[arg-type]
                    try:
                        results[name] = await poll_once(context, NOW)
                    except StreamError as error:
                        results[name] = error
            self.clocks = {name: client.clock_ahead_of([name]) for name in ("a", "b")}
        return results

    def _answer(self, number: int) -> Any:
        async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
            self.asked[number].append(asked)
            headers, content = self.responds[number](asked)
            reply(writer, json.dumps(content).encode(), content_type="application/json", **headers)

        return answer

    def credentials(self, number: int) -> set[str]:
        """Return the credentials that a registry received."""
        return {asked.headers.get("authorization", "none") for asked in self.asked[number]}


def two_hosts(urls: list[str]) -> str:
    return f"{party('a', urls[0])}, {party('b', urls[1])}"


@pytest.mark.parametrize("path", ["/a?page=2", "", "/r"])
def test_link_to_another_institution_is_refused_and_sends_nothing(path: str) -> None:
    network = Network(
        lambda _: ({}, records("A1", next=network.urls[1] + path)), lambda _: ({}, records("B1"))
    )
    results = network.poll(two_hosts)
    assert getattr(results["awards@a"], "reason", "") == "CURSOR_FOREIGN"
    assert network.credentials(0) == {"Bearer TOKEN-OF-A"}
    assert network.credentials(1) == {"Bearer TOKEN-OF-B"}
    assert len(network.asked[1]) == 1


def test_link_of_an_institution_to_the_address_of_the_connector_is_refused() -> None:
    network = Network(
        lambda _: ({}, records("N1")), lambda _: ({}, records("B1", next=network.urls[0] + "/r"))
    )
    results = network.poll(lambda urls: party("b", urls[1]))
    assert getattr(results["awards@b"], "reason", "") == "CURSOR_FOREIGN"
    assert network.asked[0] == []


def test_links_of_an_institution_to_itself_are_followed_with_its_token() -> None:
    def respond(asked: ReceivedRequest) -> tuple[dict[str, str], Any]:
        is_first = "page" not in asked.target
        return {}, records("A1" if is_first else "A2", **({"next": "?page=2"} if is_first else {}))

    network = Network(respond, lambda _: ({}, records("B1")))
    results = network.poll(two_hosts)
    assert all(isinstance(result, PollResult) for result in results.values()), results
    assert network.credentials(0) == {"Bearer TOKEN-OF-A"}
    assert len(network.asked[0]) == 2


ONE_HOST = "for_each: {school: {in: {parties: {PARTIES}}}}"
NAMED = "  headers: {X-School: '{school}'}\n"


@pytest.mark.parametrize("attributes", ["", "; Path=/", "; Path=/; HttpOnly; Max-Age=600"])
@pytest.mark.parametrize(
    "more", ["", "variables: {code: x}", "auth: {bearer: {token: {secret: k}}}"]
)
def test_session_of_one_institution_never_goes_with_a_request_of_another(
    attributes: str, more: str
) -> None:
    def respond(asked: ReceivedRequest) -> tuple[dict[str, str], Any]:
        whose = asked.headers["x-school"]
        return {"Set_Cookie": f"JSESSIONID=session-of-{whose}{attributes}"}, records(f"{whose}1")

    network = Network(respond, times=3)
    results = network.poll(
        lambda _: f"{party('a', '', more)}, {party('b', '', more)}", more=ONE_HOST, block=NAMED
    )
    assert all(isinstance(result, PollResult) for result in results.values()), results
    cookies = [
        (asked.headers["x-school"], asked.headers.get("cookie", "")) for asked in network.asked[0]
    ]
    assert cookies == [
        ("a", ""),
        ("b", ""),
        *[("a", "JSESSIONID=session-of-a"), ("b", "JSESSIONID=session-of-b")] * 2,
    ]


def test_cookie_of_one_port_never_goes_to_the_port_of_another_institution() -> None:
    network = Network(
        lambda _: ({"Set_Cookie": "SESSION=a; Path=/; Domain=127.0.0.1"}, records("A1")),
        lambda _: ({}, records("B1")),
        times=2,
    )
    network.poll(two_hosts)
    assert all("cookie" not in asked.headers for asked in network.asked[1])


def test_each_institution_gets_an_oauth_token_of_its_own() -> None:
    def respond(asked: ReceivedRequest) -> tuple[dict[str, str], Any]:
        if asked.target == "/token":
            client = dict(pair.split("=") for pair in asked.body.decode().split("&"))["client_id"]
            return {}, {"access_token": f"for-{client}", "expires_in": 3600}
        return {}, records(asked.headers["x-school"])

    def parties(urls: list[str]) -> str:
        auth = (
            f"auth: {{oauth2_client_credentials: {{token_url: {urls[0]}/token, "
            "credentials_in: body, client_id: NAME, client_secret: {secret: NAME}}}"
        )
        return f"{party('a', '', auth.replace('NAME', 'a'))}, {party('b', '', auth.replace('NAME', 'b'))}"

    network = Network(respond, times=2)
    results = network.poll(parties, more=ONE_HOST, block=NAMED)
    assert all(isinstance(result, PollResult) for result in results.values()), results
    sent = {
        (asked.headers["x-school"], asked.headers["authorization"])
        for asked in network.asked[0]
        if asked.target != "/token"
    }
    assert sent == {("a", "Bearer for-a"), ("b", "Bearer for-b")}


def test_link_to_the_token_address_is_not_followed() -> None:
    auth = (
        "auth: {oauth2_client_credentials: {token_url: TOKEN/token, client_id: a, "
        "client_secret: {secret: a}}}"
    )
    network = Network(
        lambda _: ({}, records("A1", next=network.urls[1] + "/steal")),
        lambda _: ({}, {"access_token": "T", "expires_in": 3600}),
    )
    results = network.poll(lambda urls: party("a", urls[0], auth.replace("TOKEN", urls[1])))
    assert getattr(results["awards@a"], "reason", "") == "CURSOR_FOREIGN"
    assert [asked.target for asked in network.asked[1]] == ["/token"]


def test_institutions_of_one_name_in_two_loops_keep_their_own_credentials() -> None:
    second = """
  others:
    emits: credential
    request: {get: /others}
    records: items
    id: id
    for_each: {school: {in: {parties: {a: {auth: {bearer: {token: {secret: b}}}}}}}}
    map: {title.en: t}
    tests: [{name: shape, given: {id: "1"}, expect_some: {}}]
"""
    network = Network(lambda _: ({}, records("A1")))

    async def run() -> None:
        async with Server(network._answer(0)) as server:
            text = stream("", ONE_HOST.replace("PARTIES", party("a"))) + second
            connector = split_by_party(connector_at(server.url, text))
            await network._poll_all(connector)

    asyncio.run(run())
    sent = {(asked.target, asked.headers["authorization"]) for asked in network.asked[0]}
    assert sent == {("/r", "Bearer TOKEN-OF-A"), ("/others", "Bearer TOKEN-OF-B")}


def test_clock_of_one_institution_moves_no_cursor_of_another() -> None:
    slow = format_datetime(datetime.now(UTC) - timedelta(hours=5), usegmt=True)
    network = Network(lambda _: ({"Date": slow}, records("A1")), lambda _: ({}, records("B1")))
    network.poll(two_hosts)
    assert network.clocks["a"] > timedelta(hours=4)
    assert network.clocks["b"] == timedelta(0)


def test_many_institutions_keep_few_connections_and_all_their_sessions() -> None:
    names = [f"uni-{number}" for number in range(MAX_IDLE_CLIENTS + 8)]

    def respond(asked: ReceivedRequest) -> tuple[dict[str, str], Any]:
        whose = asked.headers["x-school"]
        return {"Set_Cookie": f"S={whose}; Path=/"}, records(whose)

    network = Network(respond, times=2)
    network.poll(lambda _: ", ".join(f"{name}: {{}}" for name in names), more=ONE_HOST, block=NAMED)
    assert len(network.asked[0]) == 2 * len(names)
    for asked in network.asked[0][len(names) :]:
        assert asked.headers["cookie"] == f"S={asked.headers['x-school']}"


def test_reply_of_one_institution_is_never_kept_for_another() -> None:
    network = Network(
        lambda asked: ({"ETag": '"same"'}, records(asked.headers["x-school"])), times=2
    )
    network.poll(lambda _: f"{party('a')}, {party('b')}", more=ONE_HOST, block=NAMED)
    assert all("if-none-match" not in asked.headers for asked in network.asked[0])
