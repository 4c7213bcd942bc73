"""Read the times at which a registry changed its records.

A time without a declared form is read only if a standard gives its text one meaning: ISO 8601, XML
Schema, HTTP (RFC 9110) or mail (RFC 5322). Bare digits, and a day and a month that could be
swapped, need a declaration. A text that is not read is counted, and the record carries a note.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

import re2

from gateway.config.change_times import ChangeTime, cast_name
from gateway.config.rules import Cast
from gateway.errors import StreamHalted
from gateway.records import ChangeTimeProblem

FUTURE_TOLERANCE = timedelta(minutes=5)
"""A change time may be this far ahead of the gateway's clock, because clocks differ."""
MAX_SHAPE_LENGTH = 40
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""A change time before this is a placeholder, such as 0001-01-01."""
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_LEAP_SECOND_MINUTES = {"29", "59"}
_SECONDS_END = len("2026-02-28T12:00:00")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_WEEKDAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_ZONE = r"(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?(?:\[[\w/+-]+\])?"
_DATE = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-?W[0-9]{2}-?[1-7])"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_EXTENDED = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-W[0-9]{2}-[1-7])[Tt ]"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<part>[0-9]+))?)?"
    rf" ?{_ZONE}"
)
_BASIC = re.compile(
    r"(?P<day>[0-9]{8}|[0-9]{4}W[0-9]{3})T"
    r"(?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?:(?P<second>[0-9]{2})(?:[.,](?P<part>[0-9]+))?)?"
    rf"{_ZONE}"
)
_MAIL = re.compile(
    rf"(?:{_WEEKDAY}, )?(?P<day>[0-9]{{1,2}}) (?P<month>{'|'.join(_MONTHS)}) (?P<year>[0-9]{{4}}) "
    r"(?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?) (?P<zone>GMT|UTC?|Z|[+-][0-9]{4})"
)
_ASCTIME = re.compile(
    rf"{_WEEKDAY} (?P<month>{'|'.join(_MONTHS)}) (?P<day>[ 0-9][0-9]) "
    r"(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2}) (?P<year>[0-9]{4})"
)
_EPOCH_TEXT = re.compile(r"[+-]?[0-9]{1,16}(?:\.[0-9]+)?")
_TIME_DIRECTIVE = re.compile(r"%[HIXcTR]")
_ZERO_OFFSET_NAME = re.compile(r"\b(?:GMT|UTC|Z)\b")


class ChangedAt(NamedTuple):
    """When a record changed: the earliest time that a text may mean, and the latest one.

    ``latest`` is ``None`` when the text means one moment. A whole day, and a local time that occurs
    twice or not at all, leave the moment open.
    """

    earliest: datetime | None
    latest: datetime | None = None
    problem: ChangeTimeProblem = ""


MANY_ABSENT = 10
"""Number of records without a change time from which the field counts as absent."""
NOT_STATED = ChangedAt(None)
NOT_READ = ChangedAt(None, None, "unreadable")
ReadText = Callable[[str], str | None]
ReadTime = Callable[[str], ChangedAt | None]


class ChangeTimeReader:
    """A reader of the change times of one stream, which counts what it could read."""

    def __init__(
        self, rule: ChangeTime, zone: str, null_values: tuple[str, ...], now: Callable[[], datetime]
    ) -> None:
        self.read_count = 0
        self.unreadable_count = 0
        self.absent_count = 0
        self._shape = ""
        self.expression = rule.from_
        self._nulls = frozenset({"", *(text.strip() for text in null_values)})
        self._now = now
        self._limit = EPOCH
        casts = rule.as_ or ()
        self._reads_utc = not casts
        self._conversions = [read for cast in casts if (read := _text_conversion(cast))]
        self._read_time, self._expected = _time_conversion(casts[-1] if casts else None, zone)

    def read(self, text: str) -> ChangedAt:
        """Return the time that a text states, or the problem with it."""
        if self._reads_utc and text[_SECONDS_END:] == "Z" and text[10:11] == "T":  # the usual form
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                pass  # the exact forms decide
            else:
                self.read_count += 1
                if moment > self._limit and self._is_ahead(moment):
                    return ChangedAt(moment, None, "in_future")
                return ChangedAt(moment)
        if text in self._nulls:
            self.absent_count += 1
            return NOT_STATED
        changed = self._read_converted(text) if self._conversions else self._read_time(text)
        if changed is None:
            self.unreadable_count += 1
            self._shape = _shape(text)
            return NOT_READ
        self.read_count += 1
        if changed.earliest is not None and self._is_ahead(changed.earliest):
            return changed._replace(problem="in_future")
        return changed

    def _is_ahead(self, moment: datetime) -> bool:
        """Return whether a time is in the future. The clock is read only if it may be."""
        if moment <= self._limit:
            return False
        self._limit = self._now() + FUTURE_TOLERANCE
        return moment > self._limit

    def _read_converted(self, text: str) -> ChangedAt | None:
        for convert in self._conversions:
            converted = convert(text)
            if converted is None:
                return None
            text = converted
        return self._read_time(text)

    def require_readable(self, where: str, at_least: int) -> None:
        """Raise ``CHANGED_AT_UNREADABLE`` when none of ``at_least`` change times could be read.

        A single record may lack its change time. Many records without one mean another field.
        """
        if self.read_count:
            return
        if not self.unreadable_count and self.absent_count >= MANY_ABSENT:
            raise StreamHalted(
                "CHANGED_AT_UNREADABLE",
                f"{where}: none of {self.absent_count} records has a change time at "
                f"{self.expression}, so the next poll would not know where to start; "
                "correct `changed_at`, or compare complete scans with `cursor: scan`",
            )
        if self.unreadable_count < at_least:
            return
        raise StreamHalted(
            "CHANGED_AT_UNREADABLE",
            f"{where}: no change time could be read, so the next poll would not know where to "
            f"start; {self.expression} looks like {self._shape!r} (9 is any digit, a any letter), "
            f"but the gateway expected {self._expected}; say how the registry writes it, such as "
            f"{_advice(self.expression, self._shape)}",
        )


def _advice(expression: str, shape: str) -> str:
    """Return what to write for texts of a form."""
    if not shape.isdigit():
        return f'changed_at: {{from: {expression}, as: {{datetime: {{format: "%d.%m.%Y %H:%M"}}}}}}'
    return (
        f"changed_at: {{from: {expression}, as: epoch}} for seconds since 1970, epoch_ms for "
        'milliseconds, or {datetime: {format: "%Y%m%d%H%M"}} for a date'
    )


def _shape(text: str) -> str:
    """Return the form of a text without its content, which may be personal."""
    shape = "".join(
        "9" if sign.isdigit() else "a" if sign.isalpha() else sign if sign.isprintable() else "?"
        for sign in text[:MAX_SHAPE_LENGTH]
    )
    return shape if len(text) <= MAX_SHAPE_LENGTH else f"{shape}…"


def utc_now() -> datetime:
    """Return the time of the gateway's clock."""
    return datetime.now(UTC)


