"""Check the names in a connector file.

The checks cover the file's own name, the files next to it, tables, streams, frameworks, decoders
and placeholders.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.check.placeholders import filled_texts, known_placeholders
from gateway.config.connector import Connector, Soap, Stream
from gateway.config.countries import COUNTRIES
from gateway.config.expressions.template import parse_template
from gateway.config.paging import Paging
from gateway.config.requests import DECODERS, Request
from gateway.config.rules import RecordKind, Rules
from gateway.config.side_files import find_side_file
from gateway.config.types import Secret
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.levels import NoLevel, NoLevelReason


def findings(
    connector: Connector, document: YamlDocument, tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each name without a target and each placeholder that no request uses."""
    stem = Path(document.file).stem
    if Path(document.file).suffix in {".yaml", ".yml"} and stem != connector.connector:
        yield document.make_finding(
            "wrong-name", ("connector",), f"the file is called {stem}; name both alike", key=False
        )
    for number, line in enumerate(document.text.splitlines(), 1):
        if (column := line.find("TODO")) >= 0:
            yield Finding(
                document.file,
                number,
                column + 1,
                "todo",
                "",
                "decide this, then remove the word TODO",
                "warning",
            )
    block = connector.protocol
    if isinstance(block, Soap) and block.wsdl:
        yield from _side_file(connector, document, ("soap", "wsdl"), block.wsdl)
    for name, stream in connector.streams.items():
        yield from _stream(connector, document, name, stream)
        for place, framework in _frameworks(stream):
            if near := _unknown_framework(connector, stream, document, tables, framework):
                yield document.make_finding(
                    "unknown-framework",
                    ("streams", name, *place),
                    f"'{framework}' {near}",
                    key=False,
                )


def _stream(
    connector: Connector, document: YamlDocument, name: str, stream: Stream
) -> Iterator[Finding]:
    place: DocumentPath = ("streams", name)
    yield from _files(connector, document, stream, place)
    for loop, each in stream.for_each.items():
        if each.in_.table and each.in_.table not in connector.tables:
            yield document.make_finding(
                "unknown-table",
                (*place, "for_each", loop, "in", "table"),
                f"'{each.in_.table}' is not under tables; add it there, or correct the name",
                key=False,
            )
        if each.in_.stream and each.in_.stream not in connector.streams:
            near = _suggest(each.in_.stream, connector.streams)
            yield document.make_finding(
                "unknown-stream",
                (*place, "for_each", loop, "in", "stream"),
                f"there is no stream '{each.in_.stream}'{near}",
                key=False,
            )
    for index, step in enumerate(stream.decode):
        if (
            isinstance(step, str)
            and step.isalpha()
            and step.islower()
            and step not in DECODERS
            and (near := _suggest(step, DECODERS))
        ):
            yield document.make_finding(
                "unknown-decoder",
                (*place, "decode", index),
                f"'{step}' is read as an expression{near}",
                key=False,
            )
    yield from _placeholders(connector, document, stream, place)
    yield from _check_required_placeholders(connector, document, stream, place)
    yield from _check_kind_of_credential(document, stream, place)
    code = stream.record_country or ""
    if code == code.upper() and code.partition("-")[0] in COUNTRIES:
        yield document.make_finding(
            "record-country",
            (*place, "record_country"),
            f"{code} is a country, and record_country is an expression that reads one from the "
            "record; if all records are of one country, write it as country of the connector",
            key=False,
        )


def _check_kind_of_credential(
    document: YamlDocument, stream: Stream, place: DocumentPath
) -> Iterator[Finding]:
    """Yield a warning if no rule fills the kind of a credential, because none is assumed."""
    kinds = [kind for kind in stream.kinds.values() if not kind.skip] or [RecordKind()]
    if any(
        (kind.emits or stream.emits) == "credential" and "kind" not in {*stream.map, *kind.map}
        for kind in kinds
    ):
        yield document.make_finding(
            "missing-rule",
            (*place, "map"),
            "no rule fills kind, and the gateway assumes none; "
            "write kind: {const: certificate}, or a rule with a table",
            severity="warning",
        )


def _frameworks(stream: Stream) -> Iterator[tuple[DocumentPath, str]]:
    """Yield each framework that a rule names, with the place of the name."""
    pending: list[tuple[DocumentPath, Rules]] = [
        (("map",), stream.map),
        *((("kinds", name, "map"), kind.map) for name, kind in stream.kinds.items()),
    ]
    for place, rules in pending:
        for target, rule in rules.items():
            if rule.framework is not None:
                yield (*place, target, "framework"), rule.framework
            if target == "nqf_framework" and isinstance(rule.const, str):
                yield (*place, target, "const"), rule.const
            if rule.map:
                pending.append(((*place, target, "map"), rule.map))


def _unknown_framework(
    connector: Connector,
    stream: Stream,
    document: YamlDocument,
    tables: Tables | None,
    framework: str,
) -> str:
    """Return a message when the country's tables lack a framework, else an empty text.

    If the records are of several countries, it is enough that one of them has the framework.

    Without tables the result is an empty text, too.
    """
    if tables is None or connector.country != document.value.get("country"):
        return ""
    if stream.record_country:
        if any(tables.has_framework(mapping.country, framework) for mapping in tables.mappings):
            return ""
        return "is a framework of no country; correct it"
    level = tables.level(connector.country, framework, "", None)
    if not (isinstance(level, NoLevel) and level.reason is NoLevelReason.FRAMEWORK_UNKNOWN):
        return ""
    available = ", ".join(level.frameworks) or "none"
    return f"is not in mappings/{connector.country.lower()}.yaml; it has {available}"


