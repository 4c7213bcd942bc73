"""A record of XML keeps its place in the reply when other records are joined to it."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, poll_route

FEED = b"""<feed at="2026-02-03T00:00:00Z">
<entry><updated>2026-02-01T00:00:00Z</updated><award><id>a0</id><by>b1</by></award></entry>
<entry><updated>2026-02-02T00:00:00Z</updated><award><id>a1</id><by>b2</by></award></entry>
<bodies><body><id>b1</id><name>One</name></body><body><id>b2</id><name>Two</name></body></bodies>
</feed>"""
BODIES = FEED[FEED.index(b"<bodies>") : FEED.index(b"</feed>")]
STREAM = """    request: {{get: /feed}}
    cursor: {{field: changed_at}}
    decode: xml
    records: /feed/entry/award
    id: id
    changed_at: {changed}
    keep: {{seen: "ancestor::entry/updated"}}
    {second}
    map: {{title.en: "{name}"}}
    tests: [{{name: shape, given: "<award><id>1</id></award>", expect_some: {{}}}}]
"""
LIST = "join: [{into: body, request: {get: /bodies}, decode: xml, records: /bodies/body, key: id, to: by}]"
SAME = "join: [{into: body, records: /feed/bodies/body, key: id, to: by}]"
TWICE = SAME[:-1] + ', {into: again, records: "//body[id]", key: id, to: by}]'
DETAIL = 'expand: {request: {get: "/bodies/{id}"}, id: by, records: /body, into: body}'


def serve(path: str, _query: dict[str, str]) -> bytes:
    if path.startswith("/bodies/"):
        name = path.rpartition("/")[2]
        return (
            f"<body><id>{name}</id><name>{'One' if name == 'b1' else 'Two'}</name></body>".encode()
        )
    return BODIES if path == "/bodies" else FEED


@pytest.mark.parametrize("second", [LIST, SAME, TWICE, DETAIL])
@pytest.mark.parametrize(
    ("changed", "days"),
    [
        ("ancestor::entry/updated", [1, 2]),
        ("../updated", [1, 2]),
        ("preceding-sibling::updated", [1, 2]),
        ("/feed/@at", [3, 3]),
    ],
)
def test_change_time_around_a_record_survives_a_join(
    second: str, changed: str, days: list[int]
) -> None:
    state = MemoryStreamState()
    text = STREAM.format(second=second, changed=changed, name="body/body/name")
    assert isinstance(poll_route(serve, text, state), PollResult)
    found = [state.raws[name] for name in ("a0", "a1")]
    assert [raw.changed_at and raw.changed_at.day for raw in found] == days
    assert [raw.context["seen"][8:10] for raw in found] == ["01", "02"]
    for raw, name in zip(found, ("One", "Two"), strict=True):
        assert raw.body is not None
        joined = raw.body.count(b"<name>")
        assert f"<name>{name}</name>".encode() in raw.body
        assert joined == (2 if second is TWICE else 1)


NAMESPACES = '  namespaces: {a: "http://example.org/a", e: "http://example.org/e"}\n'
ATOM = b"""<feed xmlns="http://example.org/a"><entry>
<e:award xmlns:e="http://example.org/e"><e:id>a0</e:id><e:by>b1</e:by></e:award>
</entry></feed>"""
NAMED = """    request: {{get: /feed}}
    cursor: scan
    decode: xml
    records: "/a:feed/a:entry/e:award"
    id: "e:id"
    {second}
    map: {{title.en: "body/body/name"}}
    tests: [{{name: shape, given: "<award/>", expect_rejected: {{field: title, reason: missing}}}}]
"""


@pytest.mark.parametrize(
    "second", [LIST.replace("to: by", 'to: "e:by"'), DETAIL.replace("id: by", 'id: "e:by"')]
)
def test_default_namespace_of_a_reply_does_not_reach_joined_records(second: str) -> None:
    def serve_atom(path: str, query: dict[str, str]) -> bytes:
        return ATOM if path == "/feed" else serve(path, query)

    state = MemoryStreamState()
    found = poll_route(serve_atom, NAMED.format(second=second), state, block=NAMESPACES)
    assert isinstance(found, PollResult), found
    body = state.raws["a0"].body
    assert body is not None
    joined = etree.fromstring(body).find("body/body/name")
    assert joined is not None
    assert joined.text == "One"
