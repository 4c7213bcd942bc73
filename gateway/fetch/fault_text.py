"""Find the words with which a registry explains an error, and hide what may be personal in them.

Such a text can quote the name or the identifier of a person. Use it in messages and logs only as
:func:`mask_fault_text` returns it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.config.connection import ReplyRule
from gateway.config.expressions.compiler import is_element
from gateway.errors import StreamError
from gateway.fetch import xml_parser
from gateway.fetch.http.request_reply import RegistryReply

MAX_LENGTH = 200
MAX_WORD = 30
MAX_BODY_BYTES = 100_000
MIN_VALUE = 3
"""A shorter value of a request can be a part of any word."""
MAX_DIGITS_OF_CODE = 5
"""An identifier of a person has more digits than this."""
_MASK = "…"
_QUOTED = re.compile(
    r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`|<[^<>]*>|\u00ab[^\u00ab\u00bb]*\u00bb"
    r"|[\u201c-\u201e][^\u201c-\u201e]*[\u201c\u201d]|(?<!\w)[\u2018\u201a][^\u2018-\u201a]*[\u2018\u2019]"
)
_LETTERS = re.compile(
    r"[a-zß-öø-ÿ\u0100-\u058f\u1e00-\u1fff]+(?:['\u2019-][a-zß-öø-ÿ\u0100-\u058f]+)*"
)
"""Small letters of Latin, Greek, Cyrillic and Armenian: alphabets that write names with capitals.

The ranges hold capitals as well, so the text must be in lower case before.
"""
_TECHNICAL_TEXT = """
a an the this your no not request requests response reply service server client person student
record records user token access certificate signature message operation method endpoint
parameter parameters value header schema validation quota limit session database connection
gateway timeout time error errors exception failure fault internal external invalid unknown
unexpected unable unauthorized unauthorised forbidden denied missing required expired failed
cannot could too bad wrong illegal unsupported unavailable temporarily please try only
authentication authorization authorisation permission permissions credentials account api http
https tls ssl soap xml json sql url uri id wsdl rest oauth x-road found parse parsing
processing maintenance system query date period data result results exceeded
"""
_TECHNICAL_WORDS = frozenset(_TECHNICAL_TEXT.split())
"""Words that keep their capital letter: they name no person."""
_TEXT_NAMES = (
    *("faultstring", "reason", "error_description", "errordescription", "errormessage"),
    *("error_message", "errortext", "detail", "details", "message", "msg", "title", "description"),
    *("error", "text"),
)
"""Names of the fields that explain an error, in lower case; the first that has a text is taken."""
_OTHER_NAMES = """
errors code status statuscode type instance timestamp path traceid trace_id requestid key
request_id correlationid errorcode error_code error_uri faultcode faultactor success result ok
fault faults
"""
_ERROR_FIELDS = frozenset((*_TEXT_NAMES, *_OTHER_NAMES.split()))
"""Names of the fields that an error body may have, in lower case."""
_HOLDERS = ("error", "errors", "fault", "faults", "exception")


def mask_fault_text(text: str) -> str:
    """Return a registry's text without values that may be personal, in at most 200 characters.

    Quoted texts, words with digits or signs, and words with a capital letter become ``…``. Common
    technical words stay, with capitals and joined by ``_`` too.
    """
    words: list[str] = []
    for word in _QUOTED.sub(f" {_MASK} ", text[:2_000]).split():
        masked = _mask_word(word)
        if not (masked == _MASK and words and words[-1] == _MASK):
            words.append(masked)
    joined = " ".join(words)
    if not re.search(r"\w", joined):
        return ""  # Nothing is left to read.
    return joined if len(joined) <= MAX_LENGTH else joined[: MAX_LENGTH - 1].rstrip() + _MASK


def quote_fault_text(text: str) -> str:
    """Return a clause that quotes the masked words of a registry, or an empty text."""
    masked = mask_fault_text(text)
    return f'; the registry says: "{masked}"' if masked else ""


def without_sent_values(text: str, values: Iterable[object]) -> str:
    """Return a registry's text without the values that the request carried, such as an id."""
    for value in values:
        for part in value if isinstance(value, list | tuple) else (value,):
            if isinstance(part, str) and len(part) >= MIN_VALUE:
                text = text.replace(part, _MASK)
    return text


