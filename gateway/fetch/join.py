"""Join the records of a second list to the records of a stream, by a key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.config.second_lists import Join
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
    runner: RequestRunner,
    iteration: LoopIteration,
) -> list[SelectedNode]:
    """Return the items with the records of every joined list inside them.

    Each list is read once. A list whose request contains ``{id}`` is read once for each item.
    Raise ``JOIN_AMBIGUOUS`` when several records share a key but the rule expects one.
    """
    for rule in rules:
        items = await (
            _join_per_record(rule, items, runner, iteration)
            if _per_record(rule)
            else _join_with_one_list(rule, items, answered, runner, iteration)
        )
    return items


async def _join_with_one_list(
    rule: Join,
    items: list[SelectedNode],
    answered: RequestResult,
    runner: RequestRunner,
    iteration: LoopIteration,
) -> list[SelectedNode]:
    index = _index(rule, await _read_second_list(rule, answered, runner, iteration), runner)
    return [
        _attach(
            rule,
            item,
            index.get(_first_text(runner, item.kind, rule.to, item.node), []),
            runner,
        )
        for item in items
    ]


async def _join_per_record(
    rule: Join, items: list[SelectedNode], runner: RequestRunner, iteration: LoopIteration
) -> list[SelectedNode]:
    """Request the joined records of each item, up to the concurrency limit of the registry."""

    async def join_item(item: SelectedNode) -> SelectedNode:
        key = _first_text(runner, item.kind, rule.to, item.node)
        if not key or rule.request is None:
            return _attach(rule, item, [], runner)
        result = await runner.send(
            rule.request,
            {**iteration.values, "id": key},
            decode_steps=rule.decode,
            base=iteration.base,
            line=iteration.connection,
        )
        result.close()
        return _attach(rule, item, _index(rule, result.reading, runner).get(key, []), runner)

    joined: list[SelectedNode] = []
    width = max(1, runner.protocol.limits.concurrency)
    for start in range(0, len(items), width):
        joined += await asyncio.gather(*map(join_item, items[start : start + width]))
    return joined


def _attach(
    rule: Join, item: SelectedNode, matches: list[Any], runner: RequestRunner
) -> SelectedNode:
    if not rule.many and len(matches) > 1:
        raise RetryLater(
            "JOIN_AMBIGUOUS",
            f"{runner.log_prefix}: several records of {rule.into!r} share a key, one is expected",
        )
    return replace(
        item, body=None, node=attach_records(item.node, rule.into, matches, many=rule.many)
    )


def _per_record(rule: Join) -> bool:
    """Return whether the request of a join contains the id of a record."""
    return (
        rule.request is not None
        and re.search(r"\{id[:}]", rule.request.model_dump_json()) is not None
    )


async def _read_second_list(
    rule: Join, answered: RequestResult, runner: RequestRunner, iteration: LoopIteration
) -> DecodedReply:
    if rule.request is not None:
        result = await runner.send(
            rule.request,
            iteration.values,
            decode_steps=rule.decode,
            base=iteration.base,
            line=iteration.connection,
        )
        return result.reading
    if rule.decode:
        return answered.decode_again(rule.decode)
    return answered.reading


def _index(rule: Join, reading: DecodedReply, runner: RequestRunner) -> dict[str, list[Any]]:
    index: dict[str, list[Any]] = {}
    for document in reading.documents:
        nodes = (
            runner.expressions(document.kind, rule.records)(document.root, {})
            if rule.records
            else document.root
        )
        for node in nodes:
            if key := _first_text(runner, document.kind, rule.key, node):
                index.setdefault(key, []).append(node)
    return index


def _first_text(runner: RequestRunner, kind: str, expression: str, node: Any) -> str:
    return next(
        (
            text
            for value in runner.expressions(kind, expression)(node, {})
            if (text := stripped_text(value))
        ),
        "",
    )
