"""Decode the bytes of a reply into documents.

A reply passes through ``[unzip | gunzip | base64] -> xml | json | csv``. A text inside a document
can itself be a document, so it can pass through the same steps again. Every step limits its output
and refuses malformed input.
"""

from __future__ import annotations

import base64
import binascii
import csv
import fnmatch
import io
import json
import lzma
import math
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import orjson
from lxml import etree

from gateway.config.expressions.strict_json import JsonRefused, load_json
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import charset, xml_parser
from gateway.fetch.http.body import CHUNK, Decompressor, ReplyBody, Spool

MAX_ENTRIES = 10_000
MAX_CSV_CELL = 1_000_000
_COLON, _ESCAPED = b":", b"\\u003"
_decode = msgspec.json.Decoder().decode
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OSError,
    RuntimeError,
    OverflowError,
)
"""The errors that the standard library raises for a damaged archive."""
_REFUSALS = {"duplicate_key": "JSON_DUPLICATE_KEY", "number": "JSON_NUMBER"}
_COMMENT = re.compile(r"^\s*//[^\n]*$", re.MULTILINE)


@dataclass(slots=True)
class DecodedDocument:
    """One decoded document.

    ``root`` is an element for ``xml``, a value for ``json`` and a list of rows for ``csv``.
    ``name`` is the name of its file in an archive, or an empty text.
    """

    kind: Literal["xml", "json", "csv"]
    root: Any
    name: str = ""
    streamed_records: xml_parser.StreamedRecords | None = None
    """The records of a large document; ``root`` then holds the document without them."""
    columns: tuple[str, ...] = ()
    """The column names of a table, also when it has no rows."""


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """The format of a CSV file."""

    separator: str = ","
    quote: str = '"'
    charset: str | None = None
    columns: tuple[str, ...] = ()
    skip: int = 0


# --- containers


def gunzip(body: ReplyBody, limit: int, where: str) -> ReplyBody:
    """Return the content of a gzip body.

    Raise ``INCOMPLETE_BODY`` when the data stops early. A wrong checksum is also an error.
    """
    inflater, spool = Decompressor("gzip"), Spool(limit, "LIMIT_DECODED", where=where)
    for piece in body.chunks():
        for part in inflater.feed(piece):
            spool.write(part)
    if not inflater.complete:
        spool.discard()
        raise RetryLater(
            "INCOMPLETE_BODY",
            f"{where}: the gzip data stops before its end; the gateway tries again",
        )
    return spool.body(proved=True)


def decode_base64(body: ReplyBody, limit: int, where: str) -> ReplyBody:
    """Return the bytes that a base64 text encodes.

    White space is allowed. Any other foreign character raises ``BASE64_MALFORMED``.
    """
    data = body.read()
    compact = data.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n")
    try:
        plain = base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RetryLater(
            "BASE64_MALFORMED",
            f"{where}: the content is not base64; correct `decode`, or ask the registry",
        ) from None
    spool = Spool(limit, "LIMIT_DECODED", where=where)
    spool.write(plain)
    return spool.body(proved=body.is_complete)


