"""The accelerator cuts the records out of an XML document as the ordinary way does, or not at all.

``EQUALITY_CHANGES`` is the number of changed documents, at least 100,000 unless you set it, and
``EQUALITY_SEED`` selects others.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from bench import large
from gateway.config.expressions.compiler import CompiledExpression, compile_expression
from gateway.errors import StreamError
from gateway.fetch import streamed_records, xml_cutter, xml_parser
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.streamed_records import RecordPath, StreamedRecords
from tests.equality.test_equal_changed_bytes import WORDS, changed
from tests.support.saved_replies import REFERENCE

CHANGES = int(os.environ.get("EQUALITY_CHANGES", "100000"))
SEED = int(os.environ.get("EQUALITY_SEED", "20260301"))
NAMESPACES = {"x": "urn:x", "y": "http://y.example/z"}
SAVED = sorted((REFERENCE / "registries").rglob("*.xml")) if REFERENCE.exists() else []
Cut = tuple[bytes, bytes, int]
"""The document without its records, the stored records, and their number."""

pytestmark = pytest.mark.skipif(
    xml_cutter._Cutter is xml_cutter.RecordCutter, reason="the accelerator is not installed"
)


def expressions(*texts: str) -> tuple[CompiledExpression, ...]:
    return tuple(compile_expression("xml", text, NAMESPACES) for text in texts)


PATHS = (
    RecordPath(("r",)),
    RecordPath(("r",), 2, expressions("@id", ".", "a", "a/b")),
    RecordPath(("{urn:x}r",), None, expressions("@id", "x:a", "x:a/x:b/@y:k", "@xml:lang", ".")),
    RecordPath(("{urn:x}l", "{urn:x}r"), 3, expressions("x:a", "a", "@y:k", "x:a/@id")),
    RecordPath(("l", "r")),
)


class Kept(StreamedRecords):
    """Records whose stored bytes can be read more than once."""

    def content(self) -> bytes:
        self._file.seek(0)
        return self._file.read()


class InPieces:
    """A body of which each piece has the next of some sizes."""

    def __init__(self, document: bytes, sizes: Iterable[int]) -> None:
        self._document, self._sizes = document, sizes

    def chunks(self) -> Iterator[bytes]:
        position = 0
        for size in chain(self._sizes, repeat(65_536)):
            if position >= len(self._document):
                return
            yield self._document[position : position + size]
            position += size


@pytest.fixture(autouse=True)
def _keep(monkeypatch):
    for module in (streamed_records, xml_cutter, xml_parser):
        monkeypatch.setattr(module, "StreamedRecords", Kept)


def cut_ordinarily(document: bytes, path: RecordPath) -> Cut | None:
    """Return what lxml cuts, or ``None`` for an error or nested records."""
    quick, xml_cutter._Cutter = xml_cutter._Cutter, xml_cutter.RecordCutter
    try:
        root, records = xml_parser.stream_records(ReplyBody.from_bytes(document), path)
    except StreamError:
        return None
    finally:
        xml_cutter._Cutter = quick
    if records.has_nested_records:
        return None
    return etree.tostring(root), records.content(), records.count


def cut_quickly(document: bytes, path: RecordPath, sizes: Iterable[int] = ()) -> Cut | None:
    """Return what the accelerator cuts, or ``None`` if it is not certain."""
    parser = etree.XMLParser(encoding="utf-8", **xml_parser.HARDENED)
    found = xml_cutter.cut_records(
        InPieces(document, sizes), path, xml_parser.MAX_DEPTH, 75_000_000, parser
    )
    if found is None:
        return None
    root, records = found
    return etree.tostring(root), records.content(), records.count


def assert_equal(document: bytes, path: RecordPath, sizes: Iterable[int] = ()) -> bool:
    """Compare both ways, and return whether the accelerator was certain."""
    quick = cut_quickly(document, path, sizes)
    if quick is not None:
        assert quick == cut_ordinarily(document, path), (document, path)
    return quick is not None


def all_paths(document: bytes) -> list[RecordPath]:
    """Return a path for each tag of a document."""
    tags = dict.fromkeys(element.tag for element in etree.fromstring(document).iter("*"))
    return [RecordPath((str(tag),), None, expressions(".", "@id")) for tag in tags]


@pytest.mark.parametrize("file", SAVED, ids=lambda file: file.name)
def test_saved_replies(file):
    """Cut the elements of each tag out of a saved reply, in pieces of several sizes."""
    document = file.read_bytes()
    if len(document) > 2_000_000:
        pytest.skip("large")
    dice = random.Random(SEED)
    for path in all_paths(document)[:40]:
        assert_equal(document, path)
        assert_equal(document, path, [dice.randrange(1, 200) for _ in range(1_000)])


def test_most_saved_replies_are_plain():
    """The accelerator would help nobody if it were never certain."""
    if not SAVED:
        pytest.skip("no reference material")
    plain = sum(cut_quickly(file.read_bytes(), PATHS[0]) is not None for file in SAVED)
    assert plain > len(SAVED) // 2


def test_a_large_reply_is_cut_quickly():
    document = large.HEAD + b"".join(map(large.record, range(300))) + large.TAIL
    path = RecordPath(("{urn:example:register}award",))
    assert assert_equal(document, path)
    assert cut_quickly(document, path)[2] == 300


PLAIN = {
    "texts": (
        "",
        " ",
        "a",
        "é",
        "&amp;",
        "&lt;&gt;",
        "&quot;&apos;",
        ">",
        '"',
        "'",
        "\n\t",
        "\x7f",
    ),
    "values": ("", "1", "é", "a>b", "&amp;&quot;&lt;&apos;", "it's", "𝄞"),
    "names": ("r", "r", "x:r", "x:r", "a", "b", "l", "x:l", "x:a", "x:b", "y:a"),
    "attributes": ("id", "k", "x:k", "y:k", "xml:lang"),
    "declarations": ('xmlns="urn:x"', 'xmlns:w="urn:w"', 'xmlns:x="urn:other"', "xmlns:k='urn:k'"),
}
ODD = {
    "texts": ("]]>", "&#65;", "<!-- c -->", "<?p x?>", "<![CDATA[x]]>", "\r", "\x01", "&no;"),
    "values": ("\n", "&#9;", "<", "\t", "&", "]]>"),
    "names": ("q:a", "é", "xml:a", "1", "a:b:c"),
    "attributes": ("z:k", "xml:id", "q:k", "id", "xmlns:xml"),
    "declarations": ('xmlns=""', 'xmlns="urn:x:2"', 'xmlns:x="not a uri"', 'xmlns:z="urn:x"'),
}
BLANKS = st.sampled_from(["", " ", "\n"])


@st.composite
def elements(draw, depth=0, odd=None):
    """Draw an element. Three documents of four are plain, so that the accelerator is certain."""
    odd = draw(st.integers(0, 3)) == 0 if odd is None else odd

    def of(name):
        return st.sampled_from(PLAIN[name] + ODD[name] if odd else PLAIN[name])

    name = draw(of("names")) if depth else "l"
    pairs = st.tuples(of("attributes"), of("values"))
    attributes = [
        f'{key}="{value}"' if '"' not in value else f"{key}='{value}'"
        for key, value in draw(st.lists(pairs, max_size=2, unique_by=lambda pair: pair[0]))
    ]
    if depth:
        attributes += draw(st.lists(of("declarations"), max_size=2, unique=True))
    else:
        attributes += ['xmlns:x="urn:x"', "xmlns:y='http://y.example/z'"]
    tag = " ".join((name, *draw(st.permutations(attributes)))) + draw(BLANKS)
    inner = draw(st.lists(elements(depth + 1, odd), max_size=3)) if depth < 3 else []  # type: ignore[call-arg]
    content = draw(of("texts")) + "".join(inner)
    tail = draw(of("texts")) if depth else ""
    return f"<{tag}/>{tail}" if not content else f"<{tag}>{content}</{name}{draw(BLANKS)}>{tail}"


@settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    elements(),
    st.sampled_from(
        ["", "\n", '<?xml version="1.0" encoding="UTF-8"?>\n', "<?xml version='1.1'?>"]
    ),
    st.sampled_from(PATHS),
    st.lists(st.integers(1, 9), max_size=60),
)
def test_made_documents(element, prolog, path, sizes):
    assert_equal((prolog + element).encode(), path, sizes)


def seeds() -> list[bytes]:
    """Return documents that use each thing that the accelerator knows."""
    made = [
        b'<?xml version="1.0" encoding="utf-8"?>\n<l><r id="1"><a>x<b>y</b> z</a></r>\n<r/></l>\n',
        b"""<x:l xmlns:x="urn:x" xmlns:y="http://y.example/z" y:k="1"><m/><x:r id="&lt;&quot;" y:k="
