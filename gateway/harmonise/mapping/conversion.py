"""Inside a rule: from → as → table → default. What happens to a found value until it is the target's, decided at load."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from gateway.config.rules import Cast
from gateway.config.target_fields import TargetField
from gateway.harmonise.mapping.code_lookup import ConnectorTableLookup
from gateway.harmonise.mapping.rule_functions import (
    Conversion,
    FieldRejected,
    MappingState,
    StatefulConvert,
)
from gateway.harmonise.values import casts, dates
from gateway.harmonise.values import text as scalars
from gateway.harmonise.values.text import CastError, Convert
from gateway.records import Issue

CACHE_SIZE = 4_096
"""Texts a conversion remembers, such as days and amounts; never those of a rule whose target is personal."""
_CACHEABLE_TYPES = frozenset({"date", "decimal", "integer", "boolean", "choice"})


def target_converter(found: TargetField, zone: str) -> Convert:
    """Return what makes a value of the target's own type."""
    if found.cast:
        return casts.named_cast(found.cast, zone)
    if found.value_type == "choice":
        return casts.one_of(found.choices)
    made = {
        "text": scalars.read_text, "texts": scalars.read_text, "integer": scalars.read_integer, "integers": scalars.read_integer,
        "decimal": casts.decimal, "boolean": casts.boolean,
    }.get(found.value_type)  # fmt: skip
    if made is not None:
        return made
    if found.value_type == "date":
        return casts.pass_through(date, dates.date_cast(zone), but=datetime)
    return casts.pass_through(datetime, dates.datetime_cast(None, zone))


def compile_cast(cast: Cast | None, zone: str) -> Convert | None:
    """Return the function of an ``as:`` that converts one value; a date in three fields is put together elsewhere."""
    return casts.compile_cast(cast, zone) if cast is not None and cast.split is None else None


def build_conversion(  # noqa: C901 - the fixed order of a rule, in one place
    found: TargetField,
    zone: str,
    *,
    cast: Convert | None,
    lookup: StatefulConvert | None,
    pseudonymise: Convert | None,
    drop_invalid: bool,
    personal: bool,
) -> Conversion:
    """Return ``as``, ``table``, ``pseudonym`` and the target's own type as one function of value and state."""
    name, to_target_type = ".".join(found.path), target_converter(found, zone)

    def convert(value: Any, state: MappingState) -> Any:
        try:
            if cast is not None:
                value = cast(value)
            if lookup is not None:
                value = lookup(
                    scalars.read_text(value)
                    if not isinstance(value, bool)
                    else ("true" if value else "false"),
                    state,
                )
                if value is None:
                    return None
            if pseudonymise is not None:
                value = pseudonymise(scalars.read_text(value))
            return to_target_type(value)
        except CastError as error:
            if drop_invalid:
                state.issues.append(Issue(code="invalid_value", field=name))
                return None
            raise FieldRejected("map", name, error.reason, f"expected {error.expected}") from None

    if drop_invalid or (lookup is not None and not isinstance(lookup, ConnectorTableLookup)):
        return Conversion(convert)
    if isinstance(lookup, ConnectorTableLookup):
        if cast is not None or pseudonymise is not None:
            return Conversion(convert)
        return Conversion(lookup.cached(convert), converted_codes=lookup.converted_codes)
    if pseudonymise is not None and found.value_type == "text" and not found.cast:
        to_target_type = _identity  # a pseudonym is clean text
    if cast is None and pseudonymise is None:
        return _direct_conversion(found, zone, convert, to_target_type, personal=personal)
    return Conversion(
        convert,
        _text_converter(
            cast,
            pseudonymise,
            to_target_type,
            remember=not personal and pseudonymise is None and found.value_type in _CACHEABLE_TYPES,
        ),
    )


def _direct_conversion(
    found: TargetField,
    zone: str,
    convert: StatefulConvert,
    to_target_type: Convert,
    *,
    personal: bool,
) -> Conversion:
    """Return the conversion of a rule that says nothing but where its value is."""
    if found.value_type in {"text", "texts"} and not found.cast:
        return Conversion(
            convert, scalars.clean_text, is_plain_text=True, accepted_json_type=int, wrap=str
        )
    if found.value_type == "datetime":
        return Conversion(convert, dates.datetime_cast(None, zone))
    if not personal and (found.value_type in _CACHEABLE_TYPES or found.cast):
        to_target_type = cached(to_target_type)
    if found.value_type == "boolean":
        return Conversion(convert, to_target_type, accepted_json_type=bool)
    if found.value_type in {"integer", "decimal"}:
        return Conversion(
            convert,
            to_target_type,
            accepted_json_type=int,
            wrap=Decimal if found.value_type == "decimal" else None,
        )
    return Conversion(convert, to_target_type)


def _text_converter(
    cast: Convert | None, pseudonymise: Convert | None, to_target_type: Convert, *, remember: bool
) -> Convert:
    if pseudonymise is None:
        made: Convert = to_target_type if cast is None else lambda text: to_target_type(cast(text))
        return cached(made) if remember else made
    if cast is None:
        if to_target_type is _identity:
            return lambda text: pseudonymise(scalars.clean_text(text))
        return lambda text: to_target_type(pseudonymise(scalars.clean_text(text)))
    return lambda text: to_target_type(pseudonymise(scalars.read_text(cast(text))))


def _identity(value: Any) -> Any:
    return value


def cached(convert: Convert) -> Convert:
    """Return the same conversion of texts, which knows the last few thousand it has read."""
    return lru_cache(maxsize=CACHE_SIZE)(convert)
