"""Check that every SOAP request fits the WSDL file, offline and without sending anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.check.references import walk_requests
from gateway.config.connector import Connector, Soap
from gateway.config.expressions.template import parse_template
from gateway.config.requests import Request
from gateway.config.side_files import find_side_file
from gateway.config.yaml.document import YamlDocument
from gateway.errors import ConfigError, Finding
from gateway.fetch.charset import text_bytes
from gateway.fetch.soap.envelope import Wsdl
from gateway.harmonise.tables.compiled_tables import Tables


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield operations and parameters that the WSDL lacks, and templates that are not XML."""
    block = connector.protocol
    wsdl: Wsdl | None = None
    path = _wsdl_file(connector.folder, block.wsdl) if isinstance(block, Soap) else None
    absent = isinstance(block, Soap) and bool(block.wsdl) and path is None
    if isinstance(block, Soap) and path is not None:
        try:
            wsdl = Wsdl(path, block.service, block.port)
        except ConfigError as error:
            yield document.make_finding(
                "bad-wsdl",
                ("soap", "wsdl"),
                "; ".join(finding.message for finding in error.findings),
                key=False,
            )
            return
    for name, stream in connector.streams.items():
        for where, request in walk_requests(stream):
            place = ("streams", name, *where)
            yield from _action_without_message(document, place, request)
            if request.operation is not None:
                if absent:
                    continue  # references.findings reports the missing file
                if wsdl is None:
                    yield document.make_finding(
                        "missing-key",
                        (*place, "operation"),
                        "operation needs soap.wsdl; add it, or use envelope",
                    )
                    continue
                yield from _operation(document, place, wsdl, request.operation, request.body or {})
            for key, text in (("envelope", request.envelope), ("xml", request.xml)):
                if text is not None and (why := _xml_problem(text)):
                    yield document.make_finding(
                        "bad-envelope", (*place, key), f"not XML: {why}; correct it", key=False
                    )


def _wsdl_file(folder: str, name: str | None) -> Path | None:
    """Return the WSDL file, or ``None`` if it is missing or outside the folder."""
    try:
        path = find_side_file(Path(folder), name) if name else None
    except ValueError:
        return None
    return path if path is not None and path.is_file() else None


def _action_without_message(
    document: YamlDocument, place: tuple[str | int, ...], request: Request
) -> Iterator[Finding]:
    is_message = request.operation is not None or request.envelope is not None
    if request.action is not None and not is_message:
        yield document.make_finding(
            "without-effect",
            (*place, "action"),
            "only a request with operation or envelope has a soapAction; remove it, or "
            "write headers: {SOAPAction: …}",
        )


def _operation(
    document: YamlDocument,
    place: tuple[str | int, ...],
    wsdl: Wsdl,
    operation: str,
    body: Mapping[str, Any],
) -> Iterator[Finding]:
    if operation not in wsdl.operations:
        known = ", ".join(wsdl.operations)
        yield document.make_finding(
            "unknown-operation",
            (*place, "operation"),
            f"the WSDL has no '{operation}'; it has {known}",
            key=False,
        )
        return
    try:
        wsdl.build(operation, _with_sample_values(body))
    except ConfigError as error:
        text = error.findings[0].message
        named = re.search(r"keyword argument '?`?(\w+)", text)
        inner = _path_of(body, named[1]) if named else ()
        yield document.make_finding("bad-request", (*place, "body", *inner), text)
    except Exception as error:  # noqa: BLE001 - zeep raises many types for a bad request
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        named = re.search(r"argument '(\w+)'|element (\w+)", text)
        inner = _path_of(body, named[1] or named[2]) if named else ()
        yield document.make_finding(
            "bad-request",
            (*place, "body", *inner),
            f"{operation}: {text[:300]}; compare with the WSDL",
        )


def _path_of(body: Any, name: str) -> tuple[str | int, ...]:
    if isinstance(body, Mapping):
        if name in body:
            return (name,)
        for key, inner in body.items():
            if found := _path_of(inner, name):
                return (key, *found)
    return ()


def _with_sample_values(value: Any) -> Any:
    """Replace each placeholder with a sample, because only the shape is checked."""
    if isinstance(value, Mapping):
        return {key: _with_sample_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_sample_values(inner) for inner in value]
    if isinstance(value, str):
        template = parse_template(value)
        return template.fill(dict.fromkeys(template.names, _SAMPLE)) if template.names else value
    return value


_SAMPLE = "1"
"""The sample for a value of any format."""


def _xml_problem(text: str) -> str:
    filled = parse_template(text)
    try:
        etree.fromstring(
            text_bytes(filled.fill(dict.fromkeys(filled.names, _SAMPLE)).strip()),
            etree.XMLParser(resolve_entities=False, no_network=True),
        )
    except etree.XMLSyntaxError as error:
        return str(error).split(",")[0]
    return ""
