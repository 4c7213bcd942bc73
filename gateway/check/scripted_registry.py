"""Simulate the registry of an inline test.

Each request of the stream must equal the next request of the test. The simulated registry then
sends the reply that the test states for this request.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from gateway.config.charsets import find_charset
from gateway.config.connector import Connector
from gateway.config.inline_tests import ExchangeStep, InlineTest, Response
from gateway.config.second_lists import LoopConfig
from gateway.config.yaml.document import DocumentPath
from gateway.errors import StreamError
from gateway.fetch import TimeWindow, offline_client, read_pages
from gateway.fetch.charset import DECLARED_CHARSET
from gateway.fetch.offline_client import OfflineClient, Request, make_response
from gateway.records import RawRecord

encode_json = msgspec.json.Encoder(decimal_format="number").encode
"""Encode a payload as JSON bytes, with decimal numbers as JSON numbers."""


class ExchangeFailed(Exception):
    """An exchange that differs from its test.

    ``place`` is the place of the difference inside the test.
    """

    def __init__(self, place: DocumentPath, message: str) -> None:
        super().__init__(message)
        self.place = place


class ScriptedRegistry:
    """The simulated registry of one test.

    ``position`` counts the steps that requests have used. ``failure`` is the first difference
    between a request and the test, or ``None``.
    """

    def __init__(self, base: str, steps: tuple[ExchangeStep, ...]) -> None:
        self._base = urlsplit(base)
        self._steps = steps
        self.position = 0
        self.failure: ExchangeFailed | None = None

    def __call__(self, request: Request) -> offline_client.Response:
        """Return the reply to one request, or a reply with status 404 when the request differs."""
        actual = self._describe_request(request)
        if self.position >= len(self._steps):
            return self._fail(
                ExchangeFailed(
                    ("exchange",), f"the test has no reply for a further request: {actual}"
                )
            )
        index, step = self.position, self._steps[self.position]
        self.position += 1
        if _normalise(actual) != _normalise(step.request):
            return self._fail(
                ExchangeFailed(
                    ("exchange", index, "request"),
                    f"the request is {actual}, expected {step.request}",
                )
            )
        body = request.content.decode("utf-8", "replace")
        for number, text in enumerate(step.body_contains):
            if text not in body:
                return self._fail(
                    ExchangeFailed(
                        ("exchange", index, "body_contains", number),
                        f"the body does not hold {text!r}",
                    )
                )
        return _build_response(step.response)

    def _fail(self, failure: ExchangeFailed) -> offline_client.Response:
        self.failure = self.failure or failure
        return make_response(404, {}, b"")

    def _describe_request(self, request: Request) -> str:
        parts = urlsplit(str(request.url))
        same_host = (
            f"{parts.scheme}://{parts.netloc}" == f"{self._base.scheme}://{self._base.netloc}"
        )
        path = (
            parts.path.removeprefix(self._base.path.rstrip("/")) or "/"
            if same_host
            else f"{parts.scheme}://{parts.netloc}{parts.path}"
        )
        return f"{request.method} {path}{'?' + parts.query if parts.query else ''}"


def _normalise(request: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    method, _, target = request.partition(" ")
    path, _, query = target.partition("?")
    return method.upper(), path or "/", tuple(sorted(parse_qsl(query, keep_blank_values=True)))


def _build_response(response: Response) -> offline_client.Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    if response.json_ is not None:
        content = encode_json(response.json_)
        headers.setdefault("content-type", "application/json")
    elif response.base64 is not None:
        content = base64.b64decode(response.base64)
    else:
        content = (response.text or "").strip().encode()
        # A test shows characters, so that a declaration in it names the charset of the bytes.
        declared = DECLARED_CHARSET.match(content.decode())
        if declared and (codec := find_charset(declared[1])):
            content = content.decode().encode(codec, "xmlcharrefreplace")
            headers.setdefault("content-type", "text/xml")
        headers.setdefault(
            "content-type",
            "text/xml; charset=utf-8" if content.startswith(b"<") else "text/plain; charset=utf-8",
        )
    return make_response(response.status, headers, content)


def without_credentials(connector: Connector, *, ids_as_written: bool = True) -> Connector:
    """Return the connector without credentials, certificates, rate limits and retries.

    An exchange shows requests and no secrets. A saved reply cannot name the message that it
    answers now. With ``ids_as_written``, native ids stay as the registry writes them, without a
    keyed pseudonym.
    """
    for name in ("rest", "soap", "file"):
        block = getattr(connector, name)
        if block is not None:
            changes: dict[str, Any] = {
                "auth": None,
                "tls": None,
                "limits": block.limits.model_copy(
                    update={"attempts": 1, "rate": None, "quiet": None}
                ),
            }
            if name == "soap":
                changes["security"] = None
                changes["addressing"] = block.addressing and block.addressing.model_copy(
                    update={"check_relates_to": False}
                )
            ids: dict[str, Any] = {"id_key": None} if ids_as_written else {}
            streams = {
                key: stream.model_copy(
                    update={**ids, "for_each": _without_credentials(stream.for_each)}
                )
                for key, stream in connector.streams.items()
            }
            return connector.model_copy(
                update={name: block.model_copy(update=changes), "streams": streams}
            )
    return connector


def _without_credentials(loops: Mapping[str, LoopConfig]) -> dict[str, LoopConfig]:
    """Return the loops without the credentials and certificates of their institutions."""
    none = {"auth": None, "tls": None}
    return {
        name: loop.model_copy(
            update={
                "in_": loop.in_.model_copy(
                    update={
                        "parties": {
                            party: institution.model_copy(update=none)
                            for party, institution in loop.in_.parties.items()
                        }
                    }
                )
            }
        )
        if loop.in_.parties
        else loop
        for name, loop in loops.items()
    }


async def run_exchange(connector: Connector, name: str, example: InlineTest) -> list[RawRecord]:
    """Return the raw records that a stream reads from the replies of an exchange.

    Raises :class:`ExchangeFailed` when the requests differ from the test or the stream stops.
    """
    opened = without_credentials(connector)
    now = example.now or example.until or datetime(2026, 1, 1, tzinfo=UTC)
    cursor = connector.streams[name].cursor
    since = example.since
    if since is not None and cursor is not None:
        since -= cursor.overlap
    elif cursor is not None:
        since = cursor.start_at
    client = OfflineClient(
        opened, lambda secret: f"secret {secret}".encode(), "production", now=lambda: now
    )
    client.answer = script = ScriptedRegistry(client.base, example.exchange or ())
    window = TimeWindow(since, example.until or now)
    raws: list[RawRecord] = []
    try:
        async with client:
            async for page in read_pages(
                opened, name, window, client, subjects=dict(example.subjects) or None
            ):
                raws += page.records
    except StreamError as error:
        raise script.failure or ExchangeFailed(
            ("exchange",), f"the stream stops: {error.reason}: {error}"
        ) from None
    if script.failure:
        raise script.failure
    if script.position < len(example.exchange or ()):
        unused = (example.exchange or ())[script.position]
        raise ExchangeFailed(
            ("exchange", script.position), f"the stream never sends {unused.request}"
        )
    return raws
