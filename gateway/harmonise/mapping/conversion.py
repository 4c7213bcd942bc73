"""Inside a rule: from → as → table → default. What happens to a found value until it is the target's, decided at load."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from gateway.config.rules import Cast
from gateway.config.target_fields import Target
from gateway.harmonise.mapping.code_lookup import LocalLookup
from gateway.harmonise.mapping.rule_functions import Conversion, Refused, State, Tabled
from gateway.harmonise.values import casts, dates
from gateway.harmonise.values import text as scalars
from gateway.harmonise.values.text import CastError, Convert
from gateway.records import Issue

REMEMBERED = 4_096
"""Texts a conversion remembers, such as days and amounts; never those of a rule whose target is personal."""
_SHORT = frozenset({"date", "decimal", "integer", "boolean", "choice"})


def finish(found: Target, zone: str) -> Convert:
    """Return what makes a value of the target's own type."""
    if found.cast:
        return casts.simple(found.cast, zone)
    if found.sort == "choice":
        return casts.choice(found.choices)
    made = {
        "text": scalars.text, "texts": scalars.text, "integer": scalars.integer, "integers": scalars.integer,
        "decimal": casts.decimal, "boolean": casts.boolean,
    }.get(found.sort)  # fmt: skip
    if made is not None:
        return made
    if found.sort == "date":
        return casts.keep(date, dates.dates(zone), but=datetime)
    return casts.keep(datetime, dates.moments(None, zone))


def compile_cast(cast: Cast | None, zone: str) -> Convert | None:
    """Return the function of an ``as:`` that converts one value; a date in three fields is put together elsewhere."""
    return casts.compile_cast(cast, zone) if cast is not None and cast.split is None else None


def conversion(  # noqa: C901 - the fixed order of a rule, in one place
    found: Target,
    zone: str,
    *,
    cast: Convert | None,
    lookup: Tabled | None,
    secret: Convert | None,
    drop: bool,
    personal: bool,
) -> Conversion:
    """Return ``as``, ``table``, ``pseudonym`` and the target's own type as one function of value and state."""
    name, last = ".".join(found.path), finish(found, zone)

    def convert(value: Any, state: State) -> Any:
        try:
            if cast is not None:
                value = cast(value)
            if lookup is not None:
                value = lookup(scalars.text(value) if not isinstance(value, bool) else ("true" if value else "false"), state)
                if value is None:
                    return None
            if secret is not None:
                value = secret(scalars.text(value))
            return last(value)
        except CastError as error:
            if drop:
                state.issues.append(Issue(code="invalid_value", field=name))
                return None
            raise Refused("map", name, error.reason, f"expected {error.expected}") from None

    if drop or (lookup is not None and not isinstance(lookup, LocalLookup)):
        return Conversion(convert)
    if isinstance(lookup, LocalLookup):
        if cast is not None or secret is not None:
            return Conversion(convert)
        return Conversion(lookup.remembering(convert), known=lookup.known)
    if secret is not None and found.sort == "text" and not found.cast:
        last = _as_it_is  # a pseudonym is clean text
    if cast is None and secret is None:
        return _own(found, zone, convert, last, personal=personal)
    return Conversion(convert, _read(cast, secret, last, remember=not personal and secret is None and found.sort in _SHORT))


def _own(found: Target, zone: str, convert: Tabled, last: Convert, *, personal: bool) -> Conversion:
    """Return the conversion of a rule that says nothing but where its value is."""
    if found.sort in {"text", "texts"} and not found.cast:
        return Conversion(convert, scalars.clean, plain=True, takes=int, wraps=str)
    if found.sort == "datetime":
        return Conversion(convert, dates.moments(None, zone))
    if not personal and (found.sort in _SHORT or found.cast):
        last = remembering(last)
    if found.sort == "boolean":
        return Conversion(convert, last, takes=bool)
    if found.sort in {"integer", "decimal"}:
        return Conversion(convert, last, takes=int, wraps=Decimal if found.sort == "decimal" else None)
    return Conversion(convert, last)


def _read(cast: Convert | None, secret: Convert | None, last: Convert, *, remember: bool) -> Convert:
    if secret is None:
        made: Convert = last if cast is None else lambda text: last(cast(text))
        return remembering(made) if remember else made
    if cast is None:
        if last is _as_it_is:
            return lambda text: secret(scalars.clean(text))
        return lambda text: last(secret(scalars.clean(text)))
    return lambda text: last(secret(scalars.text(cast(text))))


def _as_it_is(value: Any) -> Any:
    return value


def remembering(convert: Convert) -> Convert:
    """Return the same conversion of texts, which knows the last few thousand it has read."""
    return lru_cache(maxsize=REMEMBERED)(convert)
