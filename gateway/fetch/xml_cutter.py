"""Cut the records out of a plain XML document with the accelerator.

The accelerator knows no DOCTYPE, comment, processing instruction, CDATA and reference to a
character. It reads UTF-8 alone. For each other document, and for each error,
:mod:`gateway.fetch.xml_parser` reads the document from its beginning.
"""

from __future__ import annotations

from lxml import etree

from gateway.accelerator import accelerated
from gateway.config.expressions.compiler import CompiledExpression
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.streamed_records import RecordPath, StreamedRecords

MAX_HELD = 1_000_000
"""The bytes of a record, and of the document without its records. Larger ones are rare."""
MEMORY_PER_BYTE = 128
"""Elements as short as possible need 48 times their bytes as a tree."""
MIN_MEMORY = 12_000_000
"""The memory around the records in which a piece and a record always fit."""

Place = tuple[list[str], str | None]
"""The tags of a path inside a record in Clark notation, and an attribute or ``None``."""


class RecordCutter:
    """A cutter that is certain of no document. The accelerator replaces it."""

    def __init__(
        self,
        path: list[str],
        depth: int | None,
        places: list[Place],
        max_depth: int,
        max_held: int,
    ) -> None:
        pass

    def feed(self, _piece: bytes) -> tuple[bytes, int] | None:
        """Return the records that end in a piece as a store holds them, and their number.

        ``None`` means that the document is invalid or unusual.
        """
        return None

    def close(self) -> bytes | None:
        """Return the document without its records, or ``None`` if its end is missing."""
        return None


_Cutter = accelerated(RecordCutter)


def cut_records(
    body: ReplyBody, place: RecordPath, max_depth: int, memory: int, parser: etree.XMLParser
) -> tuple[etree._Element, StreamedRecords] | None:
    """Return a document without its records, and these records.

    ``None`` means that the accelerator is missing or not certain. ``memory`` is the memory that the
    document may take around its records.
    """
    places = list(map(_place_of, place.expressions))
    known = [found for found in places if found is not None]
    if len(known) < len(places) or memory < MIN_MEMORY:
        return None
    max_held = min(MAX_HELD, memory // MEMORY_PER_BYTE)
    cutter = _Cutter(list(place.path), place.depth, known, max_depth, max_held)
    records = StreamedRecords(place)
    for piece in body.chunks():
        finished = cutter.feed(piece)
        if finished is None:
            records.discard()
            return None
        records.add_encoded(*finished)
    around = cutter.close()
    if around is not None:
        try:
            return etree.fromstring(around, parser), records
        except etree.XMLSyntaxError:
            pass  # the ordinary way names the line of the error
    records.discard()
    return None


def _place_of(expression: CompiledExpression) -> Place | None:
    """Return the place that a plain path names, if the accelerator knows its form."""
    tags, attribute, is_own_text = expression.direct_path
    if is_own_text or any(key is not None for _, key, _ in tags):
        return None
    return [tag for tag, _, _ in tags], attribute
