"""One request of a stream and what its reply means: template → call → verdict → documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

from lxml import etree

from gateway.config.connection import Answer
from gateway.config.connector import Connector, Protocol, Push, Soap
from gateway.config.expressions.conditions import matcher, values_test
from gateway.config.requests import Decode, Decoder, Request
from gateway.errors import ConfigError, Halt, RetryLater, StreamError
from gateway.fetch import request_builder
from gateway.fetch.decode.chain import Reader, Reading
from gateway.fetch.http.request_reply import Call, Outcome, Reply, Verdict, by_status
from gateway.fetch.record_selector import Expressions
from gateway.fetch.registry_client import Client, Line, origin
from gateway.fetch.soap import envelope, xml_signature
from gateway.fetch.soap.ws_security import Guard
from gateway.fetch.xml_parser import Place

Values = Mapping[str, Any]


@dataclass(slots=True)
class Answered:
    """A reply that can be worked with. ``reading`` has no documents when the registry says that there is nothing."""

    outcome: Outcome
    reading: Reading
    url: str
    links: tuple[str, ...] = ()
    digest: str = ""
    again: Callable[[Decode], Reading] = lambda _chain: Reading([])
    """Decode the same reply with another chain."""
    close: Callable[[], None] = lambda: None


@dataclass(slots=True)
class _Turn:
    """What one attempt sent, and what was read of its reply."""

    message_id: str = ""
    reading: Reading | None = None
    failure: StreamError | None = None
    fault: envelope.Fault | None = None


@dataclass(slots=True)
class Dialogue:
    """Asks one registry on behalf of one stream."""

    connector: Connector
    client: Client
    expressions: Expressions
    where: str
    now: Callable[[], datetime]
    place: Place | None = None
    """See :attr:`gateway.fetch.decode.chain.Reader.place`."""
    _guard: Guard | None = None
    _secret_values: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def protocol(self) -> Protocol:
        """The connector's protocol block."""
        block = self.connector.protocol
        if isinstance(block, Push):
            raise Halt("PROTOCOL", f"{self.where}: this registry calls us; it is not asked")
        return block

    async def ask(
        self,
        request: Request,
        values: Values,
        *,
        chain: Decode = (),
        url: str | None = None,
        base: str | None = None,
        line: Line | None = None,
        separator: str = ",",
    ) -> Answered:
        """Send a request until it is answered, and read the answer.

        Raises :class:`~gateway.errors.RetryLater` or :class:`~gateway.errors.Halt`. ``url`` replaces the request's own address: the
        registry named it in an earlier reply.
        """
        filler = request_builder.Filler(self.client.secrets, separator)
        address = base or self.client.base
        turn = _Turn()

        def make() -> Call:
            made, turn.message_id = self._call(request, {**self._given(), **values}, filler, address)
            return made if url is None else request_builder.follow(made, url)

        def judge(reply: Reply) -> Verdict:
            turn.reading = turn.failure = turn.fault = None
            return self._judge(reply, chain, turn)

        reply, verdict = await self.client.send(make, judge, line=line)
        return self._answered(reply, verdict, chain, turn)

    async def download(self, url: str, chain: Decode, *, hosts: Sequence[str] = (), line: Line | None = None) -> Answered:
        """Get a file whose address a registry gave; one redirect to a host the connector names is followed, without credentials."""
        home = {origin(self.client.base), *(origin(_with_scheme(host, self.client.base)) for host in self.protocol.hosts)}
        allowed = {origin(_with_scheme(host, self.client.base)) for host in hosts}
        for found in allowed:
            self.client.allow(found)
        call = Call("GET", url, label="download", authenticated=origin(url) in home)
        turn = _Turn()
        redirected: list[str] = []

        def judge(reply: Reply) -> Verdict:
            target = urljoin(reply.url, reply.headers.get("location", ""))
            if 300 <= reply.status < 400 and origin(target) in home | allowed and not redirected:  # noqa: PLR2004
                redirected.append(target)
                return Verdict("empty")
            return by_status(reply)

        reply, verdict = await self.client.send(call, judge, line=line)
        if redirected:
            reply.body.close()
            reply, verdict = await self.client.send(Call("GET", redirected[0], label="download", authenticated=False), judge, line=line)
        return self._answered(reply, verdict, chain, turn)

    def _answered(self, reply: Reply, verdict: Verdict, chain: Decode, turn: _Turn) -> Answered:
        reading = Reading([])
        try:
            if verdict.outcome == "ok":
                reading = turn.reading if turn.reading is not None else self._read(reply, chain, turn)
                if not reading.documents:
                    text = "decode found no document in the reply; say under `replies` when that means that there is nothing"
                    raise RetryLater("DECODE_EMPTY", f"{self.where}: {text}")  # noqa: TRY301
        except BaseException:
            reply.body.close()
            raise
        return Answered(
            verdict.outcome,
            reading,
            reply.url,
            reply.links,
            reply.body.sha256,
            again=lambda other: self._read(reply, other, turn),
            close=reply.body.close,
        )

    # --- asking

    def _given(self) -> dict[str, Any]:
        filler = request_builder.Filler(self.client.secrets)
        return {**{name: filler.text(value, {}) for name, value in self.protocol.variables.items()}, "now": self.now(), "uuid": uuid4()}

    def _call(self, request: Request, values: Values, filler: request_builder.Filler, base: str) -> tuple[Call, str]:
        protocol, request_id = self.protocol, str(values["uuid"])
        common = {name: filler.text(value, values) for name, value in protocol.headers.items()}
        if request.operation is not None or request.envelope is not None:
            made, message_id = self._soap_call(request, values, filler, base)
        else:
            if protocol.xroad and not base.rstrip("/").endswith(envelope.xroad_path(protocol.xroad)):
                base = base.rstrip("/") + "/" + envelope.xroad_path(protocol.xroad)
            made, message_id = request_builder.call(request, base, values, filler), ""
            if protocol.xroad:
                common |= envelope.xroad_http_headers(protocol.xroad, request_id)
        return Call(made.method, made.url, {**common, **made.headers}, made.content, made.label, made.query), message_id

    def _soap_call(self, request: Request, values: Values, filler: request_builder.Filler, base: str) -> tuple[Call, str]:
        block = self.protocol
        if not isinstance(block, Soap):
            raise Halt("PROTOCOL", f"{self.where}: operation and envelope need a soap connector")
        action = block.action
        if request.operation is not None:
            try:
                wsdl = self.client.wsdl(Path(self.connector.folder), block)
                content, action = wsdl.build(request.operation, filler.json(request.body or {}, values))
            except ConfigError as error:
                raise Halt("REQUEST_INVALID", f"{self.where}: {error}") from None
            action = block.action or action
        else:
            content = filler.xml(request.envelope or "", values)
        made = envelope.message(block.version, content, request.action if request.action is not None else action)
        if block.xroad:
            made = envelope.with_xroad(made, block.xroad, str(values["uuid"]))
        if block.addressing:
            made = envelope.with_addressing(made, block.addressing, base)
        if guard := self._security(block):
            guard.secure(made.envelope, self.now())
        headers = envelope.transport_headers(block.version, made.action)
        content_bytes = etree.tostring(made.envelope, encoding="utf-8", xml_declaration=True)
        label = request.operation or etree.QName(content).localname
        return Call("POST", base, headers, content_bytes, label=label), made.message_id

    def _security(self, block: Soap) -> Guard | None:
        if block.security is None:
            return None
        if self._guard is None:
            self._guard = Guard(block.security, self.client.secrets, self.where)
        return self._guard

    # --- reading

    def _read(self, reply: Reply, chain: Decode, turn: _Turn) -> Reading:
        reader = Reader(
            chain or (("xml",) if isinstance(self.protocol, Soap) and reply.media_type != "multipart/related" else ()),
            self.expressions,
            self.protocol.limits.max_decoded,
            self.where,
            verify=self.verified,
            checked=lambda root: self._checked(root, turn),
            place=self.place,
        )
        return reader.read(reply)

    def verified(self, data: bytes, options: Decoder | None) -> bytes:
        """Return a document whose enveloped signature holds, as the ``signed`` step demands it."""
        rule = options.signed if options else None
        trust = xml_signature.certificates(self.client.secrets(rule.trust.secret), f"{rule.trust.secret!r}") if rule and rule.trust else []
        return xml_signature.enveloped(data, trust, self.now(), self.where)

    def _checked(self, root: etree._Element, turn: _Turn) -> etree._Element:
        """Return the envelope to read: only what is signed, when signatures are asked for."""
        block = self.protocol
        if not isinstance(block, Soap):
            return root
        fault, guard = envelope.fault_of(root), self._security(block)
        checks = block.addressing is not None and block.addressing.check_relates_to
        if fault is None and checks and envelope.relates_to(root) != turn.message_id:
            raise RetryLater("RELATES_TO", f"{self.where}: the reply does not answer this message")
        if guard is not None and guard.verifies and (fault is None or guard.is_signed(root)):
            return guard.verified(root, self.now())
        return root

    def _judge(self, reply: Reply, chain: Decode, turn: _Turn) -> Verdict:
        """Return the first meaning that fits; a reply is only decoded when a meaning, or SOAP, has to look inside."""
        for answer in self.protocol.replies:
            if answer.when.path or answer.when.fault:
                self._look(reply, chain, turn)
            if self._fits(answer, reply, turn):
                return self._verdict(answer, reply, turn.fault)
        if isinstance(self.protocol, Soap):
            self._look(reply, chain, turn)
        if turn.fault is not None:
            text = f"the registry answered with the fault {turn.fault.code!r}"
            return Verdict("retry" if turn.fault.transient else "stop", "SOAP_FAULT", text)
        verdict = by_status(reply)
        if verdict.outcome == "ok" and turn.failure is not None:
            raise turn.failure
        return verdict

    def _look(self, reply: Reply, chain: Decode, turn: _Turn) -> None:
        """Decode a reply, once; that it cannot be decoded is remembered and matters only if it was said to be good."""
        if turn.reading is not None or turn.failure is not None:
            return
        try:
            turn.reading = self._read(reply, chain, turn)
        except StreamError as error:
            turn.failure = error
        else:
            turn.fault = envelope.fault_of(turn.reading.outer) if turn.reading.outer is not None else None

    def _verdict(self, answer: Answer, reply: Reply, fault: envelope.Fault | None) -> Verdict:
        block = self.protocol
        unsigned = fault is not None and isinstance(block, Soap) and block.security is not None and block.security.signature is not None
        if unsigned and answer.then in {"ok", "empty"}:
            return Verdict("retry", "SIGNATURE_ABSENT", "an unsigned fault cannot say that there is nothing")
        default = {"retry": "BUSY", "denied": "DENIED", "stop": "STOPPED"}.get(answer.then, "")
        what = f"fault {fault.code!r}" if fault is not None else f"status {reply.status}"
        text = f"the connector reads its reply ({what}) as {answer.then!r}"
        return Verdict(answer.then, answer.reason or default, text, answer.after.total_seconds() if answer.after else None)

    def _fits(self, answer: Answer, reply: Reply, turn: _Turn) -> bool:
        when = answer.when
        if when.status is not None:
            return _status(when.status, reply.status)
        if when.fault is not None:
            fits = matcher((when.fault,))
            return turn.fault is not None and (fits(turn.fault.code) or fits(turn.fault.text))
        if when.header is not None:
            value = reply.headers.get(when.header.lower())
            return values_test(when)([value] if value is not None else [])
        if turn.reading is None:
            return False
        return self._path_fits(answer, turn.reading)

    def _path_fits(self, answer: Answer, reading: Reading) -> bool:
        """Look in the decoded documents first, then in the envelope around them."""
        roots = [(document.kind, document.root) for document in reading.documents]
        if reading.outer is not None and all(root is not reading.outer for _, root in roots):
            roots.append(("xml", reading.outer))
        if answer.when.exists is False or answer.when.not_:
            return all(self._one_fits(kind, answer, root) for kind, root in roots[:1])
        return any(self._one_fits(kind, answer, root) for kind, root in roots)

    def _one_fits(self, kind: str, answer: Answer, root: Any) -> bool:
        try:
            return self.expressions.fits(kind, answer.when, root, {})
        except ValueError:
            return False  # an expression for the envelope means nothing in the JSON inside it


def _status(wanted: int | str, status: int) -> bool:
    return status == wanted if isinstance(wanted, int) else f"{status // 100}xx" == wanted


def _with_scheme(host: str, base: str) -> str:
    return host if "://" in host else f"{base.partition('://')[0]}://{host}"
