"""Tell an empty list from a reply in which the list is not there.

An expression that finds nothing does not prove an empty list: the reply can be an error, or have
another form. The functions of this module look for the place of the list, and stop the stream with
``LIST_MISSING`` when it is not there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Never

from lxml import etree

from gateway.config.connector import Stream
from gateway.config.expressions.compiler import (
    EvaluationError,
    compile_expression,
    text_of,
)
from gateway.config.expressions.json_list_place import (
    Gap,
    JsonListPlace,
    compile_json_place,
)
from gateway.config.expressions.json_paths import parse_json_path
from gateway.config.expressions.xml_list_place import XmlListPlace, compile_xml_place
from gateway.errors import StreamHalted
from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.fault_text import fault_text_in, quote_fault_text
from gateway.records import MALFORMED_ROW_KEY

REASON = "LIST_MISSING"
Evaluate = Callable[[str, str, Any, Mapping[str, Any]], list[Any]]
HasId = Callable[[Any], bool]
_COMPUTED = re.compile(r"\(|\|\|")
_NAME = re.compile(r"[^\W\d][\w.-]*")
_HOLDERS = ("an object", "an empty", "a document", "a row")
_MOST_SELECTED = 2_000_000
"""The number of elements that a step of ``records`` may select."""
_MOST_NAMES = 1_000
"""The number of names in which a message looks for a similar one."""
_MOST_ROOT_STEPS = 1_000
"""The number of elements from each of which a step may read the whole document again."""
_SEPARATORS = (";", "\t", ",", "|")
_ADVICE = (
    "If the registry changed, correct `records`. If this is how an empty list looks, "
    "name the place that is always there under `list`, or add a `replies` rule with `then: empty`"
)


class StreamList:
    """The list of one stream's records, in any of its replies.

    ``evaluate`` returns the values of an expression for a kind of document, a node and a context.
    """

    def __init__(
        self, stream: Stream, where: str, namespaces: Mapping[str, str], evaluate: Evaluate
    ) -> None:
        self._where = where
        self._namespaces = namespaces
        self._evaluate = evaluate
        self._list = stream.list_
        self.steps = (stream.records,) if isinstance(stream.records, str) else stream.records
        self._is_direct = [parse_json_path(step) is not None for step in self.steps]
        growing = [
            step
            for step, is_direct in zip(self.steps, self._is_direct, strict=True)
            if not is_direct and "$" not in step
        ]
        self._growing_steps = " | ".join(growing) if len(growing) > 1 else ""
        numbered, offset = stream.paging.page_number, stream.paging.offset
        total = (numbered and numbered.total) or (offset and offset.total)
        # A computed total, such as count(//record), is 0 in every reply without records.
        self._total = total if total and not _COMPUTED.search(total) else None
        self._stream = stream
        self._columns: tuple[str, ...] | None = None

    def select(
        self, number: int, kind: str, node: Any, context: Mapping[str, Any], has_id: HasId
    ) -> list[Any]:
        """Return what one step of ``records`` selects from a node.

        In JSON, raise ``LIST_MISSING`` when the place of the list is not there.
        """
        step = self.steps[number]
        if kind == "xml" or "$" in step:
            return self._evaluate(kind, step, node, context)
        place = json_place(step)
        if self._list is not None:
            return self._select_declared(place, kind, step, node, has_id)
        if not self._is_direct[number]:
            try:
                nodes = self._evaluate(kind, step, node, context)
            except EvaluationError:
                nodes = []
            if len(nodes) > 1:
                return nodes
        try:
            return place.select(node, has_id if number == len(self.steps) - 1 else _accept)
        except Gap as gap:
            if self._total_is_zero(kind, node):
                return []
            refuse(gap, step, self._where, node, _ADVICE)

    def _select_declared(
        self, place: JsonListPlace, kind: str, step: str, node: Any, has_id: HasId
    ) -> list[Any]:
        """Return the records where the connector itself names the place of the list."""
        try:
            return place.select(node, has_id)
        except Gap:
            nodes = self._evaluate(kind, step, node, {})
            return [item for item in nodes if isinstance(item, dict) and has_id(item)]

    def check_document(self, document: DecodedDocument, has_id: HasId, *, is_empty: bool) -> None:
        """Raise ``LIST_MISSING`` when a document without records does not show an empty list.

        A table must also have the columns that the stream reads.
        """
        kind, root = document.kind, document.root
        try:
            if kind == "csv":
                if self._columns is None:
                    self._columns = _columns_of_stream(self._stream)
                _check_table(document, self._columns)
            elif self._list is not None and kind != "xml":
                json_place(self._list).require_container(root)
            elif is_empty and kind == "xml" and not self._total_is_zero(kind, root):
                self._check_empty_xml(root, has_id)
        except Gap as gap:
            words = document.root if kind != "csv" else None
            refuse(
                gap, self._list or self.steps[0], self._where, words, self._advice(document, gap)
            )

    def _check_empty_xml(self, root: Any, has_id: HasId) -> None:
        if self._list is not None:
            xml_place(self._list, self._namespaces, is_declared=True).check_empty(root, has_id)
            return
        nodes = [root]
        for step in self.steps:
            following = [inner for node in nodes for inner in self._evaluate("xml", step, node, {})]
            if not following:
                place = xml_place(step, self._namespaces)
                for node in nodes:
                    place.check_empty(node)
                return
            nodes = following

    def _advice(self, document: DecodedDocument, gap: Gap) -> str:
        kind, root = document.kind, document.root
        if kind == "csv":
            return _table_advice(document.columns or tuple(root[0] if root else ()), gap.missing)
        if kind == "xml" and _is_other_version(root, self._namespaces, gap):
            return (
                "If this is another version of the same format, "
                "add its namespace under `namespace_versions`"
            )
        if kind == "xml" and self._list is None:
            place = xml_place(self.steps[0], self._namespaces)
            if not place.is_derivable:
                return (
                    f"`{self.steps[0]}` does not say which element holds the records. "
                    "Name that element under `list`, such as `list: //r:records`"
                )
        return _ADVICE

    def refuse_single(self) -> Never:
        """Raise ``LIST_MISSING`` for a document that would be one record but has no id."""
        gap = Gap("", "an element without the record's id", expected="one record")
        refuse(gap, self.steps[0], self._where, None, _ADVICE)

    def require_bounded_steps(self, kind: str, compile_text: Callable[[str, str], Any]) -> None:
        """Raise :class:`ExpressionError` if the steps together make too much of a JSON value."""
        if kind == "json" and self._growing_steps:
            compile_text(kind, self._growing_steps)

    def require_few(self, number: int, kind: str, before: int, selected: int) -> None:
        """Raise ``EXPRESSION_LIMIT`` if the steps of ``records`` multiply.

        ``before`` is the number of elements at which the step ``number`` starts.
        """
        is_from_root = kind == "xml" and self.steps[number].lstrip("( ").startswith("/")
        if selected > _MOST_SELECTED or (is_from_root and before > _MOST_ROOT_STEPS):
            raise StreamHalted(
                "EXPRESSION_LIMIT",
                f"{self._where}: the steps of `records` multiply; let each step start at the "
                "result of the one before, and name each part of it once",
            )

    def _total_is_zero(self, kind: str, root: Any) -> bool:
        """Return whether the reply itself says that it has no records."""
        if self._total is None:
            return False
        try:
            values = self._evaluate(kind, self._total, root, {})
        except EvaluationError:
            return False
        return [text_of(value).strip() for value in values] == ["0"]


def names_of_rules(stream: Stream) -> frozenset[str]:
    """Return the names that a stream reads in a record, apart from its id."""
    deleted = stream.deleted.path if stream.deleted else None
    texts = (stream.version, stream.changed_at, stream.kind, stream.children, deleted)
    names = {name for text in texts if text for name in _names_in(text)}
    names |= {name for rule in stream.join for name in _names_in(rule.to)}
    for rule in (*stream.map.values(), *(stream.kinds.values())):
        for text in _texts_in(rule.model_dump(exclude_defaults=True)):
            names |= _names_in(text)
    return frozenset(names).difference(*map(_names_in, stream.id))


def _names_in(text: str) -> set[str]:
    """Return the names in an expression; in JSON a dot joins them, in XML it is part of one."""
    names = _NAME.findall(text)
    return {*names, *(part for name in names for part in name.split("."))}


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts_in(inner)


def _accept(_node: Any) -> bool:
    return True


def _columns_of_stream(stream: Stream) -> tuple[str, ...]:
    """Return the columns that a table must have: those of the stream's own expressions."""
    texts = (*stream.id, stream.version, stream.changed_at, stream.kind)
    texts += (stream.deleted.path if stream.deleted else None,)
    columns: dict[str, None] = {}
    for text in texts:
        if text and "$" not in text:
            expression = compile_expression("csv", text)
            if expression.is_direct_path:
                columns |= dict.fromkeys(expression.first_names)
    return tuple(columns)


