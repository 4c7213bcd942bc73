"""Receive records from registries that call the gateway over HTTP or SOAP.

The receiver answers ``accepted`` only after ``store`` has returned, because the records are durable
then. It answers ``nothing`` to a message that holds no record by a rule of ``replies``, and
``refused`` to a message that it cannot read. It answers ``busy`` when it cannot store the records
now; the caller then sends the message again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

import aiohttp
import structlog
from aiohttp import web
from lxml import etree

from gateway.config.connection import PushResponse, Security
from gateway.config.connector import Connector, Push, Stream
from gateway.config.expressions.conditions import compile_values_condition
from gateway.config.expressions.template import MissingValue, parse_template
from gateway.errors import GatewayError, StreamError, StreamHalted
from gateway.fetch import xml_parser
from gateway.fetch.decode.chain import DecodeChain, DecodedReply
from gateway.fetch.decode.namespaces import namespace_aliases, unify_namespaces
from gateway.fetch.decode_budget import DecodeBudget
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.fault_text import describe_reply_rule, fault_text_in, quote_fault_text
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.http.request_reply import RegistryReply
from gateway.fetch.list_presence import REASON as LIST_MISSING
from gateway.fetch.push_admission import BodyReader, Busy, PushAdmission
from gateway.fetch.push_caller import (
    BadHead,
    Unauthorised,
    check_body_head,
    check_credentials,
    has_header_credentials,
    read_url,
)
from gateway.fetch.push_form import read_form
from gateway.fetch.pushed_records import PushedRecords
from gateway.fetch.record_selector import RecordSelector
from gateway.fetch.request_builder import TemplateFiller
from gateway.fetch.secrets import Secrets
from gateway.fetch.soap.required_signature import RequiredSignature
from gateway.fetch.soap.signed_step import verify_document
from gateway.fetch.soap.ws_security import SignedMessage, WsSecurity
from gateway.fetch.stream_errors import reading_errors
from gateway.observability import metrics
from gateway.records import RawRecord

StoreRecords = Callable[[PushedRecords], Awaitable[None]]
"""Make the records of a message durable, unless the same message was stored before.

