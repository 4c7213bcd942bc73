"""Find which fields of a record its documents contain, by rendering it without each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields, replace

from gateway.config.connector import Connector
from gateway.config.target_fields import UnknownTarget, find_target
from gateway.records import Accepted, Document, RawRecord
from gateway.render.publication import publication

_TOGETHER = (
    {"nqf_framework", "nqf_level", "eqf_declared", "eqf_level", "nqf_uri"},
    {"credit_amount", "credit_unit", "credit_sector", "credit_points", "credit_framework"},
)
"""Fields of which the gateway derives some from the others, so they are left out together."""
_SHORTEST_INNER = 4
"""The shortest personal text that is hidden everywhere. A shorter one is hidden as a word."""
MASK = "(personal)"

_Put = Callable[[Any], Any]
"""Return the whole record with another value of one of its structs."""


def unpublished_fields(accepted: Accepted, raw: RawRecord, connector: Connector) -> frozenset[str]:
    """Return the dotted names of filled fields without which the documents are the same.

    Names of list items have no index: ``parts.title``.
    """
    now = datetime.now(UTC)

    def documents(record: Any) -> Any:
        made = publication(
            Accepted(record=record, provenance=accepted.provenance), raw, connector, at=now
        )
        return made.documents or made.outcome

    whole = documents(accepted.record)
    return frozenset(
        path
        for path, without in _each_field(accepted.record, "", lambda value: value)
        if documents(without()) == whole
    )


def _each_field(value: Any, prefix: str, put: _Put) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name of each filled field, and a function that returns the record without it."""
    structs = value if isinstance(value, tuple) else (value,)
    put_back: _Put = put if isinstance(value, tuple) else lambda made: put(made[0])
    for field in fields(type(structs[0])):
        inner = [getattr(struct, field.name) for struct in structs]
        empty = _default(field)
        if empty is NODEFAULT or all(one == empty for one in inner):
            continue
        if isinstance(value, tuple) or not _is_nested(inner[0]):
            yield prefix + field.name, _without(structs, field.name, put_back)
            continue
        struct, place = structs[0], f"{prefix}{field.name}."
        yield from _each_field(inner[0], place, partial(_put_inside, struct, field.name, put_back))


def _put_inside(owner: Any, name: str, put: _Put, value: Any) -> Any:
    return put((replace(owner, **{name: value}),))


def _without(structs: tuple[Any, ...], name: str, put: _Put) -> Callable[[], Any]:
    """Return a function that returns the record whose structs lack a field, and its derivations."""
    names = next((group for group in _TOGETHER if name in group), {name})
    empty = {
        field.name: _default(field) for field in fields(type(structs[0])) if field.name in names
    }
    return lambda: put(tuple(replace(struct, **empty) for struct in structs))


def _is_nested(value: Any) -> bool:
    return isinstance(value, Struct) or (
        isinstance(value, tuple) and bool(value) and isinstance(value[0], Struct)
    )


def _default(field: FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not NODEFAULT else field.default


def masked_document(document: Document, record: Any) -> str:
    """Return a document as indented JSON, with the personal values of its record masked."""
    hidden = frozenset(_personal_texts(record, type(record), ""))
    value = json.loads(document.value or b"null")
    return json.dumps(_masked(value, hidden), ensure_ascii=False, indent=2)


def _masked(value: Any, hidden: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: _masked(inner, hidden) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, hidden) for inner in value]
    if not isinstance(value, str):
        return value
    return MASK if any(_contains(value, text) for text in hidden) else value


def _contains(value: str, text: str) -> bool:
    if len(text) >= _SHORTEST_INNER or text == value:
        return text in value
    is_address = value.startswith(("http://", "https://"))
    return not is_address and bool(re.search(rf"(?<!\w){re.escape(text)}(?!\w)", value))


def _personal_texts(value: Any, owner: type[Any], path: str) -> Iterator[str]:
    """Yield the personal texts and dates of a record, as a document spells them."""
    if isinstance(value, Struct):
        for field in fields(type(value)):
            inner = getattr(value, field.name)
            place = f"{path}.{field.name}" if path else field.name
            if isinstance(inner, tuple) and _is_nested(inner):
                for item in inner:
                    yield from _personal_texts(item, type(item), "")
            else:
                yield from _personal_texts(inner, owner, place)
        return
    if value in (None, "", (), {}) or not _is_personal(owner, path):
        return
    if isinstance(value, Mapping):
        yield from map(str, value.values())
    elif isinstance(value, tuple):
        yield from map(str, value)
    elif isinstance(value, date):
        yield value.isoformat()[:10]
    elif not isinstance(value, bool):
        yield str(value)


def _is_personal(owner: type[Any], path: str) -> bool:
    try:
        return find_target(owner, path).personal
    except UnknownTarget:
        return False
