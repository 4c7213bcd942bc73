"""Find the fields that a rule may fill, by dotted name.

The fields come from the types in :mod:`gateway.records`.
"""

from __future__ import annotations

import difflib
import re
import types
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from gateway.record_parts import UnknownCode
from gateway.records import RECORD_TYPES, LangMap

LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2}|-[0-9]{3})?")

ValueType = Literal[
    "text",
    "integer",
    "decimal",
    "boolean",
    "date",
    "datetime",
    "choice",
    "languages",
    "texts",
    "integers",
    "structs",
    "struct",
    "dictionary",
]

REQUIRED: dict[str, tuple[str, ...]] = {
    "qualification": ("title",),
    "learning_opportunity": ("title",),
    "credential": ("title",),
    "student_status": (),
    "card": (),
    "provider": (),
}
"""Targets that a record must have. Without one, the gateway rejects it as ``missing``.

The renderers check the further requirements of the European formats.
"""


_CASTS = {
    "country": "country",
    "location_country": "country",
    "languages": "language",
    "isced_f": "isced_f",
    "homepage": "url",
    "email": "email",
    "report": "url",
}
"""The cast of the fields with this name."""


class UnknownTarget(ValueError):
    """The record type has no such field. The message names the most similar one."""


@dataclass(frozen=True, slots=True)
class TargetField:
    """One field that a rule can fill.

    ``derived`` is true when the gateway computes the value, so that no rule may fill it.
    """

    path: tuple[str, ...]
    value_type: ValueType
    personal: bool = False
    derived: bool = False
    choices: tuple[str, ...] = ()
    struct: type[Any] | None = None
    cast: str = ""
    """The cast that applies when the rule names none."""
    unknown_code: UnknownCode = "reject"
    """The treatment of a value that is not in ``choices``."""


def find_target(owner: type[Any], path: str) -> TargetField:
    """Return the field ``path`` of a record type.

    Raises :class:`UnknownTarget` when the type has no such field.
    """
    parts = path.split(".")
    current_type: type[Any] = owner
    personal = False
    for index, part in enumerate(parts):
        fields = _fields(current_type)
        if part not in fields:
            near = difflib.get_close_matches(part, fields, 1, 0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(sorted(fields))}"
            raise UnknownTarget(f"{_describe_parent(owner, parts[:index])} has no '{part}'; {hint}")
        kind, meta = fields[part]
        extra = meta.extra or {} if meta else {}
        personal = bool(extra.get("personal"))
        target = (
            TargetField((), "languages")
            if kind == LangMap and part != "identifiers"
            else _value_type(kind)
        )
        rest = parts[index + 1 :]
        if target.value_type == "struct" and rest:
            current_type = target.struct or current_type
            continue
        if rest and target.value_type in {"languages", "dictionary"} and len(rest) == 1:
            if target.value_type == "languages" and not LANGUAGE_TAG.fullmatch(rest[0]):
                raise UnknownTarget(
                    f"'{rest[0]}' is not a language tag; "
                    "write it as BCP 47 does, such as en or sv-FI"
                )
            return TargetField(tuple(parts), "text", personal, bool(extra.get("derived")))
        if rest:
            raise UnknownTarget(
                f"'{'.'.join(parts[: index + 1])}' has no parts; "
                f"write it without '.{'.'.join(rest)}'"
            )
        return TargetField(
            tuple(parts),
            target.value_type,
            personal,
            bool(extra.get("derived")),
            target.choices or extra.get("codes", ()),
            target.struct,
            _CASTS.get(part, "") if target.value_type in {"text", "texts"} else "",
            extra.get("unknown_code", "reject") if not target.choices else "reject",
        )
    raise UnknownTarget(f"'{path}' is not a field")


def record_type(emits: str) -> type[Any]:
    """Return the type of the records that a stream emits."""
    return RECORD_TYPES[emits]


def field_names(owner: type[Any]) -> tuple[str, ...]:
    """Return the names of a record's fields."""
    return tuple(_fields(owner))


_FIELD_CACHE: dict[Any, dict[str, tuple[Any, Meta | None]]] = {}


def _fields(owner: type[Any]) -> dict[str, tuple[Any, Meta | None]]:
    if owner in _FIELD_CACHE:
        return _FIELD_CACHE[owner]
    fields: dict[str, tuple[Any, Meta | None]] = {}
    for name, hint in get_type_hints(owner, include_extras=True).items():
        if name.startswith("__"):
            continue
        meta = (
            next((extra for extra in get_args(hint)[1:] if isinstance(extra, Meta)), None)
            if get_origin(hint) is Annotated
            else None
        )
        fields[name] = (get_args(hint)[0] if get_origin(hint) is Annotated else hint, meta)
    _FIELD_CACHE[owner] = fields
    return fields


_SCALAR_TYPES: dict[Any, ValueType] = {
    str: "text",
    int: "integer",
    Decimal: "decimal",
    bool: "boolean",
    date: "date",
    datetime: "datetime",
}


def _value_type(kind: Any) -> TargetField:
    if get_origin(kind) in {Union, types.UnionType}:
        kind = next(part for part in get_args(kind) if part is not type(None))
    if kind in _SCALAR_TYPES:
        return TargetField((), _SCALAR_TYPES[kind])
    if get_origin(kind) is Literal:
        return TargetField((), "choice", choices=get_args(kind))
    if get_origin(kind) is dict:
        return TargetField((), "dictionary")
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return (
            TargetField((), "structs", struct=inner)
            if isinstance(inner, type) and issubclass(inner, Struct)
            else TargetField((), "integers" if inner is int else "texts")
        )
    if isinstance(kind, type) and issubclass(kind, Struct):
        return TargetField((), "struct", struct=kind)
    raise TypeError(f"no target can have the type {kind}")


def _describe_parent(owner: type[Any], parts: list[str]) -> str:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", owner.__name__).lower()
    return ".".join([name, *parts])