def unzip(
    body: ReplyBody,
    patterns: tuple[str, ...],
    limit: int,
    where: str,
    names_encoding: str | None = None,
) -> Iterator[tuple[str, ReplyBody]]:
    """Yield the files of a ZIP archive whose names match a pattern, in the order of the archive.

    ``names_encoding`` is the encoding of names that the archive does not mark as UTF-8.

    No file is written to disk under its name in the archive. Raise ``FILE_MISSING`` when a pattern
    matches no file, because an incomplete export must not pass for an empty one.
    """
    if not body.size:
        raise RetryLater("EMPTY_BODY", f"{where}: the reply has no content")
    codec = (
        charset.configured_encoding(b"", names_encoding, where).codec if names_encoding else None
    )
    body.file.seek(0)
    try:
        archive = zipfile.ZipFile(body.file, metadata_encoding=codec)
    except UnicodeDecodeError:
        raise StreamHalted(
            "ENCODING",
            f"{where}: a file name in the archive is not valid {codec}; "
            "correct `encoding:` of the zip step",
        ) from None
    except _DAMAGED:
        xml_parser.reject_empty_or_html(body, where)
        raise RetryLater(
            "ZIP_MALFORMED",
            f"{where}: the reply is not a complete ZIP archive; "
            "correct `decode` if it is no archive at all",
        ) from None
    # is_dir() fails for an empty name, so the code tests the end of the name itself.
    entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    if len(entries) > MAX_ENTRIES:
        raise StreamHalted(
            "LIMIT_DECODED",
            f"{where}: the archive has more than {MAX_ENTRIES} files; request smaller periods",
        )
    for pattern in patterns:
        if not any(_matches(entry.filename, pattern) for entry in entries):
            raise RetryLater(
                "FILE_MISSING",
                f"{where}: the archive has no file that matches {pattern!r}; "
                "correct the pattern under `decode`",
            )
    remaining = limit
    for entry in entries:
        if any(_matches(entry.filename, pattern) for pattern in patterns):
            file = _extract(archive, entry, remaining, where)
            remaining = max(1, remaining - file.size)
            yield entry.filename, file


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int, where: str) -> ReplyBody:
    if entry.flag_bits & 1:
        raise StreamHalted(
            "ZIP_ENCRYPTED",
            f"{where}: a file in the archive is encrypted, which the gateway cannot read; "
            "ask the registry for an open one",
        )
    spool = Spool(limit, "LIMIT_DECODED", where=where)
    try:
        with archive.open(entry) as file:
            while piece := file.read(CHUNK):
                spool.write(piece)
    except _DAMAGED:
        spool.discard()
        raise RetryLater(
            "ZIP_MALFORMED", f"{where}: a file in the archive is damaged; the gateway tries again"
        ) from None
    return spool.body(proved=True)


def _matches(name: str, pattern: str) -> bool:
    # Some archivers write an accent as a character of its own.
    name, pattern = unicodedata.normalize("NFC", name), unicodedata.normalize("NFC", pattern)
    base = name.rsplit("/", 1)[-1]
    return not base.startswith(".") and (
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(base, pattern)
    )


# --- documents


def read_json(
    body: ReplyBody,
    where: str,
    *,
    transport: str | None = None,
    configured: str | None = None,
    comments: bool = False,
    lines: bool = False,
) -> Any:
    """Return the JSON value of a body, or the list of its values when ``lines`` is set.

    With ``lines``, each line holds one value. The charset is UTF-8 unless the connector names
    another (``configured``); ``transport``, the charset of the HTTP header, only explains bytes
    that are not UTF-8. Duplicate keys, NaN, infinity and trailing data raise an error.
    """
    xml_parser.reject_empty_or_html(body, where)
    if lines and not body.is_complete:
        raise RetryLater(
            "INCOMPLETE_BODY",
            f"{where}: nothing proves that these are all lines (no Content-Length, not chunked)",
        )
    data = body.read()
    encoding = charset.json_encoding(data[: charset.HEAD_BYTES], configured, where)
    if (
        encoding.is_utf8
        and not comments
        and not lines
        and (value := _decode_fast(data)) is not None
    ):
        return value
    try:
        text = data[encoding.mark_size :].decode(encoding.codec)
    except UnicodeDecodeError as error:
        named = charset.claimed_charset(transport)
        hint = named and (
            f"the reply names the charset {named!r}, which has no meaning for JSON; if it is "
            f"right, write `decode: [{{json: {{encoding: {named}}}}}]`"
        )
        at = encoding.mark_size + error.start
        is_end = error.end >= len(data) - encoding.mark_size
        raise charset.invalid_bytes(
            body, encoding.codec, at, where, is_end=is_end, hint=hint
        ) from None
    text = _COMMENT.sub("", text) if comments else text
    if lines:
        # splitlines() would also split at line separators inside a text.
        return [json_value(line, where) for line in text.split("\n") if line.strip()]
    return json_value(text, where, proved=body.is_complete)


def _decode_fast(data: bytes) -> Any:
    """Return the value of valid JSON, or ``None``; the strict reader then finds the error.

    A decoded object keeps only one of two equal keys. The value written again then has fewer
    colons than the source, so the count of colons detects duplicate keys.
    """
    if _ESCAPED in data:  # an escaped colon could hide the loss of another one
        return None
    try:
        value = _decode(data)
        return value if orjson.dumps(value).count(_COLON) == data.count(_COLON) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return None


