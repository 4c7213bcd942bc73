"""The reasons for which a consumer counts as blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition

from gateway.kafka import read_progress
from gateway.kafka.read_progress import ReadProgress
from gateway.observability import blocked_commits

DAMAGED, SOUND = TopicPartition("raw", 0), TopicPartition("raw", 1)


class Consumer:
    """A consumer that has read ``SOUND`` to its end, and stands before a record of ``DAMAGED``."""

    async def position(self, _: TopicPartition) -> int:
        return 5

    def last_stable_offset(self, partition: TopicPartition) -> int:
        return 5 if partition == SOUND else 6

    highwater = last_stable_offset


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(read_progress, "CHECK_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(blocked_commits, "GRACE_SECONDS", -1)
    yield "test"
    blocked_commits._BLOCKED_SINCE.pop("test", None)


def test_past_failure_does_not_hide_a_damaged_partition(role: str) -> None:
    progress = ReadProgress(role)
    progress.mark_failed("raw cannot be read (NodeNotReadyError)")
    progress.mark_unreadable(DAMAGED, "BadGzipFile")
    asyncio.run(progress.check(Consumer(), [DAMAGED, SOUND]))
    assert not progress.failed
    assert "partition 0 of raw cannot be read (BadGzipFile)" in blocked_commits.blocked_reason(role)


def test_failure_lasts_while_records_wait(role: str) -> None:
    progress = ReadProgress(role)
    progress.mark_failed("raw cannot be read (NodeNotReadyError)")
    asyncio.run(progress.check(Consumer(), [DAMAGED, SOUND]))
    assert progress.failed
    asyncio.run(progress.check(Consumer(), [SOUND]))
    assert not progress.failed
    assert not blocked_commits.blocked_reason(role)
