"""Select the records of one page of a stream, and complete them with further requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from gateway.config.connector import Stream
from gateway.errors import StreamHalted
from gateway.fetch import paging
from gateway.fetch.detail_requests import DetailFetcher
from gateway.fetch.join import RecordJoiner
from gateway.fetch.loops import LoopIteration
from gateway.fetch.page_requester import PageRequester
from gateway.fetch.record_selector import RecordSelector, SelectedNode
from gateway.fetch.reply_parts import streamed_count
from gateway.fetch.request_runner import RequestResult
from gateway.records import RawRecord


@dataclass(frozen=True, slots=True)
class PageRecords:
    """The way from the reply of one page to its records, for one stream."""

    stream: Stream
    selector: RecordSelector
    requester: PageRequester
    expander: DetailFetcher
    joiner: RecordJoiner
    max_records: int
    log_prefix: str

    def select(
        self, ask: paging.PageRequest, answered: RequestResult, turn: LoopIteration
    ) -> tuple[list[SelectedNode], bool]:
        """Return the records of a page, and whether the page leaves an empty list proved.

        A page after the last one has no records.
        """
        if ask.probe:
            return [], True
        try:
            items = self._select_items(answered, turn)
        except StreamHalted as error:
            if not ask.is_end(error):
                raise
            return [], self.requester.end_is_proved(ask)
        return items, not self.requester.says_more(answered, items)

    def _select_items(self, answered: RequestResult, turn: LoopIteration) -> list[SelectedNode]:
        items = [
            item
            for document in answered.reading.documents
            for item in self.selector.items(document, turn.context)
        ]
        if self.stream.paging.atom and self.requester.feed:
            known = [
                number
                for number, item in enumerate(items)
                if self.selector.position(item) == self.requester.feed
            ]
            items = items[known[-1] + 1 :] if known else items
        if len(items) + streamed_count(answered) > self.max_records:
            raise StreamHalted(
                "LIMIT_RECORDS",
                f"{self.log_prefix}: more than {self.max_records} records in one reply; "
                "raise limits.max_records, or request smaller pages",
            )
        return items

    def feed_position_after(self, items: list[SelectedNode]) -> str:
        """Return the last position that the entries of a feed state."""
        if self.stream.cursor is None or self.stream.cursor.feed is None or not items:
            return self.requester.feed
        if found := next(filter(None, map(self.selector.position, reversed(items))), ""):
            return found
        raise StreamHalted(
            "FEED_POSITION_MISSING",
            f"{self.log_prefix}: no entry of the feed has the position "
            f"`{self.stream.cursor.feed.position}`, so the next poll would read this page again; "
            "expected a position in each entry; check `cursor.feed.position`",
        )

    async def to_raw_records(
        self, items: list[SelectedNode], answered: RequestResult, turn: LoopIteration
    ) -> Iterator[RawRecord]:
        """Return an iterator over the records of a reply. Streamed records are parsed lazily."""
        if answered.reading.context:
            items = [
                replace(item, context={**item.context, **answered.reading.context})
                for item in items
            ]
        if self.stream.expand is not None:
            items = await self.expander.fetch_details(items, turn)
        if self.stream.join:
            items = await self.joiner.join_records(items, answered, turn)
        pieces = (
            item
            for document in answered.reading.documents
            for item in self.selector.streamed_items(document, turn.context)
        )
        return chain.from_iterable(map(self.selector.to_raw_records, chain(items, pieces)))