def usable_watermark(moment: datetime, latest: datetime | None, zone: tzinfo) -> datetime:
    """Return the time from which later changes of the registry can be found.

    For an open time this is so early that no change with the same text, or from the same hour that
    occurs twice, is missed. ``zone`` is the zone of the cursor. ``moment`` is after :data:`EPOCH`.
    """
    if latest is None:
        return moment
    open_for = latest - moment
    if open_for <= time_granularity(moment, zone):
        return moment
    return (moment - open_for).replace(microsecond=0)


def before_clock_change(position: datetime, registry_now: datetime, skew: timedelta) -> datetime:
    """Return a position that is safe when the registry's clock was set back.

    ``skew`` is the time by which the gateway's clock is ahead of the registry's clock. A newest
    change that lies after ``registry_now`` was made before the clock was set back.
    """
    return position - skew if position > registry_now else position


def time_granularity(moment: datetime, zone: tzinfo) -> timedelta:
    """Return the time within which the registry may show further changes as equally new.

    A registry that states whole days or seconds shows later changes with the same time.
    """
    if moment.microsecond:
        return timedelta(0)
    local = moment.astimezone(zone)
    return _DAY if (local.hour, local.minute, local.second) == (0, 0, 0) else _SECOND


def _text_conversion(cast: Cast) -> ReadText | None:
    """Return a conversion from text to text, or ``None`` for a conversion to a time."""
    name = cast_name(cast)
    if name == "match":
        pattern = re2.compile(str(cast.match))

        def match(text: str) -> str | None:
            found = pattern.fullmatch(text)
            return str(found[1] if pattern.groups else found[0]).strip() if found else None

        return match
    conversions: dict[str, ReadText] = {
        "text": str.strip,
        "trim": str.strip,
        "collapse": lambda text: " ".join(text.split()),
        "upper": str.upper,
        "lower": str.lower,
    }
    return conversions.get(name)


def _time_conversion(cast: Cast | None, zone_name: str) -> tuple[ReadTime, str]:
    """Return the function that reads a time, and the form that it expects."""
    name = cast_name(cast) if cast is not None else ""
    if name in {"epoch", "epoch_ms"}:
        per_second = 1 if name == "epoch" else 1000
        unit = "seconds" if name == "epoch" else "milliseconds"
        return lambda text: _read_epoch(text, per_second), f"{unit} since 1970 in digits"
    formats: tuple[str, ...] = ()
    if cast is not None and cast.datetime is not None:
        formats, zone_name = cast.datetime.format, cast.datetime.zone or zone_name
    elif cast is not None and cast.date is not None:
        formats = cast.date
    zone = ZoneInfo(zone_name)
    if formats:
        return lambda text: _read_formats(text, formats, zone), " or ".join(formats)
    return lambda text: read_change_time(text, zone), "a time such as 2026-02-28T12:00:00Z"