Returns when they are durable and raises an error otherwise.
"""

STORE_SECONDS = 30.0
RETRY_SECONDS = 5
"""The ``Retry-After`` value of a ``busy`` answer."""
log = structlog.get_logger()


@dataclass(slots=True)
class PushReceiver:
    """The receiver for one push connector.

    :meth:`handle` is an aiohttp handler and never raises.
    """

    connector: Connector
    secrets: Secrets
    store: StoreRecords
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    admission: PushAdmission = field(default_factory=PushAdmission)
    _bodies: BodyReader = field(init=False)
    _guard: WsSecurity | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Create the objects that all messages share."""
        limits = self.push_config.limits
        shows_credentials = has_header_credentials(self.push_config)
        self._bodies = BodyReader(
            self.admission.trusted if shows_credentials else self.admission.strangers,
            limits.concurrency,
            limits.max_response,
            limits.timeout.total_seconds(),
            not shows_credentials,
            self.connector.connector,
        )
        if self.push_config.security is not None:
            self._guard = WsSecurity(
                Security(signature=self.push_config.security),
                self.secrets,
                self.connector.connector,
            )

    @property
    def push_config(self) -> Push:
        """The connector's ``push`` block."""
        block = self.connector.push
        if block is None:
            raise StreamHalted(
                "PROTOCOL",
                f"{self.connector.connector} is not a push connector; it sends requests itself",
            )
        return block

    def busy_response(
        self, context: Mapping[str, Any] = MappingProxyType({"count": 0})
    ) -> web.Response:
        """Return the answer that asks the caller to send the message again, and when."""
        answer = self._build_response(self.push_config.busy, {**context, "reason": "BUSY"})
        answer.headers.setdefault("Retry-After", str(RETRY_SECONDS))
        return answer

    def refused_response(self, reason: str) -> web.Response:
        """Return the answer that the gateway does not accept the message."""
        return self._build_response(self.push_config.refused, {"reason": reason, "count": 0})

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one message."""
        return await self.answer_with(request, self._read_and_store)

    async def answer_with(
        self,
        request: web.Request,
        process: Callable[[web.Request, bytes], Awaitable[web.Response]],
    ) -> web.Response:
        """Check the head of a call, read its body, and return what ``process`` answers.

        A call without the credentials of the connector is answered before its body is read.
        """
        push, name = self.push_config, self.connector.connector
        try:
            read_url(request)
            check_credentials(push, self.secrets, request, self.now(), name)
            check_body_head(push, request, name)
            await _send_continue(request)
            async with self._bodies.body(request) as data:
                return await process(request, data)
        except Unauthorised:
            return _unauthorised_response(push)
        except BadHead as error:
            return web.Response(status=400, text=f"{error}\n")
        except Busy:
            return self.busy_response()
        except StreamError as error:
            log.warning("push refused", connector=name, reason=error.reason, error=str(error))
            metrics.POLLS.labels(name, "push", "refused").inc()
            return self.refused_response(error.reason)
        except OSError as error:
            # For example, the disk is full. The caller sends the message again.
            log.warning("push not read", connector=name, error=type(error).__name__)
            metrics.POLLS.labels(name, "push", "retry").inc()
            return self.busy_response()

    async def _read_and_store(self, request: web.Request, data: bytes) -> web.Response:
        url = read_url(request)
        async with self.admission.decoding:
            # A large body takes seconds, in which the worker must answer other calls.
            with reading_errors(self.connector.connector, OSError):
                raws = await asyncio.to_thread(self.read_records, data, request.headers, url)
        return await self._store(raws)

    async def _store(self, raws: PushedRecords) -> web.Response:
        name = self.connector.connector
        if not raws:
            metrics.POLLS.labels(name, "push", "ok").inc()
            return self._build_response(self.push_config.nothing, {"count": 0, "reason": ""})
        context: dict[str, Any] = {**raws[0].context, "count": len(raws), "reason": ""}
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self.store(raws)
        except (GatewayError, TimeoutError, OSError, RuntimeError) as error:
            # The text of another library's error may quote a payload.
            safe_error = str(error) if isinstance(error, GatewayError) else type(error).__name__
            log.warning("push not stored", connector=name, error=safe_error)
            metrics.POLLS.labels(name, "push", "retry").inc()
            return self.busy_response(context)
        metrics.POLLS.labels(name, "push", "ok").inc()
        return self._build_response(self.push_config.accepted, context)

    # --- records

    def read_records(self, data: bytes, headers: Mapping[str, str], url: str) -> PushedRecords:
        """Return the records of a message. It is empty only if ``replies`` expect that.

        Raises :class:`~gateway.errors.StreamError` when the message cannot be read, or when no
        stream finds a record in it. The caller must then not be told that records arrived.
        """
        name, rule = self.connector.connector, self.push_config
        headers = {key.lower(): value for key, value in headers.items()}
        expressions = ExpressionCache(rule.namespaces)
        messages: list[SignedMessage] = []
        signature = self._required_signature(messages)
        form = read_form(data, rule.fields, name) if rule.fields else {}
        reads_form = bool(rule.fields) and signature is None
        if reads_form and self._means_no_records(expressions, [("json", form)]):
            return PushedRecords([])
        body = self._body_to_decode(data, form, signature)
        if rule.fields:
            headers.pop("content-type", None)
        if signature is not None:
            form = {}  # No signature covers the other fields.
        reply = RegistryReply(200, headers, body, url, is_text=bool(rule.fields))
        raws: list[RawRecord] = []
        unread: StreamHalted | None = None
        for stream_name, stream in self.connector.streams.items():
            reading = self._reader(stream, expressions, signature).read(reply)
            unify_namespaces(
                (document.root for document in reading.documents), namespace_aliases(rule)
            )
            if not rule.fields and self._means_no_records(
                expressions, [(document.kind, document.root) for document in reading.documents]
            ):
                return PushedRecords([])
            try:
                raws += self._select_records(stream_name, stream, expressions, reading, form)
            except StreamHalted as error:
                # The message may hold the list of another stream.
                if error.reason != LIST_MISSING:
                    raise
                unread = error
        if not raws:
            text = f"; {unread}" if unread else ""
            raise StreamHalted(
                "NO_RECORDS",
                f"{name}: no stream finds a record in the message{text}. If such a message is "
                "right, say so with a `replies` rule with `then: empty`",
            )
        return PushedRecords(raws, messages)

    def _body_to_decode(
        self, data: bytes, form: Mapping[str, str], signature: RequiredSignature | None
    ) -> ReplyBody:
        """Return what the chain decodes: the message, or the first field of its form."""
        fields = self.push_config.fields
        body = ReplyBody.from_bytes(form.get(fields[0], "").encode() if fields else data)
        if signature is not None and not xml_parser.first_content(body):
            signature.refuse()
        if fields and not form.get(fields[0]):
            raise StreamHalted(
                "FIELD_MISSING",
                f"{self.connector.connector}: the form has no field {fields[0]!r}; "
                "correct `fields`, or the registry's form",
            )
        return body

    def _required_signature(self, messages: list[SignedMessage]) -> RequiredSignature | None:
        """Return the signature that a message must have, which adds what it verifies."""
        guard = self._guard
        if guard is None:
            return None

        def verify(root: etree._Element) -> etree._Element:
            verified = guard.verify(root, self.now())
            messages.append(verified.message)
            return verified.root

        return RequiredSignature(
            lambda root: guard.verify_signer(root, self.now()), verify, self.connector.connector
        )

    def _reader(
        self, stream: Stream, expressions: ExpressionCache, signature: RequiredSignature | None
    ) -> DecodeChain:
        chain = stream.decode or (("xml",) if self.push_config.protocol == "soap" else ())
        name = self.connector.connector
        return DecodeChain(
            chain,
            expressions,
            self.push_config.limits.max_decoded,
            name,
            verify=lambda data, options: verify_document(
                data, options, self.secrets, self.now(), name
            ),
            signature=signature,
            new_budget=partial(DecodeBudget.from_limits, self.push_config.limits),
        )

    def _select_records(
        self,
        name: str,
        stream: Stream,
        expressions: ExpressionCache,
        reading: DecodedReply,
        form: Mapping[str, str],
    ) -> list[RawRecord]:
        selector = RecordSelector(self.connector.connector, name, stream, expressions, self.secrets)
        context = {
            **{key: value for key, value in form.items() if key != self.push_config.fields[0]},
            **reading.context,
        }
        items = [
            item for document in reading.documents for item in selector.items(document, context)
        ]
        if len(items) > self.push_config.limits.max_records:
            raise StreamHalted(
                "LIMIT_RECORDS",
                f"{self.connector.connector}: more than {self.push_config.limits.max_records} "
                "records in one message; raise limits.max_records, "
                "or let the registry send less in one message",
            )
        return [raw for item in items for raw in selector.to_raw_records(item)]

    def _means_no_records(
        self, expressions: ExpressionCache, roots: Sequence[tuple[str, Any]]
    ) -> bool:
        """Return whether ``replies`` classify a message as one without records.

        Raises :class:`~gateway.errors.StreamHalted` when ``replies`` refuse the message.
        """
        for number, answer in enumerate(self.push_config.replies, 1):
            if answer.when.path is None:
                continue
            for kind, root in roots:
                try:
                    fits = expressions.matches(kind, answer.when, root, {})
                except ValueError:
                    fits = compile_values_condition(answer.when)([])
                if not fits:
                    continue
                if answer.then in {"stop", "denied", "retry"}:
                    words = next(filter(None, (fault_text_in(inner) for _, inner in roots)), "")
                    raise StreamHalted(
                        answer.reason or "STOPPED",
                        f"{self.connector.connector}: the message fits "
                        f"{describe_reply_rule(number, answer)}{quote_fault_text(words)}",
                    )
                return answer.then == "empty"
        return False

    # --- the answer

    def _build_response(self, how: PushResponse, context: Mapping[str, Any]) -> web.Response:
        filler = TemplateFiller(self.secrets)
        variables = {
            name: filler.text(value, {}) for name, value in self.push_config.variables.items()
        }
        values = {**variables, **context, "now": self.now(), "uuid": uuid4()}
        quote = _quote_for(how.media_type)
        try:
            body = parse_template(how.body).fill(values, quote)
        except MissingValue:
            body = parse_template(how.body).fill(
                {name: values.get(name, "") for name in parse_template(how.body).names}, quote
            )
        return web.Response(
            status=how.status,
            body=body.encode(),
            headers={"Content-Type": how.media_type, **how.headers},
        )


def _quote_for(media_type: str) -> Callable[[str], str]:
    """Return the function that escapes a value for an answer, so that no value becomes markup."""
    if "xml" in media_type or "html" in media_type:
        return lambda value: escape(value, {'"': "&quot;"})
    if "json" in media_type:
        return lambda value: json.dumps(value)[1:-1]
    return str


def _unauthorised_response(push: Push) -> web.Response:
    scheme = "Basic" if push.auth and push.auth.basic else "Bearer"
    return web.Response(
        status=401,
        headers={"WWW-Authenticate": scheme}
        if push.auth and (push.auth.basic or push.auth.bearer)
        else None,
    )


async def _send_continue(request: web.Request) -> None:
    """Ask a caller that waits for it to send the body.

    aiohttp would ask before the credentials are checked; see :func:`ignore_expectation`.
    """
    if (
        request.version == aiohttp.HttpVersion11
        and request.headers.get("Expect", "").lower() == "100-continue"
        and not request.content.at_eof()
    ):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def ignore_expectation(request: web.Request) -> web.Response | None:
    """Refuse an unknown ``Expect``, and leave ``100-continue`` to the receiver.

    Only HTTP/1.1 knows expectations (RFC 9110, section 10.1.1). The port refuses calls of unknown
    versions later, in words of their own.
    """
    is_known = request.headers.get("Expect", "").lower() == "100-continue"
    if request.version == aiohttp.HttpVersion11 and not is_known:
        return web.Response(status=417, text="Expect may be 100-continue only\n")
    return None


def build_application(receivers: Sequence[PushReceiver]) -> web.Application:
    """Return an aiohttp application that serves each receiver at its connector's path."""
    app = web.Application(client_max_size=0)
    for receiver in receivers:
        app.router.add_post(
            receiver.push_config.path, receiver.handle, expect_handler=ignore_expectation
        )
    return app
