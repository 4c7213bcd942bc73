"""Read the fields of a form that a push registry sends, within fixed limits.

``urllib.parse.parse_qsl`` holds one object for each escape of a text. A form of escapes alone would
take fifty times its size. This module decodes a value piece by piece.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import unquote_to_bytes

from gateway.errors import StreamHalted

MEDIA_TYPE = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 1_000
"""A form of a registry has a few fields."""
MAX_NAME_BYTES = 1_000
_PIECE_BYTES = 65_536


def read_form(data: bytes, names: Collection[str], connector: str) -> dict[str, str]:
    """Return the fields of ``names``.

    Raises :class:`~gateway.errors.StreamHalted` for a form with too many fields, and for a field
    that occurs twice, because senders and readers differ in the one that counts.
    """
    if data.count(b"&") >= MAX_FORM_FIELDS:
        raise StreamHalted(
            "LIMIT_FIELDS",
            f"{connector}: a form has more than {MAX_FORM_FIELDS} fields; "
            "the registry must send fewer",
        )
    form: dict[str, str] = {}
    for field in data.split(b"&"):
        name_bytes, _, value = field.partition(b"=")
        if len(name_bytes) > MAX_NAME_BYTES:
            continue
        name = _unquote(name_bytes)
        if name not in names:
            continue
        if name in form:
            raise StreamHalted(
                "FIELD_REPEATED",
                f"{connector}: the form has the field {name!r} twice; "
                "the registry must send it once",
            )
        form[name] = _unquote(value)
    return form


def _unquote(value: bytes) -> str:
    value = value.replace(b"+", b" ")
    if b"%" not in value:
        return value.decode("utf-8", "replace")
    decoded = bytearray()
    start = 0
    while start < len(value):
        end = min(start + _PIECE_BYTES, len(value))
        # An escape such as %2B must not be cut.
        if (escape := value.rfind(b"%", end - 2, end)) > start:
            end = escape if end < len(value) else end
        decoded += unquote_to_bytes(value[start:end])
        start = end
    return decoded.decode("utf-8", "replace")
