"""Registries that call us: HTTP and SOAP receivers that answer in the caller's own form.

The caller is told ``accepted`` only after ``store`` has returned, that is, once its records are durable. Whatever cannot be read is
``refused``; what cannot be stored now is ``busy``, and the caller sends it again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4
from xml.sax.saxutils import escape

from aiohttp import web
from cryptography import x509
from lxml import etree

from gateway.config.connection import Acknowledgement, Security
from gateway.config.connector import Connector, Push, Stream
from gateway.config.expressions.conditions import values_test
from gateway.config.expressions.template import MissingValue, parse
from gateway.config.requests import Decoder
from gateway.errors import GatewayError, Halt, StreamError
from gateway.fetch.decode.chain import Reader, Reading
from gateway.fetch.http.body import Body
from gateway.fetch.http.request_reply import Reply
from gateway.fetch.record_selector import Expressions, Selector
from gateway.fetch.request_builder import Filler
from gateway.fetch.secrets import Secrets
from gateway.fetch.soap import envelope, xml_signature
from gateway.fetch.soap.ws_security import Guard
from gateway.observability import metrics
from gateway.records import Raw

Store = Callable[[Sequence[Raw]], Awaitable[None]]
"""Make records durable; returns when they are, raises when they are not."""

STORE_SECONDS = 30.0
RETRY_SECONDS = 5
"""After so long a caller that was told ``busy`` may come again."""
log = logging.getLogger(__name__)


class _Unauthorised(Exception):
    """The caller did not show the credentials the connector asks for."""


@dataclass(slots=True)
class Receiver:
    """Receives the messages of one push connector. :meth:`handle` is an aiohttp handler and never raises."""

    connector: Connector
    secrets: Secrets
    store: Store
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _slots: asyncio.Semaphore = field(init=False)
    _guard: Guard | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Set up what is shared by all messages."""
        self._slots = asyncio.Semaphore(self.rule.limits.concurrency)
        if self.rule.security is not None:
            self._guard = Guard(Security(signature=self.rule.security), self.secrets, self.connector.connector)

    @property
    def rule(self) -> Push:
        """The connector's ``push`` block."""
        block = self.connector.push
        if block is None:
            raise Halt("PROTOCOL", f"{self.connector.connector} is not a push connector")
        return block

    def busy(self, context: Mapping[str, Any] = MappingProxyType({"count": 0})) -> web.Response:
        """Return what tells the caller to send the message again, and when, in the caller's form."""
        answer = self._answer(self.rule.busy, {**context, "reason": "BUSY"})
        answer.headers.setdefault("Retry-After", str(RETRY_SECONDS))
        return answer

    def refused(self, reason: str) -> web.Response:
        """Return what tells the caller that the message was not taken, in the caller's form."""
        return self._answer(self.rule.refused, {"reason": reason, "count": 0})

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one message."""
        name = self.connector.connector
        try:
            async with asyncio.timeout(self.rule.limits.timeout.total_seconds()):
                data = await self.body(request)
        except (TimeoutError, ConnectionError, Halt):
            return self.refused("LIMIT_BYTES")
        if self._slots.locked():
            return self.busy()
        async with self._slots:
            try:
                self._admit(request)
                raws = self._records(data, request)
            except _Unauthorised:
                return web.Response(status=401, headers={"WWW-Authenticate": "Basic"} if self.rule.auth and self.rule.auth.basic else None)
            except StreamError as error:
                log.warning("push refused connector=%s reason=%s", name, error.reason)
                metrics.POLLS.labels(name, "push", "refused").inc()
                return self._answer(self.rule.refused, {"reason": error.reason, "count": 0})
            return await self._stored(raws)

    async def _stored(self, raws: Sequence[Raw]) -> web.Response:
        name = self.connector.connector
        context: dict[str, Any] = {**(raws[0].context if raws else {}), "count": len(raws), "reason": ""}
        try:
            if raws:
                async with asyncio.timeout(STORE_SECONDS):
                    await self.store(raws)
        except (GatewayError, TimeoutError, OSError, RuntimeError) as error:
            told = error if isinstance(error, GatewayError) else type(error).__name__  # only our own words are known to hold no payload
            log.warning("push not stored connector=%s error=%s", name, told)
            metrics.POLLS.labels(name, "push", "retry").inc()
            return self.busy(context)
        metrics.POLLS.labels(name, "push", "ok").inc()
        return self._answer(self.rule.accepted, context)

    async def body(self, request: web.Request) -> bytes:
        """Return the whole message; raises :class:`~gateway.errors.Halt` when it is larger than the connector allows."""
        limit, data = self.rule.limits.max_response, bytearray()
        async for piece in request.content.iter_chunked(65_536):
            data += piece
            if len(data) > limit:
                raise Halt("LIMIT_BYTES", f"{self.connector.connector}: a message is larger than {limit} bytes")
        return bytes(data)

    # --- who calls

    def _admit(self, request: web.Request) -> None:
        auth = self.rule.auth
        filler = Filler(self.secrets)
        if auth is not None and auth.basic:
            expected = f"{filler.text(auth.basic.username, {})}:{filler.text(auth.basic.password, {})}".encode()
            self._same(_basic(request.headers.get("Authorization", "")), expected)
        elif auth is not None and auth.bearer:
            self._same(request.headers.get("Authorization", "").encode(), b"Bearer " + filler.text(auth.bearer.token, {}).encode())
        elif auth is not None and auth.api_key:
            shown = request.headers.get(auth.api_key.header, "") if auth.api_key.header else request.query.get(auth.api_key.query or "", "")
            self._same(shown.encode(), filler.text(auth.api_key.value, {}).encode())
        elif auth is not None:
            raise Halt("PROTOCOL", f"{self.connector.connector}: a caller can show basic, bearer or api_key, nothing else")
        if self.rule.client_certificate is not None:
            self._certificate(request)

    @staticmethod
    def _same(shown: bytes, expected: bytes) -> None:
        if not hmac.compare_digest(shown, expected):
            raise _Unauthorised

    def _certificate(self, request: web.Request) -> None:
        channel = request.transport.get_extra_info("ssl_object") if request.transport else None
        shown = channel.getpeercert(binary_form=True) if channel is not None else None
        if not shown or self.rule.client_certificate is None:
            raise _Unauthorised
        name = self.rule.client_certificate.secret
        try:
            xml_signature.vouched(xml_signature.certificates(self.secrets(name), name), x509.load_der_x509_certificate(shown), self.now())
        except (xml_signature.Refused, ValueError):
            raise _Unauthorised from None

    # --- what is in it

    def _records(self, data: bytes, request: web.Request) -> list[Raw]:
        name, rule = self.connector.connector, self.rule
        headers = {key.lower(): value for key, value in request.headers.items()}
        expressions = Expressions(rule.namespaces)
        form: dict[str, str] = {}
        body = Body.of(data)
        if rule.fields:
            form = {key: value for key, value in parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True) if key in rule.fields}
            if self._empty(expressions, [("json", form)]):
                return []
            if not form.get(rule.fields[0]):
                raise Halt("FIELD_MISSING", f"{name}: the form has no field {rule.fields[0]!r}")
            body = Body.of(form[rule.fields[0]].encode())
            headers.pop("content-type", None)
        reply = Reply(200, headers, body, str(request.url.with_query(None)))
        raws: list[Raw] = []
        for stream_name, stream in self.connector.streams.items():
            reading = self._reader(stream, expressions).read(reply)
            if not rule.fields and self._empty(expressions, [(document.kind, document.root) for document in reading.documents]):
                return []
            raws += self._selected(stream_name, stream, expressions, reading, form)
        return raws

    def _reader(self, stream: Stream, expressions: Expressions) -> Reader:
        chain = stream.decode or (("xml",) if self.rule.protocol == "soap" else ())
        name = self.connector.connector
        return Reader(chain, expressions, self.rule.limits.max_decoded, name, verify=self._verified, checked=self._checked)

    def _selected(self, name: str, stream: Stream, expressions: Expressions, reading: Reading, form: Mapping[str, str]) -> list[Raw]:
        selector = Selector(self.connector.connector, name, stream, expressions, self.secrets)
        context = {**{key: value for key, value in form.items() if key != self.rule.fields[0]}, **reading.context}
        items = [item for document in reading.documents for item in selector.items(document, context)]
        if len(items) > self.rule.limits.max_records:
            raise Halt("LIMIT_RECORDS", f"{self.connector.connector}: more than {self.rule.limits.max_records} records in one message")
        return [raw for item in items for raw in selector.raws(item)]

    def _empty(self, expressions: Expressions, roots: Sequence[tuple[str, Any]]) -> bool:
        """Return whether ``replies`` say that a message holds no records; what they refuse is raised."""
        for answer in self.rule.replies:
            if answer.when.path is None:
                continue
            for kind, root in roots:
                try:
                    fits = expressions.fits(kind, answer.when, root, {})
                except ValueError:
                    fits = values_test(answer.when)([])
                if not fits:
                    continue
                if answer.then in {"stop", "denied", "retry"}:
                    raise Halt(answer.reason or "STOPPED", f"{self.connector.connector}: the message says that something went wrong")
                return answer.then == "empty"
        return False

    def _verified(self, data: bytes, options: Decoder | None) -> bytes:
        rule = options.signed if options else None
        trust = xml_signature.certificates(self.secrets(rule.trust.secret), rule.trust.secret) if rule and rule.trust else []
        return xml_signature.enveloped(data, trust, self.now(), self.connector.connector)

    def _checked(self, root: etree._Element) -> etree._Element:
        return self._guard.verified(root, self.now()) if self._guard is not None and envelope.is_envelope(root) else root

    # --- the answer

    def _answer(self, how: Acknowledgement, context: Mapping[str, Any]) -> web.Response:
        filler = Filler(self.secrets)
        variables = {name: filler.text(value, {}) for name, value in self.rule.variables.items()}
        values = {**variables, **context, "now": self.now(), "uuid": uuid4()}
        quote = _quoting(how.media_type)
        try:
            body = parse(how.body).fill(values, quote)
        except MissingValue:
            body = parse(how.body).fill({name: values.get(name, "") for name in parse(how.body).names}, quote)
        return web.Response(status=how.status, body=body.encode(), headers={"Content-Type": how.media_type, **how.headers})


def _quoting(media_type: str) -> Callable[[str], str]:
    """Return how a value is written into an answer, so that none can become markup."""
    if "xml" in media_type or "html" in media_type:
        return lambda value: escape(value, {'"': "&quot;"})
    if "json" in media_type:
        return lambda value: json.dumps(value)[1:-1]
    return str


def _basic(header: str) -> bytes:
    try:
        return base64.b64decode(header.removeprefix("Basic "), validate=True)
    except (binascii.Error, ValueError):
        return b""


def application(receivers: Sequence[Receiver]) -> web.Application:
    """Return an aiohttp application with every receiver at its connector's path."""
    app = web.Application(client_max_size=0)
    for receiver in receivers:
        app.router.add_post(receiver.rule.path, receiver.handle)
    return app
