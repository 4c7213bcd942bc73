"""Whatever a registry sends, no record is deleted unless its list is there and does not show it.

Each saved reply is polled twice as a complete scan. The second time, one place of it is changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.connector import Connector
from gateway.config.requests import Cursor
from gateway.config.second_lists import LoopSource
from gateway.errors import StreamError
from gateway.fetch.registry_client import RegistryClient
from gateway.local.registries.saved_replies import SavedReply, SavedReplyRegistry
from gateway.pipeline.poll import PollContext, poll_once
from tests.support.memory_stream import NOW, MemoryStreamState
from tests.support.mutated_replies import ERROR_BODIES, KINDS, Mutation, may_be_deleted, mutate
from tests.support.saved_replies import (
    CASES,
    REFERENCE,
    REGISTRIES,
    Case,
    connector_for,
    here,
    secret,
)

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]
STATUSES = (200, 202, 204, 301, 304, 400, 401, 404, 410, 429, 503)
READABLE = [
    case
    for case in CASES
    if case.file.endswith((".json", ".xml"))
    and "fault" not in case.file
    and "notfound" not in case.file
]


def as_scan(case: Case) -> Connector:
    """Return the connector of a case, with a complete scan and the loop values of the case."""
    connector = connector_for(case)
    stream = connector.streams[case.stream]
    loops = {
        name: each.model_copy(update={"in_": LoopSource(values=tuple(case.subjects[name]))})
        if name in case.subjects
        else each
        for name, each in stream.for_each.items()
    }
    cursor = Cursor(scan=True, start=stream.cursor and stream.cursor.start)
    scan = stream.model_copy(update={"cursor": cursor, "for_each": loops})
    return connector.with_streams({**connector.streams, case.stream: scan})


async def poll(
    case: Case, replies: list[SavedReply], replay: SavedReplyRegistry, state: Any
) -> str:
    """Serve the replies, poll once, and return the reason of a failure, or an empty text."""
    replay._saved[:] = replies
    connector = here(as_scan(case), replay.url)
    now = NOW + timedelta(days=state.polls)
    state.polls += 1
    async with RegistryClient(connector, secret, "production", now=lambda: now) as client:
        try:
            await poll_once(PollContext(connector, case.stream, client, state), now)
        except StreamError as error:
            return error.reason
    return ""


Change = Callable[[bytes], Mutation]


def deleted_after(
    case: Case, change: Change, number: int, status: int
) -> tuple[dict[str, bytes], set[str], Mutation]:
    """Return the records before the change, the ids that two more polls deleted, and the change.

    ``number`` chooses the reply to change, because some streams need several.
    """

    async def scenario() -> tuple[dict[str, bytes], set[str], Mutation]:
        replay, state = SavedReplyRegistry([]), MemoryStreamState()
        state.connector, state.stream = case.connector, case.stream
        async with await replay.start():
            replies = case.replies((REFERENCE / case.file).read_bytes(), replay.url)
            assert await poll(case, replies, replay, state) == ""
            before = {name: body for name, body in state.bodies.items() if body is not None}
            chosen = number % len(replies)
            mutation = change(replies[chosen].body)
            changed = [
                with_body(saved, mutation.body, status) if index == chosen else saved
                for index, saved in enumerate(replies)
            ]
            for _ in range(2):  # A second look confirms what the first one did not show.
                await poll(case, changed, replay, state)
            return before, set(before) - state.published, mutation

    return asyncio.run(scenario())


def with_body(saved: SavedReply, body: bytes, status: int) -> SavedReply:
    return replace(saved, body=body, status=status)


def check(case: Case, change: Change, number: int = 0, status: int = 200) -> None:
    before, deleted, mutation = deleted_after(case, change, number, status)
    assert before, "the saved reply holds records"
    what = f"{mutation.what}, reply {number}, status {status}"
    wrong = {name for name in deleted if not may_be_deleted(before[name], mutation)}
    assert not wrong, f"{what}: {len(wrong)} of {len(before)} were deleted"
    assert len(deleted) <= max(10, len(before) // 10), f"{what}: the guard was exceeded"


def name_of(case: Case) -> str:
    return f"{case.connector} {case.stream} {case.file.rpartition('/')[2]}"


@pytest.mark.parametrize("case", READABLE, ids=name_of)
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(KINDS),
    number=st.integers(0, 100_000),
    status=st.sampled_from((200, 200, 200, *STATUSES)),
)
def test_mutated_reply_deletes_no_listed_record(
    case: Case, kind: str, number: int, status: int
) -> None:
    check(case, lambda body: mutate(body, kind, number), number, status)


@pytest.mark.parametrize("case", READABLE, ids=name_of)
def test_error_in_place_of_a_reply_deletes_no_record(case: Case) -> None:
    for number, error in enumerate(ERROR_BODIES):
        check(case, lambda _, e=error: Mutation(e, f"body {e[:30]!r}"), number)


@pytest.mark.parametrize("case", READABLE, ids=name_of)
def test_unexpected_status_deletes_no_record(case: Case) -> None:
    for number, status in enumerate(STATUSES[1:]):
        check(case, lambda body: Mutation(body, "the same body"), number, status)
