"""A fuzz target: the push port, over real sockets.

The first byte of an input chooses how it is sent: as a whole request, byte for byte, or as a body
under a correct head. The word ``@SIGNED@`` in a body stands for a message that was just signed.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import gzip
import logging
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_plus

import structlog

from gateway.config.connector import Connector
from gateway.records import RawRecord
from gateway.settings import Settings
from gateway.worker.push_server import PushServer
from tests.support import signed_messages as messages
from tests.support.fuzz_budget import within_budget

ANSWER_SECONDS = 10.0
"""For the answer to a complete request."""
HALF_REQUEST_SECONDS = 0.15
"""Then the sender of a request that may be incomplete ends the connection."""
STATUSES = frozenset({100, 200, 400, 401, 404, 405, 413, 417, 422, 431, 503, 505})
_HEAD = """language: 1
connector: {name}
country: FI
title: A registry that pushes
owner: {{name: Tests, contact: tests@example.org}}
push:
  path: /{name}
  protocol: http
  limits: {{max_response: 100kB, max_decoded: 1MB, max_records: 1000}}
  refused: {{status: 422, media_type: text/html, body: "<p>{{reason}}</p>"}}
  accepted: {{media_type: text/html, body: "<p>{{count}}</p>"}}
{more}
streams:
  awards:
    emits: credential
    decode: [{decode}]
    records: "{records}"
    id: "{id}"
    map: {{title.en: "{title}", awarding_body.name.en: {{const: A}}}}
    tests: [{{name: t, given: {given}, expect_rejected: {{reason: missing}}}}]
