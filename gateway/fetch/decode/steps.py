"""Read the steps of a ``decode`` chain: their names, their patterns and their options."""

from __future__ import annotations

from gateway.config.requests import DECODERS, Decoder
from gateway.fetch import xml_parser
from gateway.fetch.decode.formats import CsvFormat
from gateway.fetch.http.body import ReplyBody

MULTIPART = "multipart/"
"""How the media types of messages with several parts begin (RFC 2046)."""


def step_for_media_type(kind: str, body: ReplyBody) -> str:
    """Return the decode step for bytes, from their media type or else their first character."""
    if kind == "application/json" or kind.endswith("+json"):
        return "json"
    if kind in {"application/xml", "text/xml"} or kind.endswith("+xml"):
        return "xml"
    if kind == "text/csv":
        return "csv"
    if kind.startswith(MULTIPART):
        return "mime"
    head = xml_parser.first_content(body)[:64].lstrip(b"\xff\xfe\x00 \t\r\n")
    return "xml" if head.startswith(b"<") else "json"


def step_name(step: str | Decoder) -> str | None:
    """Return the name of a decoder, or ``None`` for a step that is an expression."""
    if isinstance(step, Decoder):
        return step.kind.rstrip("_")
    return step if step in DECODERS else None


def takes_pattern(step: str | Decoder, patterns: list[str], following: str | Decoder) -> bool:
    """Return whether a step takes the following text as the name of a file or of a part."""
    if not isinstance(following, str) or following in DECODERS:
        return False
    if step_name(step) == "mime":
        return not patterns and not following.startswith(("/", "(", "."))
    return step_name(step) == "zip"


def configured_encoding(options: Decoder | None) -> str | None:
    """Return the encoding that the connector names for a document."""
    chosen = options and (options.json_ or options.csv or options.xml)
    return chosen.encoding if chosen and "encoding" in chosen.model_fields_set else None


def csv_format(options: Decoder | None, encoding: str | None) -> CsvFormat:
    """Return the form of a table as the step states it, or the usual form."""
    chosen = options.csv if options else None
    if chosen is None:
        return CsvFormat(charset=encoding)
    columns = tuple(chosen.header) if isinstance(chosen.header, list | tuple) else ()
    return CsvFormat(chosen.separator, chosen.quote, encoding, columns)