def _files(
    connector: Connector, document: YamlDocument, stream: Stream, place: DocumentPath
) -> Iterator[Finding]:
    if stream.schema_ is None:
        return
    for key, file in (("xsd", stream.schema_.xsd), ("json_schema", stream.schema_.json_schema)):
        if file:
            yield from _side_file(connector, document, (*place, "schema", key), file)


def _side_file(
    connector: Connector, document: YamlDocument, place: DocumentPath, name: str
) -> Iterator[Finding]:
    """Yield a finding when a file that the connector names cannot be read from its folder."""
    try:
        if find_side_file(Path(connector.folder), name).is_file():
            return
    except ValueError as error:
        yield document.make_finding("bad-value", place, str(error), key=False)
        return
    yield document.make_finding(
        "missing-file", place, f"{name} is not next to this file; add it", key=False
    )


def walk_requests(stream: Stream) -> Iterator[tuple[DocumentPath, Request]]:
    """Yield each request of a stream with its place inside the stream."""
    if stream.request:
        yield ("request",), stream.request
    if stream.paging.cursor and stream.paging.cursor.request:
        yield ("paging", "cursor", "request"), stream.paging.cursor.request
    if stream.export:
        yield ("export", "start"), stream.export.start
        yield ("export", "status"), stream.export.status
    if stream.expand:
        yield from _with_following(("expand",), stream.expand.request, stream.expand.paging)
    for index, join in enumerate(stream.join):
        if join.request:
            yield from _with_following(("join", index), join.request, join.paging)
    for name, each in stream.for_each.items():
        if rule := each.in_.request:
            yield from _with_following(
                ("for_each", name, "in", "request"), rule.request, rule.paging
            )


def _with_following(
    place: DocumentPath, request: Request, paging: Paging | None
) -> Iterator[tuple[DocumentPath, Request]]:
    """Yield the request of a second list, and the one for its further pages."""
    yield (*place, "request"), request
    if paging and paging.cursor and paging.cursor.request:
        yield (*place, "paging", "cursor", "request"), paging.cursor.request


def walk_texts(value: Any, place: DocumentPath = ()) -> Iterator[tuple[DocumentPath, str]]:
    """Yield each text inside a nested value with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from walk_texts(inner, (*place, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from walk_texts(inner, (*place, index))


def request_texts(request: Request) -> Iterator[tuple[DocumentPath, str]]:
    """Yield each text of a request with its place."""
    for name, field in type(request).model_fields.items():
        value = getattr(request, name)
        if value is not None and not isinstance(value, Secret):
            yield from walk_texts(value, (field.alias or name,))


def _placeholders(
    connector: Connector, document: YamlDocument, stream: Stream, place: DocumentPath
) -> Iterator[Finding]:
    known = known_placeholders(connector, stream)
    for request_place, request in walk_requests(stream):
        for inner, text in request_texts(request):
            for name in sorted(parse_template(text).names - known):
                near = _suggest(name, known) or f"; known: {', '.join(sorted(known))}"
                yield document.make_finding(
                    "unknown-placeholder",
                    (*place, *request_place, *inner),
                    f"{{{name}}} has no value{near}; for a brace itself write {{{{{name}}}}}",
                    key=False,
                )


def _check_required_placeholders(
    connector: Connector, document: YamlDocument, stream: Stream, place: DocumentPath
) -> Iterator[Finding]:
    """Yield a finding for each paging method or cursor whose placeholder no request holds.

    Such a stream would fetch the same reply for ever.
    """
    used = {
        name
        for request_place, request in walk_requests(stream)
        if request_place[0] in {"request", "paging", "export"}
        for _, text in request_texts(request)
        for name in parse_template(text).names
    }
    used |= {name for _, text in filled_texts(connector) for name in parse_template(text).names}
    for kind, names in (("page_number", {"page"}), ("offset", {"offset"}), ("cursor", {"cursor"})):
        if getattr(stream.paging, kind) is not None and not names & used:
            yield document.make_finding(
                "unused-placeholder",
                (*place, "paging"),
                f"no request holds {{{min(names)}}}, so every page would be the same; "
                "put it into query or body",
            )
    cursor = stream.cursor
    if stream.request is None or cursor is None:
        return
    if (cursor.window or cursor.field) and "since" not in used:
        yield document.make_finding(
            "unused-placeholder",
            (*place, "cursor"),
            "no request holds {since}, so every poll would read everything; "
            "use it, or write cursor: scan",
        )
    if cursor.field and stream.changed_at is None:
        yield document.make_finding(
            "missing-key",
            (*place, "cursor"),
            "field: changed_at needs the stream's changed_at: EXPR; add it",
        )
    if cursor.scan and "since" in used:
        yield document.make_finding(
            "unused-placeholder",
            (*place, "cursor"),
            "{since} has no value with scan; use field or window, or drop {since}",
        )


def _suggest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
