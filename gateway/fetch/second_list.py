"""Read a further list of a stream, page by page, to its end.

Loops, joins and expansions read such lists. A list that says that it has more records than the
gateway read is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from gateway.config.paging import Paging
from gateway.config.requests import Decode, Request
from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch.decode.formats import DecodedDocument, dump_json, element_bytes
from gateway.fetch.list_presence import require_list
from gateway.fetch.more_pages import sign_of_more
from gateway.fetch.pager_factory import build_pager
from gateway.fetch.paging import (
    REPEATED,
    PageReply,
    PageRequest,
    PageSteps,
    WindowShrunk,
)
from gateway.fetch.paging import Expression as PageExpression
from gateway.fetch.paging.pages import RecordTotal
from gateway.fetch.request_runner import RequestResult, RequestRunner

MAX_RESTARTS = 5
"""The number of times a list is read again because records left it meanwhile."""
_ONE_PAGE = Paging(none=True)


@dataclass(frozen=True, slots=True)
class SecondList:
    """A further list of a stream. ``name`` is its rule in the connector, such as ``join 'x'``.

    ``paging`` is ``None`` when the connector says nothing about the pages. ``records`` is ``None``
    when the list is the whole reply, and ``is_list`` is false when the whole reply is one record.
    ``is_detail`` says that the reply describes one record, which may have counts of its own.
    """

    name: str
    request: Request
    paging: Paging | None = None
    total: str | None = None
    decode: Decode = ()
    records: str | None = None
    is_list: bool = True
    is_detail: bool = False


@dataclass(frozen=True, slots=True)
class ListedNodes:
    """The records of one document of a list."""

    document: DecodedDocument
    nodes: list[Any]


@dataclass(slots=True)
class SecondReply:
    """All pages of a list. ``is_proved`` says that the registry did not refuse the request."""

    documents: list[ListedNodes] = field(default_factory=list)
    is_proved: bool = True


async def read_all_pages(
    rule: SecondList,
    runner: RequestRunner,
    values: Mapping[str, Any],
    options: Mapping[str, Any],
) -> SecondReply:
    """Return the records of a list from all its pages.

    ``options`` are further arguments of :meth:`RequestRunner.send`. Raise ``PAGING_MISSING`` when
    the list says that it has more pages and the connector does not name its paging, and
    ``COUNT_MISMATCH`` when it has fewer records than its total.
    """
    for _ in range(MAX_RESTARTS):
        try:
            return await _ListReader(rule, runner, values, options).read()
        except WindowShrunk:
            continue
    raise RetryLater(
        "PAGES_MOVED",
        f"{runner.log_prefix}: {rule.name}: records leave the list faster than it can be read; "
        "the next poll reads it again",
    )


@dataclass(slots=True)
class _ListReader:
    """A reader of one list from its first page to its last."""

    rule: SecondList
    runner: RequestRunner
    values: Mapping[str, Any]
    options: Mapping[str, Any]
    reply: SecondReply = field(default_factory=SecondReply)
    total: RecordTotal = field(init=False)
    count: int = 0
    kind: str = "json"

    def __post_init__(self) -> None:
        self.total = RecordTotal(self._look(self.rule.total))

    @property
    def where(self) -> str:
        return f"{self.runner.log_prefix}: {self.rule.name}"

    def _look(self, text: str | None) -> PageExpression | None:
        if text is None:
            return None
        return lambda root: self.runner.expressions(self.kind, text)(root, {})

    async def read(self) -> SecondReply:
        pager = build_pager(
            self.rule.paging or _ONE_PAGE,
            self.runner.expressions,
            lambda _root: self.kind,
        )
        steps = pager(None)
        ask: PageRequest | None = next(steps)
        while ask is not None:
            try:
                answered = await self._send(ask)
            except StreamError as error:
                if not ask.is_end(error):
                    raise
                self._require_declared_end(ask)
                break
            try:
                ask = self._add_page(answered, ask, steps)
            finally:
                answered.close()
        try:
            self.total.require_reached()
        except RetryLater as error:
            raise self._with_place(error) from None
        return self.reply

    async def _send(self, ask: PageRequest) -> RequestResult:
        token = self.rule.paging.cursor if self.rule.paging else None
        first = {"cursor": token.first} if token and token.first is not None else {}
        following = token.request if token and "cursor" in ask.variables else None
        answered = await self.runner.send(
            following or self.rule.request,
            {**first, **self.values, **ask.variables},
            decode_steps=self.rule.decode,
            url=ask.url,
            **self.options,
        )
        if not ask.probe:
            self.runner.on_reply(self.rule.name, answered.reading.documents)
        return answered

    def _add_page(
        self, answered: RequestResult, ask: PageRequest, steps: PageSteps
    ) -> PageRequest | None:
        documents = answered.reading.documents
        if not documents:
            self.reply.is_proved = self.reply.is_proved and answered.proves_empty
            self.total.look = None
            return None
        page = [ListedNodes(document, self._select(document)) for document in documents]
        self.reply.documents += [] if ask.probe else page
        nodes = [node for listed in page for node in listed.nodes]
        self._check_size(len(nodes))
        self.kind = documents[0].kind
        if self.rule.paging is None and self.rule.is_list:
            self._require_one_page(page[0], answered)
        seen = PageReply(
            documents[0].root, answered.url, len(nodes), lambda: _digest(nodes), answered.links
        )
        try:
            self.total.add(seen)
            return steps.send(seen)
        except StopIteration as end:
            if end.value is False:
                raise StreamHalted(
                    "PAGE_REPEATED",
                    f"{self.where}: the registry serves its first page again as the second one. "
                    "If the list has one page, write `paging: none`",
                ) from None
            if end.value == REPEATED:
                del self.reply.documents[-len(page) :]
                self.total.received -= len(nodes)
            return None
        except StreamError as error:
            raise self._with_place(error) from None

    def _require_declared_end(self, ask: PageRequest) -> None:
        if ask.if_refused != "end":
            raise StreamHalted(
                "PAGING_MISSING",
                f"{self.where}: the registry refuses the page after a page that was not full. "
                "If that is the end of the list, write `after_last: refused` in `paging`",
            )

    def _select(self, document: DecodedDocument) -> list[Any]:
        if self.rule.records is None:
            return list(self._whole(document))
        nodes = self.runner.expressions(document.kind, self.rule.records)(document.root, {})
        require_list(
            document.kind,
            self.rule.records,
            document.root,
            nodes,
            where=self.where,
            namespaces=self.runner.expressions.namespaces,
        )
        return nodes

    def _whole(self, document: DecodedDocument) -> Iterator[Any]:
        root = document.root
        if not self.rule.is_list or isinstance(root, dict):
            yield root
        elif etree.iselement(root):
            yield from root.iterchildren(etree.Element)
        elif isinstance(root, list):
            yield from root

    def _check_size(self, count: int) -> None:
        limit = self.runner.protocol.limits.max_records
        self.count += count
        if self.count > limit:
            raise StreamHalted(
                "LIMIT_RECORDS",
                f"{self.where}: more than {limit} records; "
                "raise limits.max_records, or request less in one reply",
            )

    def _require_one_page(self, listed: ListedNodes, answered: RequestResult) -> None:
        document = listed.document
        sign = sign_of_more(
            document.kind,
            document.root,
            listed.nodes,
            self.rule.records or "",
            answered.links,
            is_detail=self.rule.is_detail,
        )
        if sign is not None:
            raise StreamHalted(
                "PAGING_MISSING",
                f"{self.where}: the reply is one page of a longer list: {sign}. "
                "Write `paging` next to `request`, for example `paging: {next_url: next}` "
                "or `paging: {offset: {size: 100, total: count}}`. "
                "If the reply is complete, write `paging: none`",
            )

    def _with_place(self, error: StreamError) -> StreamError:
        return type(error)(error.reason, f"{self.where}: {error}")


def _digest(nodes: list[Any]) -> str:
    state = hashlib.sha256()
    for node in nodes:
        state.update(element_bytes(node) if etree.iselement(node) else dump_json(node))
    return state.hexdigest()
