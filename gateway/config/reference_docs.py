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
from gateway.config.target_fields import REQUIRED, record_type, target
from gateway.config.validation import models_in
from gateway.records import EMITS

Needs = Mapping[str, str]
"""``Block.field`` to the registry that needed it."""


def json_schema(needs: Needs | None = None) -> str:
    """Return the JSON Schema of connector files; descriptions become hover texts in editors."""
    schema = Connector.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Connector"
    for name, block in schema.get("$defs", {}).items():
        for field, about in block.get("properties", {}).items():
            if why := (needs or {}).get(f"{name}.{field}"):
                about["description"] = f"{about.get('description', '')} (needed by: {why})"
    _shorthands(schema)
    return json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


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
            about = {key: decode.pop(key) for key in ("description", "default") if key in decode}
            block["properties"]["decode"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Decoder"}, decode], **about}
    for name, short in _SHORT.items():
        if name in definitions:
            definitions[f"{name}Whole"] = definitions[name]
            definitions[name] = {"anyOf": [*short, {"$ref": f"#/$defs/{name}Whole"}]}


def blocks() -> Iterator[type[BaseModel]]:
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


def markdown(introduction: str, needs: Needs) -> str:
    """Return the page: the introduction, every block with its fields, and what a rule may fill."""
    parts = [introduction.rstrip() + "\n"]
    parts += ["## Every block\n", "A field without a default must be given. `EXPR` is an expression.\n"]
    parts += [_block(model, needs) for model in blocks()]
    parts.append("## What a rule may fill\n")
    parts.append(
        "Personal fields need `pseudonym:` or `basis:` in their rule. Fields the gateway derives are not listed.\n"
        "`id` is the native id and `changed_at` the stream's own unless a rule says otherwise.\n"
    )
    parts += [_targets(emits) for emits in EMITS]
    return "\n".join(parts).rstrip() + "\n"


def _block(model: type[BaseModel], needs: Needs) -> str:
    lines = [
        f"### {model.__name__}\n",
        f"{(model.__doc__ or '').strip()}\n",
        "| field | value | default | what it says | needed by |",
        "|---|---|---|---|---|",
    ]
    for name, field in model.model_fields.items():
        key = field.alias or name
        owner = next((base for base in model.__mro__ if issubclass(base, BaseModel) and name in base.__annotations__), model)
        why = needs.get(f"{model.__name__}.{key}") or needs.get(f"{owner.__name__}.{key}") or ""
        lines.append(f"| `{key}` | {_kind(field)} | {_default(field)} | {_cell(field.description or '')} | {_cell(why)} |")
    return "\n".join(lines) + "\n"


def _kind(field: FieldInfo) -> str:
    named = models_in(field.annotation)
    if named:
        inner = " or ".join(dict.fromkeys(f"[{model.__name__}](#{model.__name__.lower()})" for model in named))
        container = next((get_origin(part) for part in _parts(field.annotation) if get_origin(part) in {tuple, dict}), None)
        if container is tuple:
            return f"sequence of {inner}"
        return f"name: {inner}" if container is dict else inner
    return _cell(_plain(field.annotation))


def _parts(annotation: Any) -> list[Any]:
    if get_origin(annotation) in {Union, types.UnionType}:
        return [part for argument in get_args(annotation) for part in _parts(argument)]
    if hasattr(annotation, "__metadata__"):
        return _parts(get_args(annotation)[0])
    return [annotation]


_WORDS = {
    str: "text",
    int: "number",
    bool: "true or false",
    float: "rate, such as `5/s`",
    timedelta: "duration, such as `15m`",
    Any: "anything",
}


def _plain(annotation: Any) -> str:
    made: list[str] = []
    for part in _parts(annotation):
        if part is type(None):
            continue
        origin = get_origin(part)
        if origin is tuple:
            made.append(f"sequence of {_plain(get_args(part)[0])}")
        elif origin is dict:
            made.append(f"name: {_plain(get_args(part)[1])}")
        elif origin is not None and get_args(part) and not any(isinstance(argument, type) for argument in get_args(part)):
            made.append(" ".join(f"`{argument}`" for argument in get_args(part)))
        else:
            made.append(_WORDS.get(part, getattr(part, "__name__", str(part))))
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
    lines = [f"### emits: {emits}\n", f"{(owner.__doc__ or '').splitlines()[0]}" + (f" Required: {required}.\n" if required else "\n")]
    lines += ["| target | value | | what it is |", "|---|---|---|---|", *_rows(owner, "")]
    return "\n".join(lines) + "\n"


def _rows(owner: type[Any], prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(owner, include_extras=True).items():
        found = target(owner, name)
        if found.derived:
            continue
        meta = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Meta)), None)
        about = _cell((meta.description if meta else "") or "")
        path = prefix + name
        if found.sort == "struct" and found.struct is not None:
            yield from _rows(found.struct, f"{path}.")
            continue
        if found.sort == "structs" and found.struct is not None:
            inner = ", ".join(field for field in get_type_hints(found.struct) if not target(found.struct, field).derived)
            yield f"| `{path}` | `each:` with `map:` | {'personal' if found.personal else ''} | {about}: {inner} |"
            continue
        key, kind = {
            "languages": (f"{path}.LANGUAGE", "text a language, or `languages:`"),
            "dictionary": (f"{path}.NAME", "text"),
            "texts": (path, "one or several texts"),
            "choice": (path, " ".join(f"`{choice}`" for choice in found.choices)),
        }.get(found.sort, (path, found.sort))
        yield f"| `{key}` | {kind} | {'personal' if found.personal else ''} | {about} |"
