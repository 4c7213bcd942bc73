"""Check pushed records.

The gateway acknowledges a record after storing it and gives a reason for each refusal. A repeated
message is not stored twice.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import textwrap
from datetime import UTC, datetime

import httpx2
import pytest
from aiohttp import web
from lxml import etree
from signxml import XMLSigner

from gateway.config.connection import Security, Signature, Timestamp
from gateway.config.loading import load_connector
from gateway.config.types import Secret
from gateway.errors import Unavailable
from gateway.fetch.push_receiver import PushReceiver, build_application
from gateway.fetch.soap import envelope
from gateway.fetch.soap.ws_security import WsSecurity
from tests.support.certificates import SERVER

SECRETS = {"password": b"pass", "their.crt": SERVER.pem, "their.key": SERVER.key_pem}
HEAD = """
language: 1
connector: test
country: EU
title: A test
owner: {{name: A, contact: a@example.org}}
push:
  path: /in
  limits: {{max_response: 100kB, timeout: 2s}}
{block}
streams:
  things:
    emits: qualification
    tests: [{{name: shape, given: {{}}, expect_some: {{}}}}]
{stream}
"""


def push(tmp_path, block: str, stream: str, *, send, fail: Exception | None = None):
    """Send messages with ``send(client, url)``; return what it returned and what was stored."""
    file = tmp_path / "test.yaml"
    indent = lambda text, by: textwrap.indent(textwrap.dedent(text), " " * by)  # noqa: E731
    file.write_text(HEAD.format(block=indent(block, 2), stream=indent(stream, 4)))
    stored = []

    async def store(raws):
        await asyncio.sleep(0)
        if fail:
            raise fail
        stored.extend(raws)

    async def run():
        receiver = PushReceiver(load_connector(file), SECRETS.__getitem__, store)
        runner = web.AppRunner(build_application([receiver]))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        try:
            async with httpx2.AsyncClient(timeout=60) as client:
                return await send(client, f"http://127.0.0.1:{port}/in")
        finally:
            await runner.cleanup()

    return asyncio.run(run()), stored


def posting(**how):
    async def send(client, url):
        return await client.post(url, **how)

    return send


STREAM = "records: items\nid: id\nkeep: {reference: ref}\n"
ACK = """accepted: {body: '{"ok": "{reference}", "n": {count}}'}\nrefused: {status: 422, body: '{"why": "{reason}"}'}\nbusy: {status: 503, body: later}\n"""


def test_push_is_accepted_after_it_is_stored(tmp_path):
    answer, stored = push(
        tmp_path, ACK, STREAM, send=posting(json={"items": [{"id": 1, "ref": 'a"b'}, {"id": 2}]})
    )
    assert (answer.status_code, answer.json()) == (200, {"ok": 'a"b', "n": 2})
    assert [raw.native_id for raw in stored] == ["1", "2"]
    answer, stored = push(
        tmp_path,
        ACK,
        STREAM,
        send=posting(json={"items": [{"id": 1}]}),
        fail=Unavailable("no broker"),
    )
    assert (answer.status_code, answer.text) == (503, "later")
    assert stored == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "EMPTY_BODY"),
        (b"{", "JSON_MALFORMED"),
        (b'{"a":1,"a":2}', "JSON_DUPLICATE_KEY"),
        (b"x" * 200_000, "LIMIT_BYTES"),
    ],
)
def test_unreadable_push_is_refused_with_a_reason(tmp_path, content, reason):
    answer, stored = push(
        tmp_path,
        ACK,
        STREAM,
        send=posting(content=content, headers={"Content-Type": "application/json"}),
    )
    assert (answer.status_code, answer.json()) == (422, {"why": reason})
    assert stored == []


def test_push_callers_need_credentials(tmp_path):
    block = ACK + "auth: {basic: {username: them, password: {secret: password}}}\n"
    good = {"json": {"items": [{"id": 1}]}, "auth": ("them", "pass")}
    assert push(tmp_path, block, STREAM, send=posting(**good))[0].status_code == 200
    for auth in (None, ("them", "CANARY"), ("", "")):
        assert (
            push(tmp_path, block, STREAM, send=posting(json={"items": [{"id": 1}]}, auth=auth))[
                0
            ].status_code
            == 401
        )


def form(**fields):
    return posting(data=fields)


def elmo(text: str = "good") -> str:
    root = etree.fromstring(f"<elmo xmlns='urn:e'><award id='1'>{text}</award></elmo>")
    signed = etree.tostring(XMLSigner().sign(root, key=SERVER.key_pem, cert=SERVER.pem.decode()))
    return base64.b64encode(gzip.compress(signed)).decode()


FORM = """
fields: [elmo, returnCode]
namespaces: {e: "urn:e"}
replies: [{when: {path: returnCode, is: [NO_RESULTS]}, then: empty}, {when: {path: returnCode, is: [ERROR]}, then: stop, reason: CALLER_FAILED}]
"""
SIGNED = """
decode: [base64, gzip, {signed: {trust: {secret: their.crt}}}, xml]
records: "//e:award"
id: "@id"
"""


def test_signed_document_in_a_form_is_read(tmp_path):
    answer, stored = push(tmp_path, ACK + FORM, SIGNED, send=form(elmo=elmo(), returnCode="OK"))
    assert answer.status_code == 200
    assert stored[0].context["returnCode"] == "OK"
    assert "SignatureValue" in stored[0].context["signed_original"]
    answer, stored = push(tmp_path, ACK + FORM, SIGNED, send=form(returnCode="NO_RESULTS"))
    assert (answer.status_code, answer.text, stored) == (200, "", [])
    assert push(tmp_path, ACK + FORM, SIGNED, send=form(returnCode="ERROR"))[0].json() == {
        "why": "CALLER_FAILED"
    }
    tampered = gzip.compress(gzip.decompress(base64.b64decode(elmo())).replace(b"good", b"evil"))
    answer, stored = push(
        tmp_path, ACK + FORM, SIGNED, send=form(elmo=base64.b64encode(tampered).decode())
    )
    assert answer.json() == {"why": "SIGNATURE_INVALID"}
    assert stored == []


SOAP = """
protocol: soap
security: {key: {secret: their.key}, certificate: {secret: their.crt}, trust: {secret: their.crt}}
accepted: {media_type: text/xml, body: "<ok ref='{reference}'/>"}
refused: {media_type: text/xml, status: 500, body: "<fault>{reason}</fault>"}
"""


def test_signed_soap_push_is_read(tmp_path):
    content = etree.fromstring("<publish><proof id='7' ref='a&amp;b'/></publish>")
    message = envelope.build_message("1.1", content, "").envelope
    rule = Signature(
        key=Secret(secret="their.key"),
        certificate=Secret(secret="their.crt"),
        trust=Secret(secret="their.crt"),
    )
    from datetime import timedelta

    WsSecurity(
        Security(timestamp=Timestamp(ttl=timedelta(minutes=5)), signature=rule),
        SECRETS.__getitem__,
        "x",
    ).secure_request(message, datetime.now(UTC))
    data = etree.tostring(message)
    stream = "records: '//proof'\nid: '@id'\nkeep: {reference: '@ref'}\n"
    answer, stored = push(tmp_path, SOAP, stream, send=posting(content=data))
    assert answer.text == "<ok ref='a&amp;b'/>"
    assert [raw.native_id for raw in stored] == ["7"]
    answer, stored = push(
        tmp_path, SOAP, stream, send=posting(content=data.replace(b'id="7"', b'id="8"'))
    )
    assert answer.text == "<fault>SIGNATURE_INVALID</fault>"
    assert stored == []

    async def twice(client, url):
        return [(await client.post(url, content=data)).text for _ in range(2)]

    answers, stored = push(tmp_path, SOAP, stream, send=twice)
    assert answers == ["<ok ref='a&amp;b'/>"] * 2
    assert {raw.native_id for raw in stored} == {"7"}
