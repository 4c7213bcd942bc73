"""Placeholders in requests: ``{name}`` or ``{name:format}``, and nothing else.

No attribute access, no calls, no arithmetic. A literal brace that would read as a placeholder is written twice: ``{{name}}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

_PLACEHOLDER = re.compile(
    r"\{\{([a-z_][a-z0-9_]*(?::[^{}]*)?)\}\}|\{([a-z_][a-z0-9_]*)(?::([^{}]*))?\}"
)

BUILT_IN_NAMES = frozenset(
    {"since", "until", "page", "offset", "cursor", "now", "uuid", "id", "ids", "export", "size"}
)
"""Names that fetching gives values to; loops, ``variables`` and ``keep`` add their own."""


class MissingValue(LookupError):
    """A placeholder has no value now; an entry of a query or a body that is nothing but this placeholder is left out."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder: its name and its format."""

    name: str
    format: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders, taken apart once."""

    parts: tuple[str | Placeholder, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names this text needs values for."""
        return frozenset(part.name for part in self.parts if isinstance(part, Placeholder))

    def fill(self, values: Mapping[str, object], quote: Callable[[str], str] = str) -> str:
        """Return the text with every placeholder replaced by its quoted value; raises :class:`MissingValue` for ``None``."""
        return "".join(
            part if isinstance(part, str) else quote(format_value(values.get(part.name), part))
            for part in self.parts
        )


def parse_template(text: str) -> Template:
    """Take a text apart. Every text is a template; braces that are no placeholder stay as they are."""
    parts: list[str | Placeholder] = []
    position = 0
    for found in _PLACEHOLDER.finditer(text):
        parts.append(text[position : found.start()])
        parts.append("{" + found[1] + "}" if found[1] else Placeholder(found[2], found[3] or ""))
        position = found.end()
    parts.append(text[position:])
    return Template(tuple(part for part in parts if part != ""))


def format_value(value: object, placeholder: Placeholder) -> str:
    """Write one value in the format the placeholder asks for.

    A moment takes a strftime format, ``iso``, ``epoch`` or ``epoch_ms``; a number takes a format such as ``05d``; an UUID takes
    ``int`` (its 128 bits in decimal) or ``hex``.
    """
    value_format = placeholder.format
    if value is None:
        raise MissingValue(placeholder.name)
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
        return format(value, value_format)
    return str(value)
