"""Convert values to dates and instants.

The forms are ISO 8601, given formats, partial dates, periods and epochs. A date that does not exist
raises :class:`~gateway.harmonise.values.text.CastError`.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gateway.config.rules import DateTime, Period
from gateway.harmonise.values.text import CastError, Convert, read_integer, scalar_text

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})?")
_PARTIAL = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_DATETIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"  # date
    r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?"  # time
    r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"  # offset
)
_TIME_DIRECTIVE = re.compile(r"%[HIMSpfXcTR]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_LENGTH = len("2026-02-28")
_COMMON_TIMES = {
    len("2026-02-28T12:00:00Z"): ("--T::Z",),
    len("2026-02-28T12:00:00+02:00"): ("--T::+:", "--T::-:"),
}
"""Every third character, from the fifth on, of times in the usual forms, by their length."""


def date_cast(zone: str) -> Convert:
    """Return the cast for ISO dates.

    A time in UTC gives the date that it has in ``zone``. A time with another offset gives the date
    as written.
    """
    timezone = ZoneInfo(zone)

    def convert(value: Any) -> date:
        if isinstance(value, datetime):
            return value.astimezone(timezone).date()
        text = scalar_text(value)
        if len(text) == _DAY_LENGTH and text[4::3] == "--":
            try:
                return date.fromisoformat(text)
            except ValueError:
                pass  # the checks below raise the exact error
        if match := _DATE.fullmatch(text):
            return _build_date(int(match[1]), int(match[2]), int(match[3]))
        if _DATETIME.fullmatch(text):
            moment = _parse_datetime(text)
            return (
                moment.astimezone(timezone).date()
                if moment.tzinfo and moment.utcoffset() == timedelta(0)
                else moment.date()
            )
        raise CastError(
            "not_a_date", 'a date such as 2026-02-28; for another form: as: {date: "%d.%m.%Y"}'
        )

    return convert


_DIRECTIVES = {"%Y": "(?P<Y>[0-9]{4})", "%m": "(?P<m>[0-9]{1,2})", "%d": "(?P<d>[0-9]{1,2})"}


def date_formats(formats: tuple[str, ...]) -> Convert:
    """Return a cast that tries ``strptime`` formats in order. Only ASCII digits count."""
    attempts = [_date_pattern(date_format) for date_format in formats]

    def convert(value: Any) -> date:
        text = scalar_text(value)
        if text.isascii():
            for attempt in attempts:
                if (day := attempt(text)) is not None:
                    return day
        raise CastError("not_a_date", f"a date as {' or '.join(formats)}")

    return convert


def _date_pattern(date_format: str) -> Callable[[str], date | None]:
    pieces = re.split(r"(%[Ymd])", date_format)
    if "%" not in "".join(piece for piece in pieces if piece not in _DIRECTIVES) and all(
        date_format.count(name) == 1 for name in _DIRECTIVES
    ):
        pattern = re.compile(
            "".join(_DIRECTIVES.get(piece) or re.escape(piece) for piece in pieces)
        )

        def by_pattern(text: str) -> date | None:
            match = pattern.fullmatch(text)
            return _build_date(int(match["Y"]), int(match["m"]), int(match["d"])) if match else None

        return by_pattern

    def by_strptime(text: str) -> date | None:
        try:
            return datetime.strptime(text, date_format).date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            return None

    return by_strptime


def _build_date(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise CastError("not_a_date", "a day that exists") from None


def partial_date(which: str) -> Convert:
    """Return a cast for dates of which month or day may be missing."""

    def convert(value: Any) -> date:
        match = _PARTIAL.fullmatch(scalar_text(value))
        if not match:
            raise CastError("not_a_date", "a date such as 2026, 2026-02 or 2026-02-28")
        return complete_date(match[1], match[2] or "", match[3] or "", which)

    return convert


def complete_date(year: str, month: str, day: str, which: str = "first") -> date:
    """Return the date of three texts.

    A missing month or day becomes the first or the last one, as ``which`` says. The function raises
    :class:`~gateway.harmonise.values.text.CastError`.
    """
    for part in (year, month, day):
        if part and not _INTEGER.fullmatch(part):
            raise CastError("not_a_date", "year, month and day in digits 0-9")
    if day and not month:
        raise CastError("not_a_date", "a month where there is a day")
    last = which == "last"
    number = int(month) if month else (12 if last else 1)
    if day:
        return _build_date(int(year), number, int(day))
    first = _build_date(int(year), number, 1)
    return first.replace(day=monthrange(first.year, first.month)[1]) if last else first


def period_date(period: Period) -> Convert:
    """Return a cast for a year with a code, in the first form of the period that fits.

    For example, ``2010K`` with ``{K: 06-01}`` gives 1 June 2010.
    """
    patterns = [_period_pattern(form, period.suffixes) for form in period.form]

    def convert(value: Any) -> date:
        text = scalar_text(value)
        for pattern in patterns:
            if (match := pattern.fullmatch(text)) and (year := _period_year(match)) is not None:
                month, _, day = period.suffixes[match["suffix"]].partition("-")
                return _build_date(year, int(month), int(day or 1))
        raise CastError(
            "not_a_period",
            f"{' or '.join(period.form)} with one of {', '.join(period.suffixes)}",
        )

    return convert


def _period_pattern(form: str, suffixes: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of a form. White space between its parts may be missing or added."""
    parts = {
        "{suffix}": f"(?P<suffix>{'|'.join(sorted(map(re.escape, suffixes), reverse=True))})",
        "{year}": "(?P<year>[0-9]{4})",
        "{yy}": "(?P<year>[0-9]{2})",
        "{next}": "(?P<next>[0-9]{4}|[0-9]{2})",
    }
    pieces = re.split(r"(\{[a-z]+\})", form)
    return re.compile(
        r"\s*".join(
            parts.get(piece) or r"\s*".join(map(re.escape, piece.split()))
            for piece in pieces
            if piece.strip()
        )
    )


