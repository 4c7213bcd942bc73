"""Check that a connector can tell an empty list from an error inside an ordinary reply.

A registry may answer with HTTP 200 and report an error in the body. The gateway knows such a reply
only when the connector says how it looks, and when it knows the place of the list.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.check.compile_check import listing_payload_format
from gateway.config.connection import ReplyRule
from gateway.config.connector import Connector, Push, Soap, Stream, payload_format
from gateway.config.expressions.compiler import ExpressionError, compile_expression
from gateway.config.expressions.xml_list_place import compile_xml_place
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables

ERRORS_MISSING = "errors-missing"
LIST_MISSING = "list-missing"
_REFUSING = {"retry", "denied", "stop"}


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding when errors inside a reply, or the place of a list, are not described."""
    yield from _errors(connector, document)
    if connector.push is not None:
        yield from _answer_to_nothing(connector.push, document)
    for name, stream in connector.streams.items():
        yield from _list_places(connector, document, name, stream)


def _errors(connector: Connector, document: YamlDocument) -> Iterator[Finding]:
    block = connector.protocol
    protocol = next(name for name in ("rest", "soap", "file", "push") if getattr(connector, name))
    describing = [number for number, rule in enumerate(block.replies) if _describes_an_error(rule)]
    if block.errors is None and not describing:
        subject = "messages" if isinstance(block, Push) else "replies"
        yield document.make_finding(
            ERRORS_MISSING,
            (protocol,),
            f"the connector does not say how an error inside ordinary {subject} looks; "
            f"{_what_to_write(connector)}, or errors: by_status if the registry reports every "
            "error by HTTP status or SOAP fault",
        )
    elif block.errors is not None and any(
        block.replies[number].when.path is not None for number in describing
    ):
        yield document.make_finding(
            "errors-contradict",
            (protocol, "errors"),
            "a rule under replies already says how an error inside a reply looks; "
            "leave errors: by_status out",
            severity="warning",
        )


def _describes_an_error(rule: ReplyRule) -> bool:
    """Return whether a rule refuses a reply because of its content."""
    when = rule.when
    return rule.then in _REFUSING and bool(when.path or when.fault or when.header)


def _answer_to_nothing(push: Push, document: YamlDocument) -> Iterator[Finding]:
    """Yield a finding when callers expect answers, but get an empty one for an empty message."""
    rules = [number for number, rule in enumerate(push.replies) if rule.then == "empty"]
    if rules and push.accepted.body and "nothing" not in push.model_fields_set:
        yield document.make_finding(
            "answer-missing",
            ("push", "replies", rules[0]),
            "the gateway answers such a message with status 200 and an empty body, and never with "
            "`accepted`, because nothing is stored; write the answer under push.nothing",
            severity="warning",
        )


def _what_to_write(connector: Connector) -> str:
    block = connector.protocol
    if getattr(block, "xroad", None) is not None and isinstance(block, Soap):
        path = '"//faultCode | //faultcode"'
    else:
        kinds = {payload_format(connector, stream) for stream in connector.streams.values()}
        path = '"//error"' if kinds == {"xml"} else "error"
    then = "stop, reason: REGISTRY_ERROR"
    return f"write replies: [{{when: {{path: {path}, exists: true}}, then: {then}}}]"


def _list_places(
    connector: Connector, document: YamlDocument, name: str, stream: Stream
) -> Iterator[Finding]:
    """Yield a finding for an XPath of records that does not name the element around them."""
    if stream.list_ is not None or listing_payload_format(connector, stream) != "xml":
        return
    steps = (stream.records,) if isinstance(stream.records, str) else stream.records
    if steps[0].strip() in {".", "/*"} or "$" in steps[0]:
        return
    try:
        compile_expression("xml", steps[0], connector.protocol.namespaces)
    except ExpressionError:
        return  # references.findings reports it
    if compile_xml_place(steps[0], connector.protocol.namespaces).is_derivable:
        return
    place: DocumentPath = ("streams", name, "records")
    if not isinstance(stream.records, str):
        place = (*place, 0)
    yield document.make_finding(
        LIST_MISSING,
        place,
        f"'{steps[0]}' finds nothing both in an empty list and in a wrong reply; name the element "
        'that is in every reply and holds the records: list: "//r:records"',
        key=False,
    )
