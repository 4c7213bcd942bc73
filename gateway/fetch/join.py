"""Records of a second list that belong to a record by a key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.config.requests import Join
from gateway.errors import RetryLater
from gateway.fetch.decode.chain import DecodedReply
from gateway.fetch.detail_requests import attach_records
from gateway.fetch.loops import LoopIteration
from gateway.fetch.record_selector import SelectedNode, stripped_text
from gateway.fetch.request_runner import RequestResult, RequestRunner


async def join_records(
    rules: Sequence[Join],
    items: list[SelectedNode],
    answered: RequestResult,
    dialogue: RequestRunner,
    turn: LoopIteration,
) -> list[SelectedNode]:
    """Return the items with the records of every joined list inside them; each list is read once, or for each item where it asks {id}."""
    for rule in rules:
        items = await (
            _join_per_record(rule, items, dialogue, turn)
            if _per_record(rule)
            else _join_with_one_list(rule, items, answered, dialogue, turn)
        )
    return items


async def _join_with_one_list(
    rule: Join,
    items: list[SelectedNode],
    answered: RequestResult,
    dialogue: RequestRunner,
    turn: LoopIteration,
) -> list[SelectedNode]:
    index = _index(rule, await _read_second_list(rule, answered, dialogue, turn), dialogue)
    return [
        _attach(
            rule,
            item,
            index.get(_first_text(dialogue, item.kind, rule.to, item.node), []),
            dialogue,
        )
        for item in items
    ]


async def _join_per_record(
    rule: Join, items: list[SelectedNode], dialogue: RequestRunner, turn: LoopIteration
) -> list[SelectedNode]:
    """Ask for the joined records of one record after another; concurrency is the registry's own limit."""

    async def one(item: SelectedNode) -> SelectedNode:
        key = _first_text(dialogue, item.kind, rule.to, item.node)
        if not key or rule.request is None:
            return _attach(rule, item, [], dialogue)
        got = await dialogue.send(
            rule.request,
            {**turn.values, "id": key},
            decode_steps=rule.decode,
            base=turn.base,
            line=turn.connection,
        )
        got.close()
        return _attach(rule, item, _index(rule, got.reading, dialogue).get(key, []), dialogue)

    made: list[SelectedNode] = []
    width = max(1, dialogue.protocol.limits.concurrency)
    for start in range(0, len(items), width):
        made += await asyncio.gather(*map(one, items[start : start + width]))
    return made


def _attach(
    rule: Join, item: SelectedNode, found: list[Any], dialogue: RequestRunner
) -> SelectedNode:
    if not rule.many and len(found) > 1:
        raise RetryLater(
            "JOIN_AMBIGUOUS",
            f"{dialogue.log_prefix}: several records of {rule.into!r} share a key, one is expected",
        )
    return replace(
        item, body=None, node=attach_records(item.node, rule.into, found, many=rule.many)
    )


def _per_record(rule: Join) -> bool:
    """Return whether a join's request names the record it is for."""
    return (
        rule.request is not None
        and re.search(r"\{id[:}]", rule.request.model_dump_json()) is not None
    )


async def _read_second_list(
    rule: Join, answered: RequestResult, dialogue: RequestRunner, turn: LoopIteration
) -> DecodedReply:
    if rule.request is not None:
        got = await dialogue.send(
            rule.request,
            turn.values,
            decode_steps=rule.decode,
            base=turn.base,
            line=turn.connection,
        )
        return got.reading
    if rule.decode:
        return answered.decode_again(rule.decode)
    return answered.reading


def _index(rule: Join, reading: DecodedReply, dialogue: RequestRunner) -> dict[str, list[Any]]:
    index: dict[str, list[Any]] = {}
    for document in reading.documents:
        nodes = (
            dialogue.expressions(document.kind, rule.records)(document.root, {})
            if rule.records
            else document.root
        )
        for node in nodes:
            if key := _first_text(dialogue, document.kind, rule.key, node):
                index.setdefault(key, []).append(node)
    return index


def _first_text(dialogue: RequestRunner, kind: str, expression: str, node: Any) -> str:
    return next(
        (
            text
            for value in dialogue.expressions(kind, expression)(node, {})
            if (text := stripped_text(value))
        ),
        "",
    )
