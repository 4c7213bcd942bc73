"""Find the fast path of a raw record."""

from __future__ import annotations

from typing import NamedTuple

from gateway.harmonise.compiled_stream import CompiledKind
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.pipeline.fast_path.fast_path import DocumentSettings, FastPath, build_fast_path
from gateway.records import RawRecord


class _Built(NamedTuple):
    kind: CompiledKind
    providers: Providers | None
    path: FastPath | None


class FastPaths:
    """The fast paths of all kinds of records. Each one is built for its first record."""

    def __init__(self, settings: DocumentSettings) -> None:
        self._settings = settings
        self._built: dict[int, _Built] = {}

    def find(self, harmoniser: Harmoniser, raw: RawRecord) -> FastPath | None:
        """Return the fast path of a record, or ``None`` if it can only go the ordinary way."""
        compiled = harmoniser.compiled_stream(raw.stream)
        kind = compiled.for_kind(raw.kind) if compiled is not None else None
        if kind is None:
            return None
        built = self._built.get(id(kind))
        if built is None or built.providers is not harmoniser.providers:
            path = build_fast_path(harmoniser, raw.stream, kind, self._settings)
            # The entry keeps the kind, so no other object can get its id.
            built = self._built[id(kind)] = _Built(kind, harmoniser.providers, path)
        return built.path
