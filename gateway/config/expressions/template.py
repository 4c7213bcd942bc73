"""Fill the placeholders of requests: ``{name}`` or ``{name:format}``.

Placeholders allow no attribute access, no calls and no arithmetic. To write a text such as
``{name}`` itself, double its braces: ``{{name}}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from gateway.errors import StreamHalted

_PLACEHOLDER = re.compile(
    r"\{\{([a-z_][a-z0-9_]*(?::[^{}]*)?)\}\}|\{([a-z_][a-z0-9_]*)(?::([^{}]*))?\}"
)

_WIDEST = 999
_NUMBER = re.compile(r"\d+")
"""A width or a precision. Python reads decimal digits of every script, so this does too."""
_TIME_WIDTH = re.compile(r"%[-_0^#+]*([0-9]+)")
"""A width in a time format. Python returns an empty text for a very wide one."""
BUILT_IN_NAMES = frozenset(
    {"since", "until", "page", "offset", "cursor", "now", "uuid", "id", "ids", "export", "size"}
)
"""Names that the gateway fills when it fetches. Loops, ``variables`` and ``keep`` add others."""


class MissingValue(LookupError):
    """A placeholder has no value.

    The gateway leaves out a query or body entry that consists only of this placeholder.
    """


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder with its name and its format."""

    name: str
    format: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders, parsed once."""

    parts: tuple[str | Placeholder, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names of the placeholders in the text."""
        return frozenset(part.name for part in self.parts if isinstance(part, Placeholder))

    def fill(self, values: Mapping[str, object], quote: Callable[[str], str] = str) -> str:
        """Return the text with the quoted value of every placeholder.

        Raises :class:`MissingValue` when a value is missing or ``None``.
        """
        return "".join(
            part if isinstance(part, str) else quote(format_value(values.get(part.name), part))
            for part in self.parts
        )


def parse_template(text: str) -> Template:
    """Return the template of a text. Braces that form no placeholder stay as they are."""
    parts: list[str | Placeholder] = []
    position = 0
    for match in _PLACEHOLDER.finditer(text):
        parts.append(text[position : match.start()])
        parts.append("{" + match[1] + "}" if match[1] else Placeholder(match[2], match[3] or ""))
        position = match.end()
    parts.append(text[position:])
    return Template(tuple(part for part in parts if part != ""))


def format_value(value: object, placeholder: Placeholder) -> str:
    """Return one value in the format of its placeholder.

    A moment takes a strftime format, ``iso``, ``epoch`` or ``epoch_ms``. A number takes a format
    such as ``05d``. A UUID takes ``hex``, or ``int`` for its 128 bits as a decimal number.

    Raises :class:`MissingValue` for ``None``, and ``PLACEHOLDER_FORMAT`` when the format is none
    of the value.
    """
    if value is None:
        raise MissingValue(placeholder.name)
    try:
        return _format(value, placeholder)
    except ValueError:
        raise StreamHalted(
            "PLACEHOLDER_FORMAT",
            f"the placeholder {{{placeholder.name}:{placeholder.format}}} has no valid format; "
            "write one such as {page:05d} for a number and {since:%Y-%m-%d} for a time",
        ) from None


def _format(value: object, placeholder: Placeholder) -> str:
    value_format = placeholder.format
    if isinstance(value, date):  # a datetime is a date, too
        _check_widths(_TIME_WIDTH.findall(value_format), placeholder)
    if isinstance(value, datetime):
        if value_format == "epoch":
            return str(int(value.timestamp()))
        if value_format == "epoch_ms":
            return str(int(value.timestamp() * 1000))
        if value_format in {"", "iso"}:
            return value.isoformat().replace("+00:00", "Z")
        return value.strftime(value_format)
    if isinstance(value, date):
        return value.strftime(value_format) if value_format else value.isoformat()
    if isinstance(value, UUID):
        return {"int": str(value.int), "hex": value.hex}.get(value_format, str(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return _format_number(value, placeholder)
    return str(value)


def _format_number(value: int | Decimal, placeholder: Placeholder) -> str:
    """Return a number in a format.

    Raise ``EXPRESSION_LIMIT`` when a width, or a number with many zeros, would make a vast text.
    """
    is_vast = isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) > _WIDEST
    if placeholder.format:
        _check_widths(
            [_WIDEST + 1] if is_vast else _NUMBER.findall(placeholder.format), placeholder
        )
    return format(value, placeholder.format)


def _check_widths(widths: Iterable[str | int], placeholder: Placeholder) -> None:
    """Raise ``EXPRESSION_LIMIT`` for a width that would make a vast text."""
    if any(int(width) > _WIDEST for width in widths):
        raise StreamHalted(
            "EXPRESSION_LIMIT",
            f"the placeholder {{{placeholder.name}:{placeholder.format}}} would make a text of "
            f"more than {_WIDEST} characters; write a smaller width, such as 05d",
        )
