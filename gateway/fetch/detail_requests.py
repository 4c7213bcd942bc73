"""Send a second request for each listed record, or for each batch of ids."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from lxml import etree

from gateway.config.connector import Stream, payload_format
from gateway.config.second_lists import Expand
from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch.decode.formats import element_bytes
from gateway.fetch.list_presence import REASON as LIST_MISSING
from gateway.fetch.loops import LoopIteration
from gateway.fetch.record_selector import RecordSelector, SelectedNode, stripped_text
from gateway.fetch.record_texts import RECORD_ERRORS, UNSENT, is_storable
from gateway.fetch.refused_records import RefusedRecords, skip_reason
from gateway.fetch.request_runner import RequestRunner
from gateway.fetch.second_list import SecondList, SecondReply, read_all_pages
from gateway.records import INVALID_ID_PREFIX, MISSING_ID_PREFIX


@dataclass(slots=True)
class DetailFetcher:
    """A fetcher of the details of listed records, as the ``expand`` rule of a stream states."""

    stream: Stream
    runner: RequestRunner
    selector: RecordSelector
    refused: RefusedRecords

    async def fetch_details(
        self, items: list[SelectedNode], iteration: LoopIteration
    ) -> list[SelectedNode]:
        """Return the items with their details, in the order of the list.

        An item whose own request was refused is left out, and noted in ``refused``. A batch that
        was refused is requested again in two halves, after the other batches. Raise
        ``EXPAND_MISSING`` or ``EXPAND_KEY``.
        """
        rule = self.stream.expand
        if rule is None:
            return items
        ids, results = self._ids_of(rule, items)
        wanted = iter([item for item in items if ids.get(id(item)) and id(item) not in results])
        batches = []
        while batch := list(islice(wanted, rule.batch)):
            batches.append(batch)
        skipped: list[tuple[SelectedNode, str]] = []

        async def fetch(batch: list[SelectedNode]) -> dict[int, list[SelectedNode]] | None:
            return await self._fetch_batch(rule, batch, ids, iteration, skipped)

        width = max(1, self.runner.protocol.limits.concurrency)
        while batches:
            divided = []
            for start in range(0, len(batches), width):
                group = batches[start : start + width]
                done = await asyncio.gather(*map(fetch, group))
                for batch, part in zip(group, done, strict=True):
                    if part is None:
                        middle = len(batch) // 2
                        divided += [batch[:middle], batch[middle:]]
                    else:
                        results |= part
            batches = divided
        self._note_skipped(rule, skipped, items, results)
        found = [detail for item in items for detail in results.get(id(item), [item])]
        return self._mark_entries(found, ids) if rule.into is None else found

    def _ids_of(
        self, rule: Expand, items: list[SelectedNode]
    ) -> tuple[dict[int, str], dict[int, list[SelectedNode]]]:
        """Return the ids of the items to expand, and the items whose id cannot be read."""
        ids: dict[int, str] = {}
        unreadable: dict[int, list[SelectedNode]] = {}
        for item in items:
            try:
                if self.selector.matches(item, rule.unless):
                    continue
                ids[id(item)] = self.selector.text(item, rule.id)
            except RECORD_ERRORS:
                unreadable[id(item)] = [replace(item, unreadable="expand")]
                continue
            if not is_storable(ids[id(item)]):
                unreadable[id(item)] = [replace(item, unreadable="expand.id")]
        return ids, unreadable

    def _mark_entries(
        self, found: list[SelectedNode], ids: Mapping[int, str]
    ) -> list[SelectedNode]:
        """Mark entries of an index in another format than its records."""
        kind = payload_format(self.runner.connector, self.stream)
        listed = payload_format(
            self.runner.connector, self.stream.model_copy(update={"expand": None})
        )
        if kind == listed:
            return found
        return [
            item
            if item.kind == kind
            else replace(item, entry_id=ids.get(id(item), item.deleted_id))
            for item in found
        ]

    async def _fetch_batch(
        self,
        rule: Expand,
        batch: list[SelectedNode],
        ids: Mapping[int, str],
        iteration: LoopIteration,
        skipped: list[tuple[SelectedNode, str]],
    ) -> dict[int, list[SelectedNode]] | None:
        """Return the details of a batch, or ``None`` when the batch was refused as a whole."""
        names = list(dict.fromkeys(ids[id(item)] for item in batch))
        given = {"id": names[0], "ids": tuple(names)}
        values = (
            {**iteration.values, **batch[0].context, **given}
            if len(batch) == 1
            else {**iteration.values, **given}
        )
        try:
            reply = await read_all_pages(
                self._second_list(rule),
                self.runner,
                values,
                iteration.options_of_record(self.runner.client, names),
            )
        except StreamError as error:
            if error.reason in UNSENT:  # The id of one record, such as "..", cannot be in a path.
                is_single = len(batch) == 1
                return (
                    {id(batch[0]): [replace(batch[0], unreadable="expand.id")]}
                    if is_single
                    else None
                )
            if len(batch) > 1:
                self.refused.refuse_batch(error)
                return None
            self.refused.refuse(error, rule.missing)
            skipped.append((batch[0], skip_reason(error)))
            return {id(batch[0]): []}
        records_by_id = self._group_by_id(rule, reply, names)
        merged: dict[int, list[SelectedNode]] = {}
        for item in batch:
            found = records_by_id.get(ids[id(item)], [])
            fetched = self._with_ids(rule, item, found)
            if fetched:
                self.refused.note_success()
            elif found:
                # A reply that is no record, such as an error, proves nothing about the record.
                self._refuse_reply(rule)
                skipped.append((item, LIST_MISSING))
                merged[id(item)] = []
                continue
            elif self._is_skipped(rule, reply):
                skipped.append((item, "EXPAND_MISSING"))
                merged[id(item)] = []
                continue
            merged[id(item)] = self._merge(rule, item, fetched, ids[id(item)])
        return merged

    def _with_ids(
        self, rule: Expand, item: SelectedNode, fetched: list[SelectedNode]
    ) -> list[SelectedNode]:
        """Return the fetched records; none when the whole reply is no record, such as an error."""
        if rule.records is not None or rule.into is not None:
            return fetched
        records = (replace(detail, context=item.context) for detail in fetched)
        return fetched if all(map(self._native_id, records)) else []

    def _refuse_reply(self, rule: Expand) -> None:
        error = StreamHalted(
            LIST_MISSING,
            f"{self.runner.log_prefix}: a reply under `expand` has no record's id, so it is "
            "not the details of a record; check the request, and how the registry reports errors",
        )
        self.refused.refuse(error, "retry" if rule.missing == "retry" else "skip")

    def _second_list(self, rule: Expand) -> SecondList:
        return SecondList(
            "expand",
            rule.request,
            rule.paging,
            rule.total,
            rule.decode or self.stream.decode,
            rule.records,
            is_list=rule.records is not None,
            is_detail=True,
        )

    def _is_skipped(self, rule: Expand, reply: SecondReply) -> bool:
        """Return whether a record without an answer is skipped."""
        is_awaited = rule.missing is None and reply.is_proved and not self.refused.is_scan
        if rule.missing not in {None, "skip"} or is_awaited:
            return False
        where = self.runner.log_prefix
        error = StreamHalted(
            "EXPAND_MISSING",
            f"{where}: the reply under `expand` holds no record with the id of a listed record; "
            "check the request there, and `key` if there is one",
        )
        self.refused.refuse(error, rule.missing)
        return True

    def _note_skipped(
        self,
        rule: Expand,
        skipped: list[tuple[SelectedNode, str]],
        items: list[SelectedNode],
        results: Mapping[int, list[SelectedNode]],
    ) -> None:
        if not skipped:
            return
        is_own_record = rule.into is not None or self._lists_native_ids(items, results)
        for item, reason in skipped:
            native_id = self._native_id(item) if is_own_record else None
            self.refused.skip(native_id, reason, is_declared=rule.missing == "skip")

    def _lists_native_ids(
        self, items: list[SelectedNode], results: Mapping[int, list[SelectedNode]]
    ) -> bool:
        """Return whether the listed records have the native ids of their details.

        The other records of the page show it.
        """
        pairs = [
            (item, results[id(item)][0])
            for item in items
            if len(results.get(id(item), ())) == 1 and results[id(item)][0] is not item
        ]
        return bool(pairs) and all(
            item.kind == detail.kind and self._native_id(item) == self._native_id(detail)
            for item, detail in pairs
            if not detail.deleted_id
        )

    def _native_id(self, item: SelectedNode) -> str | None:
        """Return the native id of a record, or ``None`` when it has no valid one."""
        native_id = self.selector.native_id(item, self.selector.body(item))
        is_readable = not native_id.startswith((MISSING_ID_PREFIX, INVALID_ID_PREFIX))
        return native_id if is_readable else None

    def _group_by_id(
        self, rule: Expand, reply: SecondReply, names: list[str]
    ) -> dict[str, list[SelectedNode]]:
        records_by_id: dict[str, list[SelectedNode]] = {}
        for listed in reply.documents:
            document = listed.document
            for node in listed.nodes:
                item = SelectedNode(document.kind, node, node, document.root)
                if rule.key:
                    records_by_id.setdefault(self.selector.text(item, rule.key), []).append(item)
                elif len(names) == 1:
                    records_by_id.setdefault(names[0], []).append(item)
                else:
                    raise StreamHalted(
                        "EXPAND_KEY",
                        f"{self.runner.log_prefix}: expand with batch needs key, "
                        "to assign the fetched records to their ids",
                    )
        return records_by_id

    def _merge(
        self, rule: Expand, item: SelectedNode, fetched: list[SelectedNode], name: str
    ) -> list[SelectedNode]:
        if not fetched:
            if rule.missing in {None, "retry"}:
                raise RetryLater(
                    "EXPAND_MISSING",
                    f"{self.runner.log_prefix}: a listed record could not be fetched; "
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
    """Return a record that contains other records under a name.

    An element keeps its place in its document, because expressions such as ``changed_at`` may read
    around it. Raise ``FORMAT_MIXED`` for XML inside a JSON record.
    """
    if etree.iselement(node):
        # In a document with a default namespace, a plain name would be written as one of its own.
        holder = etree.fromstring(f'<{name} xmlns=""/>' if None in node.nsmap else f"<{name}/>")
        node.append(holder)
        for child in nodes:
            if etree.iselement(child):
                holder.append(etree.fromstring(element_bytes(child)))
            else:
                etree.SubElement(holder, "value").text = stripped_text(child)
        return node
    if any(map(etree.iselement, nodes)):
        raise StreamHalted(
            "FORMAT_MIXED",
            f"{name!r} is XML and the listed record is JSON, so one record cannot hold both; "
            "leave `into` out, and the fetched document replaces the listed record",
        )
    if isinstance(node, dict):
        return {**node, name: nodes if many else nodes[0] if nodes else None}
    return {"id": node, name: nodes if many else nodes[0] if nodes else None}
