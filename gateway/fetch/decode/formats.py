"""Decode bytes into documents: JSON and CSV. :mod:`gateway.fetch.xml_parser` reads XML.

Every function limits its output and refuses malformed input.
"""

from __future__ import annotations

import csv
import gc
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import orjson
from lxml import etree

from gateway.config.expressions.strict_json import JsonRefused, load_json
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import charset, xml_parser
from gateway.fetch.decode.json_records import RecordFields, has_all_members, read_records
from gateway.fetch.decode_budget import DecodeBudget
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.streamed_records import StreamedRecords
from gateway.records import MALFORMED_ROW_KEY

MAX_CSV_CELL = 1_000_000
MAX_CSV_ROW = 8_000_000
LARGE_JSON_BYTES = 1_000_000
_decode = msgspec.json.Decoder().decode
_REFUSALS = {"duplicate_key": "JSON_DUPLICATE_KEY", "number": "JSON_NUMBER"}
_COMMENT = re.compile(r"^[^\S\n]*//[^\n]*$", re.MULTILINE)


@dataclass(slots=True)
class DecodedDocument:
    """One decoded document.

    ``root`` is an element for ``xml``, a value for ``json`` and a list of rows for ``csv``.
    ``name`` is the name of its file in an archive, or an empty text.
    """

    kind: Literal["xml", "json", "csv"]
    root: Any
    name: str = ""
    streamed_records: StreamedRecords | None = None
    """The records of a large document; ``root`` then holds the document without them."""
    columns: tuple[str, ...] = ()
    """The column names of a table, also when it has no rows."""
    row_numbers: tuple[int, ...] = ()
    """The number of each row of a table in its file."""
    record_bodies: list[bytes] = field(default_factory=list)
    """The bytes of each record of a list in JSON, if the records were read one by one.

    Most records in ``root`` then have only the fields that the stream reads.
    """


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """The format of a CSV file."""

    separator: str = ","
    quote: str = '"'
    charset: str | None = None
    columns: tuple[str, ...] = ()
    skip: int = 0


def read_json(
    body: ReplyBody,
    where: str,
    *,
    transport: str | None = None,
    configured: str | None = None,
    comments: bool = False,
    lines: bool = False,
    budget: DecodeBudget | None = None,
    record_fields: RecordFields | None = None,
    record_bodies: list[bytes] | None = None,
) -> Any:
    """Return the JSON value of a body, or the list of its values when ``lines`` is set.

    With ``lines``, each line holds one value. With ``record_fields``, the records may be read one
    by one, and ``record_bodies`` then receives their bytes. The charset is UTF-8 unless the
    connector names another (``configured``); ``transport``, the charset of the HTTP header, only
    explains bytes that are not UTF-8. Duplicate keys, NaN, infinity and trailing data raise an
    error. Raise ``LIMIT_DECODED`` before a value is built for which the budget is too small.
    """
    xml_parser.reject_empty_or_html(body, where)
    if lines and not body.is_complete:
        raise RetryLater(
            "INCOMPLETE_BODY",
            f"{where}: nothing proves that these are all lines (no Content-Length, not chunked)",
        )
    data = body.read()
    budget = budget or DecodeBudget()
    budget.spend_json(data, where)
    encoding = charset.json_encoding(data[: charset.HEAD_BYTES], configured, where)
    if encoding.is_utf8 and not comments and not lines:
        if record_fields is not None and record_bodies is not None:
            value, bodies = read_records(data, record_fields)
            record_bodies += bodies
            if bodies:
                return value
        if (value := _decode_fast(data)) is not None:
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
    """Return the value of valid JSON, or ``None``; the strict reader then finds the error."""
    try:
        value = _decode(data) if len(data) < LARGE_JSON_BYTES else _decode_large(data)
        return value if has_all_members(orjson.dumps(value), data) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return None


