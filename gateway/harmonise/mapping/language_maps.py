"""Build a map from BCP 47 language tag to text, from each of the forms that registries use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from lxml import etree

from gateway.config.code_lists import LANGUAGES_AS_KEYS, NO_SINGLE_LANGUAGE
from gateway.config.expressions.compiler import (
    CompiledExpression,
    Context,
    Evaluate,
    is_element,
    text_of,
)
from gateway.config.rules import Languages
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    FieldRejected,
    ManyValues,
    MappingState,
    element_text,
)
from gateway.harmonise.values import casts
from gateway.harmonise.values.text import CastError, Convert, clean_text, read_text
from gateway.records import Issue

LANGUAGE_UNKNOWN = "language_unknown"
"""The code of the issue that a text is left out, because its language is not known."""
Compile = Callable[[str, str], CompiledExpression]
LanguageText = tuple[str | None, Any]
"""The language as the registry writes it, or ``None``, and the text."""
Pairs = Callable[[Any, Context], list[LanguageText]]


def language_map(
    languages: Languages,
    convert: Convert,
    nulls: frozenset[str],
    name: str,
    pick: str | None,
    compile_: Compile,
) -> CompiledRule:
    """Return the rule that builds a language map, or gives ``None`` if there is no text."""
    merge_texts = _build_merge(
        convert, nulls, name, pick, _language_tag(languages.otherwise) or languages.otherwise
    )
    if languages.each is not None:
        each = compile_(languages.each, "each")
        language = compile_(languages.language, "language") if languages.language else None
        text = compile_(languages.text, "text") if languages.text else None
        pairs_of = _pairs_per_item(language, text)
        merge_quickly = _quick_merge(language, text, convert, nulls)

        def collect(found: Iterable[Any], context: Context, state: MappingState) -> Any:
            try:
                texts = merge_quickly(found)
            except CastError:
                texts = None
            if texts is None:
                return merge_texts(pairs_of(found, context), state)
            return texts or None

        run = each.run
        return ManyValues(
            lambda node, context, state: collect(run(node, context), context, state),
            each,
            collect,
            (_attribute(language) or "") if text is None else "",
        )
    pairs = _pairs(languages, compile_)
    return CompiledRule(lambda node, context, state: merge_texts(pairs(node, context), state))


_QuickMerge = Callable[[Iterable[Any]], dict[str, str] | None]
"""Merges one plain text for each known language.

