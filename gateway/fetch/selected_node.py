"""A node of a document that is a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.config.expressions.compiler import PayloadKind
from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.record_texts import is_storable
from gateway.fetch.streamed_records import Values


@dataclass(slots=True)
class SelectedNode:
    """A node that is a record, with its surroundings.

    In JSON, ``keep`` reads from ``keep_root``.
    """

    kind: PayloadKind
    node: Any
    keep_root: Any
    root: Any
    context: Mapping[str, str] = field(default_factory=dict)
    deleted_id: str = ""
    """The native id of a record that no longer exists."""
    entry_id: str | None = None
    """The id of an entry whose record is in another format and could not be fetched."""
    body: bytes | None = None
    """The serialised node, once computed: see :meth:`RecordSelector.body`."""
    row: str = ""
    """The row of the table that is the node, such as ``row 17 of cards.csv``."""
    values: Values | None = None
    """The texts of a record that was cut out of a large document. It then has no node."""
    local_name: str = ""
    """The name of such a record's element without its namespace."""
    unreadable: str = ""
    """What cannot be read of the record, such as ``expand``. The gateway then rejects it."""


def note_source(items: Sequence[SelectedNode], document: DecodedDocument) -> None:
    """Note the bytes of each record that the document has, or its row in a table."""
    if document.record_bodies:
        for item, body in zip(items, document.record_bodies, strict=True):
            item.body = body
    if not document.row_numbers:
        return
    file = document.name if is_storable(document.name) else ""
    numbers = {
        id(row): number for row, number in zip(document.root, document.row_numbers, strict=True)
    }
    for item in items:
        if number := numbers.get(id(item.node)):
            item.row = f"row {number} of {file}" if file else f"row {number}"