a>b"><x:a id='2'>a &amp; b<x:b y:k='k'/></x:a><a>&gt; &apos;</a></x:r>t<x:r/></x:l>""".replace(
            b"\n", b""
        ),
        '<e:E xmlns:e="urn:e"><l xmlns="urn:x"><l><r xml:lang="fi" xmlns:y="http://y.example/z"><a>'
        "Ä\n\t»</a><y:a/><a/></r><r xmlns='urn:x'>é</r></l></l></e:E>".encode(),
        b"""<a:l xmlns:a="urn:a" xmlns:z="urn:z" xmlns:y="http://y.example/z" xmlns:x="urn:x"><x:l
xmlns:q="urn:q"><x:r y:k="1" z:k="2" xmlns:w="urn:w" id="3"/></x:l></a:l>""",
        large.HEAD + large.record(1) + large.TAIL,
    ]
    made += [file.read_bytes() for file in SAVED if file.stat().st_size < 3_000]
    return made


def test_changed_bytes():
    """Flipped bits, and removed, repeated, overwritten and inserted bytes."""
    assert WORDS
    dice = random.Random(f"{SEED} cutting")
    made = seeds()
    certain = 0
    for _ in range(CHANGES):
        document = changed(dice.choice(made), dice)
        sizes = [dice.randrange(1, 99) for _ in range(9)] if dice.random() < 0.3 else []
        certain += assert_equal(document, dice.choice(PATHS), sizes)
    assert CHANGES // 20 < certain < CHANGES


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b" ",
        b"<l><r></l>",
        b"<l/><l/>",
        b"<l><r/>",
        b"x<l/>",
        b"<l/>x",
        b"\xef\xbb\xbf<l/>",
        b" <?xml version='1.0' encoding='utf-8'?><l/>",
        b'<?xml version="1.0" encoding="latin1"?><l/>',
        b"<!DOCTYPE l><l><r/></l>",
        b'<l xmlns:a="urn:a" xmlns:b="urn:a"><r a:k="" b:k=""/></l>',
        b'<l><r id="" id=""/></l>',
        b'<l><r id=""k=""/></l>',
        b"<l><r xml:id='1 2'/></l>",
        b"<l><r>" + b"<a>" * 199 + b"</a>" * 199 + b"</r></l>",
        b"<l><r>" + b"x" * 1_000_001 + b"</r></l>",
        b"<l><r><r/></r></l>",
        b"<r/>",
        b"<l><a:r/></l>",
        b"<l><r>]]></r></l>",
        b"<l><r>\x00</r></l>",
        b"<l><r>\xff</r></l>",
        "<l><r>\ufffe</r></l>".encode(),
        "<l><é/></l>".encode(),
    ],
)
def test_uncertain_documents_are_left_to_lxml(document):
    assert cut_quickly(document, PATHS[0]) is None
    assert cut_quickly(document, PATHS[0], [1] * 2_000) is None


def test_sizes_are_those_of_the_store():
    """The accelerator writes the form that :class:`StreamedRecords` reads."""
    _, content, _ = cut_quickly(b"<l><r id='1'/></l>", PATHS[1])
    record, values = b'<r id="1"/>', b'[["1"],[""],[],[]]'
    assert content == struct.pack(">II", len(record), len(values)) + record + values
