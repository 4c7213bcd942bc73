"""Parse untrusted XML without DOCTYPE, entities or network, with bounded depth and size.

A document is either complete or refused with a reason. Large documents are cut into records while
they stream. No record is returned before the end of the document was read.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, cast

from lxml import etree

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import charset
from gateway.fetch.decode_budget import (
    MOST_XML_PER_BYTE,
    DecodeBudget,
    count_xml_marks,
    too_large,
    xml_memory,
)
from gateway.fetch.http.body import CHUNK, ReplyBody
from gateway.fetch.namespace_scope import (
    MAX_NAMESPACES,
    NAMESPACE_EVENTS,
    NamespaceScope,
    require_narrow_scope,
)
from gateway.fetch.streamed_records import RecordPath, StreamedRecords
from gateway.fetch.xml_cutter import cut_records

MAX_DEPTH = 200
MAX_ELEMENTS = 20_000_000
WHOLE_DOCUMENT_CHUNK = 1_000_000
SHARE_AROUND_RECORDS = 8
"""The part of the memory for what a large document contains besides its records: one eighth."""
_DOCTYPE, _DECLARATION = b"<!DOCTYPE", b"xmlns"
_COMMENT_START, _COMMENT_END = b"<!--", b"-->"
_FIRST_TAG = re.compile(rb"<[A-Za-z_]")
_HTML = re.compile(rb"<(!doctype\s++html|html)\b", re.IGNORECASE)
_CONTENT = re.compile(rb"[^ \t\r\n\f\v]")
_ENCODING_ERRORS = {
    etree.ErrorTypes.ERR_UNKNOWN_ENCODING,
    etree.ErrorTypes.ERR_UNSUPPORTED_ENCODING,
    etree.ErrorTypes.ERR_INVALID_ENCODING,
    etree.ErrorTypes.I18N_CONV_FAILED,
}


HARDENED: Final[dict[str, Any]] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}
"""The options of a parser for the bytes of a stranger. It reads no entity and no other file."""

_PLAIN_PARSER = etree.XMLParser(encoding="utf-8", **HARDENED)
TRUSTED_PARSER = etree.XMLParser(
    resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
)
"""A parser for documents that this module parsed and wrote itself."""


def reject_empty_or_html(body: ReplyBody, where: str) -> None:
    """Raise an error for an empty body or a web page, because neither means "no records"."""
    head = first_content(body)
    if not head:
        raise RetryLater(
            "EMPTY_BODY",
            f"{where}: the reply has no content, which does not prove an empty result; "
            "if it does here, add a rule under `replies`",
        )
    if _HTML.match(head, _end_of_comments(head)):
        raise RetryLater(
            "NOT_A_REGISTRY_RESPONSE",
            f"{where}: the reply is a web page instead of data (maintenance, or the wrong url)",
        )


def first_content(body: ReplyBody) -> bytes:
    """Return the first bytes of a body after blanks and a byte order mark, without a copy of all.

    They are empty only if the whole body is blank.
    """
    for number, piece in enumerate(body.chunks()):
        content = piece.removeprefix(codecs.BOM_UTF8) if number == 0 else piece
        if content := content.lstrip():
            return content
    return b""


def _end_of_comments(text: bytes) -> int:
    """Return the position after the comments and blanks at the beginning of a text."""
    position = 0
    while text.startswith(_COMMENT_START, position):
        end = text.find(_COMMENT_END, position + len(_COMMENT_START))
        if end < 0:
            break
        content = _CONTENT.search(text, end + len(_COMMENT_END))
        position = content.start() if content else len(text)
    return position


def parse(
    body: ReplyBody,
    *,
    transport: str | None = None,
    configured: str | None = None,
    where: str = "reply",
    budget: DecodeBudget | None = None,
) -> etree._Element:
    """Return the root of a complete document.

    Raise ``LIMIT_DECODED`` before a document is built for which the budget is too small.
    """
    root, _ = _parse(
        body,
        None,
        transport=transport,
        configured=configured,
        where=where,
        budget=budget or DecodeBudget(),
    )
    return root


def parse_bytes(data: bytes, *, where: str = "document") -> etree._Element:
    """Return the root of a complete document in memory."""
    return parse(ReplyBody.from_bytes(data), where=where)


def stream_records(
    body: ReplyBody,
    place: RecordPath,
    *,
    transport: str | None = None,
    configured: str | None = None,
    where: str = "reply",
    budget: DecodeBudget | None = None,
) -> tuple[etree._Element, StreamedRecords]:
    """Return a document without its outermost records, and these records, in bounded memory."""
    return _parse(
        body,
        place,
        transport=transport,
        configured=configured,
        where=where,
        budget=budget or DecodeBudget(),
    )


def _parse(
    body: ReplyBody,
    place: RecordPath | None,
    *,
    transport: str | None,
    configured: str | None,
    where: str,
    budget: DecodeBudget,
) -> tuple[etree._Element, StreamedRecords]:
    reject_empty_or_html(body, where)
    encoding = charset.xml_encoding(body.head(), transport, configured, where)
    if not encoding.is_utf8:
        # The checks below search for ASCII bytes, so that they need a document in UTF-8.
        converted = charset.converted_to_utf8(body, encoding, where)
        try:
            return _parse(
                converted, place, transport=None, configured="utf-8", where=where, budget=budget
            )
        finally:
            budget.settle()
            converted.close()
    head = body.head(65_536)
    _refuse_doctype(head[: match.start()] if (match := _FIRST_TAG.search(head)) else head, where)
    memory_around_records = budget.memory // SHARE_AROUND_RECORDS
    if place is not None and (
        cut := cut_records(body, place, MAX_DEPTH, memory_around_records, _PLAIN_PARSER)
    ):
        return cut
    # A document that is built as a whole is not smaller in memory when it is read in small pieces.
    piece_size = CHUNK if place is not None else WHOLE_DOCUMENT_CHUNK
    survey = _survey(body, piece_size, counts_memory=place is not None)
    if place is None and budget.needs_count(body.size):
        count = partial(_count_memory, body)
        budget.spend_at_most(MOST_XML_PER_BYTE * body.size, count, where)
    # A document that does not fit into memory as a whole must consist of records.
    is_cut = place is not None and survey.memory > budget.memory
    checks_elements = survey.needs_element_checks
    elements = ("start", "end") if checks_elements else ("end",) if place else ()
    parser = etree.XMLPullParser(
        events=(*elements, *(NAMESPACE_EVENTS if survey.declares_many_namespaces else ())),
        tag=place.path[-1] if place and not checks_elements else None,
        encoding="utf-8",
        **HARDENED,
    )
    cutter = _RecordStreamer(place, where)
    take = cutter.check_events if checks_elements else cutter.take_finished_records
    scope = NamespaceScope(where) if survey.declares_many_namespaces else None
    try:
        for piece in body.chunks(piece_size):
            parser.feed(piece)
            events: Iterable[Any] = parser.read_events()
            take(scope.without_namespaces(events) if scope else events)
            if is_cut:
                cutter.require_memory(piece, memory_around_records)
        root = parser.close()
    except etree.XMLSyntaxError as error:
        raise _syntax(error, body, where) from None
    events = parser.read_events()
    take(scope.without_namespaces(events) if scope else events)
    if root.getroottree().docinfo.internalDTD is not None:
        _refuse_doctype(_DOCTYPE, where)
    _refuse_depth(root, 1, where)
    return root, cutter.records


@dataclass(slots=True)
class _Survey:
    """What the bytes of a document show before it is parsed."""

    needs_element_checks: bool = False
    """Whether the document may have a DOCTYPE or too many elements."""
    declares_many_namespaces: bool = False
    memory: int = 0


def _survey(body: ReplyBody, piece_size: int, *, counts_memory: bool) -> _Survey:
    survey = _Survey()
    # A smaller body cannot have so many elements.
    counts_marks = counts_memory or body.size > MAX_ELEMENTS
    elements, declarations, before = 0, 0, b""
    for piece in body.chunks(piece_size):
        marks = count_xml_marks(piece) if counts_marks else None
        elements += marks.starts if marks else 0
        if marks is None or marks.equals:
            declarations += piece.count(_DECLARATION)
        across = before + piece[: len(_DOCTYPE) - 1]
        if elements > MAX_ELEMENTS or _DOCTYPE in piece or _DOCTYPE in across:
            survey.needs_element_checks = True
        if counts_memory:
            survey.memory += xml_memory(piece, marks)
        before = piece[1 - len(_DOCTYPE) :]
    survey.declares_many_namespaces = declarations > MAX_NAMESPACES
    return survey


def _count_memory(body: ReplyBody) -> int:
    return sum(map(xml_memory, body.chunks()))


class _RecordStreamer:
    """A collector that takes records out of a document while it is parsed."""

    def __init__(self, place: RecordPath | None, where: str) -> None:
        self._place = place
        self._where = where
        self._depth = 0
        self._elements = 0
        self._parent: etree._Element | None = None
        """The parent of the last record."""
        self._seen_parent: etree._Element | None = None
        """The last parent of an element with the record's tag, and what is known about it."""
        self._is_record = False
        self._record_depth = 0
        self._unmeasured = 0
        self.records = StreamedRecords(place)

    def require_memory(self, piece: bytes, limit: int) -> None:
        """Raise ``LIMIT_DECODED`` when what remains of the document needs too much memory."""
        self._unmeasured += xml_memory(piece)
        if self._unmeasured <= limit:
            return
        root = self._parent.getroottree().getroot() if self._parent is not None else None
        memory = self._unmeasured if root is None else int(cast("float", _tree_memory(root)))
        # Half of it, so that a tree is not measured again after each piece.
        if memory > limit // 2:
            raise too_large(self._where)
        self._unmeasured = memory

    def check_events(self, events: Iterable[Any]) -> None:
        """Check every element against the limits."""
        for event, element in events:
            if event == "start":
                self._depth += 1
                self._elements += 1
                if self._depth == 1 and element.getroottree().docinfo.internalDTD is not None:
                    _refuse_doctype(_DOCTYPE, self._where)
                if self._depth > MAX_DEPTH:
                    raise _too_deep(self._where)
                if self._elements > MAX_ELEMENTS:
                    raise StreamHalted(
                        "LIMIT_BYTES",
                        f"{self._where}: more than {MAX_ELEMENTS} elements; request smaller pages",
                    )
                continue
            self._depth -= 1
            if self._place is not None and element.tag == self._place.path[-1]:
                self.take_finished_records(((event, element),))

    def take_finished_records(self, events: Iterable[Any]) -> None:
        """Take finished records; a nested record stays inside its outer one."""
        place = self._place
        # The events are also the check of the namespaces, so they are read without a place, too.
        for _, element in events:
            if place is None or (parent := element.getparent()) is None:
                continue
            if parent is not self._seen_parent:
                self._look_around(place, element, parent)
            if self._is_record:
                self._cut(place, element, parent)

    def _look_around(
        self, place: RecordPath, element: etree._Element, parent: etree._Element
    ) -> None:
        """Find out what the elements of the record's tag in one parent are."""
        self._seen_parent = parent
        self._is_record = place.matches(element)
        if self._is_record and any(map(place.matches, element.iterancestors(element.tag))):
            self.records.has_nested_records = True
            self._is_record = False
        self._record_depth = 1 + sum(1 for _ in element.iterancestors())

    def _cut(self, place: RecordPath, element: etree._Element, parent: etree._Element) -> None:
        if parent is not self._parent:
            require_narrow_scope(parent, self._where)
            self._parent = parent
        record = etree.tostring(element, encoding="utf-8", with_tail=False)
        # Each level except the innermost one needs two tags.
        if self._record_depth + record.count(b"<") // 2 > MAX_DEPTH:
            _refuse_depth(element, self._record_depth, self._where)
        self.records.add(record, place.read_values(element))
        parent.remove(element)


