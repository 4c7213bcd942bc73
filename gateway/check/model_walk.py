"""Walk through the models of a connector file, with the place of each value in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from gateway.config.yaml.document import DocumentPath


def walk_values(value: Any, place: DocumentPath = ()) -> Iterator[tuple[DocumentPath, Any]]:
    """Yield a value, and each model and each text inside it, with its place."""
    if isinstance(value, BaseModel):
        yield place, value
        for name, field in type(value).model_fields.items():
            yield from walk_values(getattr(value, name), (*place, field.alias or name))
    elif isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from walk_values(inner, (*place, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from walk_values(inner, (*place, index))
