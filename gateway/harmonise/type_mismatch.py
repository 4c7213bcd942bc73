"""Say what a field expected when the values of the rules do not fit its type."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.config.target_fields import TargetField, UnknownTarget, find_target

MISSING, WRONG_TYPE = "missing", "wrong_type"
_PLACE = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_REQUIRED = re.compile(r"Object missing required field `(?P<name>\w+)`")
_EXPECTED = re.compile(r"Expected (?P<expected>.+?)(?:, got `(?P<found>\w+)`)?(?: - at|$)")
_LIMIT = re.compile(r"(?<=`) (?:of|matching|[<>]).*")
_ENTRIES = {"structs": "fields, each with a rule of its own", "integers": "a whole number"}
_TYPES = {
    "text": "a text",
    "integer": "a whole number",
    "decimal": "a number",
    "boolean": "true or false",
    "date": "a date",
    "datetime": "a date with a time",
    "languages": "texts by language, such as `{en: …}`",
    "texts": "a list of texts",
    "integers": "a list of whole numbers",
    "structs": "a list of entries, which a rule with `each` gives",
    "struct": "fields, each with a rule of its own",
    "dictionary": "texts by name",
}
_FOUND = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "array": "a list",
    "object": "an object",
    "date": "a date",
    "datetime": "a date with a time",
    "decimal": "a number",
}


def describe_mismatch(owner: type[Any], error: msgspec.ValidationError) -> tuple[str, str, str]:
    """Return the field, the reason and the detail of a record that does not fit its type.

    None of them contains a value of the record.
    """
    text = str(error)
    match = _PLACE.search(text)
    place = match["path"].removeprefix(".") if match else ""
    if required := _REQUIRED.match(text):
        field = f"{place}.{required['name']}" if place else required["name"]
        return field, MISSING, f"expected a value: each {_entry_name(place)} needs one"
    target = _find(owner, place)
    expected = _describe_type(target, is_inside=place.endswith("]")) if target else "another value"
    clause = _EXPECTED.match(text)
    limit = _LIMIT.search(clause["expected"]) if clause else None
    found = _FOUND.get(clause["found"] or "", "") if clause else ""
    detail = f"expected {expected}{limit[0] if limit else ''}"
    return place, WRONG_TYPE, detail + (f", found {found}" if found else "")


def _entry_name(place: str) -> str:
    name = re.sub(r"\[[^\[\]]*\]", "", place)
    return f"entry of `{name}`" if name else "record"


def _find(owner: type[Any], place: str) -> TargetField | None:
    """Return the field at a place such as ``parts[0].title``, or ``None``."""
    names = re.sub(r"\[[^\[\]]*\]", "", place).split(".")
    start = 0
    for end in range(1, len(names) + 1):
        try:
            target = find_target(owner, ".".join(names[start:end]))
        except UnknownTarget:
            return None
        if end == len(names):
            return target
        if target.struct is not None:
            owner, start = target.struct, end
    return None


def _describe_type(target: TargetField, *, is_inside: bool) -> str:
    if is_inside:
        return _ENTRIES.get(target.value_type, "a text")
    if target.value_type == "choice":
        return f"one of {', '.join(map(str, target.choices))}"
    return _TYPES[target.value_type]
