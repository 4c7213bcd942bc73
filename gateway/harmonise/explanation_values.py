"""Find the value of a registry that a target field was made from, with persons hidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.config.connector import Connector
from gateway.config.rules import PERSONAL_TYPES, MappingRule
from gateway.harmonise.explanation import (
    _DERIVED,
    _MIN_PERSONAL_LENGTH,
    HIDDEN,
    _expressions,
    _personal,
    _rules,
    _SourceReader,
)
from gateway.harmonise.explanation_page import format_value
from gateway.records import RawRecord


def source_text(connector: Connector, raw: RawRecord, field: str) -> tuple[str, bool]:
    """Return the value behind a target field, and whether the record is about a person.

    The value is :data:`HIDDEN` if its field may be personal, if a personal rule reads the same
    text, or if it contains the native id of a record about a person.
    """
    emits, rules = _rules(connector.streams[raw.stream], raw.kind, "")
    is_about_person = emits in PERSONAL_TYPES
    reader = _SourceReader(connector, connector.streams[raw.stream], raw)
    texts = list(_texts_of(rules, emits, field, reader))
    if is_about_person:
        personal = set(_personal_texts(rules, emits, reader))
        texts = [
            HIDDEN if text in personal or _holds(text, raw.native_id) else text for text in texts
        ]
    return " ".join(dict.fromkeys(texts)) or "(a value inside a list)", is_about_person


def _holds(text: str, native_id: str) -> bool:
    is_long = len(native_id) >= _MIN_PERSONAL_LENGTH
    return native_id in text if is_long else native_id == text


def _texts_of(
    rules: Mapping[str, MappingRule], emits: str, field: str, reader: _SourceReader
) -> Iterator[str]:
    names = (field,) if field in rules else _DERIVED.get(field, ())[:2]
    for name in names:
        if (rule := rules.get(name)) is None:
            continue
        if _personal(emits, name, rule):
            yield HIDDEN
        elif rule.const is not None:
            yield format_value(rule.const)
        else:
            for expression, is_mapped_further in _expressions(rule):
                yield from () if is_mapped_further else reader.read(expression)


def _personal_texts(
    rules: Mapping[str, MappingRule], emits: str, reader: _SourceReader
) -> Iterator[str]:
    for name, rule in rules.items():
        if _personal(emits, name, rule):
            for expression, _ in _expressions(rule):
                yield from reader.read(expression)
