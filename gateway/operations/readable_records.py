"""Select records of a topic, and turn their bytes into texts and data."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord


def matches(record: ConsumerRecord, key: str, headers: Iterable[str], connector: str) -> bool:
    """Return whether a record passes each filter that is not empty.

    A record belongs to the connector that its key or its header ``ce_source`` names.
    """
    record_key = record.key or b""
    if key.encode() not in record_key:
        return False
    for header in headers:
        name, _, text = header.partition("=")
        if not any(
            found == name and text.encode() in (value or b"") for found, value in record.headers
        ):
            return False
    own_key = connector.encode()
    return (
        not connector
        or record_key == own_key
        or record_key.startswith(own_key + b"|")
        or any(
            name == "ce_source"
            and f"{value.decode(errors='replace')}/".startswith(f"/connectors/{connector}/")
            for name, value in record.headers
            if value is not None
        )
    )


def decode_headers(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, Any]:
    """Return the headers of a record. A name that occurs several times has a list of values."""
    values: dict[str, list[Any]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(decode_text(value))
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def decode_value(value: bytes | None) -> Any:
    """Return the parsed JSON of a record's value, or its text if the value is not JSON.

    A tombstone gives ``None``. A value that is not text gives its size and its bytes in base64.
    """
    if value is None:
        return None
    try:
        return json.loads(value, parse_constant=_refuse_constant, parse_float=_finite_number)
    except (ValueError, RecursionError):
        return decode_text(value)


def decode_text(value: bytes | None) -> str | dict[str, Any] | None:
    """Return bytes as text, or their size and their base64 if they are not text."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return {"bytes": len(value or b""), "base64": base64.b64encode(value or b"").decode()}


def _refuse_constant(name: str) -> Any:
    """Refuse ``NaN`` and ``Infinity``, which are not JSON."""
    raise ValueError(name)


def _finite_number(text: str) -> float:
    """Refuse a number such as ``1e999``, which would be printed as ``Infinity``."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
