"""Parts of bounded size of a long reply, and the number of its streamed records."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from gateway.fetch.request_runner import RequestResult
from gateway.records import RawRecord

PAGE_RECORDS = 1_000


def split_reply(raws: Iterator[RawRecord]) -> Iterator[tuple[list[RawRecord], bool]]:
    """Yield a long reply in parts of bounded size, at least one, with a flag on the last part."""
    part = list(islice(raws, PAGE_RECORDS))
    while True:
        following = list(islice(raws, PAGE_RECORDS)) if len(part) == PAGE_RECORDS else []
        yield part, not following
        if not following:
            return
        part = following


def streamed_count(answered: RequestResult) -> int:
    """Return the number of streamed records in a reply."""
    return sum(
        document.streamed_records.count
        for document in answered.reading.documents
        if document.streamed_records is not None
    )
