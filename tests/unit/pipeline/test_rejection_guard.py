"""Check which pages the guard on rejections counts."""

from __future__ import annotations

import asyncio

import pytest

from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.rejection_guard import preview_page
from gateway.records import RawRecord, Withheld


def entries(count: int, *, known: bool) -> list[RawEntry]:
    return [
        RawEntry(
            RawRecord(
                connector="c", stream="s", native_id=str(number), body=b"{}", written_before=known
            ),
            b"d" * 16,
            None,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("known", "reason", "counted"),
    [(True, "not_achieved", 30), (False, "not_achieved", 0), (True, "no_consent", 0)],
)
def test_guard_counts_awards_that_are_withdrawn_as_not_achieved(
    known: bool, reason: str, counted: int
) -> None:
    page = entries(30, known=known)
    outcome = asyncio.run(preview_page(page, lambda _: Withheld(reason=reason)))
    assert (outcome.accepted, outcome.rejected) == (False, counted)
