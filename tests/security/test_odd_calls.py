"""Call the push port as no registry does; each call gets an answer, and none an internal error."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.fetch import push_receiver
from tests.support import fuzz_push
from tests.support.signed_messages import post, push_file, signed, stream


@pytest.mark.parametrize("namespace", ["a", "../a", "?x", "x/urn:reg", "#"])
@pytest.mark.parametrize("place", ["body", "signature"])
def test_signed_part_without_a_canonical_form_is_refused(namespace: str, place: str) -> None:
    message = signed().decode()
    if place == "body":
        message = message.replace("<r:t>", f"<r:t><x xmlns='{namespace}'/>", 1)
    else:
        message = message.replace(
            "SignedInfo>", f"SignedInfo xmlns:odd='{namespace}' odd:a='1'>", 1
        )
    status, reason, stored = post(push_file(), message.encode())
    assert status == 422
    assert reason in {"SIGNATURE_MALFORMED", "SIGNATURE_INVALID"}
    assert stored == []


@pytest.mark.parametrize(
    "line",
    ["GET /json", "POST /json HTTP/0.9", "POST /json HTTP/2.0", "POST /none HTTP/0.9"],
)
@pytest.mark.parametrize("field", ["", "Expect: cake\r\n", "Expect: 100-continue\r\n"])
def test_call_of_another_version_of_http_is_refused(line: str, field: str) -> None:
    answer = fuzz_push._port().send(
        f"{line}\r\nHost: x\r\n{field}Content-Length: 0\r\n\r\n".encode(), is_complete=False
    )
    assert fuzz_push.read_answers(answer) == [505]
    assert b"HTTP/1.1" in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("version", "field", "status"),
    [
        ("1.0", "", 200),
        ("1.1", "", 200),
        ("1.0", "Expect: cake\r\n", 200),
        ("1.1", "Expect: cake\r\n", 417),
    ],
)
def test_call_of_a_usual_version_is_served(version: str, field: str, status: int) -> None:
    body = b'{"items": [{"id": "1", "title": "Award"}]}'
    length = f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    head = f"POST /json HTTP/{version}\r\nHost: x\r\n{field}{length}\r\n"
    answer = fuzz_push._port().send(head.encode() + body, is_complete=True)
    assert fuzz_push.read_answers(answer) == [status]


@pytest.mark.parametrize("error", [KeyError("Kari"), RecursionError(), AttributeError("Kari")])
def test_message_that_meets_a_fault_of_the_gateway_is_refused(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(push_receiver, "unify_namespaces", broken)
    assert post(push_file(), signed())[:2] == (422, "UNEXPECTED")
    shown = capsys.readouterr()
    assert type(error).__name__ in shown.out + shown.err
    assert "Kari" not in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err


@pytest.mark.parametrize("path", ["//r:r[count(//r:r) > 0]", "//r:r[not(preceding::r:r)]"])
def test_message_too_large_for_an_expression_is_refused(path: str) -> None:
    text = push_file(stream().replace("//r:r", path))
    unsigned = "\n".join(line for line in text.splitlines() if "security:" not in line)
    records = "<r:r id='1'><r:t>T</r:t></r:r>" * 20_000
    body = f"<r:reply xmlns:r='urn:reg'>{records}</r:reply>".encode()
    assert post(unsigned, body) == (422, "EXPRESSION_LIMIT", [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (":Envelope ", "x:Envelope "),
        (":Header>", ":Header><odd:a/>"),
        (":Header>", ":Header><a odd:id='1'/>"),
        ("SignedInfo>", "SignedInfo><odd:a odd:Id='1'/>"),
        (":Body ", ":Body odd:Id='x' "),
    ],
)
@pytest.mark.parametrize("title", ["Award", "A" * 120_000])
def test_prefix_without_a_namespace_is_refused(old: str, new: str, title: str) -> None:
    message = signed(title=title).decode()
    assert old in message
    status, reason, stored = post(push_file(), message.replace(old, new, 1).encode())
    assert (status, reason, stored) == (422, "XML_MALFORMED", [])
