"""Convert one selected value to what a target needs, strictly: a value that cannot be read is an error, never a guess.

Only ASCII digits are digits; ``NaN`` is no number; 30 February is no date; text is NFC, trimmed, and free of control and
bidirectional characters.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

from gateway.harmonise.codes import COUNTRIES, LANGUAGES, LANGUAGES_2
from gateway.language.expressions import text_of
from gateway.language.mapping_rules import Boolean, Cast, DateTime

Convert = Callable[[Any], Any]

_FORBIDDEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_COMMA = re.compile(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]{1,18})(,[0-9]{1,18})?")
_POINT = re.compile(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]{1,18})(\.[0-9]{1,18})?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})?")
_PARTIAL = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?")
_PERIOD = re.compile(r"([0-9]{4})\s*(.*)")
_DURATION = re.compile(r"P(?:([0-9]{1,3})Y)?(?:([0-9]{1,3})M)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CastError(ValueError):
    """A value that cannot be read. ``reason`` is a stable code; ``expected`` says what would have been right, never the value."""

    def __init__(self, reason: str, expected: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected


def remembering(convert: Convert, size: int = 4_096) -> Convert:
    """Return the same conversion, which knows the last few thousand texts it has read."""
    of_text = lru_cache(maxsize=size)(convert)
    return lambda value: of_text(value) if type(value) is str else convert(value)


def plain(value: Any) -> str:
    """Return the trimmed text of a scalar or an element; an object or a list is not one value."""
    if type(value) is str:
        return value.strip()
    if isinstance(value, dict | list):
        raise CastError("not_one_value", "one value; this is an object or a list: select deeper")
    return text_of(value).strip()


def text(value: Any) -> str:
    """Read trimmed NFC text."""
    if isinstance(value, bool):
        raise CastError("not_text", "a text or a number; this is true or false: use a table or a boolean target")
    return clean(plain(value))


def clean(found: str) -> str:
    """Return NFC text without characters nobody can see."""
    if found.isascii() and found.isprintable():
        return found
    if "\r" in found:
        found = found.replace("\r\n", "\n").replace("\r", "\n")
    if _FORBIDDEN.search(found):
        raise CastError("control_character", "text without control and bidirectional characters")
    return unicodedata.normalize("NFC", found)


def collapse(value: Any) -> str:
    """Read text with every run of blanks and line breaks as one blank."""
    return " ".join(text(value).split())


def integer(value: Any) -> int:
    """Read a whole number."""
    if isinstance(value, bool):
        raise CastError("not_a_number", "a whole number")
    if isinstance(value, int):
        return value
    found = plain(value)
    if isinstance(value, float | Decimal):
        found = found.removesuffix(".0")
    if not _INTEGER.fullmatch(found):
        raise CastError("not_a_number", "a whole number in digits 0-9")
    return int(found)


def decimal(value: Any) -> Decimal:
    """Read a decimal number with a point, without thousands marks."""
    if type(value) is int:
        return Decimal(value)
    if isinstance(value, bool):
        raise CastError("not_a_number", "a number")
    if isinstance(value, float):
        made = Decimal(repr(value))
        if not made.is_finite():
            raise CastError("not_a_number", "a finite number")
        return made
    found = plain(value)
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if not _DECIMAL.fullmatch(found):
        raise CastError("not_a_number", "a number such as 7.5, in digits 0-9")
    return Decimal(found)


def decimal_with(mark: str) -> Convert:
    """Return a cast for numbers with the given decimal mark; the other mark may group thousands."""
    pattern, group = (_COMMA, ".") if mark == "," else (_POINT, ",")

    def convert(value: Any) -> Decimal:
        if isinstance(value, int | float | Decimal):
            return decimal(value)
        found = plain(value).replace("\u00a0", "").replace("\u202f", "").replace(" ", "")
        if not pattern.fullmatch(found):
            raise CastError("not_a_number", f"a number with '{mark}' as decimal mark")
        return Decimal(found.replace(group, "").replace(",", "."))

    return convert


def boolean(value: Any) -> bool:
    """Read ``true``, ``false``, ``1`` or ``0``."""
    if isinstance(value, bool):
        return value
    found = plain(value).lower()
    if found in {"true", "1"}:
        return True
    if found in {"false", "0"}:
        return False
    raise CastError("not_boolean", "true or false; name the registry's words: as: {boolean: {true: [...], false: [...]}}")


def boolean_words(words: Boolean) -> Convert:
    """Return a cast for a registry's own words."""
    yes, no = {word.casefold() for word in words.true}, {word.casefold() for word in words.false}

    def convert(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        found = plain(value).casefold()
        if found in yes:
            return True
        if found in no:
            return False
        raise CastError("not_boolean", f"one of {', '.join(words.true + words.false)}")

    return convert


def dates(zone: str) -> Convert:
    """Return the cast for ISO dates. A moment in UTC becomes the day it is in ``zone``; with another offset, the day as written."""
    clock = ZoneInfo(zone)

    def convert(value: Any) -> date:
        found = plain(value)
        if match := _DATE.fullmatch(found):
            return _day(int(match[1]), int(match[2]), int(match[3]))
        if _MOMENT.fullmatch(found):
            moment = _moment(found)
            return moment.astimezone(clock).date() if moment.tzinfo and moment.utcoffset() == timedelta(0) else moment.date()
        raise CastError("not_a_date", 'a date such as 2026-02-28; for another form: as: {date: "%d.%m.%Y"}')

    return convert


_DIRECTIVES = {"%Y": "(?P<Y>[0-9]{4})", "%m": "(?P<m>[0-9]{1,2})", "%d": "(?P<d>[0-9]{1,2})"}


def date_formats(formats: tuple[str, ...]) -> Convert:
    """Return a cast that tries strptime formats in order. Only ASCII digits count."""
    attempts = [_date_pattern(form) for form in formats]

    def convert(value: Any) -> date:
        found = plain(value)
        if found.isascii():
            for attempt in attempts:
                if (made := attempt(found)) is not None:
                    return made
        raise CastError("not_a_date", f"a date as {' or '.join(formats)}")

    return convert


def _date_pattern(form: str) -> Callable[[str], date | None]:
    pieces = re.split(r"(%[Ymd])", form)
    if "%" not in "".join(piece for piece in pieces if piece not in _DIRECTIVES) and all(form.count(name) == 1 for name in _DIRECTIVES):
        pattern = re.compile("".join(_DIRECTIVES.get(piece) or re.escape(piece) for piece in pieces))

        def by_pattern(found: str) -> date | None:
            match = pattern.fullmatch(found)
            return _day(int(match["Y"]), int(match["m"]), int(match["d"])) if match else None

        return by_pattern

    def by_strptime(found: str) -> date | None:
        try:
            return datetime.strptime(found, form).date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            return None

    return by_strptime


def _day(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise CastError("not_a_date", "a day that exists") from None


def partial_date(which: str) -> Convert:
    """Return a cast for dates of which month or day may be missing."""

    def convert(value: Any) -> date:
        match = _PARTIAL.fullmatch(plain(value))
        if not match:
            raise CastError("not_a_date", "a date such as 2026, 2026-02 or 2026-02-28")
        return whole_date(match[1], match[2] or "", match[3] or "", which)

    return convert


def whole_date(year: str, month: str, day: str, which: str = "first") -> date:
    """Put a date together from texts; a missing month or day is the first or last one."""
    for part in (year, month, day):
        if part and not _INTEGER.fullmatch(part):
            raise CastError("not_a_date", "year, month and day in digits 0-9")
    if day and not month:
        raise CastError("not_a_date", "a month where there is a day")
    last = which == "last"
    number = int(month) if month else (12 if last else 1)
    if day:
        return _day(int(year), number, int(day))
    first = _day(int(year), number, 1)
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1) if last else first


def period_date(suffixes: dict[str, str]) -> Convert:
    """Return a cast for a year with a code: ``2010K`` with ``{K: 06-01}`` is 1 June 2010."""

    def convert(value: Any) -> date:
        match = _PERIOD.fullmatch(plain(value))
        if not match or match[2] not in suffixes:
            raise CastError("not_a_period", f"a year and one of {', '.join(suffixes)}")
        month, _, day = suffixes[match[2]].partition("-")
        return _day(int(match[1]), int(month), int(day or 1))

    return convert


def moments(rule: DateTime | None, zone: str) -> Convert:
    """Return a cast to an instant in UTC; a time without zone is in the stream's."""
    clock = ZoneInfo(rule.zone if rule and rule.zone else zone)
    formats = rule.format if rule else ()

    def convert(value: Any) -> datetime:
        found = plain(value)
        if formats:
            moment = _by_formats(found, formats)
        elif _MOMENT.fullmatch(found):
            moment = _moment(found)
        elif match := _DATE.fullmatch(found):
            day = _day(int(match[1]), int(match[2]), int(match[3]))
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC if match[4] == "Z" else None)
        else:
            raise CastError("not_a_datetime", "a date and time such as 2026-02-28T12:00:00Z")
        return _utc(moment if moment.tzinfo else moment.replace(tzinfo=clock))

    return convert


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise CastError("not_a_datetime", "a moment between the years 1 and 9999") from None


