"""Send one request of a stream, and return the documents of its reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from lxml import etree

from gateway.config.connector import Connector, Protocol, Push, Soap
from gateway.config.requests import Decode, Request
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import off_loop, request_builder
from gateway.fetch.decode.chain import DecodedReply
from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.decode.json_records import RecordFields
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.http.request_reply import (
    RegistryReply,
    RegistryRequest,
    ReplyOutcome,
    ReplyVerdict,
)
from gateway.fetch.outgoing_request import OutgoingRequests
from gateway.fetch.registry_client import Connection, RegistryClient
from gateway.fetch.reply_classifier import Attempt, RuleClassifier
from gateway.fetch.streamed_records import RecordPath

Values = Mapping[str, Any]
OnReply = Callable[[str, Sequence[DecodedDocument]], None]
"""A function of the name of a second list, or an empty text, and the documents of a reply."""

UNFINISHED_STATUSES = frozenset({202, 206})
"""The statuses of a reply that is not finished, or that is a part of the whole (RFC 9110)."""


@dataclass(slots=True)
class RequestResult:
    """A reply that the stream can use.

    ``reading`` has no documents when the registry reports that it has no records.
    """

    outcome: ReplyOutcome
    reading: DecodedReply
    url: str
    links: tuple[str, ...] = ()
    digest: str = ""
    decode_again: Callable[[Decode], DecodedReply] = lambda _chain: DecodedReply([])
    """Decode the same reply with another chain of decode steps."""
    close: Callable[[], None] = lambda: None
    proves_empty: bool = True
    """Whether a reply without documents proves that there are no records."""
    is_large: bool = False
    """Whether the reply may keep the event loop for long, so that a thread should read it."""


@dataclass(slots=True)
class RequestRunner:
    """A sender of requests to one registry, for one stream."""

    connector: Connector
    client: RegistryClient
    expressions: ExpressionCache
    log_prefix: str
    now: Callable[[], datetime]
    record_path: RecordPath | None = None
    """The value for :attr:`gateway.fetch.decode.chain.DecodeChain.record_path`."""
    on_reply: OnReply = lambda _name, _documents: None
    """Called with each reply of the list of records, and of a second list by its name."""
    _kept_classifier: RuleClassifier | None = None

    @property
    def protocol(self) -> Protocol:
        """Return the protocol block of the connector; raise ``PROTOCOL`` for a push connector."""
        block = self.connector.protocol
        if isinstance(block, Push):
            raise StreamHalted(
                "PROTOCOL",
                f"{self.log_prefix}: this registry sends its records to the gateway, "
                "so the gateway sends it no requests",
            )
        return block

    @property
    def _classifier(self) -> RuleClassifier:
        """The classifier of this stream's replies; a push connector has none."""
        if self._kept_classifier is None:
            self._kept_classifier = RuleClassifier(
                self.protocol,
                self.client.secrets,
                self.expressions,
                self.log_prefix,
                self.now,
                self.record_path,
                self.client.signature_files,
            )
        return self._kept_classifier

    async def send(
        self,
        request: Request,
        values: Values,
        *,
        decode_steps: Decode = (),
        url: str | None = None,
        base: str | None = None,
        line: Connection | None = None,
        separator: str = ",",
        record_fields: RecordFields | None = None,
    ) -> RequestResult:
        """Send a request until the registry answers, and return the decoded reply.

        ``url`` replaces the address of the request. The registry named this URL in an earlier
        reply. :attr:`gateway.fetch.decode.chain.DecodeChain.record_fields` describes
        ``record_fields``. Raise :class:`~gateway.errors.RetryLater` or
        :class:`~gateway.errors.StreamHalted`.
        """
        template_filler = request_builder.TemplateFiller(self.client.secrets, separator)
        address = base or self.client.base
        attempt = Attempt(sent=tuple(values.values()), record_fields=record_fields)
        outgoing = OutgoingRequests(self.connector, self.client, self.log_prefix, self._secure)

        line = line or self.client.line
        revalidation = self.client.kept_replies.revalidation(self._single_list(request, url))

        def make() -> RegistryRequest:
            filled = {**self._default_values(), **values}
            built, attempt.message_id = outgoing.build(
                self.protocol, request, filled, template_filler, address
            )
            if url is not None:
                built = request_builder.follow_link(built, url)
            target = self.client.safe_url(built.url, address, self.log_prefix, line)
            if not self.client.origins_of(line).receive_credentials(target):
                label = built.label
                built, attempt.message_id = outgoing.build_without_credentials(
                    self.protocol,
                    request,
                    filled,
                    template_filler,
                    address,
                    is_link=url is not None,
                )
                built = replace(built, label=label)
            built = replace(built, url=target)
            return revalidation.with_condition(built, self.now())

        def classify(reply: RegistryReply) -> ReplyVerdict:
            revalidation.restore(reply)
            attempt.forget_reply()
            return self._classifier.classify(reply, decode_steps, attempt)

        reply, verdict = await self.client.send(
            make, classify, line=line, decode_steps=decode_steps
        )
        is_large = off_loop.needs_thread(reply.body.size, decode_steps)
        result = await off_loop.run(
            is_large, self.build_result, reply, verdict, decode_steps, attempt
        )
        revalidation.keep(reply, self.now())
        return result

    def _single_list(self, request: Request, url: str | None) -> str:
        """Return the stream whose whole list is one reply to a request, or an empty text."""
        for name, stream in self.connector.streams.items():
            is_scan = stream.cursor is None or stream.cursor.scan
            if stream.request is request and stream.paging.none and is_scan and url is None:
                return "" if stream.for_each else name
        return ""

    def build_result(
        self,
        reply: RegistryReply,
        verdict: ReplyVerdict,
        decode_steps: Decode,
        attempt: Attempt | None = None,
    ) -> RequestResult:
        """Return the decoded reply; raise ``DECODE_EMPTY`` for a reply without a document."""
        attempt = attempt or Attempt()
        reading = DecodedReply([])
        try:
            if verdict.outcome == "ok":
                reading = (
                    attempt.reading
                    if attempt.reading is not None
                    else self._classifier.decode(reply, decode_steps, attempt)
                )
                if not reading.documents:
                    raise RetryLater(  # noqa: TRY301 - the body must be closed here too
                        "DECODE_EMPTY",
                        f"{self.log_prefix}: decode found no document in the reply; "
                        "add a rule under `replies` for replies without records",
                    )
        except BaseException:
            reply.body.close()
            raise
        return RequestResult(
            verdict.outcome,
            reading,
            reply.url,
            reply.links,
            reply.body.sha256,
            decode_again=lambda other: self._classifier.decode(reply, other, attempt),
            close=reply.body.close,
            proves_empty=attempt.proves_empty and reply.status not in UNFINISHED_STATUSES,
            is_large=off_loop.needs_thread(reply.body.size, decode_steps),
        )

    # --- requests

    def _default_values(self) -> dict[str, Any]:
        template_filler = request_builder.TemplateFiller(self.client.secrets)
        return {
            **{
                name: template_filler.text(value, {})
                for name, value in self.protocol.variables.items()
            },
            "now": self.now(),
            "uuid": uuid4(),
        }

    def _secure(self, block: Soap, message: etree._Element) -> None:
        if guard := self._classifier.ws_security(block):
            guard.secure_request(message, self.now())
