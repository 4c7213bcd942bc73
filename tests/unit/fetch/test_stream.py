"""Streams over loopback, written as a connector's author writes them: what is asked, what arrives, what a restart does."""

from __future__ import annotations

import asyncio
import io
import json
import textwrap
import zipfile
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.config.loading import load_connector
from gateway.config.split_streams import split_by_party
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from tests.support.raw_http_server import ReceivedRequest, Server, reply

HEAD = """
language: 1
connector: test
country: EU
title: A test
owner: {{name: A, contact: a@example.org}}
{protocol}:
  url: {{production: "{url}/api"}}
  limits: {{timeout: 2s, attempts: 1, concurrency: 3}}
{block}
streams:
  things:
    emits: qualification
    tests: [{{name: shape, given: {{}}, expect_some: {{}}}}]
{stream}
"""
WINDOW = TimeWindow(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 9, tzinfo=UTC))
SECRETS = {"persons": b"p1\np2\n# comment\np3\n", "key": b"CANARY"}


def made(tmp_path, url: str, stream: str, block: str = "", protocol: str = "rest"):
    file = tmp_path / "test.yaml"
    text = HEAD.format(
        protocol=protocol,
        url=url,
        block=textwrap.indent(textwrap.dedent(block), "  "),
        stream=textwrap.indent(textwrap.dedent(stream), "    "),
    )
    file.write_text(text)
    return load_connector(file)


def serve(route):
    """Turn ``route(asked, path, query) -> value or (status, value)`` into an answer."""

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(asked.target)
        found = route(
            asked,
            parts.path.removeprefix("/api"),
            {k: v[0] if len(v) == 1 else v for k, v in parse_qs(parts.query).items()},
        )
        status, value, headers = (
            found
            if isinstance(found, tuple) and len(found) == 3
            else (*found, {})
            if isinstance(found, tuple)
            else (200, found, {})
        )
        if isinstance(value, bytes):
            reply(writer, value, status, **headers)
        elif isinstance(value, str):
            reply(writer, value.encode(), status, content_type="application/xml", **headers)
        else:
            reply(
                writer,
                json.dumps(value).encode(),
                status,
                content_type="application/json",
                **headers,
            )

    return answer


def read(
    tmp_path,
    route,
    stream: str,
    block: str = "",
    *,
    protocol: str = "rest",
    window=WINDOW,
    position=None,
    subjects=None,
):
    async def run():
        async with Server(serve(route)) as server:
            connector = made(tmp_path, server.url, stream, block, protocol)
            async with RegistryClient(connector, SECRETS.__getitem__, "production") as client:
                found = [
                    page
                    async for page in read_pages(
                        connector, "things", window, client, position=position, subjects=subjects
                    )
                ]
            return found, server

    return asyncio.run(run())


def ids(found):
    return [raw.native_id for page in found for raw in page.records]


def test_request_templates_are_filled(tmp_path):
    found, server = read(
        tmp_path,
        lambda *_: [{"id": 1, "changed": "2026-01-05T10:00:00Z"}],
        """
        request: {get: "/x/{since:%Y}", query: {from: "{since:%d.%m.%Y}", to: "{until:epoch}", cursor: "{cursor}", fixed: 7}, headers: {X-Own: "{now:%Y}"}}
        cursor: {field: changed_at, zone: Europe/Tallinn}
        records: "@"
        id: id
        changed_at: changed
        """,
    )
    asked = server.asked[0]
    assert asked.target == "/api/x/2026?from=01.01.2026&to=1767916800&fixed=7"
    assert asked.headers["x-own"].isdigit()
    assert found[0].watermark == datetime(2026, 1, 5, 10, tzinfo=UTC)
    assert (found[0].last, found[0].complete, found[0].position) == (True, False, "")