def json_value(text: str, where: str, *, proved: bool = True) -> Any:
    """Return the JSON value of a text, with the checks of :func:`read_json`."""
    try:
        return load_json(text, parse_float=_parse_finite_float)
    except JsonRefused as refused:
        raise StreamHalted(_REFUSALS[refused.problem], f"{where}: {refused}") from None
    except RecursionError:
        raise StreamHalted(
            "LIMIT_DEPTH",
            f"{where}: the JSON is nested deeper than the gateway reads; request less in one reply",
        ) from None
    except json.JSONDecodeError as error:
        reason = "JSON_MALFORMED" if proved else "INCOMPLETE_BODY"
        raise RetryLater(
            reason,
            f"{where}: the JSON is not complete or not valid "
            f"at line {error.lineno}, column {error.colno}",
        ) from None


def _parse_finite_float(text: str) -> float | str:
    """Return a number, or its text if no number of the gateway can hold it.

    The rules of its record then see a text, and the other records of the reply are read.
    """
    value = float(text)
    return value if math.isfinite(value) else text


def dump_json(value: Any) -> bytes:
    """Return a value as compact JSON in UTF-8.

    A lone surrogate stays an escape, so that the pipeline can reject the record later.
    """
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        pass
    try:
        return json.dumps(
            value, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        ).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def read_csv(
    body: ReplyBody,
    table: CsvFormat,
    where: str,
    *,
    transport: str | None = None,
    columns_read: list[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield each row as an object, keyed by column name, and add the names to ``columns_read``.

    A row of the wrong length gets the key ``_malformed``. The pipeline later rejects that row
    alone. :func:`gateway.fetch.charset.csv_encoding` chooses the encoding. Raise ``CSV_HEADER``,
    ``CSV_MALFORMED``, ``ENCODING``, ``ENCODING_CONFLICT`` or ``INCOMPLETE_BODY``.
    """
    xml_parser.reject_empty_or_html(body, where)
    if not body.is_complete:
        raise RetryLater(
            "INCOMPLETE_BODY",
            f"{where}: nothing proves that the CSV is complete (no Content-Length, not chunked)",
        )
    encoding = charset.csv_encoding(body, transport, table.charset, where)
    body.file.seek(encoding.mark_size)
    lines = io.TextIOWrapper(
        io.BufferedReader(_NonClosingReader(body)), encoding=encoding.codec, newline=""
    )
    csv.field_size_limit(MAX_CSV_CELL)
    rows = csv.reader(
        lines,
        delimiter=table.separator,
        quotechar=table.quote or None,
        strict=True,
        quoting=_quoting(table),
    )
    try:
        for _ in range(table.skip):
            next(rows, None)
        columns = list(table.columns) or [cell.strip() for cell in next(rows, [])]
        if len(set(columns)) != len(columns) or not columns:
            raise StreamHalted(
                "CSV_HEADER",
                f"{where}: the header line is missing or names a column twice; "
                "expected one line of different names",
            )
        if columns_read is not None:
            columns_read.extend(columns)
        for row in rows:
            if not row:
                continue
            cells: dict[str, Any] = dict(zip(columns, row, strict=False))
            if len(row) != len(columns):
                cells["_malformed"] = f"{len(columns)} cells expected, {len(row)} found"
            yield cells
    except csv.Error:
        raise RetryLater(
            "CSV_MALFORMED",
            f"{where}: the CSV cannot be read near line {rows.line_num}; "
            "check the separator and the quotes under `decode`",
        ) from None
    except UnicodeDecodeError:
        raise StreamHalted(
            "ENCODING",
            f"{where}: bytes near line {rows.line_num} are not valid {encoding.codec}; "
            "name the right charset in the connector: `decode: [{csv: {encoding: NAME}}]`",
        ) from None


def _quoting(table: CsvFormat) -> Literal[0, 3]:
    return csv.QUOTE_MINIMAL if table.quote else csv.QUOTE_NONE


class _NonClosingReader(io.RawIOBase):
    """A read-only view of a body that does not close it."""

    def __init__(self, body: ReplyBody) -> None:
        self._file = body.file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def body_from_text(text: str) -> ReplyBody:
    """Return a text of a document as a body, so that the next step can read it."""
    return ReplyBody.from_bytes(text.encode("utf-8", "surrogatepass"))


def element_bytes(element: etree._Element) -> bytes:
    """Return an element as a document of its own, with its namespaces but without its tail."""
    return etree.tostring(element, encoding="utf-8", with_tail=False)


__all__ = [
    "CsvFormat",
    "DecodedDocument",
    "decode_base64",
    "dump_json",
    "element_bytes",
    "gunzip",
    "json_value",
    "read_csv",
    "read_json",
    "unzip",
]
