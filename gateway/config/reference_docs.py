"""The language described from its own models: a page for people, a JSON Schema for editors."""

from __future__ import annotations

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
from gateway.config.rules import SIMPLE_CASTS
from gateway.config.target_fields import REQUIRED, find_target, record_type
from gateway.config.validation import models_in
from gateway.records import RECORD_TYPES

RegistriesByOption = Mapping[str, str]
"""``Block.field`` to the registry that needed it."""


def json_schema(needs: RegistriesByOption | None = None) -> str:
    """Return the JSON Schema of connector files; descriptions become hover texts in editors."""
    schema = _name_definitions(Connector.model_json_schema(by_alias=True))
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Connector"
    for name, block in schema.get("$defs", {}).items():
        for field, option_needs in block.get("properties", {}).items():
            if why := (needs or {}).get(f"{name}.{field}"):
                option_needs["description"] = (
                    f"{option_needs.get('description', '')} (needed by: {why})"
                )
    _shorthands(schema)
    return json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def block_name(model: type[BaseModel]) -> str:
    """Return the name of a block as the page and the schema show it: its ``title``, else the name of its class."""
    return model.model_config.get("title") or model.__name__


def _name_definitions(schema: Any) -> Any:
    """Name each definition after its title. Published names stay when a class is renamed."""
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
    "Condition": [{"type": "string"}],
    "Paging": [{"enum": ["none", "link_header", "page_number", "atom"]}],
    "Cursor": [{"const": "scan"}],
    "Languages": [{"type": "object", "additionalProperties": {"type": "string"}}],
    "NextUrl": [{"type": "string"}],
}
"""Blocks that may be written shorter than whole."""


def _shorthands(schema: dict[str, Any]) -> None:
    definitions = schema["$defs"]
    for block in definitions.values():
        decode = block.get("properties", {}).get("decode")
        if decode and decode.get("type") == "array":
            option_needs = {
                key: decode.pop(key) for key in ("description", "default") if key in decode
            }
            block["properties"]["decode"] = {
                "anyOf": [{"type": "string"}, {"$ref": "#/$defs/Decoder"}, decode],
                **option_needs,
            }
    for name, short in _SHORT.items():
        if name in definitions:
            definitions[f"{name}Whole"] = definitions[name]
            definitions[name] = {"anyOf": [*short, {"$ref": f"#/$defs/{name}Whole"}]}


def list_blocks() -> Iterator[type[BaseModel]]:
    """Give every block of the language, each once, in the order a file uses them."""
    seen: list[type[BaseModel]] = []

    def visit(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        if model in seen:
            return
        seen.append(model)
        yield model
        for field in model.model_fields.values():
            for inner in models_in(field.annotation):
                yield from visit(inner)

    yield from visit(Connector)


def to_markdown(introduction: str, needs: RegistriesByOption) -> str:
    """Return the page: the introduction, every block with its fields, and what a rule may fill."""
    parts = [introduction.rstrip() + "\n"]
    parts += [
        "## Every block\n",
        "A field without a default must be given. `EXPR` is an expression.\n",
    ]
    parts += [_block(model, needs) for model in list_blocks()]
    parts.append("## What a rule may fill\n")
    parts.append(
        "Personal fields need `pseudonym:` or `basis:` in their rule. Fields the gateway derives are not listed.\n"
        "`id` is the native id and `changed_at` the stream's own unless a rule says otherwise.\n"
    )
    parts += [_targets(emits) for emits in RECORD_TYPES]
    return "\n".join(parts).rstrip() + "\n"


def _block(model: type[BaseModel], needs: RegistriesByOption) -> str:
    lines = [
        f"### {block_name(model)}\n",
        f"{(model.__doc__ or '').strip()}\n",
        "| field | value | default | what it says | needed by |",
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
        why = (
            needs.get(f"{block_name(model)}.{key}") or needs.get(f"{block_name(owner)}.{key}") or ""
        )
        lines.append(
            f"| `{key}` | {_field_type(field)} | {_default(field)} | {_cell(field.description or '')} | {_cell(why)} |"
        )
    return "\n".join(lines) + "\n"


def _field_type(field: FieldInfo) -> str:
    named = models_in(field.annotation)
    if named:
        inner = " or ".join(
            dict.fromkeys(f"[{block_name(model)}](#{block_name(model).lower()})" for model in named)
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
    made: list[str] = []
    for part in _parts(annotation):
        if part is type(None):
            continue
        origin = get_origin(part)
        if origin is tuple:
            made.append(f"sequence of {_type_in_words(get_args(part)[0])}")
        elif origin is dict:
            made.append(f"name: {_type_in_words(get_args(part)[1])}")
        elif (
            origin is not None
            and get_args(part)
            and not any(isinstance(argument, type) for argument in get_args(part))
        ):
            made.append(" ".join(f"`{argument}`" for argument in get_args(part)))
        else:
            made.append(_TYPE_WORDS.get(part, getattr(part, "__name__", str(part))))
    return " or ".join(dict.fromkeys(made))


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
    required = ", ".join(f"`{name}`" for name in REQUIRED[emits])
    lines = [
        f"### emits: {emits}\n",
        f"{(owner.__doc__ or '').splitlines()[0]}"
        + (f" Required: {required}.\n" if required else "\n"),
    ]
    lines += ["| target | value | | what it is |", "|---|---|---|---|", *_target_rows(owner, "")]
    return "\n".join(lines) + "\n"


def _target_rows(owner: type[Any], prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(owner, include_extras=True).items():
        found = find_target(owner, name)
        if found.derived:
            continue
        meta = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Meta)), None)
        option_needs = _cell((meta.description if meta else "") or "")
        path = prefix + name
        if found.value_type == "struct" and found.struct is not None:
            yield from _target_rows(found.struct, f"{path}.")
            continue
        if found.value_type == "structs" and found.struct is not None:
            inner = ", ".join(
                field
                for field in get_type_hints(found.struct)
                if not find_target(found.struct, field).derived
            )
            yield f"| `{path}` | `each:` with `map:` | {'personal' if found.personal else ''} | {option_needs}: {inner} |"
            continue
        key, kind = {
            "languages": (f"{path}.LANGUAGE", "text a language, or `languages:`"),
            "dictionary": (f"{path}.NAME", "text"),
            "texts": (path, "one or several texts"),
            "choice": (path, " ".join(f"`{choice}`" for choice in found.choices)),
        }.get(found.value_type, (path, found.value_type))
        yield f"| `{key}` | {kind} | {'personal' if found.personal else ''} | {option_needs} |"