It returns ``None`` for anything else, which :func:`_build_merge` decides.
"""


def _quick_merge(
    language: CompiledExpression | None,
    text: CompiledExpression | None,
    convert: Convert,
    nulls: frozenset[str],
) -> _QuickMerge:
    key, inner, attribute = _key(language), _key(text), _attribute(language)
    if convert in {read_text, clean_text}:
        if key and inner:
            return _merge_objects(key, inner, nulls)
        if attribute is not None and text is None:
            return _merge_elements(attribute, nulls)
    return lambda _found: None


def _merge_objects(key: str, inner: str, nulls: frozenset[str]) -> _QuickMerge:
    def merge(found: Iterable[Any]) -> dict[str, str] | None:
        texts: dict[str, str] = {}
        for selected in found:
            for item in selected if type(selected) is list else (selected,):
                if type(item) is not dict or type(value := item.get(inner)) is not str:
                    return None
                label = item.get(key)
                tag = _language_tag(label) if type(label) is str else None
                if tag is None or tag in texts or not value.isprintable():
                    return None
                if (value := value.strip()) and value not in nulls:
                    texts[tag] = value if value.isascii() else clean_text(value)
        return texts

    return merge


def _merge_elements(attribute: str, nulls: frozenset[str]) -> _QuickMerge:
    name = attribute.encode()  # bytes, because lxml would encode a text for each element

    def merge(found: Iterable[Any]) -> dict[str, str] | None:
        texts: dict[str, str] = {}
        for element in found:
            value = element.text
            if not value or not value.isprintable() or len(element):
                return None
            tag = _language_tag(element.get(name))
            if tag is None or tag in texts:
                return None
            if (value := value.strip()) and value not in nulls:
                texts[tag] = value if value.isascii() else clean_text(value)
        return texts

    return merge


def _build_merge(  # noqa: C901 - all checks of a text, in order
    convert: Convert, nulls: frozenset[str], name: str, pick: str | None, otherwise: str | None
) -> Callable[[list[LanguageText], MappingState], Any]:
    if convert is read_text:
        convert = clean_text  # the loop below trims the text already

    def merge_texts(pairs: list[LanguageText], state: MappingState) -> Any:
        texts: dict[str, str] = {}
        for language_label, value in pairs:
            if value is None or type(value) is dict or type(value) is list:
                continue
            text = (value if type(value) is str else text_of(value)).strip()
            if text in nulls:
                continue
            tag = _language_tag(language_label) or otherwise
            if tag is None:
                state.issues.append(
                    Issue(
                        code=LANGUAGE_UNKNOWN, field=name, message=_describe_label(language_label)
                    )
                )
                continue
            try:
                text = convert(text)
            except CastError as error:
                raise FieldRejected(
                    "map", name, error.reason, f"expected {error.expected}"
                ) from None
            if not text:
                continue
            if tag in texts and texts[tag] != text:
                if pick is None:
                    raise FieldRejected(
                        "map",
                        name,
                        "ambiguous",
                        f"expected one text in {tag}; narrow the expression or say pick",
                    )
                if pick == "first":
                    continue
            texts[tag] = text
        return texts or None

    return merge_texts


def _describe_label(label: str | None) -> str:
    """Return what the registry gave as the language of a text, without any other value."""
    code = (label or "").strip().lower()
    if not code:
        return "the registry gave no language"
    if code in NO_SINGLE_LANGUAGE:
        return f"the registry gave the language {code}, which is no single language"
    return "the registry gave a language that is no code of ISO 639"


@lru_cache(maxsize=1_024)
def _language_tag(language_label: str | None) -> str | None:
    if language_label is None or not language_label.strip():
        return None
    try:
        return casts.language(language_label)
    except CastError:
        return None


def _pairs(languages: Languages, compile_: Compile) -> Pairs:
    if languages.fields:
        runs = {tag: compile_(text, tag).run for tag, text in languages.fields.items()}
        return lambda node, context: [
            (tag, value) for tag, run in runs.items() for value in run(node, context)
        ]
    if languages.object is not None:
        objects = compile_(languages.object, "object").run
        return lambda node, context: [
            pair for value in objects(node, context) for pair in _pairs_of_object(value)
        ]
    language = compile_(languages.language, "language").run if languages.language else None
    evaluate_text = compile_(languages.text or ".", "text").run
    return lambda node, context: [
        (_first_text(language, node, context), value) for value in evaluate_text(node, context)
    ]


def _pairs_per_item(
    language: CompiledExpression | None, text: CompiledExpression | None
) -> Callable[[Iterable[Any], Context], list[LanguageText]]:
    """Return the function that reads language and text from each selected element or object."""
    attribute = _attribute(language)
    if attribute is not None and text is None:
        name = attribute.encode()  # bytes, because lxml would encode a text for each element
        return lambda found, _context: [
            (item.get(name), element_text(item) if len(item) else item.text or "") for item in found
        ]
    key, inner = _key(language), _key(text)
    of_language, of_text = (language.run if language else None), (text.run if text else None)

    def pairs(found: Iterable[Any], context: Context) -> list[LanguageText]:
        language_texts: list[LanguageText] = []
        for selected in found:
            for item in selected if type(selected) is list else (selected,):
                if (
                    key
                    and inner
                    and type(item) is dict
                    and type(language_label := item.get(key)) is str
                    and type(value := item.get(inner)) is str
                ):
                    language_texts.append((language_label, value))
                else:
                    language_texts += _item(item, context, of_language, of_text)
        return language_texts

    return pairs


def _attribute(select: CompiledExpression | None) -> str | None:
    """Return the name of the attribute if an expression consists of an attribute alone."""
    if (
        select is None
        or select.kind != "xml"
        or select.direct_path is None
        or select.direct_path[0]
    ):
        return None
    return select.direct_path[1]  # type: ignore[no-any-return]


def _key(select: CompiledExpression | None) -> str | None:
    """Return the key if an expression consists of a key alone."""
    if (
        select is None
        or select.kind == "xml"
        or select.direct_path is None
        or len(select.direct_path) != 1
    ):
        return None
    return str(select.direct_path[0])


def _item(
    item: Any, context: Context, language: Evaluate | None, text: Evaluate | None
) -> list[LanguageText]:
    language_label = _first_text(language, item, context)
    values = text(item, context) if text is not None else [item]
    return [(language_label, value) for value in values]


def _first_text(run: Evaluate | None, node: Any, context: Context) -> str | None:
    if run is None:
        return None
    values = run(node, context)
    return text_of(values[0]) if values and not isinstance(values[0], dict | list) else None


def _pairs_of_object(value: Any) -> list[LanguageText]:
    if isinstance(value, dict):
        return [(name, text) for name, text in value.items() if _is_language_key(name)]
    if is_element(value):
        named = [(etree.QName(child).localname, child) for child in value]
        return [(name if _is_language_key(name) else None, child) for name, child in named]
    return []


@lru_cache(maxsize=1_024)
def _is_language_key(name: str) -> bool:
    """Return whether the name of a key or an element is a language, and not just any word."""
    head = re.split("[-_]", name, maxsplit=1)[0].lower()
    return (len(head) == _SHORT or head in LANGUAGES_AS_KEYS) and _language_tag(name) is not None


_SHORT = len("en")
