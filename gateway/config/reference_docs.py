"""Describe the connector language from its own models, for people and for editors."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Union, get_args, get_origin, get_type_hints

from msgspec import Meta
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.config.connector import Connector
from gateway.config.omissions import CONDITIONS, OMITTED
from gateway.config.publishing_needs import NEEDS, Need
from gateway.config.rules import SIMPLE_CASTS
from gateway.config.target_fields import find_target, record_type
from gateway.config.validation import models_in
from gateway.records import RECORD_TYPES

RegistriesByOption = Mapping[str, str]
"""Each ``Block.field`` and the registry that needs it."""


def json_schema(needs: RegistriesByOption | None = None) -> str:
    """Return the JSON Schema of connector files. Editors show its descriptions as hover texts."""
    schema = _name_definitions(Connector.model_json_schema(by_alias=True))
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Connector"
    for name, block in schema.get("$defs", {}).items():
        for field, option in block.get("properties", {}).items():
            if registry := (needs or {}).get(f"{name}.{field}"):
                option["description"] = f"{option.get('description', '')} (needed by: {registry})"
    _shorthands(schema)
    return json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def block_name(model: type[BaseModel]) -> str:
    """Return the published name of a block: its ``title``, or the name of its class."""
    return model.model_config.get("title") or model.__name__


def _name_definitions(schema: Any) -> Any:
    """Name each definition after its title, so that renaming a class changes no published name."""
    names = {key: block.get("title", key) for key, block in schema["$defs"].items()}

    def rename(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rename(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [rename(inner) for inner in value]
        if isinstance(value, str) and value.startswith("#/$defs/"):
            return f"#/$defs/{names[value.removeprefix('#/$defs/')]}"
        return value

    definitions = {names[key]: block for key, block in schema["$defs"].items()}
    return rename({**schema, "$defs": definitions})


_SHORT: dict[str, list[dict[str, Any]]] = {
    "Rule": [{"type": "string"}],
    "Cast": [{"enum": sorted(SIMPLE_CASTS)}],
    "Change time": [{"type": "string"}],
    "Condition": [{"type": "string"}],
    "FurtherHost": [{"type": "string"}],
    "Paging": [{"enum": ["none", "link_header", "page_number", "atom"]}],
    "Cursor": [{"const": "scan"}],
    "Languages": [{"type": "object", "additionalProperties": {"type": "string"}}],
    "NextUrl": [{"type": "string"}],
}
"""The short forms that some blocks also have."""


def _shorthands(schema: dict[str, Any]) -> None:
    definitions = schema["$defs"]
    for block in definitions.values():
        decode = block.get("properties", {}).get("decode")
        if decode and decode.get("type") == "array":
            annotations = {
                key: decode.pop(key) for key in ("description", "default") if key in decode
            }
            block["properties"]["decode"] = {
                "anyOf": [{"type": "string"}, {"$ref": "#/$defs/Decoder"}, decode],
                **annotations,
            }
    for name, short in _SHORT.items():
        if name in definitions:
            definitions[f"{name}Whole"] = definitions[name]
            definitions[name] = {"anyOf": [*short, {"$ref": f"#/$defs/{name}Whole"}]}


def list_blocks() -> Iterator[type[BaseModel]]:
    """Yield every block of the language once, in the order in which a file uses them."""
    visited: list[type[BaseModel]] = []

    def visit(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        if model in visited:
            return
        visited.append(model)
        yield model
        for field in model.model_fields.values():
            for inner in models_in(field.annotation):
                yield from visit(inner)

    yield from visit(Connector)


def to_markdown(introduction: str, needs: RegistriesByOption) -> str:
    """Return the page: the introduction, the blocks with their fields, and the targets of rules."""
    parts = [introduction.rstrip() + "\n"]
    parts += [
        "## Every block\n",
        "A field without a default must be given. `EXPR` is an expression.\n",
    ]
    parts += [_block(model, needs) for model in list_blocks()]
    parts.append("## Targets of rules\n")
    parts.append(
        "The rule of a personal field needs `pseudonym:` or `basis:`. "
        "The page does not list fields that the gateway derives.\n"
        "Unless a rule fills them, `id` is the native id and `changed_at` is the stream's own.\n"
    )
    parts += [_targets(emits) for emits in RECORD_TYPES]
    return "\n".join(parts).rstrip() + "\n"


def _block(model: type[BaseModel], needs: RegistriesByOption) -> str:
    lines = [
        f"### {block_name(model)}\n",
        f"{inspect.cleandoc(model.__doc__ or '')}\n",
        "| field | value | default | meaning | needed by |",
        "|---|---|---|---|---|",
    ]
    for name, field in model.model_fields.items():
        key = field.alias or name
        owner = next(
            (
                base
                for base in model.__mro__
                if issubclass(base, BaseModel) and name in base.__annotations__
            ),
            model,
        )
        registry = (
            needs.get(f"{block_name(model)}.{key}") or needs.get(f"{block_name(owner)}.{key}") or ""
        )
        description = _cell(field.description or "")
        lines.append(
            f"| `{key}` | {_field_type(field)} | {_default(field)} "
            f"| {description} | {_cell(registry)} |"
        )
    return "\n".join(lines) + "\n"


def _field_type(field: FieldInfo) -> str:
    models = models_in(field.annotation)
    if models:
        inner = " or ".join(
            dict.fromkeys(
                f"[{block_name(model)}](#{block_name(model).lower().replace(' ', '-')})"
                for model in models
            )
        )
        container = next(
            (
                get_origin(part)
                for part in _parts(field.annotation)
                if get_origin(part) in {tuple, dict}
            ),
            None,
        )
        if container is tuple:
            return f"sequence of {inner}"
        return f"name: {inner}" if container is dict else inner
    return _cell(_type_in_words(field.annotation))


def _parts(annotation: Any) -> list[Any]:
    if get_origin(annotation) in {Union, types.UnionType}:
        return [part for argument in get_args(annotation) for part in _parts(argument)]
    if hasattr(annotation, "__metadata__"):
        return _parts(get_args(annotation)[0])
    return [annotation]


_TYPE_WORDS = {
    str: "text",
    int: "number",
    bool: "true or false",
    float: "rate, such as `5/s`",
    timedelta: "duration, such as `15m`",
    Any: "anything",
}


def _type_in_words(annotation: Any) -> str:
    words: list[str] = []
    for part in _parts(annotation):
        if part is type(None):
            continue
        origin = get_origin(part)
        if origin is tuple:
            words.append(f"sequence of {_type_in_words(get_args(part)[0])}")
        elif origin is dict:
            words.append(f"name: {_type_in_words(get_args(part)[1])}")
        elif (
            origin is not None
            and get_args(part)
            and not any(isinstance(argument, type) for argument in get_args(part))
        ):
            words.append(" ".join(f"`{argument}`" for argument in get_args(part)))
        else:
            words.append(_TYPE_WORDS.get(part, getattr(part, "__name__", str(part))))
    return " or ".join(dict.fromkeys(words))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or value in ({}, ()):
        return "-"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, BaseModel):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if value != "" else "-"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").strip()


def _targets(emits: str) -> str:
    owner = record_type(emits)
    lines = [f"### emits: {emits}\n", f"{(owner.__doc__ or '').splitlines()[0]}\n", *_needs(emits)]
    lines += ["| target | value | | meaning |", "|---|---|---|---|", *_target_rows(owner, "")]
    lines += _omissions(emits)
    return "\n".join(lines) + "\n"


def _needs(emits: str) -> Iterator[str]:
    """Yield the list of what publishing requires of a record, from what the renderers check."""
    word = emits.replace("_", " ")
    if not NEEDS[emits]:
        yield f"To publish a {word}, no target is required.\n"
        return
    yield f"To publish a {word}, fill:\n"
    for need in NEEDS[emits]:
        ways = " or ".join(
            " and ".join(dict.fromkeys(f"`{_source(path)}`" for path in paths))
            for paths in need.choices
        )
        yield f"- {need.text}: {ways}" + _consequence(need)
    yield "\nThe gateway rejects a record without one of these values as `missing`.\n"
    if any(need.only_loq for need in NEEDS[emits]):
        yield (
            "An entry is incomplete if it lacks only values that the registry does not hold. The "
            "gateway publishes it on `catalogue.incomplete-entries.v1`. It still rejects an entry "
            "whose value cannot be used. With `incomplete_entries: reject`, it rejects both.\n"
        )


def _consequence(need: Need) -> str:
    if need.withheld:
        return " (otherwise withheld)"
    return " (otherwise incomplete)" if need.only_loq else ""


def _omissions(emits: str) -> Iterator[str]:
    """Yield the targets that documents do not contain, or only under a condition."""
    derived = {"iri", "parts.iri"}
    omitted = {path: why for path, why in OMITTED[emits].items() if path not in derived}
    if omitted:
        yield "\nNo document contains these targets:\n"
        yield from (f"- `{path}`: {reason}." for path, reason in omitted.items())
    if conditions := CONDITIONS.get(emits):
        yield "\nDocuments contain these targets under a condition:\n"
        yield from (f"- `{path}`: {condition}." for path, condition in conditions.items())


def _source(path: str) -> str:
    """Return the target that a rule fills for a needed value, as a connector file spells it."""
    return "nqf_level" if path in {"eqf_level", "nqf_uri"} else path


def _target_rows(owner: type[Any], prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(owner, include_extras=True).items():
        target = find_target(owner, name)
        if target.derived:
            continue
        meta = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Meta)), None)
        description = _cell((meta.description if meta else "") or "")
        personal = "personal" if target.personal else ""
        path = prefix + name
        if target.value_type == "struct" and target.struct is not None:
            yield from _target_rows(target.struct, f"{path}.")
            continue
        if target.value_type == "structs" and target.struct is not None:
            inner = ", ".join(
                field
                for field in get_type_hints(target.struct)
                if not find_target(target.struct, field).derived
            )
            yield f"| `{path}` | `each:` with `map:` | {personal} | {description}: {inner} |"
            continue
        key, kind = {
            "languages": (f"{path}.LANGUAGE", "text a language, or `languages:`"),
            "dictionary": (f"{path}.NAME", "text"),
            "texts": (path, "one or several texts"),
            "choice": (path, " ".join(f"`{choice}`" for choice in target.choices)),
        }.get(target.value_type, (path, target.value_type))
        yield f"| `{key}` | {kind} | {personal} | {description} |"
