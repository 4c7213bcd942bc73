"""Check the placeholders outside requests: the ones that have no value, or are never filled."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from gateway.check.model_walk import walk_values
from gateway.config.connector import Connector, Push, Soap, Stream
from gateway.config.expressions.template import (
    BUILT_IN_NAMES,
    Placeholder,
    format_value,
    parse_template,
)
from gateway.config.types import Secret
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding, StreamHalted
from gateway.harmonise.tables.compiled_tables import Tables

_FILLED = ("headers", "action", "addressing", "xroad")
"""The keys of a protocol block whose texts are part of every request."""
_READ_ONCE = ("url", "auth", "tls", "security")
"""The keys of a protocol block that are read before any loop has a value."""
_ANSWERS = ("accepted", "nothing", "refused", "busy")
_NUMBERS = frozenset({"page", "offset", "size", "count"})


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each placeholder that has no value, and each that is never filled."""
    block = connector.protocol
    yield from _wrong_formats(connector, document)
    if isinstance(block, Push):
        yield from _answers(connector, block, document)
        return
    for place, text in filled_texts(connector):
        yield from _without_value(connector, document, place, text)
    everywhere = frozenset[str]().union(
        *(known_placeholders(connector, stream) for stream in connector.streams.values())
    )
    for place, text, names in _unfilled_texts(connector, everywhere):
        for name in sorted(parse_template(text).names & names):
            yield document.make_finding(
                "unfilled-placeholder",
                place,
                f"{{{name}}} is not filled here, because this text is read before any request; "
                "write the value itself",
                key=False,
            )
    if isinstance(block, Soap):
        yield from _actions_given_twice(connector, block, document)


def _wrong_formats(connector: Connector, document: YamlDocument) -> Iterator[Finding]:
    """Yield a finding for each placeholder of a number whose format no number has."""
    block = connector.protocol
    texts = [*filled_texts(connector)]
    if isinstance(block, Push):
        texts += [(("push", key, "body"), getattr(block, key).body) for key in _ANSWERS]
    for name, stream in connector.streams.items():
        texts += _texts(stream.request, ("streams", name, "request"))
    for place, text in texts:
        for part in parse_template(text).parts:
            if isinstance(part, Placeholder) and part.name in _NUMBERS and not _fits(part):
                yield document.make_finding(
                    "placeholder-format",
                    place,
                    f"{{{part.name}:{part.format}}} has a format that no number has; "
                    f"write one such as {{{part.name}:05d}}",
                    key=False,
                )


def _fits(placeholder: Placeholder) -> bool:
    try:
        format_value(1, placeholder)
    except StreamHalted:
        return False
    return True


def known_placeholders(connector: Connector, stream: Stream) -> frozenset[str]:
    """Return the names of the placeholders that have a value in the requests of a stream."""
    names = {*BUILT_IN_NAMES, *connector.protocol.variables, *stream.for_each, *stream.keep}
    for each in stream.for_each.values():
        names |= set(each.secrets)
        for party in (each.in_.parties or {}).values():
            names |= set(party.variables)
    if stream.export:
        names |= set(stream.export.keep)
    return frozenset(names)


def filled_texts(connector: Connector) -> Iterator[tuple[DocumentPath, str]]:
    """Yield each text of the protocol block that is part of every request."""
    key = protocol_key(connector)
    for name in _FILLED:
        for place, value in walk_values(getattr(connector.protocol, name, None), (key, name)):
            if isinstance(value, str) and place[-1] != "secret":
                yield place, value


def protocol_key(connector: Connector) -> str:
    """Return the key of the protocol block of a connector file."""
    return next(
        name for name in ("rest", "soap", "file", "push") if getattr(connector, name) is not None
    )


def _without_value(
    connector: Connector, document: YamlDocument, place: DocumentPath, text: str
) -> Iterator[Finding]:
    for name in sorted(parse_template(text).names):
        known = {key: known_placeholders(connector, one) for key, one in connector.streams.items()}
        lacking = [key for key, names in known.items() if name not in names]
        if not lacking:
            continue
        where = f" in the stream '{lacking[0]}'" if len(lacking) < len(known) else ""
        hint = _suggestion(name, frozenset[str]().union(*known.values()))
        yield document.make_finding(
            "unknown-placeholder",
            place,
            f"{{{name}}} has no value{where}{hint}; for a brace itself write {{{{{name}}}}}",
            key=False,
        )


def _unfilled_texts(
    connector: Connector, known: frozenset[str]
) -> Iterator[tuple[DocumentPath, str, frozenset[str]]]:
    """Yield each text that is never filled, with the names that look like a mistake in it."""
    block, key = connector.protocol, protocol_key(connector)
    for name, source in block.variables.items():
        if isinstance(source, str):
            yield (key, "variables", name), source, parse_template(source).names
    for place, text in _texts(block, (key,)):
        if len(place) > 1 and place[1] in _READ_ONCE:
            yield place, text, known
    for stream_name, stream in connector.streams.items():
        for loop, each in stream.for_each.items():
            inside: DocumentPath = ("streams", stream_name, "for_each", loop, "in")
            if each.in_.secret:
                yield (*inside, "secret"), each.in_.secret, known
            for place, text in _texts(each.in_.parties or {}, (*inside, "parties")):
                yield place, text, known


def _texts(value: Any, place: DocumentPath) -> Iterator[tuple[DocumentPath, str]]:
    for inner, text in walk_values(value, place):
        if isinstance(text, str):
            yield inner, text


def _answers(connector: Connector, block: Push, document: YamlDocument) -> Iterator[Finding]:
    """Yield a finding for each placeholder of an answer to a caller that stays empty."""
    known = {"now", "uuid", "reason", "count", *block.variables, *block.fields[1:]}
    known |= {name for stream in connector.streams.values() for name in stream.keep}
    for key in _ANSWERS:
        for name in sorted(parse_template(getattr(block, key).body).names - known):
            yield document.make_finding(
                "unknown-placeholder",
                ("push", key, "body"),
                f"{{{name}}} has no value{_suggestion(name, known)}; "
                f"for a brace itself write {{{{{name}}}}}",
                key=False,
            )


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1, 0.6)
    return f"; did you mean '{near[0]}'?" if near and near[0] != name else ""


def _actions_given_twice(
    connector: Connector, block: Soap, document: YamlDocument
) -> Iterator[Finding]:
    """Yield a finding where a file gives the soapAction as a key and as a header."""
    by_block = _action_header(block.headers)
    if block.action and by_block:
        yield _twice(document, ("soap", "headers", by_block))
    for name, stream in connector.streams.items():
        request = stream.request
        if request is None:
            continue
        header = _action_header(request.headers)
        if header and (request.action or block.action):
            yield _twice(document, ("streams", name, "request", "headers", header))
        elif by_block and request.action:
            yield _twice(document, ("streams", name, "request", "action"))


def _action_header(headers: dict[str, str | Secret]) -> str:
    return next((name for name in headers if name.lower() == "soapaction"), "")


def _twice(document: YamlDocument, place: DocumentPath) -> Finding:
    return document.make_finding(
        "action-twice",
        place,
        "the soapAction is given as `action` and as the header SOAPAction; keep one of them",
    )
