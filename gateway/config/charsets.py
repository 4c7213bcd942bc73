"""Find a character encoding by its name."""

from __future__ import annotations

import codecs
import difflib
import re

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:+()-]{0,39}")
_CODE_PAGE = re.compile(r"(?:cs|x-)?(?:windows|win|ccsid|cp|ibm)[-_ ]?0*(\d{3,5})", re.IGNORECASE)
_BIDIRECTIONAL = re.compile(r"(iso[-_]8859[-_][68])[-_][ei]", re.IGNORECASE)
_OTHER_NAMES = {
    "iso-10646-ucs-2": "utf-16",
    "ucs-2": "utf-16",
    "iso-10646-ucs-4": "utf-32",
    "ucs-4": "utf-32",
    "windows-31j": "cp932",
    "cswindows31j": "cp932",
    "x-mac-ce": "mac_latin2",
    "x-mac-centraleurroman": "mac_latin2",
}
_NO_CHARSETS = frozenset(
    {"charmap", "idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)
"""Python's codecs that are notations or insecure, not character sets for documents."""
WIDE = frozenset({"utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-32-le"})
"""The encodings that use two or four bytes for each character."""
_PRINTABLE = bytes(range(0x20, 0x7F))
_COMMON = [
    *("utf-8", "utf-16", "utf-16le", "utf-16be", "utf-32", "us-ascii", "latin1", "latin2"),
    *(f"iso-8859-{number}" for number in (*range(1, 12), 13, 14, 15, 16)),
    *(f"windows-{number}" for number in range(1250, 1259)),
    *("cp437", "cp775", "cp850", "cp852", "cp855", "cp857", "cp866", "koi8-r", "koi8-u"),
    *("macintosh", "shift_jis", "euc-jp", "gb18030", "gbk", "big5", "euc-kr"),
]


def find_charset(name: str) -> str | None:
    """Return Python's name of a character encoding, or ``None`` when there is no such encoding.

    A name is one of the IANA registry or of Python, in upper or lower case. Encodings that do not
    map bytes to text, and UTF-7, count as unknown.
    """
    text = name.strip()
    if not _NAME.fullmatch(text):
        return None
    for candidate in _candidates(text):
        try:
            codec = codecs.lookup(candidate).name
            "0".encode(candidate)  # a codec such as base64 does not encode text
        except (LookupError, UnicodeError, ValueError):
            continue
        codec = codec.replace("_", "-")
        if codec in _NO_CHARSETS:
            return None
        return "utf-8" if codec == "utf-8-sig" else codec
    return None


def _candidates(text: str) -> list[str]:
    lower = text.lower()
    names = [lower]
    if lower in _OTHER_NAMES:
        names.append(_OTHER_NAMES[lower])
    if page := _CODE_PAGE.fullmatch(text):
        names.append(f"cp{page[1]}")
    if charset := _BIDIRECTIONAL.fullmatch(text):
        names.append(charset[1].lower())
    if lower.startswith(("x-", "cs")):
        names.append(lower[2:].lstrip("-"))
    return names


def contains_ascii(codec: str) -> bool:
    """Return whether each printable ASCII character is its own byte in an encoding.

    Encodings that switch their meaning with escape sequences do not count.
    """
    if codec.startswith("iso2022"):
        return False
    try:
        return _PRINTABLE.decode(codec) == _PRINTABLE.decode("ascii")
    except UnicodeError:
        return False


def suggest_charset(name: str) -> str:
    """Return the name of a common encoding that is similar to ``name``, or an empty text."""
    near = difflib.get_close_matches(name.strip().lower(), _COMMON, 1, 0.6)
    return near[0] if near else ""