def _by_formats(found: str, formats: tuple[str, ...]) -> datetime:
    for form in formats if found.isascii() else ():
        try:
            return datetime.strptime(found, form)  # noqa: DTZ007 - the zone is added by the caller
        except ValueError:
            continue
    raise CastError("not_a_datetime", f"a date and time as {' or '.join(formats)}")


def _moment(found: str) -> datetime:
    try:
        return datetime.fromisoformat(found.replace(",", "."))
    except ValueError:
        raise CastError("not_a_datetime", "a day and a time that exist") from None


def epoch(per_second: int) -> Convert:
    """Return a cast from seconds or milliseconds since 1970."""

    def convert(value: Any) -> datetime:
        try:
            return _EPOCH + timedelta(microseconds=integer(value) * (1_000_000 // per_second))
        except OverflowError:
            raise CastError("not_a_datetime", "a moment between the years 1 and 9999") from None

    return convert


def epoch_date(per_second: int, zone: str) -> Convert:
    """Return a cast from an epoch to the day it is in ``zone``."""
    clock, instant = ZoneInfo(zone), epoch(per_second)
    return lambda value: instant(value).astimezone(clock).date()


def language(value: Any) -> str:
    """Read a language as BCP 47: two letters where ISO 639-1 has them, region kept (``sv_FI`` → ``sv-FI``), ``no`` → ``nb``."""
    parts = re.split(r"[-_]", plain(value))
    head = parts[0].lower()
    tag = LANGUAGES.get(head) or (head if head in LANGUAGES_2 else None)
    if tag is None or len(parts) > 3:  # noqa: PLR2004
        raise CastError("not_a_language", "a language by ISO 639 code, such as en, eng or sv-FI")
    for part in parts[1:]:
        if re.fullmatch(r"[A-Za-z]{2}", part):
            tag += "-" + part.upper()
        elif re.fullmatch(r"[A-Za-z]{4}", part):
            tag += "-" + part.title()
        else:
            raise CastError("not_a_language", "a language tag such as sv-FI or sr-Latn")
    return tag


def country(value: Any) -> str:
    """Read a country as ISO 3166-1 alpha-2, from alpha-2 or alpha-3; ``EL`` and ``UK`` as ISO writes them."""
    found = COUNTRIES.get(plain(value).upper())
    if found is None:
        raise CastError("not_a_country", "a country by ISO 3166-1 code of two or three letters")
    return found


def months(value: Any) -> int:
    """Read an ISO 8601 duration of years and months, in months."""
    match = _DURATION.fullmatch(plain(value))
    if not match or not (match[1] or match[2]):
        raise CastError("not_a_duration", "an ISO 8601 duration of years and months, such as P3Y or P1Y6M")
    return int(match[1] or 0) * 12 + int(match[2] or 0)


class _Markup(HTMLParser):
    def __init__(self, *, paragraphs: bool) -> None:
        super().__init__(convert_charrefs=True)
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


def html(*, paragraphs: bool = True) -> Convert:
    """Return a cast from markup to its text."""

    def convert(value: Any) -> str:
        reader = _Markup(paragraphs=paragraphs)
        reader.feed(plain(value))
        reader.close()
        lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
        return clean("\n".join(line for line in lines if line))

    return convert


def matching(pattern: str) -> Convert:
    """Return a cast that takes a text apart: the whole text must match; its first group is the value."""
    compiled = re.compile(pattern, re.ASCII)

    def convert(value: Any) -> str:
        found = text(value)
        match = compiled.fullmatch(found) if len(found) <= 1_000 else None  # noqa: PLR2004
        if not match:
            raise CastError("no_match", f"a text that matches {pattern}")
        return match[1] if compiled.groups else match[0]

    return convert


def from_base64(value: Any) -> str:
    """Read the text inside base64."""
    try:
        return clean(base64.b64decode("".join(plain(value).split()), validate=True).decode())
    except (binascii.Error, ValueError):
        raise CastError("not_base64", "base64 of UTF-8 text") from None


def compile_cast(cast: Cast, zone: str) -> Convert:
    """Return the function of an ``as:``."""
    kind = cast.kind
    if kind == "simple":
        return simple(str(cast.simple), zone)
    table: dict[str, Callable[[], Convert]] = {
        "date": lambda: date_formats(cast.date or ()),
        "partial": lambda: partial_date(str(cast.partial)),
        "datetime": lambda: moments(cast.datetime, zone),
        "decimal": lambda: decimal_with(str(cast.decimal)),
        "boolean": lambda: boolean_words(cast.boolean),  # type: ignore[arg-type]
        "period": lambda: period_date(cast.period or {}),
        "html": lambda: html(paragraphs=cast.html.paragraphs if cast.html else True),
        "match": lambda: matching(str(cast.match)),
    }
    return table[kind]()


def simple(name: str, zone: str) -> Convert:
    """Return the cast with a name and no options."""
    made = {
        "text": text, "trim": text, "collapse": collapse, "integer": integer, "decimal": decimal, "boolean": boolean, "language": language,
        "country": country, "duration": months, "base64": from_base64,
    }.get(name)  # fmt: skip
    if made is not None:
        return made
    return {
        "html": html,
        "date": lambda: dates(zone),
        "datetime": lambda: moments(None, zone),
        "epoch": lambda: epoch(1),
        "epoch_ms": lambda: epoch(1000),
        "epoch_date": lambda: epoch_date(1, zone),
        "epoch_ms_date": lambda: epoch_date(1000, zone),
        "upper": lambda: lambda value: text(value).upper(),
        "lower": lambda: lambda value: text(value).lower(),
    }[name]()  # type: ignore[no-untyped-call]