def test_subjects_are_sent_in_batches(tmp_path):
    def route(asked, path, query):
        return [{"id": one} for one in json.loads(asked.body)["who"]]

    found, server = read(
        tmp_path,
        route,
        """
        for_each: {person: {in: {secret: persons}, batch: 2}}
        request: {post: /q, json: {who: "{person}", text: "all {person}"}, query: {p: "{person}"}}
        records: "@"
        id: id
        """,
    )
    assert ids(found) == ["p1", "p2", "p3"]
    assert [json.loads(asked.body)["text"] for asked in server.asked] == ["all p1,p2", "all p3"]
    assert server.asked[0].target == "/api/q?p=p1&p=p2"
    assert found[0].records[0].context == {}, "no rule reads the persons"
    assert "p1" not in found[0].position


def test_institutions_have_their_own_connection(tmp_path):
    async def run():
        async with Server(serve(lambda asked, *_: [{"id": asked.headers["x-key"]}])) as one:
            stream = f"""
            for_each:
              school:
                in:
                  parties:
                    first: {{auth: {{api_key: {{header: X-Key, value: {{secret: key}}}}}}}}
                    second: {{url: {{production: "{one.url.replace("127.0.0.1", "localhost")}/own"}}, auth: {{api_key: {{header: X-Key, value: {{secret: persons}}}}}}}}
            request: {{get: /r}}
            records: "@"
            id: ["$school"]
            """
            connector = made(tmp_path, one.url, stream)
            async with RegistryClient(
                connector, {"key": b"k1", "persons": b"k2"}.__getitem__, "production"
            ) as client:
                found = [page async for page in read_pages(connector, "things", WINDOW, client)]
                named = [
                    page
                    async for page in read_pages(
                        connector, "things", WINDOW, client, subjects={"school": ["second"]}
                    )
                ]
            assert ids(found) == ["first", "second"]
            assert ids(named) == ["second"], "a named institution keeps its address"
            assert one.asked.pop().headers["x-key"] == "k2", "and its credentials"
            assert [asked.target for asked in one.asked] == ["/api/r", "/own/r"]
            assert [asked.headers["x-key"] for asked in one.asked] == ["k1", "k2"]
            running = split_by_party(connector)
            assert list(running.streams) == ["things@first", "things@second"]
            async with RegistryClient(
                running, {"key": b"k1", "persons": b"k2"}.__getitem__, "production"
            ) as client:
                found = [
                    page async for page in read_pages(running, "things@second", WINDOW, client)
                ]
            assert [(raw.stream, raw.native_id) for page in found for raw in page.records] == [
                ("things@second", "second")
            ]
            assert (
                found[-1].complete
            )  # of this institution: what it no longer shows is gone, whatever the others do

    asyncio.run(run())


def test_id_stream_is_split_with_its_reader(tmp_path):
    parties = "school: {in: {parties: {a: {}, b: {}}}}"
    detail = f"""
    for_each: {{{parties}, one: {{in: {{stream: listed}}}}}}
    request: {{get: "/one/{{one}}"}}
    records: "@"
    id: id
    """
    connector = made(tmp_path, "https://registry.example", detail)
    listed = connector.streams["things"].model_copy(
        update={"for_each": {"school": connector.streams["things"].for_each["school"]}}
    )
    both = connector.with_streams({"listed": listed, **connector.streams})
    running = split_by_party(both)
    assert list(running.streams) == ["listed@a", "listed@b", "things@a", "things@b"]
    assert running.streams["things@b"].for_each["one"].in_.stream == "listed@b"
    alone = connector.streams["things"].model_copy(
        update={"for_each": {"one": connector.streams["things"].for_each["one"]}}
    )
    whole = split_by_party(connector.with_streams({"listed": listed, "things": alone}))
    assert list(whole.streams) == ["listed", "things"]


def halving(asked, path, query):
    since, until = (datetime.fromisoformat(query[name]) for name in ("a", "b"))
    days = (until - since).days
    if days > 3:
        return {"error": "TOO_MANY"}
    return {"items": [{"id": f"{since:%d}-{until:%d}"}]}


