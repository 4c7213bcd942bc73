"""Select the records of decoded documents, with their ids and the context to keep."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from lxml import etree

from gateway.config.connection import Condition
from gateway.config.connector import Stream
from gateway.config.expressions.compiler import (
    EvaluationError,
    ExpressionError,
)
from gateway.config.expressions.compiler import text_of as spelled
from gateway.config.expressions.conditions import (
    compile_deletion_condition,
)
from gateway.config.expressions.xml_list_place import holds_a_name
from gateway.fetch import xml_parser
from gateway.fetch.change_times import NOT_STATED, ChangeTimeReader, utc_now
from gateway.fetch.decode.formats import DecodedDocument, dump_json, element_bytes
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.list_presence import StreamList, names_of_rules
from gateway.fetch.namespace_scope import require_narrow_scopes
from gateway.fetch.native_ids import hash_native_id
from gateway.fetch.record_texts import (
    RECORD_ERRORS,
    is_storable,
    join_parts,
    readable_id,
    without_unreadable_texts,
)
from gateway.fetch.secrets import Secrets
from gateway.fetch.selected_node import SelectedNode, note_source
from gateway.records import (
    INVALID_ID_PREFIX,
    MISSING_ID_PREFIX,
    MISSING_PARTS_CONTEXT_KEY,
    UNREADABLE_CONTEXT_KEY,
    RawRecord,
)

__all__ = ["RecordSelector", "SelectedNode", "stripped_text"]

log = structlog.get_logger()

NO_CONTENT = b"null"
"""The content of a record whose own content has no form in JSON or XML."""


def stripped_text(value: Any) -> str:
    """Return a value as text without surrounding white space."""
    return spelled(value).strip()


_PLAIN_PATH = re.compile(r"[\w.]+")
"""A path of names, which selects one value. Other expressions may select several on purpose."""
_CONTAINERS = (dict, list)


def _is_xml(item: SelectedNode) -> bool:
    return bool(item.values) or etree.iselement(item.node)


class RecordSelector:
    """A selector that turns the records of one stream into :class:`~gateway.records.RawRecord`."""

    def __init__(
        self,
        connector: str,
        name: str,
        stream: Stream,
        expressions: ExpressionCache,
        secrets: Secrets,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._connector = connector
        self._name = name
        self._stream = stream
        self._id, self._id_key = stream.id, stream.id_key
        self._expressions = expressions
        self._secrets = secrets
        self.change_times: ChangeTimeReader | None = None
        """The reader of the change times, if the stream has any."""
        if stream.change_time:
            self.change_times = ChangeTimeReader(
                stream.change_time, stream.zone, stream.null_values, now
            )
        feed = stream.cursor.feed if stream.cursor else None
        self._operation = feed.operation if feed else None
        self._reports_deletions = bool(stream.deleted or self._operation)
        self._names: frozenset[str] | None = None
        self._list = StreamList(
            stream, f"{connector}.{name}", expressions.namespaces, self.evaluate
        )

    def items(self, document: DecodedDocument, context: Mapping[str, str]) -> list[SelectedNode]:
        """Return the records of a document in order.

        Raise ``LIST_MISSING`` when the document does not show the list of the records.
        """
        context_values = {**context, **({"file": document.name} if document.name else {})}
        kind, root = document.kind, document.root

        def has_id(node: Any) -> bool:
            return self._has_id(SelectedNode(kind, node, node, root, context_values))

        if document.streamed_records is not None:
            is_empty = document.streamed_records.count == 0
            self._list.check_document(document, has_id, is_empty=is_empty)
            return []
        found = [
            SelectedNode(kind, node, node, root, context_values)
            for node in self._list.select(0, kind, root, context_values, has_id)
        ]
        self._list.require_bounded_steps(kind, self._expressions)
        for number in range(1, len(self._list.steps)):
            further: list[SelectedNode] = []
            for item in found:
                nodes = self._list.select(number, kind, item.node, context_values, has_id)
                further += [replace(item, node=node) for node in nodes]
                self._list.require_few(number, kind, len(found), len(further))
            found = further
        if kind == "xml":
            records = (item.node for item in found if etree.iselement(item.node))
            require_narrow_scopes(records, f"{self._connector}.{self._name}")
        self._list.check_document(document, has_id, is_empty=not found)
        if len(found) == 1 and found[0].node is root and kind == "xml" and not has_id(root):
            self._list.refuse_single()
        note_source(found, document)
        return [self._with_kept(item) for item in found] if self._stream.keep else found

    def _has_id(self, item: SelectedNode) -> bool:
        """Return whether a node has the id of a record, apart from values around it."""
        expand, keep = self._stream.expand, self._stream.keep
        if expand is not None and self.text(item, expand.id):
            return True
        parts = [
            keep.get(part[1:], part) if part.startswith("$") else part for part in self._stream.id
        ]
        own = [part for part in parts if not part.startswith("$")]
        try:
            if not all(self.text(item, part) for part in own):
                return False
        except (ExpressionError, *RECORD_ERRORS):
            return False  # The id is in records of another format, and this is their index.
        # An error may have an id of its own, so a record also needs a field that a rule reads.
        if self._names is None:
            self._names = names_of_rules(self._stream)
        names = self._names
        if not names:
            return bool(own)
        if item.kind == "xml":
            return holds_a_name(item.node, names)
        return isinstance(item.node, dict) and bool(names & item.node.keys())

    def streamed_items(
        self, document: DecodedDocument, context: Mapping[str, str]
    ) -> Iterator[SelectedNode]:
        """Yield the records of a streamed document, each as its own document."""
        records = document.streamed_records
        if records is None:
            return
        root, name = document.root, records.local_name
        for piece, values in records.with_values():
            node = None if values else etree.fromstring(piece, xml_parser.TRUSTED_PARSER)
            yield SelectedNode(
                "xml", node, node, root, context, body=piece, values=values, local_name=name
            )

    def evaluate(
        self, kind: str, expression: str, node: Any, context: Mapping[str, Any]
    ) -> list[Any]:
        """Return the values of an expression."""
        return self._expressions(kind, expression)(node, context)

    def text(self, item: SelectedNode, expression: str) -> str:
        """Return the first text of an expression in a record, or an empty text."""
        for value in self._values(item, expression):
            if text := stripped_text(value):
                return text
        return ""

    def _values(self, item: SelectedNode, expression: str) -> list[Any]:
        """Return the values of an expression in a record."""
        if item.values:
            return item.values[expression]
        context = {**item.context, "root": item.root} if "$root" in expression else item.context
        return self._expressions(item.kind, expression)(item.node, context)

    def matches(self, item: SelectedNode, condition: Condition | None) -> bool:
        """Return whether a record satisfies a condition that has a path."""
        return condition is not None and self._expressions.matches(
            item.kind, condition, item.node, item.context
        )

    def to_raw_records(self, item: SelectedNode) -> Iterator[RawRecord]:
        """Yield a record, then the records inside it.

        A record with a value that cannot be read has a note of it, and the pipeline rejects it.
        """
        stream = self._stream
        try:
            yield (raw := self._record_of(item))
            is_record = not item.unreadable and item.entry_id is None
            if stream.children and is_record and raw.body is not None:
                around = {**item.context, "parent": raw.native_id}
                for node in self.evaluate(item.kind, stream.children, item.node, item.context):
                    inner = replace(item, node=node, body=None, context=around)
                    yield from self.to_raw_records(inner)
        except RECORD_ERRORS as error:
            log.warning(
                "record not readable",
                stream=f"{self._connector}.{self._name}",
                error=type(error).__name__,
            )
            failed = "the value of an expression" if isinstance(error, EvaluationError) else ""
            yield self._unreadable_record(item, failed)

    def _record_of(self, item: SelectedNode) -> RawRecord:
        stream = self._stream
        body = self.body(item)
        if item.unreadable:
            return self._unreadable_record(item)
        if item.entry_id is not None:
            return self._raw_entry(item, body)
        native_id = (
            self._named_id(item.deleted_id, body) if item.deleted_id else self.native_id(item, body)
        )
        gone = bool(item.deleted_id) or (self._reports_deletions and self._is_deletion(item))
        changed = (
            self.change_times.read(self.text(item, self.change_times.expression))
            if self.change_times
            else NOT_STATED
        )
        raw = RawRecord(
            connector=self._connector,
            stream=self._name,
            native_id=native_id,
            body=None if gone else body,
            media_type="application/xml" if _is_xml(item) else "application/json",
            kind=self._kind(item),
            context=(
                self._context_without_id(item)
                if native_id[0] == MISSING_ID_PREFIX and native_id[:2] != INVALID_ID_PREFIX
                else dict(item.context)
            ),
            changed_at=changed.earliest,
            changed_latest=changed.latest,
            change_time_problem=changed.problem,
            version=self.text(item, stream.version) if stream.version else "",
            row=item.row,
        )
        return without_unreadable_texts(raw)

    def _unreadable_record(self, item: SelectedNode, failed: str = "") -> RawRecord:
        """Return a record with a value that raised an error, for the pipeline to reject."""
        body = NO_CONTENT
        try:
            body = self.body(item)
            native_id = self.native_id(item, body)
        except RECORD_ERRORS:
            native_id = INVALID_ID_PREFIX + hashlib.sha256(body).hexdigest()[:32]
        return RawRecord(
            connector=self._connector,
            stream=self._name,
            native_id=native_id,
            body=body,
            media_type="application/xml" if _is_xml(item) else "application/json",
            row=item.row,
            context={UNREADABLE_CONTEXT_KEY: item.unreadable or failed or "a value"},
        )

    def _raw_entry(self, item: SelectedNode, body: bytes) -> RawRecord:
        """Return an entry of an index in place of its record, for the pipeline to reject.

        The rules of the stream read the format of the records, and not that of the index.
        """
        is_deleted = bool(item.deleted_id)
        without_id = MISSING_ID_PREFIX + hashlib.sha256(body).hexdigest()[:32]
        name = item.deleted_id or item.entry_id
        raw = RawRecord(
            connector=self._connector,
            stream=self._name,
            native_id=self._named_id(name, body) if name else without_id,
            body=None if is_deleted else body,
            media_type="application/xml" if _is_xml(item) else "application/json",
            context=dict(item.context),
        )
        return without_unreadable_texts(raw)

    @staticmethod
    def body(item: SelectedNode) -> bytes:
        """Return the bytes of a record, serialised once."""
        if item.body is None:
            item.body = (
                element_bytes(item.node) if etree.iselement(item.node) else dump_json(item.node)
            )
        return item.body

    def native_id(self, item: SelectedNode, body: bytes) -> str:
        """Return the parts of the id, joined by ``/``: see :func:`join_parts`.

        A record without an id gets one from its content, and the pipeline rejects it later.
        """
        parts: list[str] = []
        prefix = ""
        for expression in self._id:
            if part := self._id_part(item, expression):
                parts.append(part)
            elif prefix != INVALID_ID_PREFIX:
                prefix = INVALID_ID_PREFIX if part is None else MISSING_ID_PREFIX
        if not prefix and (joined := readable_id(join_parts(parts))):
            return joined if self._id_key is None else self._hash_personal_id(joined)
        return (prefix or INVALID_ID_PREFIX) + hashlib.sha256(body).hexdigest()[:32]

    def _id_part(self, item: SelectedNode, expression: str) -> str | None:
        """Return a part of the id: a text, which may be empty, or ``None`` for no single value.

        A path that leads to a list of several values does not say which of them is the id.
        """
        values = self._values(item, expression)
        if len(values) == 1 and type(values[0]) is str:
            return values[0].strip()
        if len(values) > 1 and item.kind == "json" and _PLAIN_PATH.fullmatch(expression):
            return None
        for value in values:
            if isinstance(value, _CONTAINERS):
                return None
            if text := stripped_text(value):
                return text
        return ""

    def _context_without_id(self, item: SelectedNode) -> dict[str, str]:
        """Return the context of a record without an id, with the parts of the id that it lacks."""
        missing = [
            str(number)
            for number, expression in enumerate(self._stream.id, 1)
            if not self.text(item, expression)
        ]
        if not missing:
            return dict(item.context)
        return {**item.context, MISSING_PARTS_CONTEXT_KEY: ", ".join(missing)}

    def _named_id(self, name: str, body: bytes) -> str:
        """Return the native id of a record whose list names it."""
        if not (native_id := readable_id(name)):
            return INVALID_ID_PREFIX + hashlib.sha256(body).hexdigest()[:32]
        return self._hash_personal_id(native_id)

    def _hash_personal_id(self, native_id: str) -> str:
        """Return a keyed hash of an id that names a person, and any other id unchanged."""
        if self._id_key is None:
            return native_id
        return hash_native_id(self._secrets(self._id_key.secret), native_id)

    def position(self, item: SelectedNode) -> str:
        """Return the position of a record in a change feed, if a request can state it."""
        cursor = self._stream.cursor
        position = self.text(item, cursor.feed.position) if cursor and cursor.feed else ""
        return position if is_storable(position) else ""

    def _is_deletion(self, item: SelectedNode) -> bool:
        """Return whether a record satisfies ``deleted``, or its operation is a deletion."""
        condition, cursor = self._stream.deleted, self._stream.cursor
        if condition is not None and self._expressions.matches(
            item.kind, condition, item.node, item.context, compile_test=compile_deletion_condition
        ):
            return True
        if not self._operation or not cursor or not cursor.feed:
            return False
        return self.text(item, self._operation) in cursor.feed.deleted

    def _kind(self, item: SelectedNode) -> str:
        if self._stream.kind:
            return self.text(item, self._stream.kind)
        if item.values:
            return item.local_name
        return etree.QName(item.node).localname if etree.iselement(item.node) else ""

    def _with_kept(self, item: SelectedNode) -> SelectedNode:
        """Return a record with its kept values, each of which may read those before it."""
        origin = item.node if item.kind == "xml" else item.keep_root
        context_values = dict(item.context)
        for name, expression in self._stream.keep.items():
            try:
                around = {**context_values, "root": item.root}
                values = self.evaluate(item.kind, expression, origin, around)
            except RECORD_ERRORS:
                item = replace(item, unreadable=f"keep.{name}")
                continue
            if text := next((text for value in values if (text := stripped_text(value))), ""):
                context_values[name] = text
        return replace(item, context=context_values)
