"""Send the requests for the pages of one stream."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from gateway.config.connector import Soap, Stream
from gateway.config.requests import Cursor
from gateway.errors import RetryLater, StreamError
from gateway.fetch import paging
from gateway.fetch.decode.chain import DecodedReply
from gateway.fetch.decode.json_records import RecordFields
from gateway.fetch.export import run_export
from gateway.fetch.loops import LoopIteration
from gateway.fetch.more_pages import listed_length, sign_of_more
from gateway.fetch.pager_factory import build_pager
from gateway.fetch.read_position import TimeWindow
from gateway.fetch.record_selector import RecordSelector, SelectedNode
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.reply_parts import streamed_count
from gateway.fetch.request_runner import RequestResult, RequestRunner

log = structlog.get_logger()


class HalveWindow(Exception):
    """The registry requires a smaller window."""


class RestartWindow(Exception):
    """The registry no longer accepts the paging position."""


@dataclass(slots=True)
class PageRequester:
    """A sender of the requests for the pages of one stream, with the values of their placeholders.

    ``feed`` is the newest position of a change feed. ``warned`` are the warnings of this poll.
    ``in_doubt`` says that a list may have more records than its pages showed.
    """

    stream: Stream
    cursor: Cursor
    runner: RequestRunner
    client: RegistryClient
    record_fields: RecordFields | None = None
    feed: str = ""
    warned: set[str] = field(default_factory=set)
    in_doubt: bool = False

    async def ask(
        self, ask: paging.PageRequest, turn: LoopIteration, window: TimeWindow
    ) -> RequestResult:
        """Send the request of a page, and return the decoded reply.

        Raise :class:`HalveWindow` or :class:`RestartWindow` when the registry requires it.
        """
        try:
            answered = await self._send(ask, turn, window)
        except StreamError as error:
            if not ask.is_end(error) and not self._fails_after_short_page(ask, error):
                raise
            proved = self.end_is_proved(ask) and ask.is_end(error)
            return RequestResult("empty", DecodedReply([]), ask.url or "", proves_empty=proved)
        if answered.outcome == "empty":
            self._check_end(ask, answered)
        if answered.outcome == "halve_window":
            raise HalveWindow
        if answered.outcome == "restart_window":
            raise RestartWindow
        if not ask.probe:
            self.runner.on_reply("", answered.reading.documents)
        return answered

    def says_more(self, answered: RequestResult, items: Sequence[SelectedNode]) -> bool:
        """Return whether a list without ``paging`` says that it has more pages, and log it."""
        paged = "paging" in self.stream.model_fields_set or self.cursor.feed or self.stream.export
        if paged or not answered.reading.documents:
            return False
        document, records = answered.reading.documents[0], self.stream.records
        sign = sign_of_more(
            document.kind,
            document.root,
            [item.node for item in items],
            records if isinstance(records, str) else records[0],
            answered.links,
        )
        if sign is not None:
            self.in_doubt = True
            self._warn_once(
                "list is one page of several",
                sign=sign,
                advice="the gateway reads this page and deletes no missing records; "
                "write paging next to request, or paging: none if the reply is complete",
            )
        return sign is not None

    def _fails_after_short_page(self, ask: paging.PageRequest, error: StreamError) -> bool:
        """Return whether the registry fails for the page after a page that was not full.

        Some registries do so after the last page. A scan reads everything again, so it can end.
        """
        return self.cursor.scan and ask.if_refused != "error" and error.reason.startswith("HTTP_5")

    @property
    def _requires_signature(self) -> bool:
        block = self.runner.protocol
        return (
            isinstance(block, Soap)
            and block.security is not None
            and bool(block.security.signature)
        )

    def end_is_proved(self, ask: paging.PageRequest) -> bool:
        """Return whether a refused page proves the end of the list, and log an end without proof.

        The connector declares the refusal, or the total is reached. Where replies must be signed,
        a refusal proves nothing before the total, because anybody could have sent it.
        """
        if ask.if_refused == "end" and ("total" in ask.state or not self._requires_signature):
            return True
        self.in_doubt = True
        how = (
            "a refusal has no valid signature that proves it, so name the total in paging"
            if self._requires_signature
            else "if a refusal is the end of the list, write after_last: refused in paging"
        )
        self._warn_once(
            "page after the last refused",
            advice=f"the gateway deletes no missing records after it; {how}",
        )
        return False

    def _warn_once(self, event: str, **facts: str) -> None:
        """Log a warning once in a poll, because a loop can repeat it for each value."""
        if event not in self.warned:
            self.warned.add(event)
            log.warning(event, stream=self.runner.log_prefix, **facts)

    def _check_end(self, ask: paging.PageRequest, answered: RequestResult) -> None:
        """Check whether a reply without a document may end the list.

        Raise ``COUNT_MISMATCH`` before the total or the last page that earlier pages stated.
        """
        if ask.if_refused == "end":
            answered.proves_empty = True
        elif ask.if_refused == "error" and "total" in ask.state:
            raise RetryLater(
                "COUNT_MISMATCH",
                f"{self.runner.log_prefix}: the registry refuses a page before the last one "
                "that its earlier pages announce; the next poll reads all pages again",
            )

    async def _send(
        self, ask: paging.PageRequest, turn: LoopIteration, window: TimeWindow
    ) -> RequestResult:
        first_cursor = self.cursor.feed or self.stream.paging.cursor
        values = {
            **(
                {"cursor": first_cursor.first}
                if first_cursor and first_cursor.first is not None
                else {}
            ),
            **turn.values,
            **self._time_values(window),
            **ask.variables,
        }
        if self.cursor.feed and "cursor" not in ask.variables and self.feed:
            values["cursor"] = self.feed
        more: dict[str, Any] = {
            "base": turn.base,
            "line": turn.connection,
            "separator": turn.separator,
        }
        if self.stream.export is not None:
            return await run_export(
                self.stream.export, self.runner, values, self.stream.decode, more
            )
        if self.stream.request is None:
            raise AssertionError
        following = (
            self.stream.paging.cursor
            and "cursor" in ask.variables
            and self.stream.paging.cursor.request
        )
        return await self.runner.send(
            following or self.stream.request,
            values,
            decode_steps=self.stream.decode,
            url=ask.url,
            record_fields=self.record_fields,
            **more,
        )

    def _time_values(self, window: TimeWindow) -> dict[str, Any]:
        zone = ZoneInfo(self.cursor.zone)
        since = window.since
        if since is not None and not self.cursor.inclusive:
            since -= timedelta(seconds=1)
        return {
            "since": since and since.astimezone(zone),
            "until": window.until.astimezone(zone),
            "now": self.client.now().astimezone(zone),
        }

    def pager(self, window: TimeWindow) -> paging.Pager:
        """Return the pager for a window."""
        if self.cursor.feed and self.stream.paging.none:
            return paging.ChangeFeed(lambda: self.feed)
        feed = self.feed if self.cursor.feed else ""
        return build_pager(
            self.stream.paging,
            self.runner.expressions,
            self._payload_kind_of(),
            window.since,
            feed,
        )

    def _payload_kind_of(self) -> Callable[[Any], str]:
        table = any(
            step == "csv" or getattr(step, "csv", None) is not None for step in self.stream.decode
        )
        return lambda root: "xml" if hasattr(root, "iterchildren") else "csv" if table else "json"

    def next_page_request(
        self,
        steps: paging.PageSteps,
        answered: RequestResult,
        items: Sequence[SelectedNode],
    ) -> paging.PageRequest | None:
        """Return the request for the page after a reply, or ``None`` after the last page.

        A page whose records a filter in ``records`` leaves out is not an empty page.
        """
        documents, records = answered.reading.documents, self.stream.records
        if not documents:
            return None

        count = len(items) + streamed_count(answered)
        if not count:
            first = records if isinstance(records, str) else records[0]
            count = sum(listed_length(document.root, first) for document in documents)

        def content() -> str:
            if not items and not streamed_count(answered):
                return ""
            state = hashlib.sha256()
            for item in items:
                state.update(RecordSelector.body(item))
            for document in documents:
                if document.streamed_records is not None:
                    state.update(document.streamed_records.digest().encode())
            return state.hexdigest()

        seen = paging.PageReply(
            documents[0].root,
            answered.url,
            count,
            content,
            answered.links,
        )
        try:
            return steps.send(seen)
        except StopIteration as end:
            if end.value is False:
                answered.proves_empty = False
                self.in_doubt = True
                self._warn_once(
                    "first page served again",
                    advice="the gateway deletes no missing records; "
                    "write paging: none if the list has one page, or after_last: repeated",
                )
            return None
