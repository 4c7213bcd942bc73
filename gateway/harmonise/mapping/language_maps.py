"""A text in several languages, from any of the shapes registries use, as one map from BCP 47 tag to text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from lxml import etree

from gateway.config.expressions.compiler import Context, Run, Select, is_element, text_of
from gateway.config.rules import Languages
from gateway.harmonise.mapping.rule_functions import Refused, Several, Shape, State, text_in
from gateway.harmonise.values import casts
from gateway.harmonise.values.text import CastError, Convert
from gateway.records import Issue

Compile = Callable[[str, str], Select]
Pair = tuple[str | None, Any]
"""Language, as the registry writes it or ``None``, and text."""
Pairs = Callable[[Any, Context], list[Pair]]


def language_map(languages: Languages, convert: Convert, nulls: frozenset[str], name: str, pick: str | None, compile_: Compile) -> Shape:
    """Return the rule that gives a language map, or ``None`` when there is no text at all."""
    put_together = _put_together(convert, nulls, name, pick, _tag(languages.otherwise) or languages.otherwise)
    if languages.each is not None:
        each = compile_(languages.each, "each")
        pairs_of = _pairs_of(
            compile_(languages.language, "language") if languages.language else None,
            compile_(languages.text, "text") if languages.text else None,
        )

        def collect(found: Iterable[Any], context: Context, state: State) -> Any:
            return put_together(pairs_of(found, context), state)

        run = each.run
        return Several(lambda node, context, state: collect(run(node, context), context, state), each, collect)
    pairs = _pairs(languages, compile_)
    return Shape(lambda node, context, state: put_together(pairs(node, context), state))


def _put_together(  # noqa: C901 - every way a text can fail to be one, in order
    convert: Convert, nulls: frozenset[str], name: str, pick: str | None, otherwise: str | None
) -> Callable[[list[Pair], State], Any]:
    def put_together(pairs: list[Pair], state: State) -> Any:
        made: dict[str, str] = {}
        for said, value in pairs:
            if value is None or type(value) is dict or type(value) is list:
                continue
            spelled = (value if type(value) is str else text_of(value)).strip()
            if spelled in nulls:
                continue
            tag = _tag(said) or otherwise
            if tag is None:
                state.issues.append(Issue(code="language_unknown", field=name))
                continue
            try:
                text = convert(spelled)
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

    return put_together


@lru_cache(maxsize=1_024)
def _tag(said: str | None) -> str | None:
    if said is None or not said.strip():
        return None
    try:
        return casts.language(said)
    except CastError:
        return None


def _pairs(languages: Languages, compile_: Compile) -> Pairs:
    if languages.fields:
        runs = {tag: compile_(text, tag).run for tag, text in languages.fields.items()}
        return lambda node, context: [(tag, value) for tag, run in runs.items() for value in run(node, context)]
    if languages.object is not None:
        objects = compile_(languages.object, "object").run
        return lambda node, context: [pair for found in objects(node, context) for pair in _members(found)]
    tongue = compile_(languages.language, "language").run if languages.language else None
    alone = compile_(languages.text or ".", "text").run
    return lambda node, context: [(_one(tongue, node, context), value) for value in alone(node, context)]


def _pairs_of(language: Select | None, text: Select | None) -> Callable[[Iterable[Any], Context], list[Pair]]:
    """Return how language and text are read off each element or object that was found."""
    attribute = _attribute(language)
    if attribute is not None and text is None:
        name = attribute.encode()  # lxml would encode a text each time
        return lambda found, _context: [(item.get(name), text_in(item) if len(item) else item.text or "") for item in found]
    key, inner = _key(language), _key(text)
    of_language, of_text = (language.run if language else None), (text.run if text else None)

    def pairs(found: Iterable[Any], context: Context) -> list[Pair]:
        made: list[Pair] = []
        for one in found:
            for item in one if type(one) is list else (one,):
                if key and inner and type(item) is dict and type(said := item.get(key)) is str and type(value := item.get(inner)) is str:
                    made.append((said, value))
                else:
                    made += _item(item, context, of_language, of_text)
        return made

    return pairs


def _attribute(select: Select | None) -> str | None:
    """Return the name when an expression is nothing but an attribute."""
    if select is None or select.kind != "xml" or select.route is None or select.route[0]:
        return None
    return select.route[1]  # type: ignore[no-any-return]


def _key(select: Select | None) -> str | None:
    """Return the name when an expression is nothing but a key."""
    if select is None or select.kind == "xml" or select.route is None or len(select.route) != 1:
        return None
    return str(select.route[0])


def _item(item: Any, context: Context, language: Run | None, text: Run | None) -> list[Pair]:
    said = _one(language, item, context)
    values = text(item, context) if text is not None else [item]
    return [(said, value) for value in values]


def _one(run: Run | None, node: Any, context: Context) -> str | None:
    if run is None:
        return None
    found = run(node, context)
    return text_of(found[0]) if found and not isinstance(found[0], dict | list) else None


def _members(found: Any) -> list[Pair]:
    if isinstance(found, dict):
        return [(name, value) for name, value in found.items() if _tag(name)]
    if is_element(found):
        return [(etree.QName(child).localname, child) for child in found]
    return []