def _check_table(document: DecodedDocument, needed: Sequence[str]) -> None:
    rows = document.root
    columns = document.columns or (tuple(rows[0]) if rows else ())
    if missing := next((name for name in needed if name not in columns), None):
        raise Gap("the first row", "a row of column names", missing)
    if rows and all(MALFORMED_ROW_KEY in row for row in rows):
        raise Gap("the table", "text in another form", expected=f"rows of {len(columns)} cells")


def _is_other_version(root: Any, namespaces: Mapping[str, str], gap: Gap) -> bool:
    """Return whether the reply begins as expected, but in a namespace that no prefix has."""
    name = etree.QName(root)
    is_expected = re.search(rf"[/:]{re.escape(name.localname)}\b", gap.expected) is not None
    return bool(name.namespace) and name.namespace not in namespaces.values() and is_expected


def _table_advice(columns: Sequence[str], missing: str) -> str:
    """Return what to write for a table whose first row lacks a column.

    The first row may hold the values of a person, so the text quotes a known name alone.
    """
    whole = columns[0] if len(columns) == 1 else ""
    mark = next((mark for mark in _SEPARATORS if mark in whole), "")
    if mark and missing in whole:
        written = mark.replace("\t", "\\t")
        return f'The first row is one cell. Write `decode: [{{csv: {{separator: "{written}"}}}}]`'
    same = next((name for name in columns if name.casefold() == missing.casefold()), "")
    if same:
        return f"The first row has `{same}`. Write the name as the file does"
    return "Compare the first row with the connector file"


