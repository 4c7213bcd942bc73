"""From a document to a model, with our own words for what does not fit: what was expected, and what to do."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.countries import ISO
from gateway.config.types import WORDED, Secret
from gateway.config.yaml.document import Document, Path_
from gateway.errors import Finding

M = TypeVar("M", bound=BaseModel)

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


def shape(model: type[M], document: Document) -> tuple[M | None, list[Finding]]:
    """Validate a document; returns the model, or the findings that say why there is none."""
    if not isinstance(document.value, Mapping):
        return None, [
            document.finding("wrong-type", (), "expected keys and values at the top of the file; `gateway new` writes an example")
        ]
    try:
        return model.model_validate(document.value), []
    except ValidationError as error:
        findings: dict[tuple[int, int, str, str], Finding] = {}
        for detail in _details(error, document.value):
            finding = _finding(model, document, detail)
            findings.setdefault((finding.line, finding.column, finding.code, finding.path), finding)
        return None, sorted(findings.values(), key=lambda finding: (finding.line, finding.column))


def salvage(model: type[M], document: Document) -> tuple[M | None, list[Finding]]:
    """As :func:`shape`, and where there are mistakes, a model of what is left without them, so that the rest can be checked, too."""
    made, findings = shape(model, document)
    if made is not None or not isinstance(document.value, Mapping):
        return made, findings
    value = copy.deepcopy(document.value)
    for attempt in range(40):
        try:
            return model.model_validate(value), findings
        except ValidationError as error:
            for detail in _details(error, value):
                if attempt < 20:  # noqa: PLR2004
                    _mend(model, value, detail)
                else:  # what cannot be mended is left out with what is around it
                    _leave_out(value, _existing(value, _place(detail["loc"]))[:2])
        if not value:
            break
    return None, findings


def _at(value: Any, place: Path_) -> Any:
    for part in place:
        value = value[part]
    return value


def _mend(model: type[BaseModel], value: Any, detail: ErrorDetails) -> None:
    """Put something that fits where one thing can be meant, else take it out."""
    place = _existing(value, _place(detail["loc"]))
    if detail["type"] == "missing":
        name = _place(detail["loc"])[-1]
        _at(value, place)[name] = copy.deepcopy(_STAND_INS.get(str(name), _STAND_IN))
        return
    if not place:
        return
    holder: Any = _at(value, place[:-1])
    last: Any = place[-1]
    if (instead := _instead(model, value, place, detail)) is not None:
        holder[last] = instead
    elif detail["type"] == "extra_forbidden" and (
        near := difflib.get_close_matches(str(last), _keys(model, place[:-1]) - set(holder), 1, 0.6)
    ):
        holder[near[0]] = holder.pop(last)
    elif isinstance(holder, list):
        holder[last : last + 1] = [] if holder[last] is None else [None]
    else:
        holder.pop(last, None)


def _instead(model: type[BaseModel], value: Any, place: Path_, detail: ErrorDetails) -> Any:
    if detail["type"] == "literal_error":
        words = re.findall(r"'([^']+)'", str(detail.get("ctx", {}).get("expected", "")))
        return next(iter(difflib.get_close_matches(str(_at(value, place)), words, 1, 0.0)), 1)
    if _looks_secret(model, detail):
        return {"secret": "mended"}
    if _at(value, place) == _STAND_IN:
        return {}
    if place == ("connector",):
        return _STAND_IN
    if place == ("country",):  # where it can be told from the name, so that levels are judged by the right tables
        said = str(value.get("connector", ""))[:2].upper()
        return said if said in ISO else "EU"
    return None


def _leave_out(value: Any, place: Path_) -> None:
    if place and isinstance(holder := _at(value, place[:-1]), dict):
        holder.pop(place[-1], None)


_STAND_IN = "mended"
_STAND_INS: dict[str, Any] = {
    "tests": [{"name": "mended", "given": "mended", "expect_some": {}}],
    "emits": "credential",
    "id": ["mended"],
    "language": 1,
    "production": "https://mended.example",
}


def _details(error: ValidationError, value: Any) -> list[ErrorDetails]:
    """Return the mistakes in a value without what only repeats.

    That is alternatives of a union where another alternative got further, and what is missing because it is mistyped.
    """
    details = error.errors(include_url=False, include_input=False)
    for detail in details:
        place = getattr(detail.get("ctx", {}).get("error"), "place", ())
        detail["loc"] = _marked(value, (*detail["loc"], *place))
    deepest: dict[Path_, int] = {}
    plain = [(_place(detail["loc"]), detail) for detail in details]
    for place, _ in plain:
        for length in range(len(place)):
            deepest[place[:length]] = max(deepest.get(place[:length], 0), len(place))
    mistyped = [place for place, detail in plain if detail["type"] == "extra_forbidden"]
    return [
        detail
        for place, detail in plain
        if (place not in deepest or detail["type"] == "value_error")
        and not (detail["type"] == "missing" and any(_meant(other, place) for other in mistyped))
    ]


def _meant(written: Path_, known: Path_) -> bool:
    """Say whether the one is the other, mistyped."""
    return written[:-1] == known[:-1] and bool(difflib.get_close_matches(str(written[-1]), [str(known[-1])], 1, 0.6))


class _Key(str):
    """A key that stands in the file, so that one written in capitals is not taken for a name pydantic added."""

    __slots__ = ()


def _marked(value: Any, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    made: list[int | str] = []
    for part in loc:
        if isinstance(value, Mapping) and part in value:
            made.append(_Key(part))
            value = value[part]
        else:
            made.append(part)
            if isinstance(part, int) and isinstance(value, list) and part < len(value):
                value = value[part]
    return tuple(made)


def _place(loc: tuple[int | str, ...]) -> Path_:
    """Keep what stands in the file; drop the names pydantic adds for unions, functions and models."""
    return tuple(
        part
        for part in loc
        if isinstance(part, int | _Key)
        or not (part == "[key]" or re.search(r"[\[\](]", part) or (part[:1].isupper() and part.isidentifier()) or part in _TYPES)
    )


_TYPES = {"str", "int", "bool", "float", "bytes"}


def _finding(model: type[BaseModel], document: Document, detail: ErrorDetails) -> Finding:
    place = _existing(document.value, _place(detail["loc"]))
    kind, context = detail["type"], detail.get("ctx", {})
    if _looks_secret(model, detail):
        return document.finding(
            "literal-secret", place, "write {secret: NAME}, never the value; the value is a file below the secrets directory", key=False
        )
    if kind == "extra_forbidden":
        return _unknown(model, document, place)
    if kind == "missing":
        name = str(_place(detail["loc"])[-1])
        about = _description(model, _place(detail["loc"]))
        return document.finding("missing-key", place, f"'{name}' is missing{f' ({about})' if about else ''}; add it")
    if kind in _EXPECTED:
        return _unexpected(document, place, kind, str(context.get("class_name")))
    if kind == "literal_error":
        return document.finding("unknown-word", place, f"expected {context.get('expected')}{_near(document, place, context)}", key=False)
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        return document.finding("bad-text", place, WORDED.get(pattern, f"does not fit {pattern}"), key="[key]" in detail["loc"])
    if kind == "value_error":
        message = str(context.get("error", detail["msg"])).removeprefix("Value error, ")
        return document.finding(_code(message), place, message, key=_code(message) not in {"bad-value", "insecure-url"})
    if kind in {"too_short", "tuple_too_short"}:
        about = _description(model, _place(detail["loc"]))
        return document.finding("too-few", place, f"at least {context.get('min_length')} needed ({about})")
    return document.finding(kind.replace("_", "-"), place, _lower(detail["msg"]), key=False)


def _unexpected(document: Document, place: Path_, kind: str, wanted: str) -> Finding:
    value = _at(document.value, place)
    if value is None or value == "":
        return document.finding("empty", place, "nothing stands here; write its value, or remove the line")
    text = _EXPECTED[kind]
    if kind == "tuple_type" and isinstance(value, bool | int | Decimal):
        text = 'expected one or several texts; put each in quotes: ["a", "b"]'
    elif wanted == "Rule":
        text = "expected an expression, or keys such as from, first_of, join and languages"
    return document.finding("wrong-type", place, text, key=False)


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


def _existing(value: Any, place: Path_) -> Path_:
    """Cut a place to the part that stands in the file, so that a bare text taken for a rule keeps its own place."""
    here: list[str | int] = []
    step: Any
    for part in place:
        step = part
        if (isinstance(value, Mapping) and part in value) or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            value = value[step]
        else:
            break
        here.append(part)
    return tuple(here)


def _unknown(model: type[BaseModel], document: Document, place: Path_) -> Finding:
    name = str(place[-1])
    known = _keys(model, place[:-1])
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean '{near[0]}'?" if near else (f"known here: {', '.join(sorted(known))}" if known else "remove it")
    return document.finding("unknown-key", place, f"'{name}' is not known here; {hint}")


def _near(document: Document, place: Path_, context: Mapping[str, Any]) -> str:
    value = _at(document.value, place)
    words = re.findall(r"'([^']+)'", str(context.get("expected", "")))
    near = difflib.get_close_matches(str(value), words, 1, 0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return every block that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def _field(models: list[type[BaseModel]], name: str | int) -> list[Any]:
    return [field for model in models for attribute, field in model.model_fields.items() if name == (field.alias or attribute)]


def _walk(model: type[BaseModel], place: Path_) -> tuple[list[type[BaseModel]], list[Any]]:
    models: list[type[BaseModel]] = [model]
    fields: list[Any] = []
    for part in place:
        found = _field(models, part)
        if found:
            fields = found
            models = [inner for field in found for inner in models_in(field.annotation)]
        elif not fields:
            return [], []
    return models, fields


def _keys(model: type[BaseModel], place: Path_) -> set[str]:
    models, _ = _walk(model, place)
    return {field.alias or name for inner in models for name, field in inner.model_fields.items()}


def _description(model: type[BaseModel], place: Path_) -> str:
    _, fields = _walk(model, place)
    return (fields[0].description or "").split(";")[0] if fields else ""


def _looks_secret(model: type[BaseModel], detail: ErrorDetails) -> bool:
    if detail["type"] not in {"model_type", "model_attributes_type"}:
        return False
    _, fields = _walk(model, _place(detail["loc"]))
    return {inner for field in fields for inner in models_in(field.annotation)} == {Secret}


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
