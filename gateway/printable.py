r"""Show texts of other parties so that no terminal acts on them.

A text from a registry, a topic or a file can hold control characters. They move the cursor, change
what was printed before, or let a text look like another one. Every such character becomes an escape
sequence in letters, such as ``\x1b``. The sequences of all characters above ASCII have the form of
JSON, so that JSON stays valid and keeps its values.
"""

from __future__ import annotations

import re
from typing import Any, TextIO, cast

_DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u00ad\u034f\u061c\u070f\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff"  # lone surrogates
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"  # tags and other invisible characters
)
"""Characters that control a terminal, the direction of a text, or nothing that a reader can see."""
_LINE_BREAKS = str.maketrans({"\n": "\\n", "\t": "\\t"})


def printable(text: str) -> str:
    """Return a text with escape sequences for dangerous characters; it may have several lines."""
    return _DANGEROUS.sub(_escape, text)


def one_line(text: object) -> str:
    """Return the text of a value on one line, so that no value can look like a line of its own."""
    return printable(str(text)).translate(_LINE_BREAKS)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x7F:  # noqa: PLR2004 - DEL, where the sequences of JSON begin
        return f"\\x{code:02x}"
    if code > 0xFFFF:  # noqa: PLR2004 - beyond 16 bits
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


class PrintableStream:
    """A text stream whose texts pass :func:`printable`. It offers no way to write bytes.

    ``plain`` is the stream behind it, for a writer that makes its own texts safe.
    """

    def __init__(self, plain: TextIO) -> None:
        self.plain = plain

    def write(self, text: str) -> int:
        """Write a text, and return its length.

        A reader that has closed the output raises a ``BrokenPipeError`` without a number. The
        library of the command line ends a command with exit code 1 at one that has a number.
        """
        try:
            self.plain.write(printable(text))
        except BrokenPipeError:
            raise BrokenPipeError from None
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name in {"buffer", "detach"}:
            raise AttributeError(name)
        return getattr(self.plain, name)


def plain_stream(stream: TextIO) -> TextIO:
    """Return the stream behind a :class:`PrintableStream`, or the stream itself."""
    return cast("TextIO", getattr(stream, "plain", stream))