def _decode_large(data: bytes) -> Any:
    """Decode without the garbage collector, which would visit all values again and again.

    No other thread can run meanwhile, so the values must come fast.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _decode(data)
    finally:
        if was_enabled:
            gc.enable()


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
        # The copy has the right size. orjson shrinks a larger block, and the rest of it is lost.
        return memoryview(orjson.dumps(value)).tobytes()
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
    transport: str | None = None,
    columns_read: list[str] | None = None,
    row_numbers: list[int] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield each row as an object, keyed by column name.

    Add the names to ``columns_read``, and the number of each row to ``row_numbers``. The first row
    of the file is 1, also if it names the columns.

    A row of the wrong length gets the key ``MALFORMED_ROW_KEY``. The pipeline later rejects that
    row alone. :func:`gateway.fetch.charset.csv_encoding` chooses the encoding. Raise
    ``CSV_HEADER``, ``CSV_MALFORMED``, ``ENCODING``, ``ENCODING_CONFLICT`` or ``INCOMPLETE_BODY``.
    """
    xml_parser.reject_empty_or_html(body, where)
    if not body.is_complete:
        raise RetryLater(
            "INCOMPLETE_BODY",
            f"{where}: nothing proves that the CSV is complete (no Content-Length, not chunked)",
        )
    encoding = charset.csv_encoding(body, transport, table.charset, where)
    body.file.seek(encoding.mark_size)
    text = io.TextIOWrapper(
        io.BufferedReader(_NonClosingReader(body)), encoding=encoding.codec, newline=""
    )
    csv.field_size_limit(MAX_CSV_CELL)
    lines = _BoundedLines(text, where)
    rows = csv.reader(
        lines if body.size > MAX_CSV_ROW else text,
        delimiter=table.separator,
        quotechar=table.quote or None,
        strict=True,
        quoting=_quoting(table),
    )
    try:
        columns, before = _read_columns(rows, table, where)
        if columns_read is not None:
            columns_read.extend(columns)
        for number, row in enumerate(rows, before + 1):
            lines.row_size = 0
            if not row:
                continue
            cells: dict[str, Any] = dict(zip(columns, row, strict=False))
            if len(row) != len(columns):
                cells[MALFORMED_ROW_KEY] = [len(columns), len(row)]
            if row_numbers is not None:
                row_numbers.append(number)
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
            f"{where}: bytes near line {max(rows.line_num, 1)} are not valid {encoding.codec}; "
            "name the right charset in the connector: `decode: [{csv: {encoding: NAME}}]`",
        ) from None


def _read_columns(rows: Iterator[list[str]], table: CsvFormat, where: str) -> tuple[list[str], int]:
    """Return the names of the columns, and the number of rows before the first record."""
    for _ in range(table.skip):
        next(rows, None)
    columns = list(table.columns) or [cell.strip() for cell in next(rows, [])]
    if len(set(columns)) != len(columns) or not columns:
        raise StreamHalted(
            "CSV_HEADER",
            f"{where}: the header line is missing or names a column twice; "
            "expected one line of different names",
        )
    return columns, table.skip + (0 if table.columns else 1)


def _quoting(table: CsvFormat) -> Literal[0, 3]:
    return csv.QUOTE_MINIMAL if table.quote else csv.QUOTE_NONE


class _BoundedLines:
    """The lines of a table, for a row of at most :data:`MAX_CSV_ROW` characters."""

    def __init__(self, text: io.TextIOWrapper, where: str) -> None:
        self._text = text
        self._where = where
        self.row_size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_CSV_ROW + 1)
        self.row_size += len(line)
        if self.row_size > MAX_CSV_ROW:
            raise StreamHalted(
                "LIMIT_TEXT",
                f"{self._where}: a row of the CSV has more than {MAX_CSV_ROW} characters; "
                "check the separator and the quotes under `decode`",
            )
        if not line:
            raise StopIteration
        return line


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
    "dump_json",
    "element_bytes",
    "json_value",
    "read_csv",
    "read_json",
]
