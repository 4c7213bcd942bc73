"""Run the ``decode`` chain of a connector, from a reply to its documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, cast

from lxml import etree

from gateway.config.expressions.compiler import ExpressionError
from gateway.config.requests import Decode, Decoder
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import xml_parser
from gateway.fetch.charset import text_bytes
from gateway.fetch.decode import containers, formats, multipart
from gateway.fetch.decode.atom_feed import sort_oldest_first
from gateway.fetch.decode.formats import CsvFormat, DecodedDocument
from gateway.fetch.decode.json_records import RecordFields
from gateway.fetch.decode.multipart import Multipart
from gateway.fetch.decode.steps import (
    MULTIPART,
    configured_encoding,
    csv_format,
    step_for_media_type,
    step_name,
    takes_pattern,
)
from gateway.fetch.decode_budget import (
    BODY_BYTES,
    SMALL_DOCUMENT_BYTES,
    DecodeBudget,
    count_lines,
    csv_memory,
    xml_memory,
)
from gateway.fetch.http.body import IN_MEMORY, ReplyBody
from gateway.fetch.http.request_reply import RegistryReply, charset_of, media_type_of
from gateway.fetch.soap import envelope
from gateway.fetch.soap.required_signature import RequiredSignature
from gateway.fetch.streamed_records import RecordPath

CompileExpression = Callable[[str, str], Callable[..., list[Any]]]
"""Compile an expression for a kind of document (``xml`` or ``json``)."""

STREAMING_THRESHOLD_BYTES = 8_000_000
"""The size in bytes above which a document is read as a stream of records.

