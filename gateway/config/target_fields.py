"""What a rule may fill: the fields of the harmonised records, by dotted name, with their type and who may see them."""

from __future__ import annotations

import difflib
import re
import types
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from gateway.records import EMITS, LangMap

TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2}|-[0-9]{3})?")

Sort = Literal[
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
"""Targets without which a record is rejected as ``missing``; what the European forms ask besides is judged when they are made."""


class UnknownTarget(ValueError):
    """There is no such field. The text names the nearest one."""


@dataclass(frozen=True, slots=True)
class Target:
    """One field that a rule can fill."""

    path: tuple[str, ...]
    sort: Sort
    personal: bool = False
    derived: bool = False
    choices: tuple[str, ...] = ()
    struct: type[Any] | None = None
    cast: str = ""
    """The cast that applies when the rule names none."""


def target(owner: type[Any], path: str) -> Target:
    """Return the field ``path`` of a record type; raises :class:`UnknownTarget`."""
    parts = path.split(".")
    here: type[Any] = owner
    personal = False
    for index, part in enumerate(parts):
        fields = _fields(here)
        if part not in fields:
            near = difflib.get_close_matches(part, fields, 1, 0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(sorted(fields))}"
            raise UnknownTarget(f"{_spoken(owner, parts[:index])} has no '{part}'; {hint}")
        kind, meta = fields[part]
        extra = meta.extra or {} if meta else {}
        personal = bool(extra.get("personal"))
        found = Target((), "languages") if kind == LangMap and part != "identifiers" else _classify(kind)
        rest = parts[index + 1 :]
        if found.sort == "struct" and rest:
            here = found.struct or here
            continue
        if rest and found.sort in {"languages", "dictionary"} and len(rest) == 1:
            if found.sort == "languages" and not TAG.fullmatch(rest[0]):
                raise UnknownTarget(f"'{rest[0]}' is not a language tag; write it as BCP 47 does, such as en or sv-FI")
            return Target(tuple(parts), "text", personal, bool(extra.get("derived")))
        if rest:
            raise UnknownTarget(f"'{'.'.join(parts[: index + 1])}' has no parts; write it without '.{'.'.join(rest)}'")
        cast = {"country": "country", "languages": "language"}.get(part, "") if found.sort in {"text", "texts"} else ""
        return Target(tuple(parts), found.sort, personal, bool(extra.get("derived")), found.choices, found.struct, cast)
    raise UnknownTarget(f"'{path}' is not a field")


def record_type(emits: str) -> type[Any]:
    """Return the record a stream emits."""
    return EMITS[emits]


def names(owner: type[Any]) -> tuple[str, ...]:
    """Return the names of a record's fields."""
    return tuple(_fields(owner))


_KNOWN: dict[Any, dict[str, tuple[Any, Meta | None]]] = {}


def _fields(owner: type[Any]) -> dict[str, tuple[Any, Meta | None]]:
    if owner in _KNOWN:
        return _KNOWN[owner]
    found: dict[str, tuple[Any, Meta | None]] = {}
    for name, hint in get_type_hints(owner, include_extras=True).items():
        if name.startswith("__"):
            continue
        meta = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Meta)), None) if get_origin(hint) is Annotated else None
        found[name] = (get_args(hint)[0] if get_origin(hint) is Annotated else hint, meta)
    _KNOWN[owner] = found
    return found


_SORTS: dict[Any, Sort] = {str: "text", int: "integer", Decimal: "decimal", bool: "boolean", date: "date", datetime: "datetime"}


def _classify(kind: Any) -> Target:
    if get_origin(kind) in {Union, types.UnionType}:
        kind = next(part for part in get_args(kind) if part is not type(None))
    if kind in _SORTS:
        return Target((), _SORTS[kind])
    if get_origin(kind) is Literal:
        return Target((), "choice", choices=get_args(kind))
    if get_origin(kind) is dict:
        return Target((), "dictionary")
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return (
            Target((), "structs", struct=inner)
            if isinstance(inner, type) and issubclass(inner, Struct)
            else Target((), "integers" if inner is int else "texts")
        )
    if isinstance(kind, type) and issubclass(kind, Struct):
        return Target((), "struct", struct=kind)
    raise TypeError(f"no target can have the type {kind}")


def _spoken(owner: type[Any], parts: list[str]) -> str:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", owner.__name__).lower()
    return ".".join([name, *parts])
