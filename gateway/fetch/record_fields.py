"""Find the fields that a stream reads in the replies with its list of records in JSON."""

from __future__ import annotations

from gateway.config.connector import Connector, Push, Soap, Stream
from gateway.config.expressions.compiler import ExpressionError, compile_expression
from gateway.config.expressions.json_paths import parse_json_path
from gateway.fetch.decode.json_records import RecordFields
from gateway.fetch.decode.steps import step_name

_PAGING_VALUES = ("from_", "more", "pages", "total")
_ROOT = "$root."


def record_fields(connector: Connector, stream: Stream) -> RecordFields | None:
    """Return the fields that the stream reads, or ``None`` when a rule may read further ones.

    The rules of ``map`` do not count, because they read the bytes of a record.
    """
    block = connector.protocol
    reads_more = (
        stream.schema_
        or stream.join
        or stream.expand
        or stream.export
        or stream.list_
        or (stream.cursor and stream.cursor.feed)
        or any(step_name(step) != "json" for step in stream.decode)
    )
    if reads_more or not isinstance(stream.records, str) or isinstance(block, Push | Soap):
        return None
    path = _path_of_list(stream.records)
    if path is None or not _paging_is_around(stream, path):
        return None
    if not all(_is_around(rule.when.path, path) for rule in block.replies if rule.when.path):
        return None
    names = _names_in_records(stream, path)
    return None if names is None else RecordFields(path, names)


def _path_of_list(records: str) -> tuple[str, ...] | None:
    """Return the names that lead to the list, or ``None`` for an expression of another form.

    Of several places, the first one counts, because it is read when the list is there.
    """
    place = records.partition("||")[0].strip()
    place = place.removesuffix("[]").removesuffix("[*]")
    if place in {"", "@"}:
        return ()
    steps = parse_json_path(place) or [None]
    path = tuple(step for step in steps if isinstance(step, str))
    return path if len(path) == len(steps) else None


def _is_around(text: str, path: tuple[str, ...]) -> bool:
    """Return whether an expression is a plain path that does not lead to the list."""
    steps = parse_json_path(text.strip())
    return steps is not None and steps[: len(path)] != list(path)[: len(steps)]


def _paging_is_around(stream: Stream, path: tuple[str, ...]) -> bool:
    """Return whether the paging reads only values around the list.

    Without paging, the gateway searches the reply for signs of further pages.
    """
    rule = stream.paging
    form = rule.page_number or rule.offset or rule.cursor or rule.link_header or rule.next_url
    if rule.atom or (form is None and "paging" not in stream.model_fields_set):
        return False
    texts = filter(None, (getattr(form, name, None) for name in _PAGING_VALUES))
    return all(_is_around(text, path) for text in texts)


def _names_in_records(stream: Stream, path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the first names of the paths that are read in a record, if all are plain paths."""
    deleted = stream.deleted.path if stream.deleted else None
    further = (stream.version, stream.changed_at, stream.kind, stream.children, deleted)
    names: dict[str, None] = {}
    for text in filter(None, (*stream.id, *further, *stream.keep.values())):
        if text.startswith(_ROOT) and _is_around(text.removeprefix(_ROOT), path):
            continue
        try:
            expression = compile_expression("json", text)
        except ExpressionError:
            return None
        is_kept_value = expression.is_direct_path and expression.variables - {"root"}
        if not (expression.direct_path or is_kept_value):
            return None
        names |= dict.fromkeys(expression.first_names)
    return tuple(names)
