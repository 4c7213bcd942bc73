"""Convert one selected value to the type of its target field.

The casts are strict: they raise :class:`~gateway.harmonise.values.text.CastError` and never guess.
Only ASCII digits are digits. ``NaN`` is not a number, and 30 February is not a date. Text is NFC,
trimmed, and free of control and bidirectional characters.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import re2

from gateway.config.code_lists import ISCED_F, NO_SINGLE_LANGUAGE
from gateway.config.rules import Boolean, Cast
from gateway.harmonise.values.dates import (
    date_cast,
    date_formats,
    datetime_cast,
    day_cast,
    epoch,
    epoch_date,
    partial_date,
    period_date,
)
from gateway.harmonise.values.iso_codes import COUNTRIES, LANGUAGES
from gateway.harmonise.values.text import (
    CastError,
    Convert,
    clean_text,
    collapse_whitespace,
    read_integer,
    read_text,
    scalar_text,
)
from gateway.identifiers import is_web_address
from gateway.record_parts import UnknownCode

_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_LONGEST = 100
"""The most digits of a number, and the largest exponent."""
_COMMA = re.compile(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]{1,18})(,[0-9]{1,18})?")
_POINT = re.compile(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]{1,18})(\.[0-9]{1,18})?")
_LOCAL_LANGUAGE = re.compile("q[a-t][a-z]")
"""Codes of ISO 639-2 for local use, ``qaa`` to ``qtz``."""
_SCRIPT = re.compile(r"[a-z]{4}")
_REGION = re.compile(r"[a-z]{2}|[0-9]{3}")
_VARIANT = re.compile(r"[a-z0-9]{5,8}|[0-9][a-z0-9]{3}")
_EMAIL = re.compile(r"[^@\s]++@[^@\s]++")
_USUAL_EMAIL = re.compile(r"[!-?A-~]++@[!-?A-~]++")
"""An address of visible ASCII characters. Reading the text does not change it."""
_MAX_EMAIL_LENGTH = 255
_HOST_AND_PATH = re.compile(r"(//)?[\w-]+(\.[\w-]+)+\.?(:[0-9]{1,5})?([/?#]\S*)?")
_DURATION = re.compile(r"P(?:([0-9]{1,3})Y)?(?:([0-9]{1,3})M)?")


def decimal(value: Any) -> Decimal:
    """Return a decimal number with a decimal point and without thousands separators."""
    if type(value) is int:
        return Decimal(value)
    if isinstance(value, bool):
        raise CastError("not_a_number", "a number")
    if isinstance(value, float):
        number = Decimal(repr(value))
        if not number.is_finite():
            raise CastError("not_a_number", "a finite number")
        return number
    text = scalar_text(value)
    if isinstance(value, Decimal) and value.is_finite() and _is_short(value, text):
        return value
    if not _DECIMAL.fullmatch(text):
        raise CastError(
            "not_a_number",
            "a number such as 7.5, of at most 18 digits 0-9; "
            'for a decimal comma write as: {decimal: ","}',
        )
    return Decimal(text)


def _is_short(value: Decimal, text: str) -> bool:
    """Return whether calculations with a number end soon. Those with 1e-999999999 would not."""
    return len(text) <= _LONGEST and abs(value.adjusted()) <= _LONGEST


def decimal_with_mark(mark: str) -> Convert:
    """Return a cast for numbers with the given decimal mark.

    The other mark may separate thousands.
    """
    pattern, group = (_COMMA, ".") if mark == "," else (_POINT, ",")

    def convert(value: Any) -> Decimal:
        if isinstance(value, int | float | Decimal):
            return decimal(value)
        text = scalar_text(value).replace("\u00a0", "").replace("\u202f", "").replace(" ", "")
        if not pattern.fullmatch(text):
            raise CastError(
                "not_a_number", f"a number with '{mark}' as decimal mark, of at most 18 digits"
            )
        return Decimal(text.replace(group, "").replace(",", "."))

    return convert


def boolean(value: Any) -> bool:
    """Return the truth value of ``true``, ``false``, ``1`` or ``0``."""
    if isinstance(value, bool):
        return value
    word = scalar_text(value).lower()
    if word in {"true", "1"}:
        return True
    if word in {"false", "0"}:
        return False
    raise CastError(
        "not_boolean",
        "true or false; name the registry's words: as: {boolean: {true: [...], false: [...]}}",
    )


def boolean_words(words: Boolean) -> Convert:
    """Return a cast from the words of a registry to true or false."""
    yes, no = {word.casefold() for word in words.true}, {word.casefold() for word in words.false}

    def convert(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = scalar_text(value).casefold()
        if word in yes:
            return True
        if word in no:
            return False
        raise CastError("not_boolean", f"one of {', '.join(words.true + words.false)}")

    return convert


def language(value: Any) -> str:
    """Return the BCP 47 tag of a language, with the shortest code that ISO 639 defines.

    Script, region and variants stay, for example ``sv_FI`` gives ``sv-FI``. The code ``no`` gives
    ``nb``. A code such as ``mul`` names no single language, so the record does without it.
    """
    head, *parts = re.split(r"[-_]", scalar_text(value).lower())
    tag = LANGUAGES.get(head)
    if tag is None:
        if (head in NO_SINGLE_LANGUAGE or _LOCAL_LANGUAGE.fullmatch(head)) and not parts:
            raise CastError(
                "language_unknown",
                "one language; mul, und, mis, zxx and codes for local use name none",
                leave_out=True,
            )
        raise CastError("not_a_language", "a language by ISO 639 code, such as en, eng or sv-FI")
    return "-".join([tag, *_language_subtags(parts)]) if parts else tag


def _language_subtags(parts: list[str]) -> list[str]:
    """Return script, region and variants of a language tag, in the order of BCP 47."""
    scripts = [part.title() for part in parts if _SCRIPT.fullmatch(part)]
    regions = [part.upper() for part in parts if _REGION.fullmatch(part)]
    variants = [part for part in parts if _VARIANT.fullmatch(part)]
    subtags = [*scripts, *regions, *variants]
    if len(subtags) != len(parts) or len(scripts) > 1 or len(regions) > 1:
        raise CastError("not_a_language", "a language tag such as sv-FI or sr-Latn")
    return subtags


def country(value: Any) -> str:
    """Return the ISO 3166-1 alpha-2 code of an alpha-2 or alpha-3 code.

    ``EL`` and ``UK`` give the ISO codes ``GR`` and ``GB``.
    """
    code = COUNTRIES.get(scalar_text(value).upper())
    if code is None:
        raise CastError("not_a_country", "a country by ISO 3166-1 code of two or three letters")
    return code


def isced_f(value: Any) -> str:
    """Return a code of ISCED-F 2013. The record does without a value that is no such code."""
    code = scalar_text(value)
    if code not in ISCED_F:
        raise CastError(
            "isced_unknown",
            "a code of ISCED-F 2013 of 2, 3 or 4 digits as text, such as '0613'",
            leave_out=True,
        )
    return code


def url(default_scheme: str = "") -> Convert:
    """Return a cast that accepts an address of the web.

    ``default_scheme`` completes an address without a scheme.
    """

    def convert(value: Any) -> str:
        text = read_text(value)
        if default_scheme and _HOST_AND_PATH.fullmatch(text):
            text = f"{default_scheme}://{text.removeprefix('//')}"
        if not is_web_address(text):
            raise CastError(
                "url_invalid",
                "an address such as https://office.example/page; "
                "as: {url: {scheme: https}} completes one without its scheme",
                leave_out=True,
            )
        return text

    return convert


def email(value: Any) -> str:
    """Return an e-mail address. The record does without a text that is none."""
    if type(value) is str and _USUAL_EMAIL.fullmatch(value) and len(value) <= _MAX_EMAIL_LENGTH:
        return value
    text = read_text(value)
    if len(text) > _MAX_EMAIL_LENGTH or not _EMAIL.fullmatch(text):
        raise CastError("email_invalid", "an address such as name@office.example", leave_out=True)
    return text


def duration_in_months(value: Any) -> int:
    """Return the number of months of an ISO 8601 duration of years and months."""
    match = _DURATION.fullmatch(scalar_text(value))
    if not match or not (match[1] or match[2]):
        raise CastError(
            "not_a_duration", "an ISO 8601 duration of years and months, such as P3Y or P1Y6M"
        )
    return int(match[1] or 0) * 12 + int(match[2] or 0)


_MAX_UNCLOSED = 20
_SHORT_MARKUP = 2_000
"""The length up to which tags that never end are harmless."""


class _HtmlToText(HTMLParser):
    """Collects the text of markup.

    The library reads the rest of a text again for each tag that never ends. A text that is not
    short may therefore have few such tags.
    """

    def __init__(self, *, paragraphs: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.unclosed = 0
        self.parts: list[str] = []
        self.hidden = 0
        self.mark = "\n" if paragraphs else " "

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in {"script", "style"}:
            self.hidden += 1
        if tag in {"p", "br", "li", "div", "tr", "h1", "h2", "h3", "h4", "ul", "ol"}:
            self.parts.append(self.mark)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"} and self.hidden:
            self.hidden -= 1
        if tag in {"p", "li", "div", "tr"}:
            self.parts.append(self.mark)

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)

    def parse_starttag(self, i: int) -> int:
        return self._counted(super().parse_starttag(i))

    def parse_endtag(self, i: int) -> int:
        return self._counted(super().parse_endtag(i))

    def parse_pi(self, i: int) -> int:
        return self._counted(super().parse_pi(i))

    def parse_html_declaration(self, i: int) -> int:
        try:
            end = super().parse_html_declaration(i)
        except AssertionError:  # a marked section of an unknown kind, which HTML skips
            end = self.parse_bogus_comment(i)
        return self._counted(end)

    def parse_comment(self, i: int, report: bool = True) -> int:
        return self._counted(super().parse_comment(i, report))

    def _counted(self, end: int) -> int:
        self.unclosed += end < 0
        if self.unclosed > _MAX_UNCLOSED and len(self.rawdata) > _SHORT_MARKUP:
            raise CastError("not_text", f"markup with at most {_MAX_UNCLOSED} tags that never end")
        return end


def html(*, paragraphs: bool = True) -> Convert:
    """Return a cast from markup to its text."""

    def convert(value: Any) -> str:
        reader = _HtmlToText(paragraphs=paragraphs)
        reader.feed(scalar_text(value))
        reader.close()
        lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
        return clean_text("\n".join(line for line in lines if line))

    return convert


def regular_expression(pattern: str) -> Convert:
    """Return a cast whose pattern must match the whole text. The first group is the value."""
    compiled = re2.compile(pattern)

    def convert(value: Any) -> str:
        match = compiled.fullmatch(read_text(value))
        if not match:
            raise CastError("no_match", f"a text that matches {pattern}")
        return str(match[1] if compiled.groups else match[0])

    return convert


def decode_base64_text(value: Any) -> str:
    """Return the UTF-8 text that base64 encodes."""
    try:
        return clean_text(
            base64.b64decode("".join(scalar_text(value).split()), validate=True).decode()
        )
    except (binascii.Error, ValueError):
        raise CastError("not_base64", "base64 of UTF-8 text") from None


def compile_casts(casts: Sequence[Cast], zone: str, *, to_day: bool = False) -> Convert:
    """Return the function of an ``as:``, which applies its casts one after the other.

    With ``to_day``, a moment that the last one reads becomes the day in the zone of that cast.
    """
    first, *others = [compile_cast(cast, zone) for cast in casts]
    last = casts[-1]
    if to_day and (last.kind == "datetime" or last.simple == "datetime"):
        day = day_cast(last.datetime, zone)
        first, others = (first, [*others[:-1], day]) if others else (day, [])
    if not others:
        return first

    def convert(value: Any) -> Any:
        value = first(value)
        for cast in others:
            value = cast(value)
        return value

    return convert


def compile_cast(cast: Cast, zone: str) -> Convert:
    """Return the function of one cast."""
    kind = cast.kind
    if kind == "simple":
        return named_cast(str(cast.simple), zone)
    table: dict[str, Callable[[], Convert]] = {
        "date": lambda: date_formats(cast.date or ()),
        "partial": lambda: partial_date(str(cast.partial)),
        "datetime": lambda: datetime_cast(cast.datetime, zone),
        "decimal": lambda: decimal_with_mark(str(cast.decimal)),
        "boolean": lambda: boolean_words(cast.boolean),  # type: ignore[arg-type]
        "period": lambda: period_date(cast.period),  # type: ignore[arg-type]
        "url": lambda: url(cast.url.scheme),  # type: ignore[union-attr]
        "html": lambda: html(paragraphs=cast.html.paragraphs if cast.html else True),
        "match": lambda: regular_expression(str(cast.match)),
    }
    return table[kind]()


def named_cast(name: str, zone: str) -> Convert:
    """Return the cast of a name without options."""
    cast = {
        "text": read_text,
        "trim": read_text,
        "collapse": collapse_whitespace,
        "integer": read_integer,
        "decimal": decimal,
        "boolean": boolean,
        "language": language,
        "country": country,
        "duration": duration_in_months,
        "base64": decode_base64_text,
        "email": email,
        "isced_f": isced_f,
        "url": url(),
    }.get(name)
    if cast is not None:
        return cast
    return {
        "html": html,
        "date": lambda: date_cast(zone),
        "datetime": lambda: datetime_cast(None, zone),
        "epoch": lambda: epoch(1),
        "epoch_ms": lambda: epoch(1000),
        "epoch_date": lambda: epoch_date(1, zone),
        "epoch_ms_date": lambda: epoch_date(1000, zone),
        "upper": lambda: lambda value: read_text(value).upper(),
        "lower": lambda: lambda value: read_text(value).lower(),
    }[name]()  # type: ignore[no-untyped-call]


def pass_through(kind: type[Any], convert: Convert, but: type[Any] | None = None) -> Convert:
    """Return the conversion, applied only to values that are not yet of type ``kind``.

    Values of type ``but``, a subtype of ``kind``, are converted as well.
    """

    def finish(value: Any) -> Any:
        return (
            value
            if isinstance(value, kind) and not (but and isinstance(value, but))
            else convert(value)
        )

    return finish


def one_of(choices: tuple[str, ...], field: str, unknown_code: UnknownCode = "reject") -> Convert:
    """Return a cast that accepts only the given words.

    ``unknown_code`` states the treatment of other words. ``keep`` accepts them.
    """
    allowed = frozenset(choices)
    leave_out = unknown_code == "leave_out"
    reason = f"{field.replace('.', '_')}_unknown" if leave_out else "not_in_list"

    def finish(value: Any) -> str:
        word = read_text(value)
        if word not in allowed:
            raise CastError(
                reason,
                f"one of {', '.join(choices)}; translate the registry's words with table",
                leave_out=leave_out,
            )
        return word

    return read_text if unknown_code == "keep" else finish
