"""Run the ``decode`` chain of a connector, from a reply to its documents."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, cast

from lxml import etree

from gateway.config.requests import DECODERS, Decode, Decoder
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import xml_parser
from gateway.fetch.decode import formats
from gateway.fetch.decode.formats import CsvFormat, DecodedDocument
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.http.request_reply import RegistryReply
from gateway.fetch.soap import envelope

CompileExpression = Callable[[str, str], Callable[..., list[Any]]]
"""Compile an expression for a kind of document (``xml`` or ``json``)."""

STREAMING_THRESHOLD_BYTES = 8_000_000
"""The size in bytes above which a document is read as a stream of records.

A document of this size needs hundreds of megabytes as a tree.
"""
MAX_PARTS = 1_000
_ATOM = "{http://www.w3.org/2005/Atom}"


@dataclass(slots=True)
class DecodeInput:
    """The input of one step: bytes or a document, and the name of its file."""

    body: ReplyBody | None = None
    document: DecodedDocument | None = None
    name: str = ""
    parts: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class DecodedReply:
    """One decoded reply.

    ``envelope`` is its outermost XML document, where SOAP reports faults.
    """

    documents: list[DecodedDocument]
    envelope: etree._Element | None = None
    context: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class DecodeChain:
    """A reader of replies that runs one chain.

    ``limit`` is the largest output of a step in bytes.
    """

    chain: Decode
    compile: CompileExpression
    limit: int
    where: str
    verify: Callable[[bytes, Decoder | None], bytes] | None = None
    verify_envelope: Callable[[etree._Element], etree._Element] | None = None
    """Return the parts of an envelope that have a valid signature."""
    record_path: xml_parser.RecordPath | None = None
    """The path of the records when a large document may be cut into them while it streams."""

    def read(self, reply: RegistryReply) -> DecodedReply:
        """Return the documents of a reply.

        Raise :class:`~gateway.errors.StreamError` with a stable reason when a step fails.
        """
        reading = DecodedReply([])
        steps = list(self.chain) or [step_for_media_type(reply)]
        sources = [DecodeInput(body=reply.body)]
        position = 0
        while position < len(steps):
            step = steps[position]
            position += 1
            patterns: list[str] = []
            if _step_name(step) in {"zip", "mime"}:
                while (
                    position < len(steps)
                    and isinstance(steps[position], str)
                    and steps[position] not in DECODERS
                ):
                    patterns.append(cast("str", steps[position]))
                    position += 1
                    if _step_name(step) == "mime":
                        break
            sources = [
                result
                for source in sources
                for result in self._step(step, patterns, source, reply, reading)
            ]
        reading.documents = [self._document(source, reply, reading) for source in sources]
        return reading

    def _document(
        self, source: DecodeInput, reply: RegistryReply, reading: DecodedReply
    ) -> DecodedDocument:
        if source.document is None:
            source = next(iter(self._step(step_for_media_type(reply), [], source, reply, reading)))
        if source.document is None:
            raise AssertionError
        return source.document

    def _step(
        self,
        step: str | Decoder,
        patterns: list[str],
        source: DecodeInput,
        reply: RegistryReply,
        reading: DecodedReply,
    ) -> Iterator[DecodeInput]:
        word, options = _step_name(step), step if isinstance(step, Decoder) else None
        if word is None:
            yield from self._expression(str(step), source, reply, reading)
            return
        body = _input_bytes(source, word, self.where)
        if word == "base64":
            yield DecodeInput(formats.decode_base64(body, self.limit, self.where), name=source.name)
        elif word == "gzip":
            yield DecodeInput(formats.gunzip(body, self.limit, self.where), name=source.name)
        elif word == "zip":
            for name, file in formats.unzip(
                body, tuple(patterns) or ("*",), self.limit, self.where
            ):
                yield DecodeInput(file, name=name)
        elif word == "mime":
            yield select_mime_part(body, reply, patterns[0] if patterns else None, self.where)
        elif word == "signed":
            yield self._signed(body, options, source, reading)
        else:
            yield DecodeInput(
                document=self._parse(step, body, reply, reading, source.name), name=source.name
            )

    def _parse(
        self,
        step: str | Decoder,
        body: ReplyBody,
        reply: RegistryReply,
        reading: DecodedReply,
        name: str,
    ) -> DecodedDocument:
        word, options = _step_name(step), step if isinstance(step, Decoder) else None
        transport = reply.charset if body is reply.body else None
        if word == "json":
            chosen = options.json_ if options else None
            configured = (
                chosen.encoding if chosen and "encoding" in chosen.model_fields_set else None
            )
            how = {"comments": chosen.comments, "lines": chosen.lines} if chosen else {}
            root = formats.read_json(
                body, self.where, transport=transport, configured=configured, **how
            )
            return DecodedDocument("json", root, name)
        if word == "csv":
            return DecodedDocument(
                "csv", list(formats.read_csv(body, _table(options), self.where)), name
            )
        chosen_xml = options.xml if options else None
        configured = (
            chosen_xml.encoding
            if chosen_xml and "encoding" in chosen_xml.model_fields_set
            else None
        )
        if self.record_path is not None and body.size > STREAMING_THRESHOLD_BYTES:
            skeleton, records = xml_parser.stream_records(
                body, self.record_path, transport=transport, configured=configured, where=self.where
            )
            if not records.has_nested_records:
                reading.envelope = skeleton
                return DecodedDocument("xml", skeleton, name, records)
        root = xml_parser.parse(body, transport=transport, configured=configured, where=self.where)
        if reading.envelope is None:
            if self.verify_envelope is not None and envelope.is_envelope(root):
                root = self.verify_envelope(root)
            reading.envelope = root
        if word == "atom":
            sort_oldest_first(root, self.where)
        return DecodedDocument("xml", root, name)

    def _expression(
        self, text: str, source: DecodeInput, reply: RegistryReply, reading: DecodedReply
    ) -> Iterator[DecodeInput]:
        document = self._document(source, reply, reading)
        for value in self.compile(document.kind, text)(document.root, {}):
            if etree.iselement(value):
                yield DecodeInput(
                    document=DecodedDocument("xml", value, source.name),
                    name=source.name,
                    parts=source.parts,
                )
            elif isinstance(value, str) and value.startswith("cid:") and source.parts:
                yield DecodeInput(
                    ReplyBody.from_bytes(_attachment(source.parts, value[4:], self.where)),
                    name=source.name,
                )
            elif isinstance(value, str):
                yield DecodeInput(formats.body_from_text(value), name=source.name)
            else:
                yield DecodeInput(
                    document=DecodedDocument(document.kind, value, source.name), name=source.name
                )

    def _signed(
        self, body: ReplyBody, options: Decoder | None, source: DecodeInput, reading: DecodedReply
    ) -> DecodeInput:
        if self.verify is None:
            raise StreamHalted(
                "SIGNATURE_UNTRUSTED", f"{self.where}: no way to verify signatures was configured"
            )
        original = body.read()
        verified = self.verify(original, options)
        reading.context["signed_original"] = original.decode("utf-8", "replace")
        return DecodeInput(ReplyBody.from_bytes(verified), name=source.name)


def step_for_media_type(reply: RegistryReply) -> str:
    """Return the decode step for a reply, from its media type or else its first character."""
    kind = reply.media_type
    if kind == "application/json" or kind.endswith("+json"):
        return "json"
    if kind in {"application/xml", "text/xml"} or kind.endswith("+xml"):
        return "xml"
    if kind == "text/csv":
        return "csv"
    if kind == "multipart/related":
        return "mime"
    head = reply.body.head(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    return "xml" if head.startswith(b"<") else "json"


def _step_name(step: str | Decoder) -> str | None:
    if isinstance(step, Decoder):
        return step.kind.rstrip("_")
    return step if step in DECODERS else None


def _input_bytes(source: DecodeInput, word: str, where: str) -> ReplyBody:
    if source.body is not None:
        return source.body
    document = source.document
    if document is None or document.kind != "xml":
        raise StreamHalted(
            "DECODE_ORDER",
            f"{where}: decode step {word!r} needs bytes or text, "
            "and the step before it gave a JSON value",
        )
    if len(document.root) == 0:
        return formats.body_from_text(document.root.text or "")
    return ReplyBody.from_bytes(formats.element_bytes(document.root))


def _table(options: Decoder | None) -> CsvFormat:
    chosen = options.csv if options else None
    if chosen is None:
        return CsvFormat()
    columns = tuple(chosen.header) if isinstance(chosen.header, list | tuple) else ()
    return CsvFormat(chosen.separator, chosen.quote, chosen.encoding, columns)


def sort_oldest_first(feed: etree._Element, where: str) -> None:
    """Sort the entries of an Atom feed by ``updated``, oldest first.

    Entries with equal times keep the reverse order of the feed, because a feed lists the newest
    entry first. Raise ``NOT_A_REGISTRY_RESPONSE`` or ``FEED_MALFORMED``.
    """
    if feed.tag != f"{_ATOM}feed":
        raise RetryLater("NOT_A_REGISTRY_RESPONSE", f"{where}: an Atom feed was expected")
    entries = feed.findall(f"{_ATOM}entry")
    stamped = [
        (_parse_updated(entry.findtext(f"{_ATOM}updated")), entry) for entry in reversed(entries)
    ]
    for entry in entries:
        feed.remove(entry)
    feed.extend(entry for _, entry in sorted(stamped, key=lambda pair: pair[0]))


def _parse_updated(text: str | None) -> datetime:
    try:
        moment = datetime.fromisoformat((text or "").strip())
    except ValueError:
        raise StreamHalted("FEED_MALFORMED", "an Atom entry has no valid <updated>") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def select_mime_part(
    body: ReplyBody, reply: RegistryReply, wanted: str | None, where: str
) -> DecodeInput:
    """Return one part of a multipart message, together with all parts by Content-ID.

    The part is the one whose Content-ID matches ``wanted``, or else the root part. Raise ``MIME``
    or ``LIMIT_PARTS``.
    """
    data = body.read()
    if data.count(b"\n--") > MAX_PARTS:
        raise StreamHalted(
            "LIMIT_PARTS", f"{where}: the multipart message has more than {MAX_PARTS} parts"
        )
    head = f"Content-Type: {reply.headers.get('content-type', '')}\r\n\r\n".encode(
        "latin-1", "replace"
    )
    message = email.message_from_bytes(head + data, policy=email.policy.HTTP)
    if not message.is_multipart() or message.defects:
        raise RetryLater("MIME", f"{where}: the multipart message is not complete")
    parts: dict[str, bytes] = {}
    for number, piece in enumerate(cast("Sequence[Any]", message.get_payload())):
        name = str(piece.get("Content-ID") or number).strip("<> ")
        parts[name] = piece.get_payload(decode=True) or b""
    if not parts:
        raise RetryLater("MIME", f"{where}: the multipart message has no parts")
    start = str(message.get_param("start") or next(iter(parts))).strip("<> ")
    if wanted is not None:
        start = next(
            (name for name in parts if fnmatchcase(name, wanted.removeprefix("cid:"))),
            start if start == wanted else "",
        )
    return DecodeInput(ReplyBody.from_bytes(_attachment(parts, start, where)), parts=parts)


def _attachment(parts: dict[str, bytes], name: str, where: str) -> bytes:
    if name not in parts:
        raise RetryLater("MIME", f"{where}: the message refers to an attachment that is not in it")
    return parts[name]
