"""Validate replies against a schema file next to the connector file, without network access.

Some registries break their own schemas. The connector therefore sets a mode: ``strict`` refuses the
reply, ``warn`` counts and logs the violation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlparse

import structlog
from lxml import etree

from gateway.config.connector import SchemaCheck
from gateway.config.side_files import find_side_file, read_side_file
from gateway.errors import StreamHalted
from gateway.fetch.decode.chain import DecodedReply
from gateway.fetch.decode.json_schema import first_violation, read_json_schema, unusable
from gateway.fetch.soap import envelope
from gateway.observability import metrics

log = structlog.get_logger()


class LocalSchemaResolver(etree.Resolver):
    """A resolver that finds imported schemas by file name in one folder.

    It ignores the address of an import.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def resolve(self, url: str, pubid: str, context: Any) -> Any:  # type: ignore[override]  # noqa: ARG002 - lxml gives three
        """Return the file of that name, or raise :class:`OSError`."""
        parsed = urlparse(url or "")
        near = Path(parsed.path)
        candidates = (
            (near, self._folder / near.name)
            if parsed.scheme in {"", "file"}
            else (self._folder / near.name,)
        )
        for candidate in candidates:
            if candidate.is_file() and candidate.resolve().is_relative_to(self._folder):
                return cast("Any", self).resolve_filename(str(candidate), context)
        raise OSError(f"{near.name} does not lie beside the schema")


class SchemaChecker:
    """The schema check for the replies of one stream."""

    def __init__(self, rule: SchemaCheck, folder: Path, connector: str, stream: str) -> None:
        self._rule = rule
        self._labels = (connector, stream)
        self._where = f"{connector}.{stream}"
        self._xsd: etree.XMLSchema | None
        self._xsd, self._namespace = (
            _xsd(self._find(folder, rule.xsd), self._where) if rule.xsd else (None, "")
        )
        self._json_file = self._find(folder, rule.json_schema) if rule.json_schema else Path()
        self._json = read_json_schema(self._json_file, self._where) if rule.json_schema else None

    def check(self, reading: DecodedReply) -> None:
        """Validate a reply: raise ``SCHEMA`` in ``strict`` mode, count and log in ``warn`` mode.

        The message names a line and a rule, never a value.
        """
        if self._rule.mode == "off":
            return
        violation = self._violation(reading)
        if violation is None:
            return
        metrics.ISSUES.labels(*self._labels, "reply_schema").inc()
        if self._rule.mode == "strict":
            raise StreamHalted(
                "SCHEMA",
                f"{self._where}: the reply breaks its schema {violation}; "
                "set schema.mode to warn to read it all the same",
            )
        log.warning("reply breaks its schema", stream=self._where, violation=violation)

    def _violation(self, reading: DecodedReply) -> str | None:
        if self._xsd is not None and reading.envelope is not None:
            body = (
                envelope.body_of(reading.envelope)
                if envelope.is_envelope(reading.envelope)
                else None
            )
            roots = list(
                _outermost_in_namespace(reading.envelope if body is None else body, self._namespace)
            )
            if not roots:
                return f"(nothing in it is of the namespace {self._namespace!r})"
            for root in roots:
                if not self._xsd.validate(root):
                    error = cast("Any", self._xsd.error_log)[0]
                    return f"at line {error.line} ({error.type_name})"
        if self._json is not None:
            for document in reading.documents:
                if document.kind == "json" and (
                    violation := first_violation(
                        self._json, document.root, self._json_file, self._where
                    )
                ):
                    return violation
        return None

    def _find(self, folder: Path, name: str) -> Path:
        try:
            return find_side_file(folder, name)
        except ValueError as error:
            raise unusable(Path(name), self._where, f"is not read: {error}") from None


def _outermost_in_namespace(element: etree._Element, namespace: str) -> Iterator[etree._Element]:
    """Yield the outermost elements of the schema's namespace."""
    if (etree.QName(element).namespace or "") == namespace:
        yield element
        return
    for child in element:
        yield from _outermost_in_namespace(child, namespace)


def _xsd(path: Path, where: str) -> tuple[etree.XMLSchema, str]:
    parser = etree.XMLParser(no_network=True, resolve_entities=False, load_dtd=False)
    parser.resolvers.add(LocalSchemaResolver(path.parent))
    try:
        root = etree.fromstring(read_side_file(path), parser, base_url=str(path.resolve()))
        return etree.XMLSchema(root), root.get("targetNamespace") or ""
    except (etree.XMLSchemaParseError, etree.XMLSyntaxError, OSError) as error:
        raise unusable(path, where, f"cannot be used: {str(error)[:300]}") from None
