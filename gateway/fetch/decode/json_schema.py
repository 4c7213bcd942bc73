"""Validate JSON against a JSON Schema file, without other files and without the network.

RE2 runs the patterns of the schema, because they meet values of a registry. Its time grows only
with the length of the value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import re2

from gateway.config.side_files import read_side_file
from gateway.errors import StreamHalted

_MAX_DEPTH = 100


def read_json_schema(path: Path, where: str) -> Any:
    """Return the validator of a schema file.

    Raise ``SCHEMA_UNREADABLE`` when the file cannot be used.
    """
    try:
        from jsonschema import Draft202012Validator, validators
        from jsonschema_specifications import (  # type: ignore[import-untyped] # it has no types
            REGISTRY,
        )
    except ImportError:
        raise StreamHalted(
            "SCHEMA_UNREADABLE",
            f"{where}: checking replies against a JSON Schema needs "
            "qualification-gateway[validate]",
        ) from None
    try:
        schema = json.loads(read_side_file(path))
    except (OSError, ValueError, RecursionError):
        raise unusable(path, where, "cannot be read; save it next to the connector file") from None
    _require_plain(schema, path, where)
    library: Any = validators
    make = library.extend(
        Draft202012Validator,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
        },
    )
    return make(schema, registry=REGISTRY)  # the specifications alone; it fetches nothing


def first_violation(validator: Any, value: Any, path: Path, where: str) -> str | None:
    """Return the place and the rule of the first violation, without a value.

    Raise ``SCHEMA_UNREADABLE`` when the schema refers to another file or to itself without end.
    """
    from referencing.exceptions import Unresolvable

    try:
        error = next(validator.iter_errors(value), None)
    except Unresolvable:
        raise unusable(path, where, "refers to another file; copy it under $defs") from None
    except RecursionError:
        raise unusable(path, where, "refers to itself without end; correct its $ref") from None
    return None if error is None else f"at {error.json_path} ({error.validator})"


def unusable(path: Path, where: str, problem: str) -> StreamHalted:
    """Return the error of a schema file that cannot be used."""
    return StreamHalted("SCHEMA_UNREADABLE", f"{where}: the schema {path.name} {problem}")


def _require_plain(node: Any, path: Path, where: str, depth: int = 0) -> None:
    """Refuse patterns that RE2 cannot run, and deep nesting."""
    if depth > _MAX_DEPTH:
        raise unusable(path, where, f"is nested more than {_MAX_DEPTH} deep; flatten it")
    if isinstance(node, list):
        for inner in node:
            _require_plain(inner, path, where, depth + 1)
    if not isinstance(node, Mapping):
        return
    patterns = node.get("patternProperties")
    names = [*patterns] if isinstance(patterns, Mapping) else []
    for pattern in (*names, node.get("pattern")):
        if isinstance(pattern, str) and not _is_linear(pattern):
            raise unusable(
                path,
                where,
                f"has the pattern {pattern[:100]!r}, which RE2 cannot run; "
                "write it without (?=, (?! and back references",
            )
    for inner in node.values():
        _require_plain(inner, path, where, depth + 1)


def _is_linear(pattern: str) -> bool:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        return False
    return True


def _fits(pattern: str, text: str) -> bool:
    # RE2 reads UTF-8, which has no lone surrogates.
    return re2.search(pattern, text.encode("utf-8", "replace").decode()) is not None


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _fits(pattern, instance):
        yield ValidationError("does not match the pattern")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any
) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, subschema in patterns.items():
            for key, value in instance.items():
                if _fits(pattern, key):
                    yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", {}), [*schema.get("patternProperties", {})]
    for key, value in instance.items():
        if key in known or any(_fits(pattern, key) for pattern in patterns):
            continue
        if validator.is_type(allowed, "object"):
            yield from validator.descend(value, allowed, path=key)
        elif not allowed:
            yield ValidationError("additional properties are not allowed")