HALVED = """
request: {get: /w, query: {a: "{since:iso}", b: "{until:iso}"}}
cursor: {window: 30d, start: 2020-01-01}
records: items
id: id
"""
TOO_MANY = "replies: [{when: {path: error, is: TOO_MANY}, then: halve_window}, {when: {path: error, is: NONE}, then: empty}]"


def test_windows_are_halved_until_they_fit(tmp_path):
    found, _ = read(tmp_path, halving, HALVED, TOO_MANY)
    assert ids(found) == ["01-03", "03-05", "05-07", "07-09"]
    assert [page.last for page in found] == [False, False, False, True]
    rest, _ = read(tmp_path, halving, HALVED, TOO_MANY, position=found[1].position)
    assert ids(rest) == ["05-07", "07-09"]
    with pytest.raises(StreamHalted) as caught:
        read(tmp_path, lambda *_: {"error": "TOO_MANY"}, HALVED, TOO_MANY)
    assert caught.value.reason == "WINDOW_TOO_SMALL"


def test_empty_reply_and_failure_inside_200_differ(tmp_path):
    found, _ = read(tmp_path, lambda *_: {"error": "NONE"}, HALVED, TOO_MANY)
    assert (ids(found), found[-1].last) == ([], True)
    with pytest.raises(StreamHalted) as caught:
        read(
            tmp_path,
            lambda *_: {"error": "CANARY"},
            HALVED,
            "replies: [{when: error, then: stop, reason: REGISTRY_SAYS_NO}]",
        )
    assert caught.value.reason == "REGISTRY_SAYS_NO"
    assert "CANARY" not in str(caught.value)
    with pytest.raises(RetryLater) as caught:
        read(tmp_path, lambda *_: b"", HALVED)
    assert caught.value.reason == "EMPTY_BODY"


EXPANDED = """
request: {get: /changes}
cursor: scan
records: changes
expand: {request: {get: "/things/{id}"}, id: id, unless: {path: op, is: delete}, missing: deleted}
deleted: {path: op, is: delete}
id: id
"""


def test_details_are_fetched_by_id_except_deletions(tmp_path):
    def route(asked, path, query):
        if path == "/changes":
            return {
                "changes": [
                    {"id": "a/b", "op": "add"},
                    {"id": "gone", "op": "delete"},
                    {"id": "c", "op": "edit"},
                    {"id": "lost", "op": "edit"},
                ]
            }
        return (
            {"id": path.rsplit("/", 1)[1].replace("%2F", "/"), "full": True}
            if "lost" not in path
            else (404, {})
        )

    found, server = read(tmp_path, route, EXPANDED, "replies: [{when: {status: 404}, then: empty}]")
    assert [
        (raw.native_id, raw.body and json.loads(raw.body).get("full")) for raw in found[0].records
    ] == [
        ("a/b", True),
        ("gone", None),
        ("c", True),
        ("lost", None),
    ]
    assert sorted(asked.target for asked in server.asked) == [
        "/api/changes",
        "/api/things/a%2Fb",
        "/api/things/c",
        "/api/things/lost",
    ]
    with pytest.raises(RetryLater) as caught:
        read(
            tmp_path,
            route,
            EXPANDED.replace("missing: deleted", "missing: retry"),
            "replies: [{when: {status: 404}, then: empty}]",
        )
    assert caught.value.reason == "EXPAND_MISSING"


def test_details_are_fetched_in_batches_by_key(tmp_path):
    def route(asked, path, query):
        if path == "/ids":
            return ["1", "2", "3"]
        return [{"ssn": one, "n": int(one)} for one in reversed(json.loads(asked.body)["ssns"])]

    stream = """
    request: {get: /ids}
    records: "@"
    expand: {request: {post: /full, json: {ssns: "{ids}"}}, id: "@", batch: 2, key: ssn, records: "@"}
    id: ssn
    """
    found, server = read(tmp_path, route, stream)
    assert ids(found) == ["1", "2", "3"]
    assert [json.loads(asked.body)["ssns"] for asked in server.asked[1:]] == [["1", "2"], ["3"]]


