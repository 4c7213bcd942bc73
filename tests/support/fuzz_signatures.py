"""Fuzz targets: signed SOAP messages, and documents signed as a whole.

An input is a list of changes to a message that was just signed, six bytes for each change. It
therefore means the same with the keys of another run. What is accepted must be what was signed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from lxml import etree

from gateway.config.requests import Decoder
from gateway.errors import StreamError
from gateway.fetch.push_receiver import PushReceiver
from gateway.fetch.soap import xml_signature
from gateway.fetch.soap.signed_step import verify_document
from gateway.records import RawRecord
from tests.support import signed_messages as messages
from tests.support.certificates import SERVER
from tests.support.fuzz_budget import within_budget
from tests.support.fuzz_mutations import TEXTS

NOW = datetime.now(UTC)
CHANGE_BYTES = 6
MAX_CHANGES = 12
MAX_ELEMENTS = 500
"""A message with more elements is not changed any more, because copies of copies grow fast."""
_TAGS = (
    "{http://schemas.xmlsoap.org/soap/envelope/}Body",
    "{http://schemas.xmlsoap.org/soap/envelope/}Header",
    "{urn:reg}reply",
    "{urn:reg}r",
    "{http://www.w3.org/2000/09/xmldsig#}Object",
    "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd}Security",
)
_FORGED = "<r:r xmlns:r='urn:reg' id='forged'><r:t>Forged</r:t></r:r>"
_TRUST = Decoder.model_validate({"signed": {"trust": {"secret": "them.crt"}}})


def signed_messages(data: bytes) -> None:
    """Receive a changed message. Only the record that was signed may be stored."""
    changed = _changed(etree.fromstring(_messages()[_number(data) % len(_messages())]), data[1:])
    try:
        records = _receive(changed)
    except StreamError:
        return
    assert [record.native_id for record in records] == ["1"]
    assert all(b"Award" in (record.body or b"") for record in records)
    assert b"Forged" not in b"".join(record.body or b"" for record in records)


def signed_documents(data: bytes) -> None:
    """Verify a changed document. What is returned must be what was signed."""
    document = _documents()[_number(data) % len(_documents())]
    try:
        content = _verify(_changed(etree.fromstring(document), data[1:]))
    except StreamError:
        return
    assert _canonical(content) == _canonical(_document())


@within_budget
def _receive(message: bytes) -> Sequence[RawRecord]:
    return _receiver().read_records(message, {"content-type": "text/xml"}, "/in")


@within_budget
def _verify(document: bytes) -> bytes:
    return verify_document(document, _TRUST, messages.SECRETS.__getitem__, NOW, "x")


def _number(data: bytes) -> int:
    return data[0] if data else 0


def _changed(root: etree._Element, changes: bytes) -> bytes:
    """Return a message after the changes of an input, the last ones as bytes of its text."""
    flips: list[tuple[int, int]] = []
    for start in range(0, min(len(changes), MAX_CHANGES * CHANGE_BYTES), CHANGE_BYTES):
        change = changes[start : start + CHANGE_BYTES].ljust(CHANGE_BYTES, b"\0")
        if change[0] >= 200:
            flips.append((int.from_bytes(change[1:4]), change[4]))
        else:
            _change(root, change)
    text = bytearray(etree.tostring(root))
    for place, value in flips:
        text[place % len(text)] ^= value
    return bytes(text)


def _change(root: Any, change: bytes) -> None:
    elements = [element for element in root.iter() if isinstance(element.tag, str)]
    if len(elements) > MAX_ELEMENTS:
        return
    chosen = elements[change[1] % len(elements)]
    other = elements[change[2] % len(elements)]
    _CHANGES[change[0] % len(_CHANGES)](chosen, other, change[3], TEXTS[change[4] % len(TEXTS)])


def _copy_into(chosen: Any, other: Any, amount: int, _: str) -> None:
    other.extend([copy.deepcopy(chosen) for _ in range(1 + amount % 40)])


def _copy_beside(chosen: Any, _: Any, amount: int, __: str) -> None:
    if chosen.getparent() is not None:
        (chosen.addprevious if amount % 2 else chosen.addnext)(copy.deepcopy(chosen))


def _move(chosen: Any, other: Any, _: int, __: str) -> None:
    if (
        chosen.getparent() is not None
        and chosen not in other.iterancestors()
        and chosen is not other
    ):
        other.append(chosen)


def _wrap(chosen: Any, _: Any, amount: int, __: str) -> None:
    for _ in range(1 + amount % 60):
        parent = chosen.getparent()
        if parent is None:
            return
        outer = etree.Element(_TAGS[amount % len(_TAGS)])
        parent.replace(chosen, outer)
        outer.append(chosen)


def _forge(chosen: Any, _: Any, amount: int, __: str) -> None:
    forged = etree.fromstring(_FORGED)
    if amount % 2 and chosen.getparent() is not None:
        chosen.getparent().replace(chosen, forged)
    else:
        chosen.insert(0, forged)


def _steal_id(chosen: Any, other: Any, _: int, __: str) -> None:
    """Give the ids of an element to another one, and both to neither."""
    for name in [name for name in chosen.attrib if name.lower().endswith("id")]:
        other.set(name, chosen.attrib[name])


def _set_attribute(chosen: Any, _: Any, amount: int, text: str) -> None:
    names = list(chosen.attrib) or ["Id"]
    chosen.set(names[amount % len(names)], "".join(filter(str.isprintable, text)))


def _set_text(chosen: Any, _: Any, __: int, text: str) -> None:
    chosen.text = "".join(filter(str.isprintable, text))


def _remove(chosen: Any, _: Any, __: int, ___: str) -> None:
    if chosen.getparent() is not None:
        chosen.getparent().remove(chosen)


def _rename(chosen: Any, _: Any, amount: int, __: str) -> None:
    chosen.tag = _TAGS[amount % len(_TAGS)]


def _comment(chosen: Any, _: Any, amount: int, __: str) -> None:
    """Split the text of an element by a comment or an instruction."""
    node = etree.Comment("c") if amount % 2 else etree.ProcessingInstruction("p", "i")
    text = chosen.text or ""
    node.tail = text[amount % (len(text) + 1) :]
    chosen.text = text[: amount % (len(text) + 1)]
    chosen.insert(0, node)


_CHANGES: tuple[Callable[[Any, Any, int, str], None], ...] = (
    *(_copy_into, _copy_beside, _move, _wrap, _forge, _steal_id, _set_attribute, _set_text),
    *(_remove, _rename, _comment),
)


@cache
def _receiver() -> PushReceiver:
    async def store(_: object) -> None:
        raise AssertionError

    connector = messages.load(messages.push_file())
    return PushReceiver(connector, messages.SECRETS.__getitem__, store, now=lambda: NOW)


@cache
def _messages() -> tuple[bytes, ...]:
    return (
        messages.signed(now=NOW),
        messages.signed(now=NOW, parts=("body",)),
        messages.signed(now=NOW, by="stranger"),
        messages.signed(now=NOW - timedelta(hours=2)),
        etree.tostring(messages.sign(messages.envelope_of(messages.bare(), "1.2"), now=NOW)),
    )


def _document() -> bytes:
    return messages.bare().encode()


@cache
def _documents() -> tuple[bytes, ...]:
    from signxml.signer import XMLSigner

    signer = XMLSigner(c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#")
    root: Any = etree.fromstring(_document())
    made = signer.sign(root, key=SERVER.key_pem, cert=[SERVER.pem.decode()])
    return (etree.tostring(made),)


def _canonical(document: bytes) -> bytes:
    return xml_signature.canonicalise(etree.fromstring(document))


SEEDS = [
    b"\0",
    *(
        bytes([message]) + bytes([change, 9, 3, 1, 5, 0])
        for message in range(5)
        for change in range(11)
    ),
    *(bytes([0, 200, 0, place, 7, 1, 0]) for place in range(0, 256, 16)),
    bytes([0, 0, 30, 2, 0, 0, 0, 5, 30, 31, 0, 0, 0, 4, 30, 0, 1, 0, 0]),
]
WORDS = ["\\x00\\x05\\x01", "\\x04\\x1e\\x00\\x01", "\\x05\\x1e\\x1f", "\\xc8\\x00\\x10"]