def _period_year(match: re.Match[str]) -> int | None:
    """Return the year of a period, or ``None`` when ``{next}`` is not the year after it."""
    year = _full_year(match["year"])
    following = match.groupdict().get("next")
    if following is None or following in {f"{year + 1:04}", f"{(year + 1) % 100:02}"}:
        return year
    return None


def _full_year(digits: str) -> int:
    """Return a year. Two digits mean 1969 to 2068, as ``%y`` does."""
    year = int(digits)
    if len(digits) > 2:  # noqa: PLR2004 - a year of two digits
        return year
    return year + (1900 if year > 68 else 2000)  # noqa: PLR2004 - the rule of POSIX


def datetime_cast(rule: DateTime | None, zone: str) -> Convert:
    """Return a cast to an instant in UTC. A time without a zone is in the zone of the stream.

    A date without a time gives midnight UTC of the same day, as dates in documents do.
    """
    timezone = ZoneInfo(rule.zone if rule and rule.zone else zone)
    formats = rule.format if rule else ()

    def convert(value: Any) -> datetime:
        if isinstance(value, datetime):
            return _utc(value if value.tzinfo else value.replace(tzinfo=timezone))
        text = value.strip() if type(value) is str else scalar_text(value)
        if not formats and (common := _COMMON_TIMES.get(len(text))) and text[4::3] in common:
            try:
                moment = datetime.fromisoformat(text)
                return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
            except (ValueError, OverflowError):
                pass  # the checks below raise the exact error
        if formats:
            moment = _parse_with_formats(text, formats)
        elif _DATETIME.fullmatch(text):
            moment = _parse_datetime(text)
        elif match := _DATE.fullmatch(text):
            day = _build_date(int(match[1]), int(match[2]), int(match[3]))
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
        else:
            raise CastError("not_a_datetime", "a date and time such as 2026-02-28T12:00:00Z")
        return _utc(moment if moment.tzinfo else moment.replace(tzinfo=timezone))

    return convert


def day_cast(rule: DateTime | None, zone: str) -> Convert:
    """Return a cast to the day that a moment has in the zone of the rule, or of the stream.

    A date without a time keeps its day.
    """
    timezone = ZoneInfo(rule.zone if rule and rule.zone else zone)
    formats = rule.format if rule else ()
    to_moment = datetime_cast(rule, zone)
    day_formats = tuple(one for one in formats if not _TIME_DIRECTIVE.search(one))

    def convert(value: Any) -> date:
        if not isinstance(value, datetime):
            text = scalar_text(value)
            for day_format in day_formats if text.isascii() else ():
                try:
                    return datetime.strptime(text, day_format).date()  # noqa: DTZ007 - a day
                except ValueError:
                    continue
            if not formats and (match := _DATE.fullmatch(text)):
                return _build_date(int(match[1]), int(match[2]), int(match[3]))
        try:
            moment: datetime = to_moment(value)
            return moment.astimezone(timezone).date()
        except OverflowError:
            raise CastError("not_a_date", "a day between the years 1 and 9999") from None

    return convert


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise CastError("not_a_datetime", "a moment between the years 1 and 9999") from None


def _parse_with_formats(text: str, formats: tuple[str, ...]) -> datetime:
    for date_format in formats if text.isascii() else ():
        try:
            moment = datetime.strptime(text, date_format)  # noqa: DTZ007 - the caller adds the zone
        except ValueError:
            continue
        return moment if _TIME_DIRECTIVE.search(date_format) else moment.replace(tzinfo=UTC)
    raise CastError("not_a_datetime", f"a date and time as {' or '.join(formats)}")


def _parse_datetime(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        raise CastError("not_a_datetime", "a day and a time that exist") from None


def epoch(per_second: int) -> Convert:
    """Return a cast from seconds or milliseconds since 1970."""

    def convert(value: Any) -> datetime:
        try:
            return _EPOCH + timedelta(microseconds=read_integer(value) * (1_000_000 // per_second))
        except OverflowError:
            raise CastError("not_a_datetime", "a moment between the years 1 and 9999") from None

    return convert


def epoch_date(per_second: int, zone: str) -> Convert:
    """Return a cast from an epoch to its date in ``zone``."""
    timezone, instant = ZoneInfo(zone), epoch(per_second)
    return lambda value: instant(value).astimezone(timezone).date()
