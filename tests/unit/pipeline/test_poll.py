"""Test the pure functions of polling: time windows, change detection and cursors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.requests import Cursor as CursorRule
from gateway.fetch import RecordPage, TimeWindow
from gateway.fetch.http.request_reply import clock_ahead_of
from gateway.messages.cloudevents import DELETED_DIGEST, content_digest
from gateway.pipeline.page_writer import select_changes, split_into_transactions
from gateway.pipeline.poll import StreamCursor, advance_cursor, windows
from gateway.pipeline.raw_entry import RawEntry
from gateway.records import CONFLICT_CONTEXT_KEY, RawRecord

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def raw(
    native_id: str, body: bytes | None = b"{}", changed_at: datetime | None = None, **more: object
) -> RawRecord:
    return RawRecord(
        connector="c", stream="s", native_id=native_id, body=body, changed_at=changed_at, **more
    )


def page(**fields: object) -> RecordPage:
    return RecordPage(
        **(
            {"records": (), "position": "", "last": True, "watermark": None, "complete": False}
            | fields
        )
    )


class TestWindows:
    def test_unread_stream_starts_at_its_start(self):
        rule = CursorRule(window=timedelta(days=10), start=datetime(2026, 2, 1, tzinfo=UTC))
        found = list(windows(rule, StreamCursor(), NOW))
        assert found[0] == TimeWindow(
            since=datetime(2026, 2, 1, tzinfo=UTC), until=datetime(2026, 2, 11, tzinfo=UTC)
        )
        assert found[-1].until == NOW
        assert all(before.until == after.since for before, after in pairwise(found))

    def test_window_includes_overlap_and_excludes_delay(self):
        rule = CursorRule(
            field="changed_at", overlap=timedelta(minutes=10), delay=timedelta(hours=2)
        )
        (found,) = windows(rule, StreamCursor(since=NOW - timedelta(days=1)), NOW)
        assert found == TimeWindow(
            since=NOW - timedelta(days=1, minutes=10), until=NOW - timedelta(hours=2)
        )

    def test_interrupted_window_is_resumed_unchanged(self):
        rule = CursorRule(window=timedelta(days=1), start=datetime(2026, 2, 1, tzinfo=UTC))
        start, until = NOW - timedelta(days=2), NOW - timedelta(days=1)
        found = list(
            windows(rule, StreamCursor(since=start, start=start, until=until, position="7"), NOW)
        )
        assert found[0] == TimeWindow(since=start, until=until)
        assert found[1].since == until


class TestChanges:
    def test_equal_content_is_unchanged(self):
        first = raw("1")
        known = {"1": RawEntry(first, content_digest(first), None).value}
        assert select_changes([first], known) == ([], 1)

    def test_older_version_is_ignored(self):
        newer = raw("1", b'{"a":2}', NOW)
        known = {"1": RawEntry(newer, content_digest(newer), NOW).value}
        assert select_changes([raw("1", b'{"a":1}', NOW - timedelta(days=1))], known) == ([], 1)

    def test_changed_context_is_a_change(self):
        assert content_digest(raw("1", context={"a": "1"})) != content_digest(
            raw("1", context={"a": "2"})
        )
        assert content_digest(raw("1", body=None)) == DELETED_DIGEST

    def test_deletion_is_written_once(self):
        gone = raw("1", body=None)
        entries, _ = select_changes([gone], {})
        assert [entry.raw for entry in entries] == [gone]
        assert select_changes([gone], {"1": entries[0].value}) == ([], 1)

    def test_later_version_on_a_page_wins(self):
        before = raw("1", b'{"a":0}')
        known = {"1": RawEntry(before, content_digest(before), None).value}
        served = [raw("1", b'{"a":1}', version="1"), raw("1", b'{"a":2}', version="2")]
        (entry,), unchanged = select_changes(served, known)
        assert (entry.raw.body, entry.raw.written_before, unchanged) == (b'{"a":2}', True, 1)
        assert select_changes(served, {"1": entry.value}) == ([], 2)

    def test_conflicting_contents_are_rejected_once(self):
        served = [raw("1", b'{"a":1}', version="1"), raw("1", b'{"a":2}', version="1")]
        (entry,), unchanged = select_changes(served, {})
        assert unchanged == 1
        assert entry.raw.context[CONFLICT_CONTEXT_KEY] == " and ".join(
            sorted(content_digest(one).hex()[:12] for one in served)
        )
        assert select_changes(served, {"1": entry.value}) == ([], 2)
        (mended,), _ = select_changes(served[1:], {"1": entry.value})
        assert (mended.raw.context, mended.raw.written_before) == ({}, True)

    def test_later_change_and_deletion_are_no_conflict(self):
        first = raw("1", b'{"a":1}', NOW - timedelta(days=1), version="1")
        for later in (
            raw("1", b'{"a":2}', NOW, version="1"),
            raw("1", None, NOW - timedelta(days=1), version="1"),
        ):
            (entry,), _ = select_changes([first, later], {})
            assert entry.raw == later

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=3)), max_size=30))
    def test_records_are_written_or_unchanged(self, served: list[tuple[str, bytes]]):
        entries, unchanged = select_changes([raw(name, body) for name, body in served], {})
        assert len(entries) + unchanged == len(served)
        assert len({entry.raw.native_id for entry in entries}) == len(entries)

    @given(st.lists(st.integers(0, 6_000_000), max_size=20))
    def test_split_keeps_order_and_records(self, sizes: list[int]):
        entries = [
            RawEntry(raw(str(number), bytes(size)), DELETED_DIGEST, None)
            for number, size in enumerate(sizes)
        ]
        parts = list(split_into_transactions(entries))
        assert [entry for part in parts for entry in part] == entries
        assert all(parts)


class TestAdvance:
    def test_position_moves_inside_a_window(self):
        window = TimeWindow(since=NOW - timedelta(days=1), until=NOW)
        moved = advance_cursor(
            StreamCursor(since=window.since),
            window,
            page(position="2", last=False, watermark=NOW),
            uses_watermark=True,
        )
        assert moved == StreamCursor(
            since=window.since, start=window.since, until=NOW, position="2", watermark=NOW
        )

    def test_watermark_comes_from_the_registry(self):
        seen = NOW - timedelta(hours=5)
        window = TimeWindow(since=None, until=NOW)
        assert advance_cursor(
            StreamCursor(), window, page(watermark=seen), uses_watermark=True
        ) == StreamCursor(since=seen)
        assert advance_cursor(
            StreamCursor(since=seen), window, page(), uses_watermark=True
        ) == StreamCursor(since=seen)
        assert advance_cursor(StreamCursor(), window, page(), uses_watermark=False) == StreamCursor(
            since=NOW
        )

    def test_fast_clock_skips_nothing(self):
        window = TimeWindow(since=NOW - timedelta(days=1), until=NOW)
        skew = clock_ahead_of({"date": format_datetime(NOW - timedelta(hours=2), usegmt=True)}, NOW)
        assert skew == timedelta(hours=2)
        assert advance_cursor(
            StreamCursor(), window, page(), uses_watermark=False, clock_ahead=skew
        ) == StreamCursor(since=NOW - timedelta(hours=2))
        for headers in (
            {},
            {"date": "nonsense"},
            {"date": format_datetime(NOW - timedelta(days=3), usegmt=True)},
        ):
            assert clock_ahead_of(headers, NOW) == timedelta(0)
        assert clock_ahead_of(
            {"date": format_datetime(NOW - timedelta(hours=2), usegmt=True), "age": "7200"}, NOW
        ) == timedelta(0)
        assert clock_ahead_of(
            {"date": format_datetime(NOW + timedelta(hours=2), usegmt=True)}, NOW
        ) == timedelta(0)
