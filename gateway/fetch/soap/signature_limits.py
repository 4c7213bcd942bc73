"""Refuse a signature or a signed message whose canonical form would cost too much time.

Canonicalisation compares the attributes of an element with each other. In its inclusive form it
also compares all namespaces in scope with each other, for each element. The checks here take linear
time. They come before the first canonicalisation.
"""

from __future__ import annotations

from typing import NoReturn, cast

from lxml import etree

from gateway.errors import StreamHalted

DS = "http://www.w3.org/2000/09/xmldsig#"
MAX_NAMESPACES = 200
"""The largest number of namespace declarations in scope of one element."""
MAX_ATTRIBUTES = 128
"""The largest number of attributes of one element."""
MAX_REFERENCES = 32
MAX_TRANSFORMS = 4
"""The largest number of transforms of one reference."""
MAX_SIGNATURE_ELEMENTS = 400
MAX_SIGNATURE_DEPTH = 16
MAX_SIGNATURE_TEXT = 100_000
"""The largest text or attribute inside a signature or a token, in characters."""
MAX_INCLUSIVE_COST = 400_000_000
"""The largest number of comparisons of namespaces, which take about 5 seconds."""
_HAS_MANY_ATTRIBUTES = etree.XPath(f"boolean(descendant-or-self::*[@*[{MAX_ATTRIBUTES + 1}]])")
_ELEMENT_COUNT = etree.XPath("count(descendant-or-self::*)")
_LONG = f"[string-length() > {MAX_SIGNATURE_TEXT}]"
_HAS_LONG_VALUE = etree.XPath(f"boolean(descendant-or-self::*[text(){_LONG} or @*{_LONG}])")
_SIGNATURE_LIMITS = (
    (f"descendant::*[{MAX_SIGNATURE_ELEMENTS}]", f"more than {MAX_SIGNATURE_ELEMENTS} elements"),
    ("/".join("*" * (MAX_SIGNATURE_DEPTH + 1)), f"more than {MAX_SIGNATURE_DEPTH} levels"),
    (
        f"descendant::*[ds:Reference[{MAX_REFERENCES + 1}]]",
        f"more than {MAX_REFERENCES} references",
    ),
    (
        f"descendant::*[ds:Transform[{MAX_TRANSFORMS + 1}]]",
        f"more than {MAX_TRANSFORMS} transforms of a reference",
    ),
)
_SIGNATURE_CHECKS = tuple(
    (etree.XPath(f"boolean({path})", namespaces={"ds": DS}), problem)
    for path, problem in _SIGNATURE_LIMITS
)

SIGNATURE_EXPECTED = (
    "expected a SOAP envelope with a signature, because the connector has `security`; "
    "ask the registry to sign what it sends"
)
"""What a message about an absent signature says next."""


class SignatureRefused(StreamHalted):
    """A missing, invalid or untrusted signature. ``reason`` starts with ``SIGNATURE_``."""


def check_signature_size(signature: etree._Element) -> None:
    """Raise ``SIGNATURE_TOO_COMPLEX`` for a signature that costs too much to verify."""
    for is_exceeded, problem in _SIGNATURE_CHECKS:
        if is_exceeded(signature):
            _refuse(f"the signature has {problem}")
    check_value_sizes(signature)
    check_document_size(signature)
    if len(signature.nsmap) > MAX_NAMESPACES:
        _refuse(f"more than {MAX_NAMESPACES} namespaces are in scope of the signature")


def check_value_sizes(element: etree._Element) -> None:
    """Raise ``SIGNATURE_TOO_COMPLEX`` for a longer text or attribute than a signature needs."""
    if _HAS_LONG_VALUE(element):
        _refuse(f"a value of the signature has more than {MAX_SIGNATURE_TEXT} characters")


def check_document_size(root: etree._Element) -> None:
    """Raise ``SIGNATURE_TOO_COMPLEX`` for a document that costs too much to canonicalise."""
    if _HAS_MANY_ATTRIBUTES(root):
        _refuse(f"an element has more than {MAX_ATTRIBUTES} attributes")
    if most_namespaces(root) > MAX_NAMESPACES:
        _refuse(f"more than {MAX_NAMESPACES} namespaces are in scope of an element")


def check_inclusive_cost(element: etree._Element) -> None:
    """Raise ``SIGNATURE_TOO_COMPLEX`` when inclusive canonicalisation would cost too much."""
    namespaces = len(element.nsmap) + most_namespaces(element)
    if cast("float", _ELEMENT_COUNT(element)) * namespaces**2 > MAX_INCLUSIVE_COST:
        _refuse(
            f"it has too many elements for inclusive canonicalisation with {namespaces} "
            "namespaces; ask the registry to sign with exclusive canonicalisation"
        )


def most_namespaces(root: etree._Element) -> int:
    """Return the largest number of namespaces that a document declares in scope of an element.

    The count ends soon after the limit, and leaves out declarations above ``root``.
    """
    most = in_scope = 0
    for event, _ in etree.iterwalk(root, events=("start-ns", "end-ns")):
        in_scope += 1 if event == "start-ns" else -1
        if in_scope > most:
            most = in_scope
            if most > MAX_NAMESPACES:
                break
    return most


def _refuse(problem: str) -> NoReturn:
    raise SignatureRefused(
        "SIGNATURE_TOO_COMPLEX", f"the message cannot be verified in reasonable time: {problem}"
    )
