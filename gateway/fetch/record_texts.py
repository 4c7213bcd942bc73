"""Check the texts of a record that the gateway stores next to its content, and join its id.

A text that cannot be stored concerns one record. The gateway rejects this record, and its
neighbours go on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from msgspec.structs import replace

from gateway.combining_marks import has_too_many_marks
from gateway.config.expressions.compiler import EvaluationError
from gateway.records import UNREADABLE_CONTEXT_KEY, RawRecord

MAX_ID = 255
_INVISIBLE_CHARACTERS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
"""Invisible characters: ids that differ only in these look identical."""
RECORD_ERRORS = (EvaluationError, UnicodeError, OverflowError, ArithmeticError, RecursionError)
"""Errors that a value of one record can cause, and that no correct code raises otherwise."""
UNSENT = frozenset({"URL_INVALID", "HEADER_INVALID"})
"""Reasons for which a request about one record cannot even be sent, because of its values."""


def join_parts(parts: Sequence[str]) -> str:
    """Return the parts of an id, joined by ``/``, so that other parts give another id.

    A later part writes its own ``/`` as ``%2F`` and ``%`` as ``%25``. The first part stays as it
    is, because the number of parts is fixed and the others contain no ``/``.
    """
    first, *others = parts
    return "/".join((first, *map(_encode_part, others))) if others else first


def _encode_part(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F") if "/" in part or "%" in part else part


def readable_id(text: str) -> str:
    """Return an id as the gateway stores it, or an empty text if it cannot be an id."""
    if not (text.isascii() and text.isprintable()):
        if has_too_many_marks(text):
            return ""
        # Composed and decomposed letters look identical.
        text = unicodedata.normalize("NFC", text)
        if _INVISIBLE_CHARACTERS.search(text):
            return ""
    return text if len(text) <= MAX_ID else ""


def is_storable(text: str) -> bool:
    """Return whether a text has a form in UTF-8. A lone surrogate has none."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_unreadable_texts(raw: RawRecord) -> RawRecord:
    """Return a record without the texts that cannot be stored, and with their names."""
    if (raw.version + raw.kind).isascii() and (
        not raw.context or "".join((*raw.context, *raw.context.values())).isascii()
    ):
        return raw
    bad = [name for name, text in raw.context.items() if not is_storable(name + text)]
    fields = [name for name in ("version", "kind") if not is_storable(getattr(raw, name))]
    if not (bad or fields):
        return raw
    context = {name: text for name, text in raw.context.items() if name not in bad}
    names = [*fields, *(name for name in bad if is_storable(name))] or ["context"]
    return replace(
        raw,
        context={**context, UNREADABLE_CONTEXT_KEY: ", ".join(names)},
        **dict.fromkeys(fields, ""),
    )
