"""Validate a YAML document against a model.

Each finding says what the model expects and what to do.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.countries import ACCEPTED_COUNTRIES
from gateway.config.types import PATTERN_MESSAGES, Secret
from gateway.config.yaml.document import (
    MAX_FINDINGS,
    DocumentPath,
    YamlDocument,
    are_incomplete,
    limit_findings,
)
from gateway.errors import Finding

ModelT = TypeVar("ModelT", bound=BaseModel)

_EXPECTED = {
    "string_type": "expected a text; put it in quotes",
    "string_too_short": "expected a text that is not empty",
    "int_type": "expected a whole number, without quotes",
    "bool_type": "expected true or false, without quotes",
    "dict_type": "expected keys and values",
    "tuple_type": "expected a sequence: [a, b] or lines that begin with '- '",
    "list_type": "expected a sequence: [a, b] or lines that begin with '- '",
    "model_type": "expected keys and values",
    "model_attributes_type": "expected keys and values",
    "float_type": "expected a number",
}


_MAX_ATTEMPTS = 40
_MAX_REPAIR_ATTEMPTS = 20
"""Attempts that repair mistakes. Later attempts remove whole blocks."""


def validate_document(
    model: type[ModelT], document: YamlDocument
) -> tuple[ModelT | None, list[Finding]]:
    """Return the model of a document, or ``None`` and the findings that explain why."""
    if not isinstance(document.value, Mapping):
        return None, [
            document.make_finding(
                "wrong-type",
                (),
                "expected keys and values at the top of the file; `gateway new` writes an example",
            )
        ]
    try:
        return model.model_validate(document.value), []
    except ValidationError as error:
        details = _distinct_errors(error, document.value)
        if omitted := max(0, len(details) - MAX_FINDINGS):
            details = sorted(details, key=lambda detail: _position(document, detail))
        findings: dict[tuple[int, int, str, str], Finding] = {}
        for detail in details[:MAX_FINDINGS]:
            finding = _finding(model, document, detail)
            findings.setdefault((finding.line, finding.column, finding.code, finding.path), finding)
        return None, limit_findings([*findings.values()], document.file, omitted)


def _position(document: YamlDocument, detail: ErrorDetails) -> tuple[int, int]:
    place = _nearest_existing_path(document.value, _path_in_file(detail["loc"]))
    return document.position_of(place)


def validate_partially(
    model: type[ModelT], document: YamlDocument
) -> tuple[ModelT | None, list[Finding]]:
    """Return a model even when the document has mistakes, and the findings.

    Without mistakes the result is that of :func:`validate_document`. Otherwise the model has
    placeholders for the mistakes, or lacks them, so that a check can report the remaining ones.
    """
    instance, findings = validate_document(model, document)
    if instance is not None or not isinstance(document.value, Mapping):
        return instance, findings
    if are_incomplete(findings):
        return None, findings
    value = copy.deepcopy(document.value)
    for attempt in range(_MAX_ATTEMPTS):
        try:
            return model.model_validate(value), findings
        except ValidationError as error:
            for detail in _distinct_errors(error, value):
                if attempt < _MAX_REPAIR_ATTEMPTS:
                    _repair_value(model, value, detail)
                else:  # A mistake that no repair fixes goes, together with the block around it.
                    _remove_value(
                        value, _nearest_existing_path(value, _path_in_file(detail["loc"]))[:2]
                    )
        if not value:
            break
    return None, findings


def _at(value: Any, place: DocumentPath) -> Any:
    for part in place:
        value = value[part]
    return value


def _repair_value(model: type[BaseModel], value: Any, detail: ErrorDetails) -> None:
    """Replace a wrong value where only one meaning is likely, otherwise remove it."""
    place = _nearest_existing_path(value, _path_in_file(detail["loc"]))
    if detail["type"] == "missing":
        name = _path_in_file(detail["loc"])[-1]
        _at(value, place)[name] = copy.deepcopy(_PLACEHOLDERS.get(str(name), _PLACEHOLDER))
        return
    if not place:
        return
    holder: Any = _at(value, place[:-1])
    last: Any = place[-1]
    if (instead := _replacement_value(model, value, place, detail)) is not None:
        holder[last] = instead
    elif detail["type"] == "extra_forbidden" and (
        near := difflib.get_close_matches(str(last), _keys(model, place[:-1]) - set(holder), 1, 0.6)
    ):
        holder[near[0]] = holder.pop(last)
    elif isinstance(holder, list):
        holder[last : last + 1] = [] if holder[last] is None else [None]
    else:
        holder.pop(last, None)


def _replacement_value(
    model: type[BaseModel], value: Any, place: DocumentPath, detail: ErrorDetails
) -> Any:
    if detail["type"] == "literal_error":
        words = re.findall(r"'([^']+)'", str(detail.get("ctx", {}).get("expected", "")))
        return next(iter(difflib.get_close_matches(str(_at(value, place)), words, 1, 0.0)), 1)
    if _looks_secret(model, detail):
        return {"secret": _PLACEHOLDER}
    if _at(value, place) == _PLACEHOLDER:
        return {}
    if place == ("connector",):
        return _PLACEHOLDER
    if place == ("country",):
        # The name of a connector usually begins with its country. The right country selects the
        # right tables for the checks of levels.
        country = str(value.get("connector", ""))[:2].upper()
        return country if country in ACCEPTED_COUNTRIES else "EU"
    return None


def _remove_value(value: Any, place: DocumentPath) -> None:
    if place and isinstance(holder := _at(value, place[:-1]), dict):
        holder.pop(place[-1], None)


_PLACEHOLDER = "placeholder"
_PLACEHOLDERS: dict[str, Any] = {
    "tests": [{"name": _PLACEHOLDER, "given": _PLACEHOLDER, "expect_some": {}}],
    "emits": "credential",
    "id": [_PLACEHOLDER],
    "language": 1,
    "production": "https://placeholder.example",
}


def _distinct_errors(error: ValidationError, value: Any) -> list[ErrorDetails]:
    """Return the mistakes in a value without those that follow from another one.

    A mistake in one alternative of a union goes when another alternative matched more of the value.
    A missing key goes when the file has a misspelling of it.
    """
    details = error.errors(include_url=False, include_input=False)
    for detail in details:
        place = getattr(detail.get("ctx", {}).get("error"), "path", ())
        detail["loc"] = _mark_file_keys(value, (*detail["loc"], *place))
    deepest: dict[DocumentPath, int] = {}
    by_place = [(_path_in_file(detail["loc"]), detail) for detail in details]
    for place, _ in by_place:
        for length in range(len(place)):
            deepest[place[:length]] = max(deepest.get(place[:length], 0), len(place))
    mistyped = [place for place, detail in by_place if detail["type"] == "extra_forbidden"]
    del mistyped[MAX_FINDINGS:]  # each is compared with each missing key
    return [
        detail
        for place, detail in by_place
        if (place not in deepest or detail["type"] == "value_error")
        and not (
            detail["type"] == "missing" and any(_is_typo_of(other, place) for other in mistyped)
        )
    ]


def _is_typo_of(written: DocumentPath, known: DocumentPath) -> bool:
    """Return whether the written key is a misspelling of the known one."""
    return written[:-1] == known[:-1] and bool(
        difflib.get_close_matches(str(written[-1]), [str(known[-1])], 1, 0.6)
    )


class _FileKey(str):
    """A key of the file. A key in capitals would otherwise look like a name from pydantic."""

    __slots__ = ()


def _mark_file_keys(value: Any, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    marked: list[int | str] = []
    for part in loc:
        if isinstance(value, Mapping) and part in value:
            marked.append(_FileKey(part))
            value = value[part]
        elif isinstance(value, Mapping) and isinstance(part, int):
            continue  # a single block in place of a list
        else:
            marked.append(part)
            if isinstance(part, int) and isinstance(value, list) and part < len(value):
                value = value[part]
    return tuple(marked)


def _path_in_file(loc: tuple[int | str, ...]) -> DocumentPath:
    """Return the keys of the file, without pydantic's names of unions, functions and models."""
    return tuple(
        part
        for part in loc
        if isinstance(part, int | _FileKey)
        or not (
            part == "[key]"
            or re.search(r"[\[\](]", part)
            or (part[:1].isupper() and part.isidentifier())
            or part in _PYDANTIC_TYPE_NAMES
        )
    )


