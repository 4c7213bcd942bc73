"""A second request for each record, or for each batch of ids, that a first reply listed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from lxml import etree

from gateway.config.connector import Stream
from gateway.config.requests import Expand
from gateway.errors import Halt, RetryLater
from gateway.fetch.decode.formats import Document, element_bytes
from gateway.fetch.loops import Turn
from gateway.fetch.record_selector import Item, Selector, text_of
from gateway.fetch.request_runner import Answered, Dialogue


@dataclass(slots=True)
class Expander:
    """Fetches what a list only names."""

    stream: Stream
    dialogue: Dialogue
    selector: Selector

    async def expanded(self, items: list[Item], turn: Turn) -> list[Item]:
        """Return the items with what was fetched for them, in the listed order."""
        rule = self.stream.expand
        if rule is None:
            return items
        asked = [item for item in items if not self.selector.fits(item, rule.unless)]
        ids = {id(item): self.selector.text(item, rule.id) for item in asked}
        wanted = iter([item for item in asked if ids[id(item)]])
        batches = []
        while batch := list(islice(wanted, rule.batch)):
            batches.append(batch)
        width = max(1, self.dialogue.protocol.limits.concurrency)
        results: dict[int, list[Item]] = {}
        for start in range(0, len(batches), width):
            done = await asyncio.gather(*(self._fetched(rule, batch, ids, turn) for batch in batches[start : start + width]))
            for part in done:
                results |= part
        return [made for item in items for made in results.get(id(item), [item])]

    async def _fetched(self, rule: Expand, batch: list[Item], ids: Mapping[int, str], turn: Turn) -> dict[int, list[Item]]:
        names = list(dict.fromkeys(ids[id(item)] for item in batch))
        given = {"id": names[0], "ids": tuple(names)}
        values = {**turn.values, **batch[0].context, **given} if len(batch) == 1 else {**turn.values, **given}
        answered = await self.dialogue.ask(
            rule.request, values, chain=rule.decode or self.stream.decode, base=turn.base, line=turn.line, separator=turn.separator
        )
        found = self._by_id(rule, answered, names)
        return {id(item): self._placed(rule, item, found.get(ids[id(item)], []), ids[id(item)]) for item in batch}

    def _by_id(self, rule: Expand, answered: Answered, names: list[str]) -> dict[str, list[Item]]:
        found: dict[str, list[Item]] = {}
        for document in answered.reading.documents:
            for item in self._records(rule, document):
                if rule.key:
                    found.setdefault(self.selector.text(item, rule.key), []).append(item)
                elif len(names) == 1:
                    found.setdefault(names[0], []).append(item)
                else:
                    raise Halt("EXPAND_KEY", f"{self.dialogue.where}: expand with batch needs key, to tell the fetched records apart")
        return found

    def _records(self, rule: Expand, document: Document) -> list[Item]:
        kind, root = document.kind, document.root
        nodes = self.selector.look(kind, rule.records, root, {}) if rule.records else [root]
        return [Item(kind, node, node, root) for node in nodes]

    def _placed(self, rule: Expand, item: Item, fetched: list[Item], name: str) -> list[Item]:
        if not fetched:
            if rule.missing == "retry":
                raise RetryLater("EXPAND_MISSING", f"{self.dialogue.where}: a listed record could not be fetched; it is asked for again")
            return [replace(item, gone=name)] if rule.missing == "deleted" else [item]
        if rule.into is None:
            return [replace(one, context=item.context) for one in fetched]
        return [replace(item, body=None, node=added(item.node, rule.into, [one.node for one in fetched], many=len(fetched) > 1))]


def added(node: Any, name: str, nodes: list[Any], *, many: bool) -> Any:
    """Return a record with other records inside it under a name; the original is left as it was."""
    if isinstance(node, etree._Element):  # noqa: SLF001 - lxml has no public name for it
        copy = etree.fromstring(element_bytes(node))
        holder = etree.SubElement(copy, name)
        for one in nodes:
            if isinstance(one, etree._Element):  # noqa: SLF001
                holder.append(etree.fromstring(element_bytes(one)))
            else:
                etree.SubElement(holder, "value").text = text_of(one)
        return copy
    if isinstance(node, dict):
        return {**node, name: nodes if many else nodes[0] if nodes else None}
    return {"id": node, name: nodes if many else nodes[0] if nodes else None}