def test_zip_of_tables_is_joined_and_paged(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.csv", "id;name\n" + "".join(f"{n};thing {n}\n" for n in range(2500)))
        archive.writestr("parts.csv", "thing;part\n7;wheel\n7;door\n9;roof\n")
    stream = """
    request: {get: /export.zip}
    decode: [zip, "main.csv", {csv: {separator: ";"}}]
    records: "@"
    join: [{into: parts, decode: [zip, "parts.csv", {csv: {separator: ";"}}], key: thing, to: id}]
    id: id
    """
    found, _ = read(tmp_path, lambda *_: packed.getvalue(), stream, protocol="file")
    assert [len(page.records) for page in found] == [1000, 1000, 500]
    assert [page.complete for page in found] == [False, False, True]
    assert [part["part"] for part in json.loads(found[0].records[7].body)["parts"]] == [
        "wheel",
        "door",
    ]
    rest, _ = read(
        tmp_path, lambda *_: packed.getvalue(), stream, protocol="file", position=found[0].position
    )
    assert ids(rest) == ids(found)[1000:]


def test_change_feed_is_read_to_its_end_and_resumed(tmp_path):
    log = [{"pos": n, "id": f"r{n}", "op": "delete" if n == 3 else "insert"} for n in range(1, 6)]
    stream = """
    request: {get: /changes, query: {after: "{cursor}", limit: 2}}
    cursor: {feed: {position: pos, operation: op, deleted: [delete]}}
    records: "@"
    id: id
    """

    def route(asked, path, query):
        return [entry for entry in log if entry["pos"] > int(query.get("after", 0))][:2]

    found, _ = read(tmp_path, route, stream)
    assert ids(found) == ["r1", "r2", "r3", "r4", "r5"]
    assert [raw.native_id for page in found for raw in page.records if raw.body is None] == ["r3"]
    assert found[-1].last
    log.append({"pos": 6, "id": "r6", "op": "insert"})
    more, _ = read(tmp_path, route, stream, position=found[-1].position)
    assert ids(more) == ["r6"]


def test_export_is_started_awaited_and_downloaded(tmp_path):
    states = ["pending", "pending", "complete"]

    def route(asked, path, query):
        if path == "/start":
            return {"queryId": "q-1"}
        if path == "/status/q-1":
            return {"status": states.pop(0), "files": ["/api/file/1", "/api/file/2"]}
        if path.startswith("/file"):
            return 302, b"", {"location": f"/api/real{path}"}
        return [{"id": path}]

    stream = """
    export:
      start: {post: /start, json: {since: "{since:iso}"}}
      keep: {query: queryId}
      status: {get: "/status/{query}"}
      state: status
      pending: [pending]
      done: [complete]
      every: 10ms
      files: files
    records: "@"
    id: id
    """
    found, _ = read(tmp_path, route, stream)
    assert ids(found) == ["/real/file/1", "/real/file/2"]


def test_xml_children_kinds_and_context_are_read(tmp_path):
    document = """<l xmlns="urn:x"><school code="S1"><degree id="1"><course id="2"><course id="3"/></course></degree><course id="4"/></school></l>"""
    stream = """
    request: {get: /x}
    records: "//x:school/x:degree | //x:school/x:course"
    keep: {school: "ancestor::x:school/@code"}
    children: "x:course"
    id: ["$school", "@id"]
    """
    found, _ = read(tmp_path, lambda *_: document, stream, 'namespaces: {x: "urn:x"}')
    assert [(raw.native_id, raw.kind, raw.context.get("parent")) for raw in found[0].records] == [
        ("S1/1", "degree", None),
        ("S1/2", "course", "S1/1"),
        ("S1/3", "course", "S1/2"),
        ("S1/4", "course", None),
    ]
    assert found[0].records[0].media_type == "application/xml"


def test_embedded_document_is_read(tmp_path):
    inner = json.dumps({"list": [{"oid": "1.2.3", "name": "Müller & <b>"}]})
    envelope = f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><r xmlns="urn:p"><![CDATA[{inner}]]></r></s:Body></s:Envelope>'
    stream = """
    request: {envelope: "<p:ask xmlns:p='urn:p'><p:id>{since:%Y}</p:id><p:none>{cursor}</p:none></p:ask>"}
    decode: [xml, "//p:r/text()", json]
    records: list
    id: oid
    """
    found, server = read(
        tmp_path, lambda *_: envelope, stream, 'namespaces: {p: "urn:p"}', protocol="soap"
    )
    assert json.loads(found[0].records[0].body)["name"] == "Müller & <b>"
    assert server.asked[0].headers["soapaction"] == '""'
    assert b"<p:id>2026</p:id>" in server.asked[0].body
    assert b"none" not in server.asked[0].body
    nothing = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><other/></s:Body></s:Envelope>'
    with pytest.raises(RetryLater) as caught:
        read(tmp_path, lambda *_: nothing, stream, 'namespaces: {p: "urn:p"}', protocol="soap")
    assert caught.value.reason == "DECODE_EMPTY"


def test_soap_faults_in_200_and_500_are_equal(tmp_path):
    def fault(code):
        return f"""<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>{code}</faultcode>
          <faultstring>CANARY</faultstring></s:Fault></s:Body></s:Envelope>"""

    stream = "request: {envelope: '<ask/>'}\nrecords: '//x'\nid: '@id'\n"
    for status in (200, 500):
        for code, kind in (("s:Server", RetryLater), ("s:Client", StreamHalted)):
            with pytest.raises(kind) as caught:
                read(tmp_path, lambda *_, s=status, c=code: (s, fault(c)), stream, protocol="soap")
            assert caught.value.reason == "SOAP_FAULT"
            assert "CANARY" not in str(caught.value)
    found, _ = read(
        tmp_path,
        lambda *_: (500, fault("s:Server.NoResults")),
        stream,
        "replies: [{when: {fault: '*NoResults'}, then: empty}]",
        protocol="soap",
    )
    assert ids(found) == []


@pytest.mark.parametrize("is_streamed", [False, True])
def test_ws_addressing_relates_to_the_request(tmp_path, monkeypatch, is_streamed):
    from gateway.fetch.decode import chain

    if is_streamed:
        monkeypatch.setattr(chain, "STREAMING_THRESHOLD_BYTES", 10)

    def route(asked, path, query):
        sent = asked.body.decode().partition("MessageID>")[2].partition("<")[0]
        answers = sent if asked.target.endswith("good") else "urn:uuid:other"
        return f"""<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><a:RelatesTo
          xmlns:a="http://www.w3.org/2005/08/addressing">{answers}</a:RelatesTo></s:Header><s:Body><x id="1"/></s:Body></s:Envelope>"""

    stream = "request: {envelope: '<ask/>', action: 'urn:go'}\nrecords: '//x'\nid: '@id'\n"
    block = "addressing: {from: 'http://us'}\n"
    with pytest.raises(RetryLater) as caught:
        read(tmp_path, route, stream, block, protocol="soap")
    assert caught.value.reason == "RELATES_TO"


def test_record_without_an_id_is_emitted(tmp_path):
    found, _ = read(
        tmp_path,
        lambda *_: [{"name": "no id"}, {"id": "x" * 900}],
        'request: {get: /}\nrecords: "@"\nid: id\n',
    )
    assert len(found[0].records) == 2
    assert all(raw.native_id.startswith("?") for raw in found[0].records)


def test_resumed_scan_is_never_complete(tmp_path):
    def route(asked, path, query):
        return {"items": [{"id": query["p"]}], "pages": 3}

    stream = 'request: {get: /, query: {p: "{page}"}}\npaging: {page_number: {pages: pages}}\nrecords: items\nid: id\n'
    found, _ = read(tmp_path, route, stream)
    assert [page.complete for page in found] == [False, False, True]
    rest, _ = read(tmp_path, route, stream, position=found[0].position)
    assert ids(rest) == ["2", "3"]
    assert not rest[-1].complete


def test_next_url_to_another_host_is_refused(tmp_path):
    stream = "request: {get: /}\npaging: {next_url: next}\nrecords: items\nid: id\n"
    with pytest.raises(StreamHalted) as caught:
        read(
            tmp_path,
            lambda *_: {"items": [{"id": 1}], "next": "https://evil.example/x?id=CANARY"},
            stream,
        )
    assert caught.value.reason == "CURSOR_FOREIGN"
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("records", ["//x:r", "/x:l/x:r", "//x:l/x:r", "x:r"])
def test_streamed_document_gives_the_same_records(tmp_path, monkeypatch, records):
    from gateway.fetch.decode import chain

    stream = f"request: {{get: /}}\nrecords: '{records}'\nid: '@id'\nchildren: 'x:c'\n"
    block = 'namespaces: {x: "urn:x"}'

    def document(count):
        return (
            '<l xmlns="urn:x">'
            + "".join(f'<r id="{n}"><c id="{n}c"/><t>{"y" * 200}</t></r>' for n in range(count))
            + "</l>"
        )

    small, _ = read(tmp_path, lambda *_: document(1200), stream, block)
    monkeypatch.setattr(chain, "STREAMING_THRESHOLD_BYTES", 1000)
    monkeypatch.setattr(chain.xml_parser, "parse", None)  # it has to be cut
    cut, _ = read(tmp_path, lambda *_: document(1200), stream, block)
    assert [(raw.native_id, raw.context, raw.body) for page in cut for raw in page.records] == [
        (raw.native_id, raw.context, raw.body) for page in small for raw in page.records
    ]
    assert [page.position for page in cut] == [page.position for page in small]


PLAIN_FIELDS = """request: {get: /}
records: '//x:r'
id: ['@id', 'x:part/x:no']
kind: 'x:type'
version: 'x:part'
changed_at: '@at'
"""


@pytest.mark.parametrize(
    "stream",
    [
        PLAIN_FIELDS,
        PLAIN_FIELDS.replace("kind: 'x:type'\n", ""),
        PLAIN_FIELDS.replace("'@at'", "' @at '"),
        PLAIN_FIELDS.replace("'x:part'", "'string(x:part)'"),
        PLAIN_FIELDS.replace("'@id'", "'@id', 'x:t/text()'"),
        PLAIN_FIELDS + "deleted: {path: 'x:type', is: '3'}\n",
    ],
)
def test_streamed_records_have_the_same_ids_kinds_versions_and_times(tmp_path, monkeypatch, stream):
    from gateway.fetch.decode import chain

    def record(n):
        number = f"<no> {n} </no><no>second</no>" if n % 5 else "<no>é &amp;<b>x</b></no>"
        part = f"<part>v{number}</part>" if n % 7 else "<part/>"
        at = f'at="2026-01-{1 + n % 28:02}"' if n % 11 else 'at="never"'
        return f'<r id="{n if n % 13 else ""}" {at}>{part}<type>{n % 4}</type><t>{"y" * 90}</t></r>'

    text = f'<l xmlns="urn:x">{"".join(map(record, range(1200)))}</l>'
    block = 'namespaces: {x: "urn:x"}'
    whole, _ = read(tmp_path, lambda *_: text, stream, block)
    monkeypatch.setattr(chain, "STREAMING_THRESHOLD_BYTES", 1000)
    monkeypatch.setattr(chain.xml_parser, "parse", None)  # it has to be cut
    cut, _ = read(tmp_path, lambda *_: text, stream, block)
    assert [raw for page in cut for raw in page.records] == [
        raw for page in whole for raw in page.records
    ]
    assert len({raw.native_id for page in cut for raw in page.records}) > 100


def test_loop_reads_ids_of_another_stream(tmp_path):
    def route(asked, path, query):
        if path == "/programs":
            return [{"id": "a"}, {"id": "b"}]
        return [{"id": f"{path}"}]

    stream = """
    for_each: {program: {in: {stream: programs}}}
    request: {get: "/programs/{program}/offers"}
    records: "@"
    id: id
    deleted: {path: $program, is: none}
"""
    more = """
  programs:
    emits: qualification
    request: {get: /programs}
    records: "@"
    id: id
    tests: [{name: shape, given: {}, expect_some: {}}]
"""

    async def run():
        async with Server(serve(route)) as server:
            made(tmp_path, server.url, stream)
            file = tmp_path / "test.yaml"
            file.write_text(file.read_text() + more)
            connector = load_connector(file)
            async with RegistryClient(connector, SECRETS.__getitem__, "production") as client:
                return [page async for page in read_pages(connector, "things", WINDOW, client)]

    found = asyncio.run(run())
    assert ids(found) == ["/programs/a/offers", "/programs/b/offers"]
    assert "program" not in found[0].records[0].context  # only the fetch reads it


def test_unexpected_error_halts_without_a_payload(tmp_path, monkeypatch):
    from gateway.fetch import record_selector

    def broken(*_):
        raise KeyError("CANARY")

    monkeypatch.setattr(record_selector, "element_bytes", broken)
    with pytest.raises(StreamHalted) as caught:
        read(
            tmp_path,
            lambda *_: "<l><r id='1'/></l>",
            "request: {get: /}\nrecords: '//r'\nid: '@id'\n",
        )
    assert caught.value.reason == "UNEXPECTED"
    assert "KeyError" in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_reply_rules_apply_in_order(tmp_path):
    stream = 'request: {get: /}\nrecords: "@"\nid: id\n'
    block = "replies: [{when: {path: code, is: NOBODY}, then: empty}, {when: {status: 404}, then: stop, reason: WRONG_ADDRESS}]"
    found, _ = read(tmp_path, lambda *_: (404, {"code": "NOBODY"}), stream, block)
    assert ids(found) == []
    for body in ({"code": "OTHER"}, b"<html>", b""):
        with pytest.raises(StreamHalted) as caught:
            read(tmp_path, lambda *_, b=body: (404, b), stream, block)
        assert caught.value.reason == "WRONG_ADDRESS"


def test_window_is_restarted_once(tmp_path):
    stream = 'request: {get: /, query: {c: "{cursor}"}}\npaging: {cursor: {from: next}}\nrecords: items\nid: id\n'
    block = "replies: [{when: {status: 410}, then: restart_window}]"
    gone = [True]

    def route(asked, path, query):
        if query.get("c") == "2" and gone:
            gone.pop()
            return 410, {}
        return {
            "items": [{"id": query.get("c", "1")}],
            "next": {None: "2", "2": None}[query.get("c")],
        }

    found, _ = read(tmp_path, route, stream, block)
    assert ids(found) == ["1", "1", "2"]
    with pytest.raises(RetryLater) as caught:
        read(tmp_path, lambda *_: (410, {}), stream, block)
    assert caught.value.reason == "CURSOR_EXPIRED"


def test_possibly_truncated_csv_is_refused(tmp_path):
    async def run():
        async def answer(asked, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\nid\n1\n")
            writer.close()

        async with Server(answer) as server:
            connector = made(
                tmp_path, server.url, 'request: {get: /}\nrecords: "@"\nid: id\n', protocol="file"
            )
            async with RegistryClient(connector, SECRETS.__getitem__, "production") as client:
                return [page async for page in read_pages(connector, "things", WINDOW, client)]

    with pytest.raises(RetryLater) as caught:
        asyncio.run(run())
    assert caught.value.reason == "INCOMPLETE_BODY"
