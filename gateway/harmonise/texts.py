"""A text in several languages, from any of the shapes registries use, as one map from BCP 47 tag to text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lxml import etree

from gateway.harmonise import casts
from gateway.harmonise.casts import CastError, Convert
from gateway.language.expressions import Context, Run, is_element, text_of
from gateway.language.mapping_rules import Languages
from gateway.records import Issue

if TYPE_CHECKING:
    from gateway.harmonise.mapper import Fill, State

Compile = Callable[[str, str], Run]
Pairs = Callable[[Any, Context], list[tuple[str | None, Any]]]
"""Gives language (as the registry writes it, or ``None``) and text of each text found."""


def language_map(languages: Languages, convert: Convert, nulls: frozenset[str], name: str, pick: str | None, compile_: Compile) -> Fill:
    """Return a fill that gives the language map, or ``None`` when there is no text at all."""
    from gateway.harmonise.mapper import Refused

    pairs = _pairs(languages, compile_)
    otherwise = languages.otherwise

    def fill(node: Any, context: Context, state: State) -> Any:
        made: dict[str, str] = {}
        for said, value in pairs(node, context):
            if value is None or isinstance(value, dict | list):
                continue
            if text_of(value).strip() in nulls:
                continue
            tag = _tag(said) or otherwise
            if tag is None:
                state.issues.append(Issue(code="language_unknown", field=name))
                continue
            try:
                text = convert(text_of(value))
            except CastError as error:
                raise Refused("map", name, error.reason, f"expected {error.expected}") from None
            if not text:
                continue
            if tag in made and made[tag] != text:
                if pick is None:
                    raise Refused("map", name, "ambiguous", f"expected one text in {tag}; narrow the expression or say pick")
                if pick == "first":
                    continue
            made[tag] = text
        return made or None

    return fill


def _tag(said: str | None) -> str | None:
    if said is None or not said.strip():
        return None
    try:
        return casts.language(said)
    except CastError:
        return None


def _pairs(languages: Languages, compile_: Compile) -> Pairs:
    if languages.fields:
        runs = {tag: compile_(text, tag) for tag, text in languages.fields.items()}
        return lambda node, context: [(tag, value) for tag, run in runs.items() for value in run(node, context)]
    if languages.object is not None:
        objects = compile_(languages.object, "object")
        return lambda node, context: [pair for found in objects(node, context) for pair in _members(found)]
    if languages.each is not None:
        each = compile_(languages.each, "each")
        language = compile_(languages.language, "language") if languages.language else None
        text = compile_(languages.text, "text") if languages.text else None
        return lambda node, context: [
            pair
            for found in each(node, context)
            for item in (found if isinstance(found, list) else [found])
            for pair in _item(item, context, language, text)
        ]
    alone = compile_(languages.text or ".", "text")
    tongue = compile_(languages.language, "language") if languages.language else None
    return lambda node, context: [(_one(tongue, node, context), value) for value in alone(node, context)]


def _item(item: Any, context: Context, language: Run | None, text: Run | None) -> list[tuple[str | None, Any]]:
    said = _one(language, item, context)
    values = text(item, context) if text is not None else [item]
    return [(said, value) for value in values]


def _one(run: Run | None, node: Any, context: Context) -> str | None:
    if run is None:
        return None
    found = run(node, context)
    return text_of(found[0]) if found and not isinstance(found[0], dict | list) else None


def _members(found: Any) -> list[tuple[str | None, Any]]:
    if isinstance(found, dict):
        return [(name, value) for name, value in found.items() if _tag(name)]
    if is_element(found):
        return [(etree.QName(child).localname, child) for child in found]
    return []
