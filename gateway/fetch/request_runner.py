"""Send one request of a stream, classify its reply and decode the documents in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

from lxml import etree

from gateway.config.connection import ReplyRule
from gateway.config.connector import Connector, Protocol, Push, Soap
from gateway.config.expressions.conditions import compile_values_condition, text_matcher
from gateway.config.requests import Decode, Request
from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch import off_loop, request_builder
from gateway.fetch.decode.chain import DecodeChain, DecodedReply
from gateway.fetch.decode.namespaces import namespace_aliases, unify_namespaces
from gateway.fetch.decode_budget import DecodeBudget
from gateway.fetch.fault_text import (
    describe_reply_rule,
    fault_text_in,
    fault_text_of,
    quote_fault_code,
    quote_fault_text,
    without_sent_values,
)
from gateway.fetch.http.request_reply import (
    RegistryReply,
    RegistryRequest,
    ReplyOutcome,
    ReplyVerdict,
    classify_by_status,
)
from gateway.fetch.outgoing_request import OutgoingRequests
from gateway.fetch.record_selector import ExpressionCache
from gateway.fetch.registry_client import Connection, RegistryClient
from gateway.fetch.soap import envelope
from gateway.fetch.soap.required_signature import RequiredSignature
from gateway.fetch.soap.signature_limits import SignatureRefused
from gateway.fetch.soap.signed_step import verify_document
from gateway.fetch.soap.ws_security import WsSecurity
from gateway.fetch.xml_parser import RecordPath

Values = Mapping[str, Any]

UNFINISHED_STATUSES = frozenset({202, 206})
"""The statuses of a reply that is not finished, or that is a part of the whole (RFC 9110)."""
FIRST_ERROR_STATUS = 400
"""The lowest HTTP status code of a refusal."""


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
class Attempt:
    """The message id of one attempt, and the result of decoding its reply."""

    message_id: str = ""
    sent: tuple[object, ...] = ()
    """The values of the request, which no message repeats."""
    reading: DecodedReply | None = None
    failure: StreamError | None = None
    fault: envelope.Fault | None = None
    proves_empty: bool = True
    signature: RequiredSignature | None = None
    unsigned_fault: etree._Element | None = None


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
    _guard: WsSecurity | None = None
    _secret_values: dict[str, str] = field(default_factory=dict, repr=False)

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
    ) -> RequestResult:
        """Send a request until the registry answers, and return the decoded reply.

        ``url`` replaces the address of the request. The registry named this URL in an earlier
        reply. Raise :class:`~gateway.errors.RetryLater` or :class:`~gateway.errors.StreamHalted`.
        """
        template_filler = request_builder.TemplateFiller(self.client.secrets, separator)
        address = base or self.client.base
        attempt = Attempt(sent=tuple(values.values()))
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

        def judge(reply: RegistryReply) -> ReplyVerdict:
            revalidation.restore(reply)
            attempt.reading = attempt.failure = attempt.fault = None
            attempt.signature = attempt.unsigned_fault = None
            attempt.proves_empty = True
            return self._classify(reply, decode_steps, attempt)

        reply, verdict = await self.client.send(make, judge, line=line, decode_steps=decode_steps)
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
                    else self._decode(reply, decode_steps, attempt)
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
            decode_again=lambda other: self._decode(reply, other, attempt),
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
        if guard := self._ws_security(block):
            guard.secure_request(message, self.now())

    def _ws_security(self, block: Soap) -> WsSecurity | None:
        if block.security is None:
            return None
        if self._guard is None:
            self._guard = WsSecurity(block.security, self.client.secrets, self.log_prefix)
        return self._guard

    # --- replies

    def _decode(self, reply: RegistryReply, decode_steps: Decode, attempt: Attempt) -> DecodedReply:
        reader = DecodeChain(
            decode_steps or (("xml",) if isinstance(self.protocol, Soap) else ()),
            self.expressions,
            self.protocol.limits.max_decoded,
            self.log_prefix,
            verify=lambda data, options: verify_document(
                data, options, self.client.secrets, self.now(), self.log_prefix
            ),
            verify_envelope=lambda root: self._verify_envelope(root, attempt),
            signature=self._required_signature(attempt),
            record_path=self.record_path,
            new_budget=partial(DecodeBudget.from_limits, self.protocol.limits),
        )
        reading = reader.read(reply)
        unify_namespaces(
            (document.root for document in reading.documents), namespace_aliases(self.protocol)
        )
        return reading

    def _required_signature(self, attempt: Attempt) -> RequiredSignature | None:
        """Return the signature that the reply to an attempt must have, or ``None``."""
        block = self.protocol
        guard = self._ws_security(block) if isinstance(block, Soap) else None
        if guard is None or not guard.requires_signature:
            return None
        if attempt.signature is None:
            attempt.signature = RequiredSignature(
                lambda root: guard.verify_signer(root, self.now()),
                lambda root: self._verify_signed(guard, root, attempt),
                self.log_prefix,
                takes_signed_documents=True,
            )
        return attempt.signature

    def _verify_signed(
        self, guard: WsSecurity, root: etree._Element, attempt: Attempt
    ) -> etree._Element:
        """Return only the signed parts of a reply.

        Nothing but a failure can be read from a fault that is not signed.
        """
        if envelope.fault_of(root) is not None and not guard.is_signed(root):
            attempt.unsigned_fault = root
            raise SignatureRefused(
                "SIGNATURE_ABSENT", f"{self.log_prefix}: the registry sent an unsigned fault"
            )
        verified = guard.verify(root, self.now())
        # A signed RelatesTo counts before one that anybody could have added.
        is_signed = envelope.relates_to(verified.root) is not None
        self._verify_envelope(verified.root if is_signed else root, attempt)
        guard.refuse_repeated(verified.message, self.now())
        return verified.root

    def _verify_envelope(self, root: etree._Element, attempt: Attempt) -> etree._Element:
        """Return an envelope; raise ``RELATES_TO`` if it answers another request."""
        block = self.protocol
        if not isinstance(block, Soap):
            return root
        checks = block.addressing is not None and block.addressing.check_relates_to
        if (
            checks
            and envelope.is_envelope(root)
            and envelope.fault_of(root) is None
            and envelope.relates_to(root) != attempt.message_id
        ):
            raise RetryLater(
                "RELATES_TO",
                f"{self.log_prefix}: the reply does not answer this message: "
                "its RelatesTo is the id of another; the gateway tries again",
            )
        return root

    def _classify(
        self, reply: RegistryReply, decode_steps: Decode, attempt: Attempt
    ) -> ReplyVerdict:
        """Return the verdict on a reply. That of a failure quotes the words of the registry."""
        verdict = self._verdict_of(reply, decode_steps, attempt)
        if verdict.outcome not in {"retry", "denied", "stop"}:
            return verdict
        if attempt.fault is not None:
            text = attempt.fault.text
        elif attempt.reading is not None:
            texts = (fault_text_in(document.root) for document in attempt.reading.documents)
            text = next(filter(None, texts), "")
        else:
            text = fault_text_of(reply)
        text = without_sent_values(text, attempt.sent)
        return replace(verdict, message=verdict.message + quote_fault_text(text))

    def _verdict_of(
        self, reply: RegistryReply, decode_steps: Decode, attempt: Attempt
    ) -> ReplyVerdict:
        """Return the verdict of the first rule under ``replies`` that matches.

        The method decodes a reply only when a rule or SOAP needs its content.
        """
        for number, answer in enumerate(self.protocol.replies, 1):
            if answer.when.path or answer.when.fault:
                self._decode_once(reply, decode_steps, attempt)
            if self._matches(answer, reply, attempt):
                if answer.then in {"ok", "empty"} and self._required_signature(attempt):
                    self._decode_once(reply, decode_steps, attempt)
                # A refusal may have many causes, and an absent record is only one of them.
                refused = reply.status >= FIRST_ERROR_STATUS or attempt.fault is not None
                attempt.proves_empty = answer.complete or not refused
                return self._verdict(number, answer, reply, attempt)
        if isinstance(self.protocol, Soap):
            self._decode_once(reply, decode_steps, attempt)
        if attempt.fault is not None:
            codes = attempt.fault.codes
            named = quote_fault_code(codes) if codes else "without a code"
            text = f"the registry answered with the fault {named}"
            return ReplyVerdict("retry" if attempt.fault.transient else "stop", "SOAP_FAULT", text)
        verdict = classify_by_status(reply)
        if verdict.outcome == "ok" and attempt.failure is not None:
            raise attempt.failure
        return verdict

    def _decode_once(self, reply: RegistryReply, decode_steps: Decode, attempt: Attempt) -> None:
        """Decode a reply once, and keep the result or the error.

        An error of decoding matters only when no rule gives the reply another meaning.
        """
        if attempt.reading is not None or attempt.failure is not None:
            return
        try:
            attempt.reading = self._decode(reply, decode_steps, attempt)
        except StreamError as error:
            attempt.failure = error
            if attempt.unsigned_fault is not None:
                attempt.reading = DecodedReply([], attempt.unsigned_fault)
                attempt.fault = envelope.fault_of(attempt.unsigned_fault)
        else:
            attempt.fault = (
                envelope.fault_of(attempt.reading.envelope)
                if attempt.reading.envelope is not None
                else None
            )

    def _verdict(
        self, number: int, answer: ReplyRule, reply: RegistryReply, attempt: Attempt
    ) -> ReplyVerdict:
        fault = attempt.fault
        if answer.then in {"ok", "empty"} and self._required_signature(attempt):
            if attempt.unsigned_fault is not None:
                return ReplyVerdict(
                    "retry", "SIGNATURE_ABSENT", "an unsigned fault cannot prove an empty result"
                )
            if attempt.failure is not None:
                reason = attempt.failure.reason
                return ReplyVerdict(
                    "stop",
                    reason if reason.startswith("SIGNATURE_") else "SIGNATURE_ABSENT",
                    f"the reply (status {reply.status}) fits "
                    f"{describe_reply_rule(number, answer)}, but it has no valid signature, so it "
                    "proves nothing; ask the registry to sign it, or leave the rule out",
                )
        default = {"retry": "BUSY", "denied": "DENIED", "stop": "STOPPED"}.get(answer.then, "")
        what = f"fault {quote_fault_code(fault.codes)}" if fault else f"status {reply.status}"
        text = f"the reply ({what}) fits {describe_reply_rule(number, answer)}"
        return ReplyVerdict(
            answer.then,
            answer.reason or default,
            text,
            answer.after.total_seconds() if answer.after else None,
        )

    def _matches(self, answer: ReplyRule, reply: RegistryReply, attempt: Attempt) -> bool:
        when = answer.when
        if when.status is not None:
            return _status_matches(when.status, reply.status)
        if when.fault is not None:
            fits = text_matcher((when.fault,))
            return attempt.fault is not None and any(map(fits, attempt.fault.names))
        if when.header is not None:
            value = reply.headers.get(when.header.lower())
            return compile_values_condition(when)([value] if value is not None else [])
        if attempt.reading is None:
            return False
        return self._path_matches(answer, attempt.reading)

    def _path_matches(self, answer: ReplyRule, reading: DecodedReply) -> bool:
        """Return whether a rule's path matches in the documents or in their envelope."""
        roots = [(document.kind, document.root) for document in reading.documents]
        if reading.envelope is not None and all(root is not reading.envelope for _, root in roots):
            roots.append(("xml", reading.envelope))
        if answer.when.exists is False or answer.when.not_:
            return all(self._root_matches(kind, answer, root) for kind, root in roots[:1])
        return any(self._root_matches(kind, answer, root) for kind, root in roots)

    def _root_matches(self, kind: str, answer: ReplyRule, root: Any) -> bool:
        try:
            return self.expressions.matches(kind, answer.when, root, {})
        except ValueError:
            return False  # an expression for the envelope is invalid for JSON inside it


def _status_matches(wanted: int | str, status: int) -> bool:
    return status == wanted if isinstance(wanted, int) else f"{status // 100}xx" == wanted
