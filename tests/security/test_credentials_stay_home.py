"""Credentials go to the address of the registry, and elsewhere only where the file says so."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.config.loading import load_connector
from gateway.errors import StreamError, StreamHalted
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.http import network_guard
from gateway.fetch.registry_client import RegistryClient
from tests.support import certificates
from tests.support.memory_stream import NOW
from tests.support.raw_http_server import ReceivedRequest, Server, reply

WINDOW = TimeWindow(None, NOW)
CONNECTOR = """language: 1
connector: home
country: FI
title: A registry with a second host
owner: {{name: Example office, contact: registry@office.example}}
{protocol}:
  url: {{production: "{url}"}}
  limits: {{timeout: 5s, attempts: 1}}
{block}streams:
  awards:
    emits: qualification
    {stream}
    cursor: scan
    records: {records}
    id: {id}
    map: {{title.en: t}}
    tests: [{{name: shape, given: {given}, expect_some: {{}}}}]
"""
GET = "request: {get: /r}\n    paging: {next_url: next}"
AUTHS = {
    "basic": ("auth: {basic: {username: u, password: {secret: s}}}", "authorization"),
    "bearer": ("auth: {bearer: {token: {secret: s}}}", "authorization"),
    "key in a header": ("auth: {api_key: {header: X-Key, value: {secret: s}}}", "x-key"),
    "key in the query": ("auth: {api_key: {query: key, value: {secret: s}}}", ""),
    "secret header": ("headers: {X-Office: {secret: s}}", "x-office"),
    "secret in a header": (
        'headers: {X-Office: "for {code}"}\n  variables: {code: {secret: s}}',
        "x-office",
    ),
}
SECRET = "S3CRET-OF-THE-OFFICE"
Respond = Callable[[ReceivedRequest, list[str]], tuple[int, dict[str, str], Any]]


def first_page(link: str) -> Any:
    return {"items": [{"id": "1", "t": "T"}], "next": link}


def read(
    home: Respond, other: Respond, block: str, stream: str = GET, **parts: str
) -> tuple[list[str] | StreamError, list[ReceivedRequest], list[ReceivedRequest]]:
    """Return the ids or the error, and the requests that both hosts received.

    ``OTHER`` in the text stands for the address of the second host.
    """

    async def run() -> Any:
        async with AsyncExitStack() as servers:
            urls: list[str] = []
            opened = []
            for respond in (home, other):
                server = await servers.enter_async_context(Server(answer_of(respond, urls)))
                urls.append(server.url)
                opened.append(server)
            text = CONNECTOR.format(
                protocol=parts.get("protocol", "rest"),
                url=urls[0],
                block=f"  {block}\n" if block else "",
                stream=stream,
                records=parts.get("records", "items"),
                id=parts.get("id", "id"),
                given=parts.get("given", '{id: "1", t: T}'),
            ).replace("OTHER", urls[1])
            path = parts["folder"]
            (path / "home.yaml").write_text(text)
            connector = load_connector(path / "home.yaml")
            found: Any = []
            try:
                async with RegistryClient(connector, lambda _: SECRET.encode(), "production") as c:
                    async for page in read_pages(connector, "awards", WINDOW, c):
                        found += [raw.native_id for raw in page.records]
            except StreamError as error:
                found = error
            return found, opened[0].asked, opened[1].asked

    return asyncio.run(run())


def answer_of(respond: Respond, urls: list[str]) -> Any:
    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        status, headers, content = respond(asked, urls)
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        reply(writer, body, status, **{"content_type": "application/json", **headers})

    return answer


def link_to_other(_: ReceivedRequest, urls: list[str]) -> tuple[int, dict[str, str], Any]:
    return 200, {"Set_Cookie": "SESSION=home; Path=/"}, first_page(urls[1] + "/page2")


def second_page(_: ReceivedRequest, _urls: list[str]) -> tuple[int, dict[str, str], Any]:
    return 200, {}, {"items": [{"id": "2", "t": "T"}]}


def everything_in(request: ReceivedRequest) -> str:
    return f"{request.target} {request.headers} {request.body!r}"


@pytest.mark.parametrize("kind", AUTHS)
def test_further_host_receives_no_credentials(tmp_path, kind) -> None:
    block = f'{AUTHS[kind][0]}\n  hosts: ["OTHER"]'
    found, home, other = read(link_to_other, second_page, block, folder=tmp_path)
    assert found == ["1", "2"]
    assert SECRET in everything_in(home[0]) or kind == "basic"
    sent = everything_in(other[0])
    assert SECRET not in sent
    assert "authorization" not in other[0].headers
    assert "cookie" not in other[0].headers


@pytest.mark.parametrize("kind", AUTHS)
def test_further_host_receives_credentials_where_the_file_says_so(tmp_path, kind) -> None:
    auth, header = AUTHS[kind]
    block = f'{auth}\n  hosts: [{{host: "OTHER", credentials: true}}]'
    found, home, other = read(link_to_other, second_page, block, folder=tmp_path)
    assert found == ["1", "2"]
    assert SECRET in other[0].target if not header else other[0].headers[header]
    assert other[0].headers.get(header) == home[0].headers.get(header)


@pytest.mark.parametrize("name", ["Authorization", "cookie", "PROXY-Authorization"])
def test_header_of_credentials_is_never_sent_to_a_further_host(tmp_path, name) -> None:
    block = f'headers: {{{name}: "for {{office}}", Accept: text/x}}\n  variables: {{office: plain}}'
    found, home, other = read(
        link_to_other, second_page, f'{block}\n  hosts: ["OTHER"]', folder=tmp_path
    )
    assert found == ["1", "2"]
    assert home[0].headers[name.lower()] == "for plain"
    assert name.lower() not in other[0].headers
    assert other[0].headers["accept"] == "text/x"


@pytest.mark.parametrize(
    "stream",
    [
        'request: {get: /r}\n    paging: {cursor: {from: next, request: {get: "{cursor}"}}}',
        'request: {get: /r}\n    expand: {request: {get: "{id}"}, id: next, into: more}',
    ],
    ids=["cursor", "expand"],
)
def test_link_in_a_placeholder_carries_no_credentials(tmp_path, stream) -> None:
    def home(_: ReceivedRequest, urls: list[str]) -> tuple[int, dict[str, str], Any]:
        link = urls[1] + "/page2"
        item = {"id": "1", "t": "T", "next": link}
        return 200, {"Set_Cookie": "SESSION=home"}, {"items": [item], "next": link}

    block = f'{AUTHS["bearer"][0]}\n  headers: {{X-Office: {{secret: s}}}}\n  hosts: ["OTHER"]'
    _, _, other = read(home, second_page, block, stream, folder=tmp_path)
    assert other
    assert all(SECRET not in everything_in(request) for request in other)
    assert all("cookie" not in request.headers for request in other)


@pytest.mark.parametrize("key", ["form: {pin: {secret: s}}", "json: {pin: {secret: s}}"])
def test_body_with_a_secret_never_goes_to_a_further_host(tmp_path, key) -> None:
    stream = f"request: {{post: /r, {key}}}\n    paging: {{next_url: next}}"
    found, _, other = read(link_to_other, second_page, 'hosts: ["OTHER"]', stream, folder=tmp_path)
    assert isinstance(found, StreamHalted)
    assert found.reason == "CREDENTIALS_WITHHELD"
    assert "credentials: true" in str(found)
    assert other == []


@pytest.mark.parametrize("path", ["OTHER/{code}", "OTHER/r?x={code}"])
def test_address_with_a_secret_never_goes_to_a_further_host(tmp_path, path) -> None:
    block = 'hosts: ["OTHER"]\n  variables: {code: {secret: s}}'
    stream = f'request: {{get: "{path}"}}'
    found, _, other = read(second_page, second_page, block, stream, folder=tmp_path)
    assert isinstance(found, StreamHalted)
    assert found.reason == "CREDENTIALS_WITHHELD"
    assert other == []


def test_refusal_of_a_further_host_says_that_it_received_no_credentials(tmp_path) -> None:
    block = f'{AUTHS["bearer"][0]}\n  hosts: ["OTHER"]'
    found, _, _ = read(link_to_other, lambda *_: (401, {}, {}), block, folder=tmp_path)
    assert isinstance(found, StreamHalted)
    assert found.reason == "DENIED"
    assert "sent it no credentials" in str(found)
    assert "credentials: true" in str(found)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_of_a_request_is_not_followed(tmp_path, status) -> None:
    def redirect(_: ReceivedRequest, urls: list[str]) -> tuple[int, dict[str, str], Any]:
        return status, {"Location": urls[1] + "/elsewhere"}, {}

    block = f'{AUTHS["bearer"][0]}\n  hosts: [{{host: "OTHER", credentials: true}}]'
    found, _, other = read(redirect, second_page, block, folder=tmp_path)
    assert getattr(found, "reason", "") == "REDIRECT_REFUSED"
    assert other == []


EXPORT = """export:
      start: {get: /start}
      keep: {number: number}
      status: {get: "/status/{number}"}
      state: state
      pending: running
      done: done
      files: files
      HOSTS
    decode: json"""


@pytest.mark.parametrize("redirected", [True, False])
@pytest.mark.parametrize("hosts", ['hosts: ["OTHER"]', ""])
def test_download_from_another_host_carries_no_credentials(tmp_path, redirected, hosts) -> None:
    def home(asked: ReceivedRequest, urls: list[str]) -> tuple[int, dict[str, str], Any]:
        if asked.target == "/file":
            return 302, {"Location": urls[1] + "/file"}, {}
        file = urls[0] + "/file" if redirected else urls[1] + "/file"
        session = {"Set_Cookie": "SESSION=home; Path=/"}
        return 200, session, {"number": "1", "state": "done", "files": [file]}

    block = AUTHS["bearer"][0] + ("" if hosts else '\n  hosts: ["OTHER"]')
    stream = EXPORT.replace("HOSTS", hosts)
    found, _, other = read(home, second_page, block, stream, folder=tmp_path)
    assert found == ["2"]
    assert len(other) == 1
    assert SECRET not in everything_in(other[0])
    assert "cookie" not in other[0].headers


SOAP = """request: {envelope: '<q xmlns="urn:q"/>'}
    paging: {next_url: "string(//next)"}"""


def test_message_with_ws_security_never_goes_to_a_further_host(tmp_path) -> None:
    def home(_: ReceivedRequest, urls: list[str]) -> tuple[int, dict[str, str], Any]:
        return (
            200,
            {"content_type": "text/xml"},
            (
                '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
                f"<r><item id='1'/><next>{urls[1]}/more</next></r></soap:Body></soap:Envelope>"
            ).encode(),
        )

    block = (
        'security: {username_token: {username: office, password: {secret: s}}}\n  hosts: ["OTHER"]'
    )
    found, sent, other = read(
        home, home, block, SOAP, folder=tmp_path,
        protocol="soap", records="//item", id="'@id'", given="'<item id=\"1\"/>'",
    )  # fmt: skip
    assert SECRET.encode() in sent[0].body
    assert getattr(found, "reason", "") == "CREDENTIALS_WITHHELD", found
    assert other == []


LINKS = [
    "http://user:word@{host}:{port}/page2",
    "http://{host}:{port}@evil.example/page2",
    "http://evil.example\\@{host}:{port}/page2",
    "http://{host}:1/page2",
    "https://{host}:{port}/page2",
    "http://{host}.:1/page2",
    "http://{host}%2eevil.example/page2",
    "http://{host}:{port}%40evil.example/page2",
    "http://evil.example#@{host}:{port}/page2",
    "http://evil.example?@{host}:{port}/page2",
    "http:///{host}:{port}@evil.example/page2",
    "http://{host}\t.evil.example/page2",
    "ftp://{host}:{port}/page2",
    "http://[::ffff:169.254.169.254]/page2",
    "http://2852039166/latest/meta-data",
    "file:///etc/passwd",
    "gopher://{host}:{port}/page2",
    "http://ⓔvil.example/page2",
    "http://evil。example/page2",
]


@pytest.mark.parametrize("link", LINKS)
def test_link_with_a_strange_host_goes_home_or_nowhere(tmp_path, link) -> None:
    def home(asked: ReceivedRequest, urls: list[str]) -> tuple[int, dict[str, str], Any]:
        host, _, port = urls[0].removeprefix("http://").partition(":")
        is_first = asked.target == "/r"
        text = link.replace("{host}", host).replace("{port}", port)
        return 200, {}, first_page(text) if is_first else {"items": [{"id": "2", "t": "T"}]}

    found, sent, other = read(home, second_page, AUTHS["bearer"][0], folder=tmp_path)
    if isinstance(found, StreamError):
        assert found.reason in {"CURSOR_FOREIGN", "URL_INVALID"}
        assert len(sent) == 1
    else:
        assert len(sent) == 2
    assert other == []


ADDRESSES = [
    ("169.254.169.254", "metadata service"),
    ("169.254.10.20", "link-local"),
    ("fe80::1", "link-local"),
    ("::ffff:169.254.169.254", "metadata service"),
    ("fd00:ec2::254", "metadata service"),
    ("100.100.100.200", "metadata service"),
    ("0.0.0.0", "unspecified"),  # noqa: S104 - it is refused
    ("224.0.0.1", "multicast"),
    ("64:ff9b::a9fe:a9fe", "metadata service"),
]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Let the name ``registry.example`` have these addresses, one after the other."""
    resolve, left = socket.getaddrinfo, list(answers)

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name != "registry.example":
            return resolve(host, *rest, **more)
        return resolve(left.pop(0) if len(left) > 1 else left[0], *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def connect(host: str, port: int) -> Any:
    async def run() -> Any:
        transport = network_guard.guarded_transport(trust_env=False)
        async with transport:
            network = transport._pool._network_backend
            stream = await network.connect_tcp(host, port, 2.0)
            await stream.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("credentials", [False, True])
def test_client_certificate_goes_only_to_hosts_with_credentials(tmp_path, credentials) -> None:
    shown: list[bool] = []

    async def run() -> None:
        async with AsyncExitStack() as servers:
            other_url = ""

            async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
                certificate = writer.get_extra_info("ssl_object").getpeercert()
                shown.append(bool(certificate))
                is_first = asked.target == "/r"
                content = first_page(other_url + "/page2") if is_first else {"items": []}
                reply(writer, json.dumps(content).encode(), content_type="application/json")

            home, other = [
                await servers.enter_async_context(Server(answer, asking_for_certificates(tmp_path)))
                for _ in range(2)
            ]
            other_url = other.url
            block = (
                "  tls: {certificate: {secret: certificate}, key: {secret: key}, "
                "authorities: {secret: authorities}}\n"
                f"  hosts: [{{host: '{other.url}', credentials: {str(credentials).lower()}}}]\n"
            )
            path = tmp_path / "home.yaml"
            path.write_text(
                CONNECTOR.format(
                    protocol="rest", url=home.url, block=block, stream=GET, records="items",
                    id="id", given='{id: "1", t: T}',
                )
            )  # fmt: skip
            connector = load_connector(path)
            secrets = {
                "certificate": certificates.CLIENT.pem,
                "key": certificates.CLIENT.key_pem,
                "authorities": certificates.AUTHORITY.pem,
            }
            async with RegistryClient(connector, secrets.__getitem__, "production") as client:
                async for _ in read_pages(connector, "awards", WINDOW, client):
                    pass

    asyncio.run(run())
    assert shown == [True, credentials]


def asking_for_certificates(folder: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = folder / "server.pem"
    file.write_bytes(certificates.SERVER.pem + certificates.SERVER.key_pem)
    context.load_cert_chain(file)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=certificates.AUTHORITY.pem.decode())
    return context


@pytest.mark.parametrize(("address", "words"), ADDRESSES)
def test_name_that_leads_to_a_refused_address_is_not_called(
    tmp_path, monkeypatch, address, words
) -> None:
    resolve_to(monkeypatch, address)
    text = CONNECTOR.format(
        protocol="rest", url="https://registry.example", block="  " + AUTHS["bearer"][0] + "\n",
        stream=GET, records="items", id="id", given='{id: "1", t: T}',
    )  # fmt: skip
    (tmp_path / "home.yaml").write_text(text)
    connector = load_connector(tmp_path / "home.yaml")

    async def run() -> None:
        async with RegistryClient(connector, lambda _: b"x", "production") as client:
            async for _ in read_pages(connector, "awards", WINDOW, client):
                pass

    with pytest.raises(StreamHalted) as caught:
        asyncio.run(run())
    assert caught.value.reason == "HOST_REFUSED"
    assert words in str(caught.value)
    assert "registry.example" in str(caught.value)


def test_name_that_changes_its_address_after_the_check_sends_nothing(monkeypatch) -> None:
    """The first answer is harmless, and the second one leads to an address that is refused."""
    received: list[bytes] = []

    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.append(await reader.read(1))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.2", 0)
        port = server.sockets[0].getsockname()[1]
        resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
        judged = network_guard.address_kind
        monkeypatch.setattr(
            network_guard,
            "address_kind",
            lambda address: (
                network_guard.HostKind.LINK_LOCAL
                if str(address) == "127.0.0.2"
                else judged(address)
            ),
        )
        transport = network_guard.guarded_transport(trust_env=False)
        async with transport:
            with pytest.raises(network_guard.AddressRefused):
                await transport._pool._network_backend.connect_tcp("registry.example", port, 2.0)
        await asyncio.sleep(0.05)
        server.close()

    asyncio.run(run())
    assert b"".join(received) == b""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_still_called(host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect(host, server.getsockname()[1])


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "169.254.169.254.", "[fe80::1]"])
def test_literal_address_that_is_refused_is_not_called(host) -> None:
    with pytest.raises(network_guard.AddressRefused):
        connect(host, 80)