_PYDANTIC_TYPE_NAMES = {"str", "int", "bool", "float", "bytes"}


def _finding(model: type[BaseModel], document: YamlDocument, detail: ErrorDetails) -> Finding:
    place = _nearest_existing_path(document.value, _path_in_file(detail["loc"]))
    kind, context = detail["type"], detail.get("ctx", {})
    if _looks_secret(model, detail):
        return document.make_finding(
            "literal-secret",
            place,
            "write {secret: NAME}, never the value; "
            "the value is a file below the secrets directory",
            key=False,
        )
    if kind == "extra_forbidden":
        return _unknown_key_finding(model, document, place)
    if kind == "missing":
        name = str(_path_in_file(detail["loc"])[-1])
        about = _description(model, _path_in_file(detail["loc"]))
        return document.make_finding(
            "missing-key", place, f"'{name}' is missing{f' ({about})' if about else ''}; add it"
        )
    if kind in _EXPECTED:
        return _wrong_type_finding(document, place, kind, str(context.get("class_name")))
    if kind == "literal_error":
        return document.make_finding(
            "unknown-word",
            place,
            f"expected {context.get('expected')}{_suggest(document, place, context)}",
            key=False,
        )
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        return document.make_finding(
            "bad-text",
            place,
            PATTERN_MESSAGES.get(pattern, f"does not fit {pattern}"),
            key="[key]" in detail["loc"],
        )
    if kind == "value_error":
        message = str(context.get("error", detail["msg"])).removeprefix("Value error, ")
        return document.make_finding(
            _code(message), place, message, key=_code(message) not in {"bad-value", "insecure-url"}
        )
    if kind in {"too_short", "tuple_too_short"}:
        about = _description(model, _path_in_file(detail["loc"]))
        return document.make_finding(
            "too-few", place, f"at least {context.get('min_length')} needed ({about})"
        )
    return document.make_finding(kind.replace("_", "-"), place, _lower(detail["msg"]), key=False)


