"""Give each part of a credential an id of its own, because its document names parts by id."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Final

from gateway.records import Issue


class _Ordinal:
    """The value of ``id: {ordinal: true}``, until the position of the part is known."""

    def __repr__(self) -> str:
        return "ORDINAL"


ORDINAL: Final = _Ordinal()
_id_of = itemgetter("id")


def number_parts(parts: list[dict[str, Any]]) -> None:
    """Give each part with the id :data:`ORDINAL` its position in the list, from 1."""
    for position, part in enumerate(parts, 1):
        if part.get("id") is ORDINAL:
            part["id"] = str(position)


def distinguish_parts(parts: list[dict[str, Any]], issues: list[Issue]) -> int | None:
    """Return the index of a part without an id, or ``None`` if every part has one.

    A repeated id gets the number of its occurrence, for example ``MAT101`` and ``MAT101.2``.
    """
    try:
        if len(set(map(_id_of, parts))) == len(parts):
            return None  # the common case, without a loop in Python
    except KeyError:
        pass
    ids = [part.get("id") for part in parts]
    if None in ids:
        return ids.index(None)
    _number_repeated_ids(parts, {str(native_id) for native_id in ids})
    message = f"{len(ids) - len(set(ids))} parts had the id of another part and got a number"
    issues.append(Issue(code="part_id_repeated", field="parts", message=message))
    return None


def _number_repeated_ids(parts: list[dict[str, Any]], used: set[str]) -> None:
    counts: dict[str, int] = {}
    for part in parts:
        native_id = part["id"]
        count = counts[native_id] = counts.get(native_id, 0) + 1
        if count > 1:
            while (numbered := f"{native_id}.{count}") in used:
                count += 1
            used.add(numbered)
            counts[native_id] = count
            part["id"] = numbered
