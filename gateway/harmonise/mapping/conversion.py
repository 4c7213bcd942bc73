"""Build the conversion from a selected value to the value of the target field, at load.

Inside a rule the order is fixed: ``from``, ``as``, ``table``, ``default``.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from gateway.config.rules import MappingRule
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
"""How many texts a conversion caches, such as dates and amounts, but never personal values."""
_CACHEABLE_TYPES = frozenset({"date", "decimal", "integer", "boolean", "choice"})


def target_converter(target: TargetField, zone: str) -> Convert:
    """Return the function that converts a value to the type of the target field."""
    if target.cast:
        return casts.named_cast(target.cast, zone)
    if target.choices:
        return casts.one_of(target.choices, ".".join(target.path), target.unknown_code)
    converter = {
        "text": scalars.read_text,
        "texts": scalars.read_text,
        "integer": scalars.read_integer,
        "integers": scalars.read_integer,
        "decimal": casts.decimal,
        "boolean": casts.boolean,
    }.get(target.value_type)
    if converter is not None:
        return converter
    if target.value_type == "date":
        return casts.pass_through(date, dates.date_cast(zone), but=datetime)
    return casts.pass_through(datetime, dates.datetime_cast(None, zone))


def compile_casts(rule: MappingRule, target: TargetField, zone: str) -> Convert | None:
    """Return the function of the ``as:`` of a rule, which converts one value for its target.

    A date in three fields gives ``None``, because the rule compiler assembles it.
    """
    if rule.as_ is None or rule.split_date is not None:
        return None
    return casts.compile_casts(rule.as_, zone, to_day=target.value_type == "date")


def build_conversion(  # noqa: C901 - the fixed order of a rule, in one place
    target: TargetField,
    zone: str,
    *,
    cast: Convert | None,
    lookup: StatefulConvert | None,
    pseudonymise: Convert | None,
    invalid: Literal["reject", "drop"] | None,
    personal: bool,
) -> Conversion:
    """Return ``as``, ``table``, ``pseudonym`` and the target's type as one conversion.

    For a value that it cannot read, the conversion raises
    :class:`~gateway.harmonise.mapping.rule_functions.FieldRejected`, or notes an issue and returns
    ``None``. ``invalid`` decides which. Without it, the cast that failed decides.
    """
    name, to_target_type = ".".join(target.path), target_converter(target, zone)

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
            if error.leave_out and invalid != "reject":
                message = f"left out; expected {error.expected}"
                state.issues.append(Issue(code=error.reason, field=name, message=message))
                return None
            if invalid == "drop":
                state.issues.append(Issue(code="invalid_value", field=name))
                return None
            raise FieldRejected("map", name, error.reason, f"expected {error.expected}") from None

    if invalid == "drop" or (lookup is not None and not isinstance(lookup, ConnectorTableLookup)):
        return Conversion(convert)
    if isinstance(lookup, ConnectorTableLookup):
        if cast is not None or pseudonymise is not None:
            return Conversion(convert)
        return Conversion(lookup.cached(convert), converted_codes=lookup.converted_codes)
    if pseudonymise is not None and target.value_type == "text" and _holds_any_text(target):
        to_target_type = _identity  # because a pseudonym is clean text
    if cast is None and pseudonymise is None:
        return _direct_conversion(target, zone, convert, to_target_type, personal=personal)
    return Conversion(
        convert,
        _text_converter(
            cast,
            pseudonymise,
            to_target_type,
            use_cache=not personal
            and pseudonymise is None
            and target.value_type in _CACHEABLE_TYPES,
        ),
        is_pseudonym=pseudonymise is not None and cast is None and to_target_type is _identity,
    )


def _direct_conversion(
    target: TargetField,
    zone: str,
    convert: StatefulConvert,
    to_target_type: Convert,
    *,
    personal: bool,
) -> Conversion:
    """Return the conversion of a rule without ``as``, ``table`` and ``pseudonym``."""
    if _holds_any_text(target):
        return Conversion(
            convert, scalars.clean_text, is_plain_text=True, accepted_json_type=int, wrap=str
        )
    if target.value_type == "datetime":
        return Conversion(convert, dates.datetime_cast(None, zone))
    if not personal and (target.value_type in _CACHEABLE_TYPES or target.cast or target.choices):
        to_target_type = cached(to_target_type)
    if target.value_type == "boolean":
        return Conversion(convert, to_target_type, accepted_json_type=bool)
    if target.value_type in {"integer", "decimal"}:
        return Conversion(
            convert,
            to_target_type,
            accepted_json_type=int,
            wrap=Decimal if target.value_type == "decimal" else None,
        )
    return Conversion(convert, to_target_type)


def _holds_any_text(target: TargetField) -> bool:
    return (
        target.value_type in {"text", "texts"}
        and not target.cast
        and (not target.choices or target.unknown_code == "keep")
    )


def _text_converter(
    cast: Convert | None, pseudonymise: Convert | None, to_target_type: Convert, *, use_cache: bool
) -> Convert:
    if pseudonymise is None:
        converter: Convert = (
            to_target_type if cast is None else lambda text: to_target_type(cast(text))
        )
        return cached(converter) if use_cache else converter
    if cast is None:
        if to_target_type is _identity:
            return lambda text: pseudonymise(scalars.clean_text(text))
        return lambda text: to_target_type(pseudonymise(scalars.clean_text(text)))
    return lambda text: to_target_type(pseudonymise(scalars.read_text(cast(text))))


def _identity(value: Any) -> Any:
    return value


def cached(convert: Convert) -> Convert:
    """Return the conversion with a cache of its last :data:`CACHE_SIZE` texts."""
    return lru_cache(maxsize=CACHE_SIZE)(convert)