def _wrong_type_finding(
    document: YamlDocument, place: DocumentPath, kind: str, wanted: str
) -> Finding:
    value = _at(document.value, place)
    if value is None or value == "":
        return document.make_finding(
            "empty", place, "the value is empty; write it, or remove the line"
        )
    text = _EXPECTED[kind]
    if kind == "tuple_type" and isinstance(value, bool | int | Decimal):
        text = 'expected one or several texts; put each in quotes: ["a", "b"]'
    elif wanted == "MappingRule":
        text = "expected an expression, or keys such as from, first_of, join and languages"
    return document.make_finding("wrong-type", place, text, key=False)


def _code(message: str) -> str:
    if message.startswith("give exactly one of"):
        return "one-of"
    if "needs" in message or "belong together" in message or message.startswith("give "):
        return "incomplete"
    if message.startswith("http is not encrypted"):
        return "insecure-url"
    if message.startswith("there is no cast"):
        return "unknown-cast"
    return "bad-value"


def _nearest_existing_path(value: Any, place: DocumentPath) -> DocumentPath:
    """Return the part of a place that exists in the file.

    For example, a rule may be a bare text, and a mistake inside it belongs to the text.
    """
    here: list[str | int] = []
    step: Any
    for part in place:
        step = part
        if (isinstance(value, Mapping) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        ):
            value = value[step]
        else:
            break
        here.append(part)
    return tuple(here)


def _unknown_key_finding(
    model: type[BaseModel], document: YamlDocument, place: DocumentPath
) -> Finding:
    name = str(place[-1])
    known = _keys(model, place[:-1])
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else (f"known here: {', '.join(sorted(known))}" if known else "remove it")
    )
    return document.make_finding("unknown-key", place, f"'{name}' is not known here; {hint}")


def _suggest(document: YamlDocument, place: DocumentPath, context: Mapping[str, Any]) -> str:
    value = _at(document.value, place)
    words = re.findall(r"'([^']+)'", str(context.get("expected", "")))
    near = difflib.get_close_matches(str(value), words, 1, 0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return every model that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def _field(models: list[type[BaseModel]], name: str | int) -> list[Any]:
    return [
        field
        for model in models
        for attribute, field in model.model_fields.items()
        if name == (field.alias or attribute)
    ]


def _models_along(
    model: type[BaseModel], place: DocumentPath
) -> tuple[list[type[BaseModel]], list[Any]]:
    models: list[type[BaseModel]] = [model]
    fields: list[Any] = []
    for part in place:
        matching = _field(models, part)
        if matching:
            fields = matching
            models = [inner for field in matching for inner in models_in(field.annotation)]
        elif not fields:
            return [], []
    return models, fields


def _keys(model: type[BaseModel], place: DocumentPath) -> set[str]:
    models, _ = _models_along(model, place)
    return {field.alias or name for inner in models for name, field in inner.model_fields.items()}


def _description(model: type[BaseModel], place: DocumentPath) -> str:
    _, fields = _models_along(model, place)
    return (fields[0].description or "").split(";")[0] if fields else ""


def _looks_secret(model: type[BaseModel], detail: ErrorDetails) -> bool:
    if detail["type"] not in {"model_type", "model_attributes_type"}:
        return False
    _, fields = _models_along(model, _path_in_file(detail["loc"]))
    return {inner for field in fields for inner in models_in(field.annotation)} == {Secret}


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
