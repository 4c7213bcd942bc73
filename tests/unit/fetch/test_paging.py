"""Test pagers without I/O: every stop condition, every loop and every restart."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import paging
from gateway.fetch.paging import PageReply


def walk(pager, replies, state=None):
    """Feed replies to a pager; return the asks it made until it ended or the replies ran out."""
    steps, asks = pager(state), []
    asks.append(next(steps))
    try:
        for reply in replies:
            asks.append(steps.send(reply))
    except StopIteration:
        return asks, True
    return asks, False


def seen(root=None, count=1, digest="", links=(), url="https://r.example/a/b?x=1"):
    seen.number += 1
    content = digest or str(seen.number)
    return PageReply(root or {}, url, count, lambda: content, links)


seen.number = 0


def look(name):
    return lambda root: [root[name]] if root.get(name) is not None else []


def test_link_headers_are_parsed():
    assert paging.link(['<https://x/2>; rel="next"'], "next") == "https://x/2"
    assert (
        paging.link(
            ['<https://x/1>; rel=prev, <https://x/3?a,b>; title="a, b"; rel="last next"'], "next"
        )
        == "https://x/3?a,b"
    )
    assert paging.link(["<https://x/1>; rel=prev"], "next") is None
    asks, ended = walk(paging.LinkHeader(), [seen(links=('<../2>; rel="next"',)), seen()])
    assert [ask.url for ask in asks] == [None, "https://r.example/2"]
    assert ended


@pytest.mark.parametrize(
    "pager",
    [
        paging.PageNumber(total=look("t"), size=2),
        paging.PageNumber(more=look("more"), total=look("t")),
        paging.PageNumber(pages=look("t")),
        paging.Offset(2, total=look("t")),
    ],
)
def test_shrinking_window_is_restarted(pager):
    """Pages are counted: when a record leaves the window those behind move up, and the next page would pass some over."""
    first = {"t": 6, "more": True}
    asks, _ = walk(pager, [seen(first, count=2)])
    assert asks[1].state["total"] == 6
    with pytest.raises(paging.WindowShrunk):
        walk(pager, [seen(first, count=2), seen({"t": 5, "more": True}, count=2)])
    with pytest.raises(paging.WindowShrunk):
        walk(pager, [seen({"t": 5, "more": True}, count=2)], asks[1].state)
    assert walk(pager, [seen(first, count=2), seen({"t": 7, "more": True}, count=2)])[0]


def test_next_url_loop_is_detected():
    pager = paging.NextUrl(look("next"))
    asks, ended = walk(pager, [seen({"next": "?page=2"}), seen({"next": None})])
    assert asks[1].url == "https://r.example/a/b?page=2"
    assert ended
    with pytest.raises(StreamHalted) as caught:
        walk(pager, [seen({"next": "/2"}), seen({"next": "/3"}), seen({"next": "/2"})])
    assert caught.value.reason == "CURSOR_LOOP"
    assert walk(pager, [seen()], {"url": "https://r.example/7"})[0][0].url == "https://r.example/7"


def test_cursor_paging_ends_without_a_new_token():
    pager = paging.CursorToken(look("token"))
    asks, ended = walk(
        pager, [seen({"token": "a"}), seen({"token": "b"}), seen({"token": "b"}, count=0)]
    )
    assert [ask.variables for ask in asks] == [{}, {"cursor": "a"}, {"cursor": "b"}]
    assert ended
    assert walk(pager, [seen({"token": "a"}), seen({"token": "a"}, count=3)])[1]
    with pytest.raises(StreamHalted):
        walk(pager, [seen({"token": name}) for name in "aba"])
    with pytest.raises(StreamHalted):
        walk(
            paging.CursorToken(look("token"), look("more")),
            [seen({"token": "a", "more": True}), seen({"token": "a", "more": True})] * 2,
        )


@pytest.mark.parametrize("start", [0, 1])
def test_page_number_paging_stops_at_the_end(start):
    for pager, replies in (
        (
            paging.PageNumber(start, more=look("more")),
            [seen({"more": True}), seen({"more": False})],
        ),
        (paging.PageNumber(start, more=look("more")), [seen({"more": "true"}), seen()]),
        (paging.PageNumber(start, pages=look("n")), [seen({"n": 2}), seen({"n": "2"})]),
        (
            paging.PageNumber(start, total=look("t")),
            [seen({"t": 5}, count=3), seen({"t": 5}, count=2)],
        ),
        (paging.PageNumber(start, size=3), [seen(count=2), seen(count=0)]),
        (paging.PageNumber(start), [seen(), seen(count=0)]),
    ):
        asks, ended = walk(pager, replies)
        assert [ask.variables["page"] for ask in asks] == [start, start + 1]
        assert ended


def test_unreached_total_is_an_error():
    for pager in (paging.PageNumber(total=look("t"), size=2), paging.Offset(2, total=look("t"))):
        with pytest.raises(RetryLater) as caught:
            walk(pager, [seen({"t": 100}, count=1), seen({"t": 100}, count=0)])
        assert caught.value.reason == "COUNT_MISMATCH"
    with pytest.raises(RetryLater) as caught:
        walk(paging.PageNumber(pages=look("n")), [seen({"n": "many"})])
    assert caught.value.reason == "COUNT_MISSING"


def test_repeated_and_empty_pages_are_stopped():
    pager = paging.PageNumber(more=look("more"))
    with pytest.raises(RetryLater) as caught:
        walk(pager, [seen({"more": 1}, digest="a"), seen({"more": 1}, digest="a")])
    assert caught.value.reason == "PAGE_REPEATED"
    with pytest.raises(StreamHalted):
        walk(pager, [seen({"more": 1}, digest=d) for d in "abca"])
    with pytest.raises(RetryLater) as caught:
        walk(pager, [seen({"more": 1}, count=0)])
    assert caught.value.reason == "PAGE_EMPTY"
    with pytest.raises(StreamHalted):
        walk(
            paging.PageNumber(more=look("more"), gaps=True),
            [seen({"more": 1}, count=0) for _ in range(100)],
        )
    with pytest.raises(RetryLater) as caught:
        walk(
            paging.PageNumber(more=look("more"), total=look("t")),
            [seen({"more": 0, "t": 5}, count=2)],
        )
    assert caught.value.reason == "COUNT_MISMATCH"


def test_offset_paging_advances_by_received_records():
    asks, ended = walk(paging.Offset(10), [seen(count=10), seen(count=7), seen(count=0)])
    assert [ask.variables["offset"] for ask in asks] == [0, 10, 17]
    assert ended


@given(st.integers(1, 12), st.integers(0, 11))
def test_paging_resumes_after_a_restart(pages, at):
    at = min(at, pages - 1)
    pager = paging.PageNumber(pages=look("n"))
    full, _ = walk(pager, [seen({"n": pages}) for _ in range(pages)])
    rest, ended = walk(pager, [seen({"n": pages}) for _ in range(pages - at)], full[at].state)
    assert [ask.variables["page"] for ask in rest] == [ask.variables["page"] for ask in full[at:]]
    assert ended


def feed(number: int, *, newest: int) -> PageReply:
    links = f'<link rel="prev-archive" href="/f/{number - 1}"/>' * (
        number > 1
    ) + f'<link rel="next-archive" href="/f/{number + 1}"/>' * (number < newest)
    entries = "".join(
        f"<entry><id>e{number}-{i}</id><updated>2026-01-{number:02}T0{i}:00:00Z</updated></entry>"
        for i in range(2)
    )
    return PageReply(
        etree.fromstring(f"<feed xmlns='http://www.w3.org/2005/Atom'>{links}{entries}</feed>"),
        f"https://r.example/f/{number}",
        2,
    )


def archive(pager, newest, state=None):
    """Play an archive of ``newest`` documents; return the numbers read for their records, and those only looked at."""
    steps, read, probed = pager(state), [], []
    ask = next(steps)
    try:
        while True:
            number = int(ask.url.rsplit("/", 1)[1]) if ask.url else newest
            (probed if ask.probe else read).append(number)
            ask = steps.send(feed(number, newest=newest))
    except StopIteration:
        return read, probed


def test_atom_archive_is_read_in_order():
    assert archive(paging.AtomArchive(), 5) == ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])
    since = paging.AtomArchive(datetime(2026, 1, 4, 0, 30, tzinfo=UTC))
    assert archive(since, 6) == ([4, 5, 6], [6, 5, 4])
    entry = paging.AtomArchive(
        last_seen="e3-1", entry_id=lambda e: [e.findtext("{http://www.w3.org/2005/Atom}id")]
    )
    assert archive(entry, 6) == ([3, 4, 5, 6], [6, 5, 4, 3])
    assert archive(paging.AtomArchive(), 5, {"url": "https://r.example/f/4"}) == ([4, 5], [])
    with pytest.raises(StreamHalted):
        archive(paging.AtomArchive(max_documents=3), 5)


def test_short_page_is_followed_by_another_request():
    for pager in (paging.PageNumber(size=200), paging.Offset(200)):
        replies = [seen(count=100), seen(count=80), seen(count=100), seen(count=20), seen(count=0)]
        asks, ended = walk(pager, replies)
        assert len(asks) == len(replies)
        assert ended


@pytest.mark.parametrize(
    "pager",
    [
        paging.PageNumber(after_last="repeated"),
        paging.PageNumber(size=1, after_last="repeated"),
        paging.Offset(1, after_last="repeated"),
        paging.NextUrl(lambda root: [f"/{root['n']}"], last_page_repeats=True),
        paging.CursorToken(lambda root: [f"t{root['n']}"], last_page_repeats=True),
    ],
)
def test_declared_repetition_is_the_end(pager):
    replies = [seen({"n": number}, digest=digest) for number, digest in enumerate("abb", 1)]
    asks, ended = walk(pager, replies)
    assert ended
    assert len(asks) == 3


def test_link_to_its_own_page_is_the_end_only_when_declared():
    replies = [seen({"next": "/2"}), seen({"next": "/2"}, url="https://r.example/2")]
    assert walk(paging.NextUrl(look("next"), last_page_repeats=True), replies)[1]
    with pytest.raises(StreamHalted):
        walk(paging.NextUrl(look("next")), replies)


def test_total_below_the_records_does_not_end_a_list():
    """The total counts something else, such as pages, so only an empty page is the end."""
    for pager in (paging.PageNumber(total=look("t"), size=5), paging.Offset(5, total=look("t"))):
        asks, ended = walk(pager, [seen({"t": 2}, count=5), seen({"t": 2}, count=5), seen(count=0)])
        assert len(asks) == 3
        assert ended


def test_total_is_required_of_links_and_tokens():
    for pager, first in (
        (paging.NextUrl(look("next"), total=look("t")), {"next": "/2", "t": 4}),
        (paging.CursorToken(look("next"), total=look("t")), {"next": "x", "t": 4}),
    ):
        assert walk(pager, [seen(first, count=2), seen({"t": 4}, count=2)])[1]
        asks, _ = walk(pager, [seen(first, count=2)])
        assert walk(pager, [seen({"t": 4}, count=2)], asks[1].state)[1]
        with pytest.raises(RetryLater) as caught:
            walk(pager, [seen(first, count=2), seen({"t": 4}, count=1)])
        assert caught.value.reason == "COUNT_MISMATCH"
        with pytest.raises(RetryLater) as caught:
            walk(pager, [seen({}, count=1)])
        assert caught.value.reason == "COUNT_MISSING"


def test_first_page_without_its_end_sign_is_not_the_last():
    stated = paging.PageNumber(more=look("more"), states_more=lambda root: "more" in root)
    assert len(walk(stated, [seen({"more": None})])[0]) == 1
    asks, ended = walk(stated, [seen({"moer": True}), seen({"moer": True}), seen({}, count=0)])
    assert len(asks) == 3
    assert ended
    assert asks[1].if_refused == "unproved_end"


def test_refused_page_is_the_end_only_after_a_sign_of_it():
    asks, _ = walk(paging.PageNumber(size=3), [seen(count=3), seen(count=2)])
    assert [ask.if_refused for ask in asks] == ["error", "error", "unproved_end"]
    resumed, _ = walk(paging.PageNumber(size=3), [], asks[2].state)
    assert resumed[0].if_refused == "unproved_end"
    for count, meaning in ((2, "end"), (3, "unproved_end")):
        asks, _ = walk(paging.Offset(3, after_last="refused"), [seen(count=count)])
        assert [ask.if_refused for ask in asks] == ["error", meaning]
    asks, _ = walk(paging.PageNumber(after_last="refused"), [seen(count=3)])
    assert asks[1].if_refused == "end"
    asks, _ = walk(paging.Offset(3, total=look("t")), [seen({"t": 9}, count=2)])
    assert asks[1].if_refused == "error"


@pytest.mark.parametrize(
    ("keep", "target", "expected"),
    [
        ("query", "http://backend:8080/awards?page=2", "https://r.example/a/b?page=2"),
        ("query", "?page=2#top", "https://r.example/a/b?page=2"),
        ("path", "http://backend:8080/v2/awards?page=2", "https://r.example/v2/awards?page=2"),
        ("path", "//evil.example/x?y", "https://r.example/x?y"),
        ("path", "https://user:word@evil.example", "https://r.example"),
        (None, " /next ", "https://r.example/next"),
    ],
)
def test_part_of_a_link_is_kept(keep, target, expected):
    pager = paging.LinkHeader(keep=keep)
    asks, _ = walk(pager, [seen(links=(f'<{target}>; rel="next"',))])
    assert asks[1].url == expected


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(0, 12), st.booleans())
def test_pages_of_any_size_are_read_to_the_end_also_after_a_restart(sizes, stop, by_number):
    """Neither a size below the requested one nor a restart loses a page."""
    pager = paging.PageNumber(size=9) if by_number else paging.Offset(9)
    served = [seen(count=size) for size in sizes]
    asks, ended = walk(pager, [*served, seen(count=0)])
    assert ended
    assert len(asks) == len(sizes) + 1
    at = min(stop, len(sizes))
    rest, ended = walk(pager, [*served[at:], seen(count=0)], asks[at].state)
    assert ended
    assert [ask.variables for ask in rest] == [ask.variables for ask in asks[at:]]
    assert [ask.if_refused for ask in rest] == [ask.if_refused for ask in asks[at:]]
