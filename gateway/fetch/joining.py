"""Records of a second list that belong to a record by a key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.errors import RetryLater
from gateway.fetch.dialogue import Answered, Dialogue
from gateway.fetch.expanding import added
from gateway.fetch.loops import Turn
from gateway.fetch.reading import Reading
from gateway.fetch.selecting import Item, text_of
from gateway.language.asking import Join, Request
from gateway.language.template import parse


async def joined(rules: Sequence[Join], items: list[Item], answered: Answered, dialogue: Dialogue, turn: Turn) -> list[Item]:
    """Return the items with the records of every joined list inside them; each list is read once, or for each item where it asks {id}."""
    for rule in rules:
        if rule.request is not None and _asks_for_each(rule.request):
            items = await _each(rule, rule.request, items, dialogue, turn)
            continue
        reading = await _second(rule, answered, dialogue, turn)
        index = _index(rule, reading, dialogue)
        made = []
        for item in items:
            key = _first(dialogue, item.kind, rule.to, item.node)
            found = index.get(key, []) if key else []
            if not rule.many and len(found) > 1:
                raise RetryLater(
                    "JOIN_AMBIGUOUS", f"{dialogue.where}: several records of {rule.into!r} have the same key, and one is expected"
                )
            made.append(replace(item, node=added(item.node, rule.into, found, many=rule.many)))
        items = made
    return items


def _asks_for_each(request: Request) -> bool:
    return "id" in parse(request.model_dump_json()).names


async def _each(rule: Join, request: Request, items: list[Item], dialogue: Dialogue, turn: Turn) -> list[Item]:
    """Ask the second list of every item by its own key; as many at once as the registry allows."""
    width = max(1, dialogue.protocol.limits.concurrency)
    made: list[Item] = []
    for start in range(0, len(items), width):
        made += await asyncio.gather(*(_one(rule, request, item, dialogue, turn) for item in items[start : start + width]))
    return made


async def _one(rule: Join, request: Request, item: Item, dialogue: Dialogue, turn: Turn) -> Item:
    key = "" if item.gone else _first(dialogue, item.kind, rule.to, item.node)
    if not key:
        return item
    values = {**turn.values, **item.context, "id": key}
    got = await dialogue.ask(request, values, chain=rule.decode, base=turn.base, line=turn.line)
    found = _index(rule, got.reading, dialogue).get(key, [])
    return replace(item, node=added(item.node, rule.into, found, many=rule.many))


async def _second(rule: Join, answered: Answered, dialogue: Dialogue, turn: Turn) -> Reading:
    if rule.request is not None:
        got = await dialogue.ask(rule.request, turn.values, chain=rule.decode, base=turn.base, line=turn.line)
        return got.reading
    if rule.decode:
        return answered.again(rule.decode)
    return answered.reading


def _index(rule: Join, reading: Reading, dialogue: Dialogue) -> dict[str, list[Any]]:
    index: dict[str, list[Any]] = {}
    for document in reading.documents:
        nodes = dialogue.expressions(document.kind, rule.records)(document.root, {}) if rule.records else document.root
        for node in nodes:
            if key := _first(dialogue, document.kind, rule.key, node):
                index.setdefault(key, []).append(node)
    return index


def _first(dialogue: Dialogue, kind: str, expression: str, node: Any) -> str:
    return next((text for value in dialogue.expressions(kind, expression)(node, {}) if (text := text_of(value))), "")
