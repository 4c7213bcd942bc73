"""Change inputs by their structure: JSON, XML, CSV, forms, multipart messages and HTTP heads.

Changes of bytes alone rarely get past a parser. The same random numbers give the same change.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from lxml import etree

Change = Callable[[bytes, random.Random], bytes]
TEXTS = (
    *("", " ", "0", "-1", "1e999", "NaN", "null", "true", "9" * 40, "0x7fffffff", "1" + "0" * 400),
    *("\u202e\u2066", "\u0130\u017f", "e\u0301", "\U0001f4a9", "\ufeff", "\u2028", "\x85", "\x7f"),
    *(
        "../..",
        "a\r\nX: y",
        "{id}",
        "${id}",
        "{{id}}",
        "%00",
        "%2B%",
        "http://[::1",
        "\u0661\u0662",
    ),
    *("<a>", "&#0;", "]]>", "<!DOCTYPE a>", "cid:p", "2026-02-30", "9999-12-31T24:00", "+99:99"),
)
_VALUES: tuple[Any, ...] = (*TEXTS, None, True, 0, -1, 10**30, -(10**400), 1e308, 5e-324, [], {})
_MARKS = b"<>{}[]\"'&=;,:\r\n%+- \0\xff\x80"
_PIECE = re.compile(rb"<[^<>]*>|\"[^\"]*\"|[0-9]+|[A-Za-z_]+|\r?\n|[^\sA-Za-z0-9]")
_MAX_REPEATS = 400


def mutate(data: bytes, chance: random.Random, others: Sequence[bytes], longest: int) -> bytes:
    """Return a changed input of at most ``longest`` bytes. ``others`` are inputs to splice from."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        data = (_structured(data, chance) or _plain(data, chance, others))[:longest]
    return data


def _structured(data: bytes, chance: random.Random) -> bytes:
    """Change a document inside an input, or return nothing if no document is found."""
    if chance.random() < 0.4:
        return b""
    found = re.search(rb"[<{\[]", data)
    if not found:
        return b""
    head, document = data[: found.start()], data[found.start() :]
    try:
        return head + (_xml if found[0] == b"<" else _json)(document, chance)
    except (ValueError, RecursionError, etree.LxmlError):
        return b""


# --- JSON


def _json(document: bytes, chance: random.Random) -> bytes:
    root = json.loads(document)
    places: list[tuple[Any, Any]] = list(_places(root))
    if not places:
        return json.dumps(_nested(root, chance)).encode()
    holder, key = chance.choice(places)
    kind = chance.randrange(7)
    if kind == 0:
        holder[key] = chance.choice(_VALUES)
    elif kind == 1:
        holder[key] = _nested(holder[key], chance)
    elif kind == 2:
        holder[key] = [copy.deepcopy(holder[key])] * chance.randrange(_MAX_REPEATS)
    elif kind == 3:
        other, place = chance.choice(places)
        holder[key], other[place] = other[place], holder[key]
        return json.dumps(root).encode()
    elif kind == 4:
        del holder[key]
    elif kind == 5 and isinstance(holder, dict):
        holder[chance.choice(TEXTS)] = holder.pop(key)
    else:
        return _with_repeated_key(root, chance)
    return json.dumps(root, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Any:
    keys = (
        value.keys()
        if isinstance(value, dict)
        else range(len(value) if isinstance(value, list) else 0)
    )
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


def _nested(value: Any, chance: random.Random) -> Any:
    for _ in range(chance.choice((1, 3, 70))):
        value = [value] if chance.random() < 0.5 else {"a": value}
    return value


def _with_repeated_key(root: Any, chance: random.Random) -> bytes:
    text = json.dumps(root)
    return re.sub(
        r'("\w+"): ', rf"\1: {chance.choice((1, '[]', 'null'))}, \1: ", text, count=1
    ).encode()


# --- XML


def _xml(document: bytes, chance: random.Random) -> bytes:
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    root = etree.fromstring(document, parser)
    elements = [element for element in root.iter() if isinstance(element.tag, str)]
    chosen, other = chance.choice(elements), chance.choice(elements)
    kind = chance.randrange(8)
    if kind == 0:
        other.extend([copy.deepcopy(chosen) for _ in range(chance.choice((1, 2, 50)))])
    elif kind == 1:
        _wrap(chosen, chance)
    elif kind == 2 and chosen.getparent() is not None:
        chosen.getparent().remove(chosen)
    elif kind == 3:
        chosen.tag = chance.choice(("a", "{urn:other}a", other.tag))
    elif kind == 4:
        chosen.text = chance.choice(TEXTS)
    elif kind == 5 and other.attrib:
        chosen.attrib.update(other.attrib)
    elif kind == 6:
        chosen.set(chance.choice(("id", "Id", "xmlns-a", "{urn:a}id")), chance.choice(TEXTS))
    else:
        chosen.append(etree.Comment(" c ") if chance.random() < 0.5 else etree.PI("p", "i"))
    return etree.tostring(root)


def _wrap(element: Any, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 2, 90))):
        parent, tail = element.getparent(), element.tail
        outer = etree.Element(chance.choice(("a", element.tag, "{urn:other}b")))
        if parent is None:
            element.append(outer)  # The root stays the root.
            element = outer
            continue
        parent.replace(element, outer)
        element.tail, outer.tail = None, tail
        outer.append(element)
        element = outer


# --- any other text


def _plain(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    return chance.choice(_CHANGES)(data, chance, others)


def _flip(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    made = bytearray(data or b"\0")
    for _ in range(chance.choice((1, 1, 4))):
        made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
    return bytes(made)


def _insert(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    piece = (
        chance.choice(TEXTS).encode() if chance.random() < 0.5 else bytes([chance.choice(_MARKS)])
    )
    return data[:at] + piece * chance.choice((1, 1, 2, 200)) + data[at:]


def _change_piece(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Repeat, remove or replace one tag, text, number, name or line end."""
    pieces = list(_PIECE.finditer(data))
    if not pieces:
        return data + b"0"
    found = chance.choice(pieces)
    old = found[0]
    new = chance.choice(
        (
            b"",
            old * 2,
            old * chance.randrange(_MAX_REPEATS),
            chance.choice(TEXTS).encode(),
            chance.choice(pieces)[0],
        )
    )
    return data[: found.start()] + new + data[found.end() :]


def _repeat_lines(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Repeat, remove or move a line of a table or a head, a field of a form, or a part."""
    mark = chance.choice(
        [mark for mark in (b"\r\n", b"\n", b"&", b"--b", b",", b";") if mark in data] or [b" "]
    )
    lines = data.split(mark)
    at = chance.randrange(len(lines))
    lines[at : at + 1] = chance.choice(
        ([], [lines[at]] * 2, [lines[at]] * chance.randrange(90), lines[at:] + lines[:at])
    )
    return mark.join(lines)


def _splice(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others or [data])
    start, end = sorted((chance.randrange(len(other) + 1), chance.randrange(len(other) + 1)))
    at = chance.randrange(len(data) + 1)
    return data[:at] + other[start:end] + data[at + chance.choice((0, end - start)) :]


def _cut(data: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


_CHANGES = (
    _flip,
    _flip,
    _insert,
    _insert,
    _change_piece,
    _change_piece,
    _repeat_lines,
    _repeat_lines,
    _splice,
    _cut,
)
