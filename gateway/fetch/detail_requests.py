"""Send a second request for each listed record, or for each batch of ids."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from lxml import etree

from gateway.config.connector import Stream
from gateway.config.second_lists import Expand
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.decode.formats import DecodedDocument, element_bytes
from gateway.fetch.loops import LoopIteration
from gateway.fetch.record_selector import RecordSelector, SelectedNode, stripped_text
from gateway.fetch.request_runner import RequestResult, RequestRunner


@dataclass(slots=True)
class DetailFetcher:
    """A fetcher of the details of listed records, as the ``expand`` rule of a stream states."""

    stream: Stream
    dialogue: RequestRunner
    selector: RecordSelector

    async def fetch_details(
        self, items: list[SelectedNode], iteration: LoopIteration
    ) -> list[SelectedNode]:
        """Return the items with their details, in the order of the list.

        Raise ``EXPAND_MISSING`` or ``EXPAND_KEY``.
        """
        rule = self.stream.expand
        if rule is None:
            return items
        expandable = [item for item in items if not self.selector.matches(item, rule.unless)]
        ids = {id(item): self.selector.text(item, rule.id) for item in expandable}
        wanted = iter([item for item in expandable if ids[id(item)]])
        batches = []
        while batch := list(islice(wanted, rule.batch)):
            batches.append(batch)
        width = max(1, self.dialogue.protocol.limits.concurrency)
        results: dict[int, list[SelectedNode]] = {}
        for start in range(0, len(batches), width):
            done = await asyncio.gather(
                *(
                    self._fetch_batch(rule, batch, ids, iteration)
                    for batch in batches[start : start + width]
                )
            )
            for part in done:
                results |= part
        return [detail for item in items for detail in results.get(id(item), [item])]

    async def _fetch_batch(
        self,
        rule: Expand,
        batch: list[SelectedNode],
        ids: Mapping[int, str],
        iteration: LoopIteration,
    ) -> dict[int, list[SelectedNode]]:
        names = list(dict.fromkeys(ids[id(item)] for item in batch))
        given = {"id": names[0], "ids": tuple(names)}
        values = (
            {**iteration.values, **batch[0].context, **given}
            if len(batch) == 1
            else {**iteration.values, **given}
        )
        answered = await self.dialogue.send(
            rule.request,
            values,
            decode_steps=rule.decode or self.stream.decode,
            base=iteration.base,
            line=iteration.connection,
            separator=iteration.separator,
        )
        records_by_id = self._group_by_id(rule, answered, names)
        return {
            id(item): self._merge(rule, item, records_by_id.get(ids[id(item)], []), ids[id(item)])
            for item in batch
        }

    def _group_by_id(
        self, rule: Expand, answered: RequestResult, names: list[str]
    ) -> dict[str, list[SelectedNode]]:
        records_by_id: dict[str, list[SelectedNode]] = {}
        for document in answered.reading.documents:
            for item in self._records(rule, document):
                if rule.key:
                    records_by_id.setdefault(self.selector.text(item, rule.key), []).append(item)
                elif len(names) == 1:
                    records_by_id.setdefault(names[0], []).append(item)
                else:
                    raise StreamHalted(
                        "EXPAND_KEY",
                        f"{self.dialogue.log_prefix}: expand with batch needs key, "
                        "to assign the fetched records to their ids",
                    )
        return records_by_id

    def _records(self, rule: Expand, document: DecodedDocument) -> list[SelectedNode]:
        kind, root = document.kind, document.root
        nodes = self.selector.evaluate(kind, rule.records, root, {}) if rule.records else [root]
        return [SelectedNode(kind, node, node, root) for node in nodes]

    def _merge(
        self, rule: Expand, item: SelectedNode, fetched: list[SelectedNode], name: str
    ) -> list[SelectedNode]:
        if not fetched:
            if rule.missing == "retry":
                raise RetryLater(
                    "EXPAND_MISSING",
                    f"{self.dialogue.log_prefix}: a listed record could not be fetched; "
                    "the next poll requests it again",
                )
            return [replace(item, deleted_id=name)] if rule.missing == "deleted" else [item]
        if rule.into is None:
            return [replace(detail, context=item.context) for detail in fetched]
        return [
            replace(
                item,
                body=None,
                node=attach_records(
                    item.node, rule.into, [detail.node for detail in fetched], many=len(fetched) > 1
                ),
            )
        ]


def attach_records(node: Any, name: str, nodes: list[Any], *, many: bool) -> Any:
    """Return a copy of a record that contains other records under a name."""
    if etree.iselement(node):
        copy = etree.fromstring(element_bytes(node))
        holder = etree.SubElement(copy, name)
        for child in nodes:
            if etree.iselement(child):
                holder.append(etree.fromstring(element_bytes(child)))
            else:
                etree.SubElement(holder, "value").text = stripped_text(child)
        return copy
    if isinstance(node, dict):
        return {**node, name: nodes if many else nodes[0] if nodes else None}
    return {"id": node, name: nodes if many else nodes[0] if nodes else None}