"""
_JSON = {"records": "items", "id": "id", "title": "title", "given": '{id: "1"}'}
_XML = {"records": "//r", "id": "@id", "title": "t", "given": "\"<r id='1'/>\""}
_CSV = _JSON | {"records": "[]"}
_FIELDS = "  fields: [data, code]\n  replies: [{when: {path: code, is: NONE}, then: empty}, {when: {path: code, is: NO}, then: stop}]"
_FILES: dict[str, dict[str, str]] = {
    "json": {"decode": "json", "more": "", **_JSON},
    "xml": {
        "decode": "xml",
        "more": "  auth: {basic: {username: u, password: {secret: empty}}}",
        **_XML,
    },
    "csv": {"decode": "csv", "more": "", **_CSV},
    "zip": {"decode": 'zip, "*.json", json', "more": "", **_JSON},
    "form": {"decode": "base64, gzip, xml", "more": _FIELDS, **_XML},
    "mime": {"decode": "mime, xml", "more": "", **_XML},
}
PATHS = (*_FILES, "in")
_TYPES = (
    *(
        "",
        "application/json",
        "text/xml; charset=utf-8",
        "text/csv; charset=iso-8859-1",
        "application/zip",
    ),
    *(
        "application/x-www-form-urlencoded",
        'multipart/related; boundary="b"',
        "text/xml; charset=utf-16",
    ),
)
_CODINGS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("", bytes),
    ("gzip", lambda body: gzip.compress(body, mtime=0)),
    ("deflate", zlib.compress),
    ("gzip", bytes),
)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RECORD = b'{"items": [{"id": "1", "title": "Award"}]}'
_ELEMENT = b"<l><r id='1'><t>Award</t></r></l>"
_AUTHORISATION = b"Authorization: Basic " + base64.b64encode(b"u:") + b"\r\n"


@within_budget
def push(data: bytes) -> None:
    """Send a request. The port answers it well, logs no error, and then serves the next caller."""
    if len(data) < 3:
        return
    port = _port()
    port.errors.clear()
    with _watched_logs(port.errors):
        _send_and_check(port, data)
    assert not port.errors, port.errors[0]


def _send_and_check(port: _Port, data: bytes) -> None:
    is_whole = bool(data[0] & 1)
    sent = data[3:] if is_whole else _request(data)
    answer = port.send(sent, is_complete=not is_whole)
    statuses = read_answers(answer, is_half_allowed=is_whole)
    assert statuses or is_whole, "no answer"
    assert STATUSES.issuperset(statuses), statuses
    # The next caller is served.
    good = port.send(_good_request(), is_complete=True)
    assert read_answers(good) == [200], good
    assert all(record.native_id == "1" for record in port.take_signed()), "not signed"


def _request(data: bytes) -> bytes:
    """Return a body under a head that fits it."""
    path = PATHS[(data[0] >> 1) % len(PATHS)]
    coding, compress = _CODINGS[(data[1] >> 4) % len(_CODINGS)]
    body = data[3:]
    if b"@SIGNED@" in body:
        body = body.replace(b"@SIGNED@", messages.signed(), 1)
    body = compress(body)
    head = f"POST /{path} HTTP/1.1\r\nHost: localhost\r\n"
    if media_type := _TYPES[data[1] % len(_TYPES)]:
        head += f"Content-Type: {media_type}\r\n"
    if coding:
        head += f"Content-Encoding: {coding}\r\n"
    if data[2] & 1:
        head += _AUTHORISATION.decode()
    if data[2] & 2:
        step = 1 + data[2]
        pieces = [body[start : start + step] for start in range(0, len(body), step)]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _good_request() -> bytes:
    head = (
        b"POST /json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    )
    return head % len(_RECORD) + _RECORD


_STATUS_LINE = re.compile(rb"HTTP/(\d\.\d) (\d{3}) [ -~]*\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t -~\x80-\xff]*)\r\n")


def read_answers(answer: bytes, *, is_half_allowed: bool = False) -> list[int]:
    """Return the statuses of all answers. Fail unless each one is well formed and complete."""
    statuses = []
    while answer:
        line = _STATUS_LINE.match(answer)
        assert line, answer[:200]
        position, length = line.end(), 0
        while field := _FIELD.match(answer, position):
            position = field.end()
            if field[1].lower() == b"content-length":
                length = int(field[2])
            assert field[1].lower() != b"transfer-encoding", answer[:300]
        assert answer[position : position + 2] == b"\r\n", answer[:300]
        end = position + 2 + length
        assert len(answer) >= end, answer[:300]
        assert not re.search(rb"Traceback|UNEXPECTED", answer[:end]), answer[:300]
        assert line[1] in {b"1.0", b"1.1"} or line[2] == b"505", answer[:200]
        statuses.append(int(line[2]))
        answer = answer[end:]
    assert is_half_allowed or len(statuses) <= 1, statuses
    return statuses


class _Port:
    """A push port in a thread of its own, whose records are kept in memory."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._signed: list[RawRecord] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.errors.append(str(context)))
        self._is_open = threading.Event()
        self.number = 0
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop)
        assert self._is_open.wait(30)
        atexit.register(self._loop.call_soon_threadsafe, self._loop.stop)

    async def _serve(self) -> None:
        server = PushServer(
            Settings().model_copy(update={"receive_port": 0, "receive_host": "127.0.0.1"})
        )
        self._tasks = [
            asyncio.ensure_future(
                server.serve_connector(
                    connector, messages.SECRETS.__getitem__, self._store_of(connector)
                )
            )
            for connector in _connectors()
        ]
        while not server.url:
            await asyncio.sleep(0.01)
        self.number = int(server.url.rpartition(":")[2])
        self._is_open.set()

    def _store_of(self, connector: Connector) -> Any:
        async def store(records: Sequence[RawRecord]) -> None:
            if connector.connector == "signed":
                self._signed.extend(records)

        return SimpleNamespace(store=store)

    def take_signed(self) -> list[RawRecord]:
        """Return the records of the connector that demands a signature, once."""
        taken, self._signed[:] = list(self._signed), []
        return taken

    def send(self, request: bytes, *, is_complete: bool) -> bytes:
        """Return everything that the port answers to a request on a new connection."""
        with socket.create_connection(
            ("127.0.0.1", self.number), timeout=ANSWER_SECONDS
        ) as channel:
            try:
                channel.sendall(request)
                answer = self._read(channel, is_complete=is_complete)
                channel.shutdown(socket.SHUT_WR)
                channel.settimeout(ANSWER_SECONDS)
                while piece := channel.recv(65536):
                    answer += piece
            except (ConnectionError, BrokenPipeError):
                return b"" if not is_complete else self._read(channel, is_complete=True)
            except OSError as error:
                assert not isinstance(error, TimeoutError), "the port keeps a connection"
        return answer

    @staticmethod
    def _read(channel: socket.socket, *, is_complete: bool) -> bytes:
        """Return the first complete answer; less only if the port may wait for more."""
        answer = b""
        ends = time.monotonic() + (ANSWER_SECONDS if is_complete else HALF_REQUEST_SECONDS)
        while not _is_whole(answer):
            channel.settimeout(max(0.001, ends - time.monotonic()))
            try:
                piece = channel.recv(65536)
            except TimeoutError:
                break
            if not piece:
                break
            answer += piece
        return answer


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.removeprefix(_CONTINUE).partition(b"\r\n\r\n")
    found = re.search(rb"\r\nContent-Length: (\d+)", head)
    return bool(end) and len(body) >= (int(found[1]) if found else 0)


