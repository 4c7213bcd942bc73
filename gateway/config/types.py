"""Define the value types of the language: names, durations, sizes, rates, dates and secrets."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from gateway.config.addresses import validate_link_host, validate_registry_url
from gateway.config.countries import country_code_problem
from gateway.config.side_files import validate_file_name

T = TypeVar("T")

OneOrMore = Annotated[tuple[T, ...], Field(strict=False)]
"""A YAML sequence, kept as a tuple."""


class MisplacedError(ValueError):
    """A mistake that several keys of a block cause together.

    ``path`` starts at the block and leads to the key that a person should look at first.
    """

    def __init__(self, message: str, *place: str) -> None:
        super().__init__(message)
        self.path = place


class ConfigModel(BaseModel):
    """The base class of every block. It is strict and frozen, and it refuses unknown keys."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )


class OneOf(ConfigModel):
    """A block with exactly one key, which names its kind."""

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a block without exactly one key."""
        given = [
            name for name in type(self).model_fields if getattr(self, name) not in (None, False)
        ]
        if len(given) != 1:
            names = ", ".join(
                sorted(field.alias or name for name, field in type(self).model_fields.items())
            )
            raise ValueError(f"give exactly one of {names}; found {' and '.join(given) or 'none'}")

    @property
    def kind(self) -> str:
        """The name of the one key in the block."""
        return next(
            name for name in type(self).model_fields if getattr(self, name) not in (None, False)
        )


PATTERN_MESSAGES: dict[str, str] = {}
"""Each pattern and its explanation in words, for the message about a text that does not fit."""


def text_matching(pattern: str, words: str, max_length: int | None = None) -> StringConstraints:
    """Return the constraints of a text, and register the words that explain its pattern."""
    PATTERN_MESSAGES[pattern] = words
    return StringConstraints(pattern=pattern, max_length=max_length)


_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d|w)")
_LONGEST = timedelta(days=36_500)
"""A hundred years. Today's date plus or minus this is still a date."""
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"(\d{1,12}) ?(B|kB|KB|MB|GB)")
_BYTES = {"B": 1, "kB": 1_000, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_RATE = re.compile(r"(\d{1,12})/(s|min|h|d)")
_SECONDS_PER_UNIT = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = int(match[1]) * _SECONDS[match[2]]
        if seconds <= _LONGEST.total_seconds():
            return timedelta(seconds=seconds)
    raise ValueError(
        "a duration is a number and one of ms s m h d w, such as 15m or 1d, "
        f"and at most {_LONGEST.days}d"
    )


def _validate_time_limit(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= timedelta(hours=6):
        raise ValueError("a time limit is longer than nothing and at most 6h, such as 30s or 5m")
    return value


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _BYTES[match[2]]
    raise ValueError("a size is a number and one of B kB MB GB, such as 20MB")


def _rate(value: object) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, str) and (match := _RATE.fullmatch(value)) and int(match[1]):
        return int(match[1]) / _SECONDS_PER_UNIT[match[2]]
    raise ValueError("a rate is a number of requests per s, min, h or d, such as 5/s or 30/min")


def _parse_datetime(value: object) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise ValueError(
        "a moment is a date, or a date and time with zone, "
        "such as 2019-01-01 or 2019-01-01T00:00:00Z"
    )


def _parse_date(value: object) -> date:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    if isinstance(value, date):
        return value
    raise ValueError("a day is written like 2017-03-01")


def _zone(value: object) -> str:
    try:
        ZoneInfo(str(value))
    except (ValueError, OSError, KeyError):
        raise ValueError(
            "a zone is a name of the IANA time zone database, such as Europe/Brussels or UTC"
        ) from None
    return str(value)


def _quiet(value: object) -> str:
    text = str(value)
    match = re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d (\S+)", text)
    if not match:
        raise ValueError(
            "quiet hours are two times and a zone, such as 07:00-19:00 Europe/Brussels"
        )
    _zone(match[3])
    return text


def _validate_text(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "examples": [example]})


Duration = Annotated[
    timedelta, BeforeValidator(_duration), _validate_text(r"\d+(ms|s|m|h|d|w)", "15m")
]
TimeLimit = Annotated[
    timedelta,
    BeforeValidator(_duration),
    AfterValidator(_validate_time_limit),
    _validate_text(r"\d+(ms|s|m|h)", "30s"),
]
Size = Annotated[int, BeforeValidator(_size), _validate_text(r"\d+ ?(B|kB|KB|MB|GB)", "20MB")]
Rate = Annotated[float, BeforeValidator(_rate), _validate_text(r"\d+/(s|min|h|d)", "5/s")]
Moment = Annotated[
    datetime,
    BeforeValidator(_parse_datetime),
    WithJsonSchema({"type": "string", "examples": ["2019-01-01", "2019-01-01T00:00:00Z"]}),
]
Day = Annotated[
    date,
    BeforeValidator(_parse_date),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2017-03-01"]}),
]
Zone = Annotated[
    str, BeforeValidator(_zone), WithJsonSchema({"type": "string", "examples": ["Europe/Brussels"]})
]
Quiet = Annotated[
    str,
    BeforeValidator(_quiet),
    WithJsonSchema({"type": "string", "examples": ["07:00-19:00 Europe/Brussels"]}),
]

Name = Annotated[
    str,
    text_matching(
        r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$",
        "a name is lower case letters and digits, with - or _ between them: new-awards",
        60,
    ),
]
Identifier = Annotated[
    str,
    text_matching(
        r"^[a-z][a-z0-9_]*$",
        "a name for {name} and $name is lower case letters, digits and _, such as student_id",
        40,
    ),
]
"""A name for use in ``{name}`` and ``$name``."""
Expression = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
"""XPath 1.0 for XML, JMESPath for JSON, or a column name for CSV.

``$name`` reads a value that the stream keeps.
"""
Words = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(strict=False),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""One text or several."""


def _country(code: str) -> str:
    if problem := country_code_problem(code):
        raise ValueError(problem)
    return code


HttpUrl = Annotated[
    str,
    text_matching(
        r"^https?://[^\s]+$",
        "an address begins with https:// and has no blank, such as https://registry.example/api",
    ),
    AfterValidator(validate_registry_url),
]
LinkHost = Annotated[str, AfterValidator(validate_link_host)]
"""A further host that links may lead to: a name, or scheme, host and port."""
CountryCode = Annotated[
    str,
    text_matching(
        r"^[A-Z]{2}(-[A-Z]{2,4})?$",
        "a country is its two capital letters by ISO 3166-1, "
        "with a part that has its own tables: BE-VLG",
    ),
    AfterValidator(_country),
]


class Secret(ConfigModel):
    """The name of a secret, never its value.

    The value is a file below the secrets directory, or ``GATEWAY_SECRET_<NAME>``.
    """

    secret: Annotated[
        str,
        text_matching(
            r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$",
            "a secret's name is letters, digits, - _ and ., with / between folders, "
            "such as ie-awards/password",
        ),
        Field(description="Name of the secret; a file below the secrets directory"),
    ]


FileName = Annotated[str, AfterValidator(validate_file_name)]
"""The name of a file in the folder of the connector file, or below it."""
SecretFolder = Annotated[
    str,
    text_matching(
        r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$",
        "a folder of secrets is letters, digits, - and _, with / between folders, "
        "such as emrex/learner-tokens",
    ),
]
"""A folder below the secrets directory."""
TextOrSecret = str | Secret
