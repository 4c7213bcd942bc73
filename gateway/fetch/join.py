"""Records of a second list that belong to a record by a key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.config.requests import Join
from gateway.errors import RetryLater
from gateway.fetch.decode.chain import Reading
from gateway.fetch.detail_requests import added
from gateway.fetch.loops import Turn
from gateway.fetch.record_selector import Item, text_of
from gateway.fetch.request_runner import Answered, Dialogue


async def joined(rules: Sequence[Join], items: list[Item], answered: Answered, dialogue: Dialogue, turn: Turn) -> list[Item]:
    """Return the items with the records of every joined list inside them; each list is read once, or for each item where it asks {id}."""
    for rule in rules:
        items = await (_each(rule, items, dialogue, turn) if _per_record(rule) else _once(rule, items, answered, dialogue, turn))
    return items


async def _once(rule: Join, items: list[Item], answered: Answered, dialogue: Dialogue, turn: Turn) -> list[Item]:
    index = _index(rule, await _second(rule, answered, dialogue, turn), dialogue)
    return [_with(rule, item, index.get(_first(dialogue, item.kind, rule.to, item.node), []), dialogue) for item in items]


async def _each(rule: Join, items: list[Item], dialogue: Dialogue, turn: Turn) -> list[Item]:
    """Ask for the joined records of one record after another; concurrency is the registry's own limit."""

    async def one(item: Item) -> Item:
        key = _first(dialogue, item.kind, rule.to, item.node)
        if not key or rule.request is None:
            return _with(rule, item, [], dialogue)
        got = await dialogue.ask(rule.request, {**turn.values, "id": key}, chain=rule.decode, base=turn.base, line=turn.line)
        got.close()
        return _with(rule, item, _index(rule, got.reading, dialogue).get(key, []), dialogue)

    made: list[Item] = []
    width = max(1, dialogue.protocol.limits.concurrency)
    for start in range(0, len(items), width):
        made += await asyncio.gather(*map(one, items[start : start + width]))
    return made


def _with(rule: Join, item: Item, found: list[Any], dialogue: Dialogue) -> Item:
    if not rule.many and len(found) > 1:
        raise RetryLater("JOIN_AMBIGUOUS", f"{dialogue.where}: several records of {rule.into!r} share a key, one is expected")
    return replace(item, body=None, node=added(item.node, rule.into, found, many=rule.many))


def _per_record(rule: Join) -> bool:
    """Return whether a join's request names the record it is for."""
    return rule.request is not None and re.search(r"\{id[:}]", rule.request.model_dump_json()) is not None


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
