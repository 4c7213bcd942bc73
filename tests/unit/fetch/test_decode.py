"""Decode bytes into documents: refusals, complete replies and memory use."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import resource
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch import xml_parser
from gateway.fetch.decode import containers, formats
from gateway.fetch.http.body import ReplyBody


def body(data: bytes | str, *, proved: bool = True) -> ReplyBody:
    return ReplyBody.from_bytes(data.encode() if isinstance(data, str) else data, proved=proved)


def refused(kind, reason, act, *args, **named):
    def drained():
        made = act(*args, **named)
        return list(made) if hasattr(made, "__next__") else made

    with pytest.raises(kind) as caught:
        drained()
    assert caught.value.reason == reason, caught.value
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "kind", "reason"),
    [
        ("<!DOCTYPE a><a/>", StreamHalted, "XML_FORBIDDEN_DTD"),
        (
            '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
            StreamHalted,
            "XML_FORBIDDEN_DTD",
        ),
        (
            "<!--" + "x" * 70_000 + "--><!DOCTYPE a [<!ENTITY e 'CANARY'>]><a>&e;</a>",
            StreamHalted,
            "XML_FORBIDDEN_DTD",
        ),
        ("<a>" * 250 + "</a>" * 250, StreamHalted, "LIMIT_DEPTH"),
        ("<a>" * 2000 + "</a>" * 2000, StreamHalted, "LIMIT_DEPTH"),
        ("<a><b>CANARY</a>", RetryLater, "XML_MALFORMED"),
        ("<a><b>CANARY</b>", RetryLater, "XML_MALFORMED"),
        ("<a/><b/>", RetryLater, "XML_MALFORMED"),
        ("<a>" + "x" * 10_100_000 + "</a>", StreamHalted, "LIMIT_TEXT"),
        ("", RetryLater, "EMPTY_BODY"),
        (" \r\n ", RetryLater, "EMPTY_BODY"),
        ("<!DOCTYPE html><html><body>CANARY</body></html>", RetryLater, "NOT_A_REGISTRY_RESPONSE"),
        ("<HTML>", RetryLater, "NOT_A_REGISTRY_RESPONSE"),
        ('<?xml version="1.0" encoding="UTF-7"?><a/>', StreamHalted, "ENCODING"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', StreamHalted, "ENCODING"),
        (b"<a>M\xfcller</a>", StreamHalted, "ENCODING"),
        (b'<?xml version="1.0" encoding="UTF-8"?><a>M\xfcller</a>', StreamHalted, "ENCODING"),
        ("<a>&#0;</a>", RetryLater, "XML_MALFORMED"),
        ("plain CANARY", RetryLater, "XML_MALFORMED"),
    ],
)
def test_invalid_xml_is_refused(document, kind, reason):
    refused(kind, reason, xml_parser.parse, body(document))


def test_truncated_document_is_incomplete():
    refused(RetryLater, "INCOMPLETE_BODY", xml_parser.parse, body("<a><b/>", proved=False))
    assert xml_parser.parse(body("<a><b/></a>", proved=False)).tag == "a"


def test_conflicting_charsets_are_refused():
    latin = '<?xml version="1.0" encoding="ISO-8859-1"?><a>Müller</a>'.encode("latin-1")
    assert xml_parser.parse(body(latin)).text == "Müller"
    refused(StreamHalted, "ENCODING_CONFLICT", xml_parser.parse, body(latin), transport="utf-8")
    wrong = '<?xml version="1.0" encoding="ISO-8859-1"?><a>Müller</a>'.encode()
    assert xml_parser.parse(body(wrong), transport="utf-8", configured="utf-8").text == "Müller"
    assert xml_parser.parse(body("\ufeff<a>é</a>")).text == "é"
    assert xml_parser.parse(body("<a/>"), transport="us-ascii").tag == "a"


def test_comments_do_not_cut_text():
    root = xml_parser.parse(body("<a>Mül<?x y?>ler<!-- c --> Junior</a>"))
    assert root.text == "Müller Junior"
    assert root.xpath("string()") == "Müller Junior"


def test_large_document_is_streamed_in_bounded_memory():
    record = "<r xmlns='urn:x'><id>{}</id><t>" + "x" * 900 + "</t></r>"
    parts = [
        "<all><meta>7</meta>",
        *(record.format(i) for i in range(20_000)),
        "<more>no</more></all>",
    ]
    big = body("".join(parts))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    root, made = xml_parser.stream_records(big, xml_parser.RecordPath(("{urn:x}r",)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 30_000
    )  # libxml2's memory is not Python's
    assert [e.tag for e in root] == ["meta", "more"]
    records = list(made)
    assert len(records) == 20_000
    assert b"<id>19999</id>" in records[-1]
    refused(
        RetryLater,
        "XML_MALFORMED",
        xml_parser.stream_records,
        body("".join(parts[:-1])),
        xml_parser.RecordPath(("{urn:x}r",)),
    )


def test_record_path_selects_only_its_records():
    text = "<l><a><p>1</p><q><p>2</p></q></a><p>3</p><b><a><p>4</p></a></b></l>"
    for place, found in (
        (xml_parser.RecordPath(("p",)), "1234"),
        (xml_parser.RecordPath(("a", "p")), "14"),
        (xml_parser.RecordPath(("l", "a", "p"), 3), "1"),
        (xml_parser.RecordPath(("a", "p"), 3), "1"),
        (xml_parser.RecordPath(("l", "p"), 2), "3"),
        (xml_parser.RecordPath(("p", "q"), 2), ""),
    ):
        root, made = xml_parser.stream_records(body(text), place)
        assert list(made) == [f"<p>{number}</p>".encode() for number in found]
        assert "".join(root.itertext()) == "".join(
            number for number in "1234" if number not in found
        )


def test_nested_records_stay_inside():
    _, made = xml_parser.stream_records(
        body("<l><p><id>1</id><p><id>2</id></p></p>tail<p/></l>"), xml_parser.RecordPath(("p",))
    )
    assert made.has_nested_records
    assert list(made) == [b"<p><id>1</id><p><id>2</id></p></p>", b"<p/>"]


def test_streamed_records_have_a_content_digest():
    made = [
        xml_parser.stream_records(body(text), xml_parser.RecordPath(("p",)))[1]
        for text in (
            "<l><p>1</p><p/></l>",
            "<l> <p>1</p>\n<p/></l>",
            "<l><p>2</p><p/></l>",
            "<l><p>1</p></l>",
        )
    ]
    digests = [records.digest() for records in made]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert list(made[0]) == [b"<p>1</p>", b"<p/>"]


@pytest.mark.parametrize("above", [1, 2, 150, 198])
def test_record_depth_is_limited(above):
    inside = xml_parser.MAX_DEPTH - above - 2
    for more in (0, 1):
        deep = "<a>" * (inside + more) + "<b/>" + "</a>" * (inside + more)
        document = body("<l>" * above + f"<r>{deep}</r>" + "</l>" * above)
        if more:
            refused(
                StreamHalted,
                "LIMIT_DEPTH",
                xml_parser.stream_records,
                document,
                xml_parser.RecordPath(("r",)),
            )
        else:
            assert xml_parser.stream_records(document, xml_parser.RecordPath(("r",)))[1].count == 1


@pytest.mark.parametrize(
    ("document", "kind", "reason"),
    [
        ('{"a":1,"a":2}', StreamHalted, "JSON_DUPLICATE_KEY"),
        ('{"a":1,"\\u0061":2}', StreamHalted, "JSON_DUPLICATE_KEY"),
        ('{"a":"b","a":"\\u003a"}', StreamHalted, "JSON_DUPLICATE_KEY"),
        ('{"l": [{"a": "b:c", "x": {"y": 1, "y": 1}}]}', StreamHalted, "JSON_DUPLICATE_KEY"),
        ('{"a":NaN}', StreamHalted, "JSON_NUMBER"),
        ("[" * 100_000 + "]" * 100_000, StreamHalted, "LIMIT_DEPTH"),
        ('{"a":"CANARY"', RetryLater, "JSON_MALFORMED"),
        ('{"a":1} x', RetryLater, "JSON_MALFORMED"),
        ("", RetryLater, "EMPTY_BODY"),
        ("<html>CANARY</html>", RetryLater, "NOT_A_REGISTRY_RESPONSE"),
        (b'{"a":"\xff"}', StreamHalted, "ENCODING"),
        ('{"a":1}'.encode("utf-16"), StreamHalted, "ENCODING"),
    ],
)
def test_invalid_json_is_refused(document, kind, reason):
    refused(kind, reason, formats.read_json, body(document), "x")


def test_valid_json_is_read():
    assert formats.read_json(body("\ufeff[1.5]"), "x") == [1.5]
    digits = "9" * 5_000
    assert formats.read_json(body(f"[1, 1e999, {digits}]"), "x") == [1, "1e999", digits]
    assert formats.read_json(body('{"u":"http://x"}\n// stored by hand\n'), "x", comments=True) == {
        "u": "http://x"
    }
    refused(RetryLater, "INCOMPLETE_BODY", formats.read_json, body("[1,", proved=False), "x")


@pytest.mark.parametrize(
    "text",
    [
        '{"a, b": ": \\u003a", "n": 36893488147419103232}',
        '{ "a" : "x\\u00e9\\ud83d\\ude00", "b": -0.0 }',
        '"\\ude00\\ud83d"',
    ],
)
def test_json_formatting_does_not_matter(text):
    for written in (
        text,
        json.dumps(json.loads(text), separators=(",", ":")),
        json.dumps(json.loads(text), indent=1),
    ):
        assert repr(formats.read_json(body(written), "x")) == repr(json.loads(text))


def test_json_lines_end_with_their_lines():
    assert formats.read_json(body('{"a":"x\u2028y\x85z"}\r\n\n[2]\n'), "x", lines=True) == [
        {"a": "x\u2028y\x85z"},
        [2],
    ]
    assert formats.read_json(
        body('["é"]\n'.encode("latin-1")), "x", lines=True, configured="latin-1"
    ) == [["é"]]


@pytest.mark.parametrize(
    ("document", "proved", "kind", "reason"),
    [
        ("", True, RetryLater, "EMPTY_BODY"),
        ("\n\n", True, RetryLater, "EMPTY_BODY"),
        ("<html>CANARY</html>", True, RetryLater, "NOT_A_REGISTRY_RESPONSE"),
        ('{"a":1}\n', False, RetryLater, "INCOMPLETE_BODY"),
        ('{"a":1}\n{"a":2,"a":3}', True, StreamHalted, "JSON_DUPLICATE_KEY"),
        (b'{"a":"\xff"}', True, StreamHalted, "ENCODING"),
    ],
)
def test_truncated_json_lines_are_refused(document, proved, kind, reason):
    refused(kind, reason, formats.read_json, body(document, proved=proved), "x", lines=True)


def test_lone_surrogate_survives_as_an_escape():
    value = formats.json_value('{"n":"\\ud800"}', "x")
    assert json.loads(formats.dump_json(value)) == value
    assert formats.dump_json({"n": "é"}) == '{"n":"é"}'.encode()


@given(st.binary(max_size=300))
def test_decoders_are_total(data):
    for act in (
        xml_parser.parse,
        lambda b: formats.read_json(b, "x"),
        lambda b: list(formats.read_csv(b, formats.CsvFormat(), "x")),
    ):
        with contextlib.suppress(StreamError):
            act(body(data) if data else body(b" "))


def test_csv_rows():
    table = formats.CsvFormat(separator=";")
    rows = list(formats.read_csv(body('a;b\r\n1;"x;\ny"\r\n\r\n2\r\n3;4;5\r\n'), table, "x"))
    assert rows == [
        {"a": "1", "b": "x;\ny"},
        {"a": "2", "_malformed": [2, 1]},
        {"a": "3", "b": "4", "_malformed": [2, 3]},
    ]
    numbers: list[int] = []
    assert len(list(formats.read_csv(body("a\n\n1\n2\n"), table, "x", None, None, numbers))) == 2
    assert numbers == [3, 4]
    latin = formats.CsvFormat(charset="iso-8859-1", columns=("n",), skip=1)
    assert list(formats.read_csv(body("title\nMüller\n".encode("latin-1")), latin, "x")) == [
        {"n": "Müller"}
    ]
    refused(
        RetryLater, "INCOMPLETE_BODY", formats.read_csv, body("a\n1\n", proved=False), table, "x"
    )
    refused(StreamHalted, "CSV_HEADER", formats.read_csv, body("a;a\n1;2\n"), table, "x")
    refused(RetryLater, "CSV_MALFORMED", formats.read_csv, body('a;b\n1;"CANARY\n'), table, "x")
    refused(StreamHalted, "ENCODING", formats.read_csv, body(b"a\nM\xfc\n"), table, "x")


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            z.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return out.getvalue()


def test_zip_files_by_name():
    data = archive(d__a_dot_csv=b"1", b_dot_csv=b"2", c_dot_txt=b"3")
    got = [(name, part.read()) for name, part in containers.unzip(body(data), ("*.csv",), 100, "x")]
    assert got == [("d/a.csv", b"1"), ("b.csv", b"2")]
    refused(RetryLater, "FILE_MISSING", containers.unzip, body(data), ("*.xml",), 100, "x")
    refused(
        StreamHalted,
        "LIMIT_DECODED",
        containers.unzip,
        body(archive(a=b"0" * 5_000_000)),
        ("a",),
        1_000_000,
        "x",
    )
    many = archive(**{f"f{number}": b"" for number in range(containers.MAX_ENTRIES + 1)})
    refused(StreamHalted, "LIMIT_DECODED", containers.unzip, body(many), ("f1",), 1_000_000, "x")
    refused(RetryLater, "ZIP_MALFORMED", containers.unzip, body(data[:-30]), ("*.csv",), 100, "x")
    refused(
        RetryLater, "NOT_A_REGISTRY_RESPONSE", containers.unzip, body("<html>"), ("*",), 100, "x"
    )


def test_base64_and_gzip():
    packed = base64.encodebytes(gzip.compress(b"<a/>" * 50))
    plain = containers.gunzip(containers.decode_base64(body(packed), 10_000, "x"), 10_000, "x")
    assert plain.read() == b"<a/>" * 50
    refused(
        StreamHalted,
        "LIMIT_DECODED",
        containers.decode_base64,
        body(base64.b64encode(b"0" * 101)),
        100,
        "x",
    )
    refused(RetryLater, "BASE64_MALFORMED", containers.decode_base64, body("CANARY!"), 100, "x")
    refused(
        RetryLater, "INCOMPLETE_BODY", containers.gunzip, body(gzip.compress(b"x")[:-4]), 100, "x"
    )
    refused(
        StreamHalted,
        "LIMIT_DECODED",
        containers.gunzip,
        body(gzip.compress(b"\0" * 9_000_000)),
        1_000_000,
        "x",
    )
