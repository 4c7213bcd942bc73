"""Join the records of a second list to the records of a stream, by a key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from gateway.config.expressions.json_list_place import Gap
from gateway.config.second_lists import Join
from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.detail_requests import attach_records
from gateway.fetch.list_presence import json_place, require_list
from gateway.fetch.loops import LoopIteration
from gateway.fetch.record_selector import RecordSelector, SelectedNode, stripped_text
from gateway.fetch.record_texts import RECORD_ERRORS, UNSENT, is_storable
from gateway.fetch.refused_records import REFUSALS, RefusedRecords, skip_reason
from gateway.fetch.request_runner import RequestResult, RequestRunner
from gateway.fetch.second_list import ListedNodes, SecondList, read_all_pages
from gateway.records import INVALID_ID_PREFIX, MISSING_ID_PREFIX

log = structlog.get_logger()

Index = dict[str, list[Any]]
Ask = tuple[str, tuple[str, ...]]
"""One request of a joined list: the key, and the values of ``keep`` that the request reads."""


@dataclass(slots=True)
class RecordJoiner:
    """A joiner of second lists to the records of one stream.

    A list whose request contains ``{id}`` is read for each record. Any other requested list is
    read once for each iteration of the loops.
    """

    rules: Sequence[Join]
    runner: RequestRunner
    selector: RecordSelector
    refused: RefusedRecords
    _indexes: dict[int, tuple[LoopIteration, Index]] = field(default_factory=dict)

    async def join_records(
        self, items: list[SelectedNode], answered: RequestResult, iteration: LoopIteration
    ) -> list[SelectedNode]:
        """Return the items with the records of every joined list inside them.

        An item whose own request was refused is left out, and noted in ``refused``. An item with
        several records where the rule expects one is marked as unreadable.
        """
        # Lists of the same reply are read first: elements get the joined records in their document.
        same_reply = {
            number: await self._index_of_list(number, rule, answered, iteration)
            for number, rule in enumerate(self.rules)
            if rule.request is None
        }
        for number, rule in enumerate(self.rules):
            if rule.is_per_record:
                items = await self._join_per_record(rule, items, iteration)
            else:
                index = same_reply.get(number)
                if index is None:
                    index = await self._index_of_list(number, rule, answered, iteration)
                items = [self._attach_from(rule, item, index) for item in items]
        return items

    def _second_list(self, rule: Join) -> SecondList:
        if rule.request is None:
            raise AssertionError
        return SecondList(
            f"join {rule.into!r}",
            rule.request,
            rule.paging,
            rule.total,
            rule.decode,
            rule.records,
        )

    async def _index_of_list(
        self, number: int, rule: Join, answered: RequestResult, iteration: LoopIteration
    ) -> Index:
        if rule.request is None:
            reading = answered.decode_again(rule.decode) if rule.decode else answered.reading
            return self._index(rule, self._lists_of_reply(rule, reading.documents))
        known = self._indexes.get(number)
        if known is None or known[0] is not iteration:
            reply = await read_all_pages(
                self._second_list(rule),
                self.runner,
                iteration.values,
                iteration.request_options,
            )
            if not reply.is_proved:
                raise RetryLater(
                    "LIST_REFUSED",
                    f"{self.runner.log_prefix}: join {rule.into!r}: the registry refused the list. "
                    "A rule under `replies` reads that as empty, which does not prove an empty "
                    "list; if it does, write `complete: true` in that rule",
                )
            known = self._indexes[number] = (iteration, self._index(rule, reply.documents))
        return known[1]

    def _lists_of_reply(
        self, rule: Join, documents: Sequence[DecodedDocument]
    ) -> Iterator[ListedNodes]:
        """Yield the second list of each document of the stream's own reply."""
        for document in documents:
            if rule.records is None:
                root = document.root
                yield ListedNodes(document, [root] if isinstance(root, dict) else list(root))
                continue
            nodes = self.runner.expressions(document.kind, rule.records)(document.root, {})
            require_list(
                document.kind,
                rule.records,
                document.root,
                nodes,
                where=f"{self.runner.log_prefix}: join {rule.into!r}",
                namespaces=self.runner.expressions.namespaces,
            )
            yield ListedNodes(document, nodes)

    async def _join_per_record(
        self, rule: Join, items: list[SelectedNode], iteration: LoopIteration
    ) -> list[SelectedNode]:
        """Request the joined records of each item, once for items of the page that share a key."""
        names = sorted(rule.placeholders)
        asks = [self._asks(rule, item, names) for item in items]
        contexts = {
            ask: item.context
            for item, own in zip(items, asks, strict=True)
            if own is not None
            for ask in own
        }
        answers = await self._answers(rule, contexts, iteration)
        joined = (
            self._join_answers(rule, item, own, answers)
            for item, own in zip(items, asks, strict=True)
        )
        return [item for item in joined if item is not None]

    def _asks(self, rule: Join, item: SelectedNode, names: Sequence[str]) -> list[Ask] | None:
        """Return the requests of an item, or ``None`` if its keys cannot be read."""
        keys = self._keys(rule, item)
        if keys is None or not all(map(is_storable, keys)):
            return None
        read = tuple(item.context.get(name, "") for name in names)
        return [(key, read) for key in keys]

    async def _answers(
        self, rule: Join, contexts: Mapping[Ask, Mapping[str, str]], iteration: LoopIteration
    ) -> dict[Ask, list[Any] | StreamError]:
        """Send each request, up to the concurrency limit of the registry."""
        second = self._second_list(rule)

        async def answer(ask: Ask) -> list[Any] | StreamError:
            key = ask[0]
            values = {**iteration.values, **contexts[ask], "id": key}
            try:
                options = iteration.options_of_record(self.runner.client, [key])
                reply = await read_all_pages(second, self.runner, values, options)
                matches = self._matches(rule, reply.documents, key)
            except StreamError as error:
                if error.reason not in UNSENT:
                    self.refused.refuse(error, rule.missing)
                return error
            self.refused.note_success()
            return matches

        asks = list(contexts)
        answers: list[list[Any] | StreamError] = []
        width = max(1, self.runner.protocol.limits.concurrency)
        for start in range(0, len(asks), width):
            answers += await asyncio.gather(*map(answer, asks[start : start + width]))
        return dict(zip(asks, answers, strict=True))

    def _join_answers(
        self,
        rule: Join,
        item: SelectedNode,
        asks: list[Ask] | None,
        answers: Mapping[Ask, list[Any] | StreamError],
    ) -> SelectedNode | None:
        """Return an item with the answers to its requests, or ``None`` when it is skipped."""
        if asks is None:
            return replace(item, unreadable="join.to")
        matches: list[Any] = []
        for ask in asks:
            found = answers[ask]
            if isinstance(found, StreamError):
                if found.reason in UNSENT:
                    return replace(item, unreadable="join.to")
                if not self._joins_nothing(rule, found):
                    self._skip(rule, item, found)
                    return None
            else:
                matches += found
        return self._attach(rule, item, matches)

    def _joins_nothing(self, rule: Join, error: StreamError) -> bool:
        """Return whether a refused request means that there is nothing to join."""
        is_refused = skip_reason(error) in REFUSALS and self.refused.failure_of_all is None
        return rule.missing == "empty" and is_refused

    def _skip(self, rule: Join, item: SelectedNode, error: StreamError) -> None:
        native_id = self.selector.native_id(item, self.selector.body(item))
        is_readable = not native_id.startswith((MISSING_ID_PREFIX, INVALID_ID_PREFIX))
        is_declared = "missing" in rule.model_fields_set
        reason = skip_reason(error)
        self.refused.skip(native_id if is_readable else None, reason, is_declared=is_declared)

    def _attach(self, rule: Join, item: SelectedNode, matches: list[Any]) -> SelectedNode:
        if not rule.many and len(matches) > 1:
            log.warning(
                "several joined records share a key",
                stream=f"{self.runner.log_prefix}: join {rule.into!r}",
                advice="`many: false` expects one; leave `many` out, or correct `key`",
            )
            return replace(item, unreadable="join.many")
        return replace(
            item, body=None, node=attach_records(item.node, rule.into, matches, many=rule.many)
        )

    def _attach_from(self, rule: Join, item: SelectedNode, index: Index) -> SelectedNode:
        keys = self._keys(rule, item)
        if keys is None:
            return replace(item, unreadable="join.to")
        return self._attach(rule, item, [node for key in keys for node in index.get(key, [])])

    def _keys(self, rule: Join, item: SelectedNode) -> list[str] | None:
        """Return the distinct keys of an item, or only the first one with ``many: false``.

        Return ``None`` if the expression cannot use the values.
        """
        try:
            keys = list(dict.fromkeys(self._texts(item.kind, rule.to, item.node)))
        except RECORD_ERRORS:
            return None
        return keys if rule.many else keys[:1]

    def _matches(self, rule: Join, lists: Iterable[ListedNodes], key: str) -> list[Any]:
        """Return the records of one record's own list; without a key, all of them belong to it."""
        if rule.key is None:
            return [node for listed in lists for node in listed.nodes]
        return self._index(rule, lists).get(key, [])

    def _index(self, rule: Join, lists: Iterable[ListedNodes]) -> Index:
        """Return the records by their key; raise ``JOIN_KEY`` when no record states a key."""
        index: Index = {}
        rule_key = rule.key or ""
        without_key: list[tuple[str, Any]] = []
        for listed in lists:
            for node in listed.nodes:
                if key := self._first_text(listed.document.kind, rule_key, node):
                    index.setdefault(key, []).append(node)
                else:
                    without_key.append((listed.document.kind, node))
        if without_key:
            self._note_missing_keys(rule, without_key, is_usable=bool(index))
        return index

    def _note_missing_keys(
        self, rule: Join, records: Sequence[tuple[str, Any]], *, is_usable: bool
    ) -> None:
        where = f"{self.runner.log_prefix}: join {rule.into!r}"
        if not is_usable and not any(self._states_key(kind, rule, node) for kind, node in records):
            raise StreamHalted(
                "JOIN_KEY",
                f"{where}: no record of the list has `{rule.key}`, by which it joins; "
                "compare `key` with the reply",
            )
        log.warning(
            "joined records without a key",
            stream=where,
            records=len(records),
            advice="they belong to no record; compare `key` with the reply",
        )

    def _states_key(self, kind: str, rule: Join, node: Any) -> bool:
        """Return whether a record has the place of the key, even with null or a blank text."""
        rule_key = rule.key or ""
        if kind == "xml":
            return bool(self.runner.expressions(kind, rule_key)(node, {}))
        try:
            json_place(rule_key).alternatives[0].resolve(node)
        except Gap:
            return False
        return True

    def _first_text(self, kind: str, expression: str, node: Any) -> str:
        return next(self._texts(kind, expression, node), "")

    def _texts(self, kind: str, expression: str, node: Any) -> Iterator[str]:
        for value in self.runner.expressions(kind, expression)(node, {}):
            if text := stripped_text(value):
                yield text
