"""Classify the reply to one request: verify and decode it, and find the rule that it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from lxml import etree

from gateway.config.connection import ReplyRule
from gateway.config.connector import Protocol, Soap
from gateway.config.expressions.conditions import compile_values_condition, text_matcher
from gateway.config.requests import Decode
from gateway.errors import RetryLater, StreamError
from gateway.fetch.decode.chain import DecodeChain, DecodedReply
from gateway.fetch.decode.json_records import RecordFields
from gateway.fetch.decode.namespaces import namespace_aliases, unify_namespaces
from gateway.fetch.decode_budget import DecodeBudget
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.fault_text import (
    describe_reply_rule,
    fault_text_in,
    fault_text_of,
    quote_fault_code,
    quote_fault_text,
    without_sent_values,
)
from gateway.fetch.http.request_reply import RegistryReply, ReplyVerdict, classify_by_status
from gateway.fetch.secrets import Secrets
from gateway.fetch.soap import envelope
from gateway.fetch.soap.required_signature import RequiredSignature
from gateway.fetch.soap.signature_files import SignatureFiles
from gateway.fetch.soap.signature_limits import SignatureRefused
from gateway.fetch.soap.signed_step import verify_document
from gateway.fetch.soap.ws_security import WsSecurity
from gateway.fetch.streamed_records import RecordPath

FIRST_ERROR_STATUS = 400
"""The lowest HTTP status code of a refusal."""


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
    record_fields: RecordFields | None = None
    """The value for :attr:`gateway.fetch.decode.chain.DecodeChain.record_fields`."""
    unsigned_fault: etree._Element | None = None

    def forget_reply(self) -> None:
        """Forget what an earlier reply said, before the next one is classified."""
        self.reading = self.failure = self.fault = None
        self.signature = self.unsigned_fault = None
        self.proves_empty = True


@dataclass(slots=True)
class RuleClassifier:
    """A classifier of the replies of one registry, for one stream.

    ``protocol`` is the connector's block without a push port. ``record_path`` is the value for
    :attr:`gateway.fetch.decode.chain.DecodeChain.record_path`.
    """

    protocol: Protocol
    secrets: Secrets
    expressions: ExpressionCache
    log_prefix: str
    now: Callable[[], datetime]
    record_path: RecordPath | None = None
    signature_files: SignatureFiles | None = None
    _guard: WsSecurity | None = None

    def ws_security(self, block: Soap) -> WsSecurity | None:
        """Return the guard of the connector's ``security`` block, or ``None`` without one."""
        if block.security is None:
            return None
        if self._guard is None:
            self._guard = WsSecurity(
                block.security, self.secrets, self.log_prefix, self.signature_files
            )
        return self._guard

    def decode(self, reply: RegistryReply, decode_steps: Decode, attempt: Attempt) -> DecodedReply:
        """Return the documents of a reply, from verified content only where that is required."""
        reader = DecodeChain(
            decode_steps or (("xml",) if isinstance(self.protocol, Soap) else ()),
            self.expressions,
            self.protocol.limits.max_decoded,
            self.log_prefix,
            verify=lambda data, options: verify_document(
                data, options, self.secrets, self.now(), self.log_prefix
            ),
            verify_envelope=lambda root: self._verify_envelope(root, attempt),
            signature=self._required_signature(attempt),
            record_path=self.record_path,
            record_fields=attempt.record_fields,
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
        guard = self.ws_security(block) if isinstance(block, Soap) else None
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

    def classify(
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
            attempt.reading = self.decode(reply, decode_steps, attempt)
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