def require_list(
    kind: str,
    expression: str,
    root: Any,
    found: Sequence[Any],
    *,
    where: str,
    namespaces: Mapping[str, str] | None = None,
) -> None:
    """Raise ``LIST_MISSING`` unless the place that an expression names is in a document.

    ``found`` is what the expression selected. ``where`` begins the message: the stream, and the
    rule of the connector that holds the expression, such as ``registry.awards: join 'parts'``.
    ``namespaces`` are the prefixes of an XPath.

    A value that stands alone, such as one address in place of a list of them, counts as present.
    """
    if found and not (kind != "xml" and None in found):
        return
    try:
        if kind == "xml":
            xml_place(expression, namespaces or {}).check_empty(root)
        else:
            json_place(expression).require(root)
    except Gap as gap:
        refuse(gap, expression, where, root)


def refuse(gap: Gap, expression: str, where: str, reply: Any, advice: str = "") -> Never:
    """Raise ``LIST_MISSING`` with a text that says where the reply differs from the expression.

    ``reply`` is the document; the text quotes how it explains an error.
    """
    words = quote_fault_text(fault_text_in(reply))
    found = describe(gap) + _similar_name(gap, reply) + words
    raise StreamHalted(
        REASON,
        f"{where}: the reply has no list where `{expression}` looks for it: {found}. "
        f"This is not an empty list, so the gateway reads nothing from the reply. "
        + (advice or "Compare the reply with the connector file"),
    ) from None


def _similar_name(gap: Gap, reply: Any) -> str:
    """Return a question about a name in the reply that is similar to the missing one."""
    for name in filter(None, gap.place.split(".")):
        reply = reply.get(name) if isinstance(reply, Mapping) else None
    names = map(str, islice(reply, _MOST_NAMES)) if isinstance(reply, Mapping) else ()
    near = difflib.get_close_matches(gap.missing, names, 1, 0.7)
    return f" (did you mean `{near[0]}`?)" if near else ""


def describe(gap: Gap) -> str:
    """Return what was found in place of a list, without a value of the reply."""
    place = f"`{gap.place}`" if gap.place else "the reply"
    missing = gap.missing if gap.missing.startswith("`") else f"`{gap.missing}`"
    if gap.missing and gap.found.startswith(_HOLDERS):
        return f"{place} is {gap.found} without {missing}"
    if gap.missing:
        return f"{place} is {gap.found}, and the gateway expected {missing} in it"
    return f"{place} is {gap.found}, and the gateway expected {gap.expected}"


@lru_cache(maxsize=512)
def json_place(expression: str) -> JsonListPlace:
    """Return the compiled place of a list in JSON."""
    return compile_json_place(expression)


def xml_place(
    expression: str, namespaces: Mapping[str, str], *, is_declared: bool = False
) -> XmlListPlace:
    """Return the compiled place of a list in XML."""
    return _xml_place(expression, tuple(sorted(namespaces.items())), is_declared)


@lru_cache(maxsize=512)
def _xml_place(
    expression: str, namespaces: tuple[tuple[str, str], ...], is_declared: bool
) -> XmlListPlace:
    return compile_xml_place(expression, dict(namespaces), is_declared=is_declared)