@cache
def _port() -> _Port:
    return _Port()


def _connectors() -> list[Connector]:
    made = [messages.load(_HEAD.format(name=name, **parts), name) for name, parts in _FILES.items()]
    return [*made, messages.load(messages.push_file())]


class _Errors(logging.Handler):
    """Keep each error that a log would show."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__()
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self._errors.append(self.format(record))


@contextmanager
def _watched_logs(errors: list[str]) -> Iterator[None]:
    """Keep the errors that are logged meanwhile, and nothing else."""

    def keep(_: object, method: str, event: dict[str, Any]) -> Any:
        if event.get("exc_info") or method in {"error", "critical", "exception"}:
            errors.append(str(event))
        raise structlog.DropEvent

    before, handler = structlog.get_config(), _Errors(errors)
    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        structlog.configure(**before)


def _body(path: str, kind: int, body: bytes, flags: int = 0, coding: int = 0) -> bytes:
    return bytes([PATHS.index(path) << 1, coding << 4 | kind, flags]) + body


def _whole(
    path: str, body: bytes, *fields: str, method: str = "POST", version: str = "1.1"
) -> bytes:
    lines = [f"{method} /{path} HTTP/{version}", "Host: localhost", *fields]
    if not any(field.startswith(("Content-Length", "Transfer-Encoding")) for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return b"\1\0\0" + "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _form(document: bytes, code: str = "OK") -> bytes:
    return f"data={quote_plus(base64.b64encode(gzip.compress(document, mtime=0)))}&code={code}".encode()


def _zip() -> bytes:
    from tests.support.fuzz_decoders import _zip as zip_of

    return zip_of({"a.json": _RECORD})


SEEDS = [
    _body("json", 1, _RECORD),
    _body("json", 1, _RECORD, flags=2, coding=1),
    _body("json", 1, _RECORD, coding=2),
    _body("json", 1, gzip.compress(_RECORD, mtime=0), coding=3),
    _body("xml", 2, _ELEMENT, flags=1),
    _body("xml", 2, _ELEMENT),
    _body("csv", 3, b"id,title\n1,Award\n"),
    _body("zip", 4, _zip()),
    _body("form", 5, _form(_ELEMENT)),
    _body("form", 5, b"code=NONE"),
    _body("form", 5, b"data=&code=NO&x=%2B"),
    _body("mime", 6, b"--b\r\nContent-Type: text/xml\r\n\r\n" + _ELEMENT + b"\r\n--b--\r\n"),
    _body("in", 2, b"@SIGNED@"),
    _body("in", 2, messages.bare().encode()),
    _body(
        "in",
        2,
        b"<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body/></s:Envelope>",
    ),
    _whole("json", _RECORD, "Content-Type: application/json"),
    _whole("json", b"2a\r\n" + _RECORD + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    _whole("json", _RECORD, "Expect: 100-continue", "Connection: close"),
    _whole("json", _RECORD, "Content-Encoding: gzip", version="1.0"),
    _whole("xml", _ELEMENT, "Authorization: Basic dTo=", "Cookie: a=b", "X-Forwarded-For: ::1"),
    _whole("json?a=b&%00=c#d", b"", method="GET"),
    _whole("json", _RECORD) + _whole("csv", b"id\n1\n")[3:],
    _whole("", b"", "Upgrade: websocket", "Connection: Upgrade", "Content-Length: 0, 0"),
]
WORDS = [
    *(
        "Content-Length: ",
        "Transfer-Encoding: chunked",
        "Content-Encoding: ",
        "Expect: ",
        "\\x0d\\x0a",
        "HTTP/1.1",
    ),
    *(
        "Authorization: ",
        "@SIGNED@",
        "data=",
        "&code=",
        "--b",
        "0\\x0d\\x0a\\x0d\\x0a",
        "<r>",
        "POST /",
        "%00",
        "gzip",
    ),
]
