"""Describe how a registry writes the time of a record's last change."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from gateway.config.rules import Cast, Casts
from gateway.config.types import ConfigModel, Expression

TEXT_CASTS = frozenset({"text", "trim", "collapse", "upper", "lower", "match"})
"""Conversions that may stand before the conversion to a time."""
TIME_CASTS = frozenset({"datetime", "date", "epoch", "epoch_ms"})
"""Conversions to a time. They stand last."""


def cast_name(cast: Cast) -> str:
    """Return the name of a conversion, with or without options."""
    return str(cast.simple) if cast.simple is not None else cast.kind


class ChangeTime(ConfigModel, title="Change time"):
    """The time of a record's last change. A bare text means ``{from: text}``.

    Without ``as``, the gateway reads the forms of ISO 8601, XML Schema and HTTP.
    """

    from_: Expression = Field(alias="from", description="The time in the record")
    as_: Casts | None = Field(
        None,
        alias="as",
        description="Conversion of a time in another form: epoch, epoch_ms, "
        '{datetime: {format: "%d.%m.%Y %H:%M"}} or {date: "%d.%m.%Y"}; match may stand before it',
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a conversion that gives no time."""
        names = [cast_name(cast) for cast in self.as_ or ()]
        for position, name in enumerate(names, 1):
            if name in TEXT_CASTS or (name in TIME_CASTS and position == len(names)):
                continue
            raise ValueError(
                f"{name} does not lead to a time of change; end with one of "
                f"{', '.join(sorted(TIME_CASTS))}, and write only "
                f"{', '.join(sorted(TEXT_CASTS))} before it"
            )


def _expand_change_time_shorthand(value: object) -> object:
    return {"from": value} if isinstance(value, str) else value


AnyChangeTime = Annotated[ChangeTime, BeforeValidator(_expand_change_time_shorthand)]
