"""Search the living objects of the process for texts."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from types import CellType, FrameType
from typing import Any

import msgspec


def live_texts_with(parts: tuple[str, ...]) -> list[str]:
    """Return the texts and bytes of living objects that contain one of the parts."""
    return [
        f"{type(holder).__name__}: {text[:80]}"
        for holder in gc.get_objects()
        if not isinstance(holder, FrameType | CellType) and holder is not parts
        for value in gc.get_referents(holder)
        for text in _texts(value)
        if any(part in text for part in parts)
    ]


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a value and of those inside it that the collector does not track."""
    if type(value) is str:
        yield value
    elif type(value) is bytes:
        yield value.decode(errors="replace")
    elif isinstance(value, date | Decimal):
        yield str(value)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _texts(getattr(value, name))
    elif isinstance(value, tuple | dict) and not gc.is_tracked(value):
        for inner in gc.get_referents(value):
            yield from _texts(inner)