A document of this size needs hundreds of megabytes as a tree.
"""


@dataclass(frozen=True, slots=True)
class DecodeInput:
    """The input of one step: bytes or a document, and what is known about it.

    ``charset`` is the charset that the HTTP or MIME header gives to the bytes. ``is_text`` marks
    the characters of a decoded document. They are in UTF-8, even if they declare another encoding.
    """

    body: ReplyBody | None = None
    document: DecodedDocument | None = None
    name: str = ""
    content_type: str = ""
    charset: str | None = None
    is_text: bool = False
    message: Multipart = field(default_factory=Multipart)
    needs_signature: bool = False
    """Whether no signature covers the input yet, although the connector requires one."""
    has_unsigned_parts: bool = False
    """Whether no signature covers the attachments in ``message``, although one is required."""

    def with_body(self, body: ReplyBody, **changes: Any) -> DecodeInput:
        """Return an input of other bytes, which no header describes."""
        fresh: dict[str, Any] = {"document": None, "charset": None, "is_text": False}
        return replace(self, body=body, **(fresh | changes))

    def with_document(self, document: DecodedDocument) -> DecodeInput:
        """Return an input that a step has decoded."""
        return replace(self, body=None, document=document)


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
    """Check an envelope that needs no signature, and return it."""
    signature: RequiredSignature | None = None
    """With it, the chain returns only documents that this signature covers."""
    record_path: RecordPath | None = None
    """The path of the records when a large document may be cut into them while it streams."""
    record_fields: RecordFields | None = None
    """What the stream reads of a list in JSON, when its records may be read one by one."""
    new_budget: Callable[[], DecodeBudget] = DecodeBudget
    """Return the budget of memory for one reply."""
    _budget: DecodeBudget = field(init=False, default_factory=DecodeBudget)
    _bytes_left: int = field(init=False, default=0)
    """How many bytes the present step may still return, for all documents together."""

    def read(self, reply: RegistryReply) -> DecodedReply:
        """Return the documents of a reply.

        Raise :class:`~gateway.errors.StreamError` with a stable reason when a step fails.
        """
        reading = DecodedReply([])
        self._budget = self.new_budget()
        self._bytes_left = self.limit
        content_type = reply.content_type
        sources = [
            DecodeInput(
                reply.body,
                None,
                "",
                content_type,
                charset_of(content_type),
                reply.is_text,
                needs_signature=self.signature is not None,
            )
        ]
        steps = list(self.chain)
        if (
            media_type_of(content_type).startswith(MULTIPART)
            and steps
            and step_name(steps[0]) != "mime"
        ):
            sources = [self._root_part(sources[0], None)]
        position = 0
        while position < len(steps):
            step = steps[position]
            position += 1
            patterns: list[str] = []
            self._bytes_left = self.limit
            while position < len(steps) and takes_pattern(step, patterns, steps[position]):
                patterns.append(cast("str", steps[position]))
                position += 1
            results = [list(self._step(step, patterns, source, reading)) for source in sources]
            if any(results) and not all(results):
                raise RetryLater(
                    "DECODE_EMPTY",
                    f"{self.where}: the decode step `{step}` finds nothing in one of "
                    f"{len(sources)} documents; compare the reply with the connector file",
                )
            sources = [result for group in results for result in group]
        reading.documents = [self._final_document(source, reading) for source in sources]
        return reading

    def _final_document(self, source: DecodeInput, reading: DecodedReply) -> DecodedDocument:
        decoded = self._decoded(source, reading)
        if decoded.needs_signature and self.signature is not None:
            self.signature.refuse()
        document = cast("DecodedDocument", decoded.document)
        if len(source.message.parts) > 1 and document.kind == "xml":
            multipart.name_attachments_by_content(document.root, source.message)
        return document

    def _decoded(self, source: DecodeInput, reading: DecodedReply) -> DecodeInput:
        """Return an input with its document, decoded by its media type if necessary."""
        while source.document is None:
            step = _step_for_input(source)
            source = next(iter(self._step(step, [], source, reading)))
        return source

    def _step(
        self, step: str | Decoder, patterns: list[str], source: DecodeInput, reading: DecodedReply
    ) -> Iterator[DecodeInput]:
        word, options = step_name(step), step if isinstance(step, Decoder) else None
        if word is None:
            yield from self._expression(str(step), source, reading)
            return
        source = self._with_bytes(source, word)
        body = cast("ReplyBody", source.body)
        if word == "base64":
            plain = containers.decode_base64(body, self._bytes_left, self.where)
            yield source.with_body(self._counted(plain))
        elif word == "gzip":
            unpacked = containers.gunzip(body, self._bytes_left, self.where)
            yield source.with_body(self._counted(unpacked))
        elif word == "zip":
            names = options.zip.encoding if options and options.zip else None
            for name, file in containers.unzip(
                body, tuple(patterns) or ("*",), self._bytes_left, self.where, names
            ):
                yield source.with_body(self._counted(file), name=name)
        elif word == "mime":
            yield self._root_part(source, patterns[0] if patterns else None)
        elif word == "signed":
            yield self._signed(source, options, reading)
        else:
            document = self._parse(step, source, reading)
            if source.needs_signature and document.kind == "xml":
                # It was verified, but the name of a file in an archive was not.
                source = replace(source, needs_signature=False, name="")
            yield source.with_document(document)

    def _counted(self, body: ReplyBody) -> ReplyBody:
        """Return the result of a step, once it is subtracted from what the reply may use."""
        self._bytes_left -= body.size
        self._budget.spend(BODY_BYTES + (body.size if body.size <= IN_MEMORY else 0), self.where)
        return body

    def _root_part(self, source: DecodeInput, wanted: str | None) -> DecodeInput:
        """Return the root part of a multipart message, or the part with a wanted Content-ID."""
        body = cast("ReplyBody", source.body)
        # The message, its pieces and its decoded parts.
        self._budget.spend(3 * body.size, self.where)
        message = multipart.read_multipart(body, source.content_type, self.where)
        root = message.root if wanted is None else message.matching(wanted, self.where)
        source = replace(source, message=message, has_unsigned_parts=source.needs_signature)
        return self._part(source, cast("multipart.Part", root))

    def _part(self, source: DecodeInput, part: multipart.Part) -> DecodeInput:
        return source.with_body(
            ReplyBody.from_bytes(part.data),
            content_type=part.content_type,
            charset=charset_of(part.content_type),
        )

    def _with_bytes(self, source: DecodeInput, word: str) -> DecodeInput:
        """Return an input as bytes, for a step that needs them."""
        if source.body is not None:
            return source
        document = source.document
        if document is None or document.kind != "xml":
            raise StreamHalted(
                "DECODE_ORDER",
                f"{self.where}: decode step {word!r} needs bytes or text, "
                "and the step before it gave a JSON value; correct the order of `decode`",
            )
        root = document.root
        if source.message.parts and (
            reference := multipart.attachment_reference(root, source.message)
        ):
            return self._attachment(source, reference)
        if len(root) == 0:
            return source.with_body(formats.body_from_text(root.text or ""), is_text=True)
        return source.with_body(ReplyBody.from_bytes(formats.element_bytes(root)))

    def _attachment(self, source: DecodeInput, reference: str) -> DecodeInput:
        part = multipart.require_attachment(source.message, reference, self.where)
        needs_signature = source.needs_signature or source.has_unsigned_parts
        return replace(self._part(source, part), needs_signature=needs_signature)

    def _parse(
        self, step: str | Decoder, source: DecodeInput, reading: DecodedReply
    ) -> DecodedDocument:
        word, options = step_name(step), step if isinstance(step, Decoder) else None
        body = cast("ReplyBody", source.body)
        configured = "utf-8" if source.is_text else configured_encoding(options)
        if word in {"json", "csv"} and source.needs_signature:
            self._require_later_signature()
        if word == "json":
            chosen = options.json_ if options else None
            how = {"comments": chosen.comments, "lines": chosen.lines} if chosen else {}
            bodies: list[bytes] = []
            root = formats.read_json(
                body,
                self.where,
                transport=source.charset,
                configured=configured,
                budget=self._budget,
                record_fields=self.record_fields,
                record_bodies=bodies,
                **how,
            )
            return DecodedDocument("json", root, source.name, record_bodies=bodies)
        if word == "csv":
            return self._parse_csv(csv_format(options, configured), source)
        return self._parse_xml(str(word), configured, source, reading)

    def _require_later_signature(self) -> None:
        """Raise ``SIGNATURE_ABSENT`` when no later step could find a signature."""
        later = {step_name(step) for step in self.chain}
        if self.signature is not None and not later & {"xml", "atom", "signed"}:
            self.signature.refuse()

    def _parse_csv(self, table: CsvFormat, source: DecodeInput) -> DecodedDocument:
        body = cast("ReplyBody", source.body)
        names: list[str] = []
        numbers: list[int] = []

        def read() -> Iterator[dict[str, Any]]:
            names.clear()
            numbers.clear()
            return formats.read_csv(body, table, self.where, source.charset, names, numbers)

        if self._budget.needs_count(body.size):
            separator = table.separator.encode()
            most = self._budget.records
            if (
                sum(map(count_lines, body.chunks())) > most
                and next(islice(read(), most, None), None) is not None
            ):
                raise StreamHalted(
                    "LIMIT_RECORDS",
                    f"{self.where}: the table has more than {most} rows; "
                    "raise limits.max_records, or request smaller pages",
                )
            memory = sum(csv_memory(piece, separator) for piece in body.chunks())
            self._budget.spend(memory, self.where)
        rows = list(read())
        return DecodedDocument("csv", rows, source.name, None, tuple(names), tuple(numbers))

    def _parse_xml(
        self, word: str, configured: str | None, source: DecodeInput, reading: DecodedReply
    ) -> DecodedDocument:
        body = cast("ReplyBody", source.body)
        if source.needs_signature and self.signature is not None:
            root = self.signature.parse(
                body, transport=source.charset, configured=configured, budget=self._budget
            )
            if reading.envelope is None:
                reading.envelope = root
            return self._xml_document(word, root, "")
        if self.record_path is not None and body.size > STREAMING_THRESHOLD_BYTES:
            skeleton, records = xml_parser.stream_records(
                body,
                self.record_path,
                transport=source.charset,
                configured=configured,
                where=self.where,
                budget=self._budget,
            )
            if not records.has_nested_records:
                skeleton = self._note_envelope(skeleton, reading)
                return DecodedDocument("xml", skeleton, source.name, records)
        root = xml_parser.parse(
            body,
            transport=source.charset,
            configured=configured,
            where=self.where,
            budget=self._budget,
        )
        return self._xml_document(word, self._note_envelope(root, reading), source.name)

    def _note_envelope(self, root: etree._Element, reading: DecodedReply) -> etree._Element:
        """Note the outermost document of a reply, and check which request it answers."""
        if reading.envelope is None:
            if self.verify_envelope is not None and envelope.is_envelope(root):
                root = self.verify_envelope(root)
            reading.envelope = root
        return root

    def _xml_document(self, word: str, root: etree._Element, name: str) -> DecodedDocument:
        if word == "atom":
            sort_oldest_first(root, self.where)
        return DecodedDocument("xml", root, name)

    def _expression(
        self, text: str, source: DecodeInput, reading: DecodedReply
    ) -> Iterator[DecodeInput]:
        source = self._decoded(source, reading)
        document = cast("DecodedDocument", source.document)
        # Neither the media type nor the charset of the reply describes a value inside it.
        inner = replace(source, body=None, document=None, content_type="", charset=None)
        try:
            select = self.compile(document.kind, text)
        except ExpressionError as error:
            raise StreamHalted(
                "EXPRESSION",
                f"{self.where}: decode step {text!r} cannot read this reply, "
                f"which is {document.kind.upper()}: {error}",
            ) from None
        for value in select(document.root, {}):
            if etree.iselement(value):
                yield inner.with_document(DecodedDocument("xml", value, source.name))
            elif reference := multipart.attachment_reference(value, source.message):
                yield self._attachment(inner, reference)
            elif isinstance(value, str):
                body = self._counted(formats.body_from_text(value))
                yield inner.with_body(body, is_text=True)
            else:
                yield inner.with_document(DecodedDocument(document.kind, value, source.name))

    def _signed(
        self, source: DecodeInput, options: Decoder | None, reading: DecodedReply
    ) -> DecodeInput:
        if self.verify is None:
            raise StreamHalted(
                "SIGNATURE_UNTRUSTED",
                f"{self.where}: no certificate to verify signatures is configured; "
                "name it under `trust`",
            )
        original = cast("ReplyBody", source.body).read()
        text = original.decode("utf-8", "surrogatepass") if source.is_text else ""
        document = text_bytes(text) if source.is_text else original
        if len(document) > SMALL_DOCUMENT_BYTES:
            # The check builds a tree of its own, before the sender is trusted, and drops it.
            replace(self._budget).spend(xml_memory(document), self.where)
        verified = self.verify(document, options)
        reading.context["signed_original"] = original.decode("utf-8", "replace")
        source = source.with_body(ReplyBody.from_bytes(verified), is_text=True)
        has_trust = options is not None and options.signed is not None and options.signed.trust
        if has_trust and self.signature is not None and self.signature.takes_signed_documents:
            source = replace(source, needs_signature=False)
        return source


def _step_for_input(source: DecodeInput) -> str:
    return step_for_media_type(media_type_of(source.content_type), cast("ReplyBody", source.body))