def quote_fault_code(codes: Iterable[str]) -> str:
    """Return the code of a fault in quotation marks, or words for one that may hold a value.

    A code consists of letters and a few digits. Anything else can be an identifier of a person.
    """
    code = " ".join(codes)
    bare = re.sub(r"\{[^{}]*\}", "", code)
    digits = sum(map(str.isdigit, bare))
    is_code = re.fullmatch(r"[A-Za-z0-9_.:/ -]{1,100}", bare) is not None
    return (
        repr(code) if is_code and digits <= MAX_DIGITS_OF_CODE else "with a code that is not shown"
    )


def describe_reply_rule(number: int, rule: ReplyRule) -> str:
    """Return which rule of a connector gives a reply its meaning."""
    reason = f", reason: {rule.reason}" if rule.reason else ""
    return f"rule {number} under `replies` (then: {rule.then}{reason}) in the connector file"


def fault_text_of(reply: RegistryReply) -> str:
    """Return the words with which a reply explains its error status, or an empty text.

    They are not masked. Only small JSON and XML bodies have such words.
    """
    if reply.body.size > MAX_BODY_BYTES:
        return ""
    head = reply.body.head(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    try:
        if head[:1] in {b"{", b"["}:
            return fault_text_in(json.loads(reply.body.read()))
        if head[:1] == b"<":
            return fault_text_in(xml_parser.parse(reply.body, transport=reply.charset))
    except (ValueError, RecursionError, StreamError):
        return ""
    return ""


def fault_text_in(root: Any) -> str:
    """Return the words with which a document explains an error, or an empty text.

    They are not masked. A document explains an error in a field with the name of one, or when it
    has no other fields than those of an error.
    """
    if is_element(root):
        return next(_texts_of_xml(root), "")
    return next(_texts_of_json(root), "")


def _mask_word(word: str) -> str:
    inner = word.lstrip("([{-").rstrip(".,;:!?)]}-")
    if not inner:
        return word
    if len(inner) > MAX_WORD:
        return _MASK  # It can be a token or a key.
    is_technical = all(part in _TECHNICAL_WORDS for part in re.split("[_.-]", inner.lower()))
    if is_technical or (inner == inner.lower() and _LETTERS.fullmatch(inner)):
        return word
    return _MASK


def _texts_of_json(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value[:3]:
            yield from _texts_of_json(item)
    if not isinstance(value, Mapping):
        return
    fields = {str(name).lower(): inner for name, inner in value.items()}
    for name in _HOLDERS:
        inner = fields.get(name)
        if isinstance(inner, list) and inner and all(isinstance(item, str) for item in inner):
            yield inner[0]
        elif isinstance(inner, Mapping):
            yield from _texts_in_fields({str(key).lower(): text for key, text in inner.items()})
        yield from _texts_of_json(inner)
    if fields.keys() <= _ERROR_FIELDS:
        yield from _texts_in_fields(fields)


def _texts_in_fields(fields: Mapping[str, Any]) -> Iterator[str]:
    for name in _TEXT_NAMES:
        text = fields.get(name)
        if isinstance(text, str) and text.strip():
            yield text


def _texts_of_xml(root: Any) -> Iterator[str]:
    for element in (root, *root.iter("*")):
        name = _local_name(element)
        if name in {"faultstring", "errormessage", "errortext", "error_description"}:
            yield from _text_of_element(element)
        elif name in _HOLDERS or name in {"problem", "soapfault"} or name.endswith("exception"):
            inner = {_local_name(child): child for child in reversed(element)}
            for text_name in _TEXT_NAMES:
                if text_name in inner:
                    yield from _text_of_element(inner[text_name])
            if len(element) == 0:
                yield from _text_of_element(element)


def _text_of_element(element: Any) -> Iterator[str]:
    text = "".join(map(str, element.itertext())).strip()
    if text:
        yield text


def _local_name(element: Any) -> str:
    tag = element.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""
