"""No text of another party acts on a terminal or looks like a line of its own."""

from __future__ import annotations

import errno
import io
import json
import unicodedata

import pytest

from gateway.printable import PrintableStream, one_line, plain_stream, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("\x9b31m", "\\u009b31m"),
        ("a\x07\x08\x00", "a\\x07\\x08\\x00"),
        ("a\rb", "a\\x0db"),
        ("\x7f", "\\u007f"),
        ("\u202edlog", "\\u202edlog"),
        ("\u2066a\u2069", "\\u2066a\\u2069"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("a\u200bb\u200d\ufeff", "a\\u200bb\\u200d\\ufeff"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("\ud800", "\\ud800"),
        ("\x85", "\\u0085"),
        ("Ärzte, łódź, 学位, Ὀδυσσεύς, диплом 🎓", "Ärzte, łódź, 学位, Ὀδυσσεύς, диплом 🎓"),
        ("two\n\tlines", "two\n\tlines"),
    ],
)
def test_dangerous_characters_become_letters(text, shown) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_value_stays_on_one_line() -> None:
    assert one_line("a\nb\tc\r\nd") == "a\\nb\\tc\\x0d\\nd"
    assert one_line(7) == "7"


def test_every_invisible_character_of_unicode_is_shown() -> None:
    allowed = {"\n", "\t"}
    hidden = [
        character
        for code in range(0x110000)
        if unicodedata.category(character := chr(code)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        and character not in allowed
        and printable(character) == character
    ]
    visible = [character for character in hidden if 0x600 <= ord(character) <= 0x8FF]
    assert hidden == visible  # Arabic signs that frame a number are visible.


def test_json_stays_valid_and_keeps_its_values() -> None:
    value = {"a\u202e": "x\x1b\x9b\u2028\U000e0041\ufeff\ud800\x7f", "b": "Ä"}
    assert json.loads(printable(json.dumps(value, ensure_ascii=False))) == value


def test_stream_writes_printable_text_and_offers_no_bytes() -> None:
    plain = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream = PrintableStream(plain)
    print("a\x1b[2Jb", "é", file=stream)  # type: ignore[call-overload]
    stream.writelines(["\x9b"])
    stream.flush()
    assert plain.buffer.getvalue().decode() == "a\\x1b[2Jb é\n\\u009b"  # type: ignore[attr-defined]
    assert not hasattr(stream, "buffer")
    assert stream.encoding == "utf-8"
    assert plain_stream(stream) is plain  # type: ignore[arg-type]
    assert plain_stream(plain) is plain


def test_a_closed_output_has_no_number_that_a_library_takes_for_a_failure():
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError) as found:
        PrintableStream(Closed()).write("text")
    assert found.value.errno is None