def read_change_time(text: str, zone: tzinfo) -> ChangedAt | None:
    """Return the time that a text in a standard form states, or ``None``.

    A local time is in ``zone``. A date without a time means the whole day.
    """
    if text[4:5] == "-" and text[10:11] == "T":
        try:
            return _in_zone(datetime.fromisoformat(text), zone)
        except ValueError:
            pass  # the exact forms decide
    text = text.strip()
    if not text.isascii():
        return None
    for pattern, read in _FORMS:
        if match := pattern.fullmatch(text):
            try:
                return read(match, zone)
            except ValueError:
                return None
    return None


def _read_iso(match: re.Match[str], zone: tzinfo) -> ChangedAt:
    """Return the time of an ISO 8601 text. Raise ``ValueError`` when it does not exist."""
    hour, minute, second = match["hour"], match["minute"], match["second"] or "00"
    part, later = (match["part"] or "")[:6].ljust(6, "0"), timedelta(0)
    if hour == "24" and (minute, second, part) == ("00", "00", "000000"):
        hour, later = "00", _DAY
    elif second == "60" and minute in _LEAP_SECOND_MINUTES:
        second, later = "59", _SECOND
    moment = datetime.fromisoformat(
        f"{_iso_day(match['day'])}T{hour}:{minute}:{second}.{part}{(match['zone'] or '').upper()}"
    )
    return _in_zone(_add(moment, later), zone)


def _iso_day(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if text.isdigit() else text


def _read_iso_date(match: re.Match[str], zone: tzinfo) -> ChangedAt:
    day = datetime.fromisoformat(_iso_day(match["day"]))
    offset = (match["zone"] or "").upper()
    if offset:
        zone = datetime.fromisoformat(f"2000-01-01T00:00:00{offset}").tzinfo or zone
    return _whole_day(day, zone)


def _read_mail(match: re.Match[str], zone: tzinfo) -> ChangedAt:
    """Return the time of the form that HTTP and mail use. Without a zone it is in UTC."""
    named = match.groupdict().get("zone") or "Z"
    offset = named if named[0] in "+-" else "+00:00"
    month = _MONTHS.index(match["month"]) + 1
    day = int(match["day"])
    return _in_zone(
        datetime.fromisoformat(f"{match['year']}-{month:02}-{day:02}T{match['time']}{offset}"), zone
    )


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], tzinfo], ChangedAt]], ...] = (
    (_EXTENDED, _read_iso),
    (_DATE, _read_iso_date),
    (_MAIL, _read_mail),
    (_BASIC, _read_iso),
    (_ASCTIME, _read_mail),
)


def _read_epoch(text: str, per_second: int) -> ChangedAt | None:
    if not (text.isascii() and _EPOCH_TEXT.fullmatch(text)):
        return None
    try:
        microseconds = int(Decimal(text) * 1_000_000 / per_second)
        return ChangedAt(EPOCH + timedelta(microseconds=microseconds))
    except OverflowError:
        return None


def _read_formats(text: str, formats: tuple[str, ...], zone: tzinfo) -> ChangedAt | None:
    for time_format in formats if text.isascii() else ():
        try:
            moment = datetime.strptime(text, time_format)  # noqa: DTZ007 - the zone follows
        except ValueError:
            continue
        if "%Z" in time_format and moment.tzinfo is None:
            if not _ZERO_OFFSET_NAME.search(text):
                continue  # the name of another zone has no certain meaning
            moment = moment.replace(tzinfo=UTC)
        if _TIME_DIRECTIVE.search(time_format):
            return _in_zone(moment, zone)
        return _whole_day(moment.replace(tzinfo=None), moment.tzinfo or zone)
    return None


def _in_zone(moment: datetime, zone: tzinfo) -> ChangedAt:
    """Return a moment in UTC, or both of its meanings in ``zone`` when it has none itself."""
    if moment.tzinfo is not None:
        return ChangedAt(_utc(moment))
    first = moment.replace(tzinfo=zone, fold=0)
    second = moment.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return ChangedAt(_utc(first))
    earliest, latest = sorted((_utc(first), _utc(second)))
    return ChangedAt(earliest, latest)


def _whole_day(day: datetime, zone: tzinfo) -> ChangedAt:
    start, end = _in_zone(day, zone), _in_zone(_add(day, _DAY), zone)
    if start.earliest is None or end.earliest is None:
        raise AssertionError
    return ChangedAt(start.earliest, _add(end.earliest, -timedelta(microseconds=1)))


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _FIRST if moment.year == 1 else _LAST


def _add(moment: datetime, time: timedelta) -> datetime:
    """Return the sum, or the last moment that exists."""
    try:
        return moment + time if time else moment
    except OverflowError:
        return datetime.max.replace(tzinfo=moment.tzinfo)