def _refuse_depth(element: etree._Element, depth: int, where: str) -> None:
    """Raise when a descendant of an element at ``depth`` exceeds the limit."""
    if depth > MAX_DEPTH or _at_depth(MAX_DEPTH - depth + 1)(element):
        raise _too_deep(where)


@lru_cache(maxsize=MAX_DEPTH)
def _at_depth(levels: int) -> etree.XPath:
    """Return an XPath that tests for a descendant ``levels`` below an element."""
    return etree.XPath(f"boolean({'/'.join('*' * levels)})")


_tree_memory = etree.XPath("128 * count(//node()) + 240 * count(//@*)")
"""The memory of a tree in bytes, as :func:`gateway.fetch.decode_budget.xml_memory` estimates it."""


def _too_deep(where: str) -> StreamHalted:
    return StreamHalted(
        "LIMIT_DEPTH",
        f"{where}: elements are nested deeper than {MAX_DEPTH}; the gateway reads no such document",
    )


def _refuse_doctype(prolog: bytes, where: str) -> None:
    if _DOCTYPE in prolog:
        raise StreamHalted(
            "XML_FORBIDDEN_DTD",
            f"{where}: the document has a DOCTYPE, which is never accepted; "
            "ask the registry to send XML without it",
        )


def _syntax(error: etree.XMLSyntaxError, body: ReplyBody, where: str) -> Exception:
    line, column = error.position
    text = str(error).lower()
    if getattr(error, "code", None) in _ENCODING_ERRORS:
        return StreamHalted(
            "ENCODING",
            f"{where}: bytes at line {line}, column {column} are not valid UTF-8; "
            "name the right charset in the connector: `decode: [{xml: {encoding: NAME}}]`",
        )
    if "depth" in text:
        return StreamHalted(
            "LIMIT_DEPTH",
            f"{where}: elements are nested too deep at line {line}; "
            "the gateway reads no such document",
        )
    if "huge" in text or "too long" in text:
        return StreamHalted(
            "LIMIT_TEXT",
            f"{where}: a text at line {line} is larger than 10 MB; request the record without it",
        )
    reason = "XML_MALFORMED" if body.is_complete else "INCOMPLETE_BODY"
    return RetryLater(
        reason,
        f"{where}: the XML is not well-formed or not complete at line {line}, column {column}; "
        "the gateway tries again",
    )
