"""Parse the bytes of a payload, strictly and within limits of size and depth."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import orjson
from lxml import etree

from gateway.config.expressions.strict_json import JsonRefused, load_json
from gateway.records import MALFORMED_ROW_KEY

MAX_DEPTH = 100
MAX_BYTES = 20_000_000
_BACKSLASH, _AMPERSAND, _EXCLAMATION, _DELETE = b"\\&!\x7f"
"""Integers, because a search for an integer is 4 to 70 times faster than one for bytes."""

_decode_json = msgspec.json.Decoder().decode


class PayloadError(ValueError):
    """A payload that is not valid.

    ``reason`` is a stable code, and ``detail`` describes a valid payload.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def row_defect(row: Any) -> str:
    """Return how many cells a row of a table has, if these are too many or too few."""
    cells = row.get(MALFORMED_ROW_KEY) if isinstance(row, dict) else None
    if not isinstance(cells, list) or len(cells) != 2:  # noqa: PLR2004 - a cell is always a text
        return ""
    return f"expected {cells[0]} cells, and the row has {cells[1]}"


def json_value(body: bytes) -> Any:
    """Return the value of a JSON payload.

    Duplicate keys, ``NaN``, bytes that are not UTF-8 and more than :data:`MAX_DEPTH` levels raise
    :class:`PayloadError`.
    """
    _check_size(body)
    try:
        value = _decode_json(body)
    except RecursionError:
        raise PayloadError("too_deep", f"JSON of at most {MAX_DEPTH} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        raise PayloadError("not_json", "one JSON value in UTF-8") from None
    # Counting the brackets comes first, because it is faster than walking the value.
    if (
        len(body) - len(body.replace(b"{", b"").replace(b"[", b"")) > MAX_DEPTH
        and _check_depth(value) > MAX_DEPTH
    ):
        raise PayloadError("too_deep", f"JSON of at most {MAX_DEPTH} levels")
    try:
        as_sent = orjson.dumps(value) == body
    except TypeError:  # an integer over 64 bits, too many levels, or half a surrogate pair
        as_sent = False
    # If the dump differs, the payload is not compact, or something was lost, such as a second key.
    return value if as_sent else _decode_strictly(body)


def _decode_strictly(body: bytes) -> Any:
    try:
        return load_json(body, parse_float=Decimal)
    except JsonRefused as refused:
        if refused.problem == "duplicate_key":
            raise PayloadError("duplicate_key", "each key once in a JSON object") from None
        raise PayloadError("not_json", "JSON has no NaN and no Infinity") from None
    except RecursionError:
        raise PayloadError("too_deep", f"JSON of at most {MAX_DEPTH} levels") from None
    except ValueError:
        raise PayloadError("not_json", "one JSON value in UTF-8") from None


def _check_depth(value: Any) -> int:
    deepest, pending = 0, [(value, 1)]
    while pending:
        item, level = pending.pop()
        deepest = max(deepest, level)
        if type(item) is dict:
            pending += [(child, level + 1) for child in item.values()]
        elif type(item) is list:
            pending += [(child, level + 1) for child in item]
    return deepest


_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
    recover=False,
)


def xml_element(body: bytes) -> Any:
    """Return the root element of an XML payload.

    A DOCTYPE and XML that is not well-formed raise :class:`PayloadError`. The parser removes
    comments and processing instructions, so that they do not split a text.
    """
    _check_size(body)
    try:
        root = etree.fromstring(body, _PARSER)
    except (etree.XMLSyntaxError, ValueError):
        raise PayloadError("not_xml", "one well-formed XML element") from None
    if (
        _EXCLAMATION in body or not _is_plain_ascii_xml(body)
    ) and root.getroottree().docinfo.internalDTD is not None:
        raise PayloadError("doctype", "XML without a DOCTYPE")
    return root


def may_hold_invisible_text(body: bytes, *, xml: bool) -> bool:
    """Return whether ASCII texts of a valid payload may hold invisible characters.

    Both formats forbid raw control characters except DEL. XML also allows a line break and a tab in
    texts. A payload must escape all others, so the function searches for escapes.
    """
    if xml:
        return _AMPERSAND in body or _DELETE in body or not _is_plain_ascii_xml(body)
    return _BACKSLASH in body or _DELETE in body


def _is_plain_ascii_xml(body: bytes) -> bool:
    """Return whether XML begins with its root element in ASCII.

    Such XML declares no charset. It is UTF-8, so a search through its bytes is safe.
    """
    return body[:1] == b"<" and body[1:2].isalpha()


def _check_size(body: bytes) -> None:
    if len(body) > MAX_BYTES:
        raise PayloadError("too_large", f"at most {MAX_BYTES} bytes for one record")
