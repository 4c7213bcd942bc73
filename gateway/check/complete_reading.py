"""Check that a connector reads its lists completely, and over safe addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.check.references import request_texts, walk_requests
from gateway.config.addresses import NO_LINK_HOST, validate_registry_url
from gateway.config.connector import Connector, Push, Stream, payload_format
from gateway.config.expressions.compiler import ExpressionError, PayloadKind, compile_expression
from gateway.config.expressions.template import parse_template
from gateway.config.paging import Paging
from gateway.config.requests import Decode, Request
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.rule_findings import finding_at
from gateway.harmonise.tables.compiled_tables import Tables

PLACEHOLDERS = {"page_number": "page", "offset": "offset", "cursor": "cursor"}
"""The placeholder that each paging scheme needs in a request."""


class PagedList(NamedTuple):
    """One list that a stream reads: its place in the stream, its request and its paging."""

    place: DocumentPath
    request: Request | None
    paging: Paging | None
    total: str | None
    decode: Decode
    expressions: tuple[tuple[str, str], ...]
    is_whole_record: bool = False


def findings(
    connector: Connector, document: YamlDocument, tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each list that would be read in part, and each address in clear."""
    del tables
    yield from _hosts(connector, document)
    for name, stream in connector.streams.items():
        place: DocumentPath = ("streams", name)
        yield from _addresses(document, stream, place)
        yield from _filtered_pages(connector, document, stream, place)
        yield from _batch_without_key(document, stream, place)
        for second in second_lists(stream):
            yield from _second_list(connector, document, second, place)


def second_lists(stream: Stream) -> Iterator[PagedList]:
    """Yield the lists that loops, details and joins of a stream read."""
    for name, each in stream.for_each.items():
        if rule := each.in_.request:
            yield PagedList(
                ("for_each", name, "in", "request"),
                rule.request,
                rule.paging,
                rule.total,
                (),
                (("select", rule.select),),
            )
    if expand := stream.expand:
        yield PagedList(
            ("expand",),
            expand.request,
            expand.paging,
            expand.total,
            expand.decode or stream.decode,
            (),
            is_whole_record=expand.records is None,
        )
    for index, join in enumerate(stream.join):
        yield PagedList(
            ("join", index),
            join.request,
            join.paging,
            join.total,
            join.decode or (() if join.request else stream.decode),
            tuple((name, text) for name in ("key", "records") if (text := getattr(join, name))),
        )


def _hosts(connector: Connector, document: YamlDocument) -> Iterator[Finding]:
    block = connector.protocol
    if isinstance(block, Push):
        return
    name = next(key for key in ("rest", "soap", "file") if getattr(connector, key) is block)
    yield from _host_entries(document, (name, "hosts"), [further.host for further in block.hosts])
    for stream_name, stream in connector.streams.items():
        if stream.export:
            place = ("streams", stream_name, "export", "hosts")
            yield from _host_entries(document, place, stream.export.hosts)


def _host_entries(
    document: YamlDocument, place: DocumentPath, hosts: Sequence[str]
) -> Iterator[Finding]:
    """Yield a finding for each host that is not called over https. The rules are those of url."""
    for index, host in enumerate(hosts):
        try:
            _validate_host(host)
        except ValueError as error:
            code = "insecure-url" if str(error).startswith("http is not") else "bad-value"
            yield document.make_finding(code, (*place, index), str(error), key=False)


def _validate_host(host: str) -> None:
    """Raise ``ValueError`` unless an entry is a host, or the scheme, host and port of an address.

    A call is compared with the host alone, so that a path would be ignored.
    """
    url = host if "://" in host else f"https://{host}"
    validate_registry_url(url)
    if url.partition("://")[2].removeprefix(urlsplit(url).netloc) not in {"", "/"}:
        raise ValueError(NO_LINK_HOST.format(host))


def _addresses(
    document: YamlDocument, stream: Stream, stream_place: DocumentPath
) -> Iterator[Finding]:
    """Yield a finding for each request whose whole address breaks the rules of ``url``.

    A host with a placeholder is compared with the hosts of the file when the request is sent.
    """
    for place, request in walk_requests(stream):
        for key in ("get", "post"):
            address = getattr(request, key)
            if address is None or not address.startswith(("http://", "https://")):
                continue
            known = address.partition("{")[0]
            if address.startswith("https://") and "{" in urlsplit(address).netloc:
                continue
            try:
                validate_registry_url(known)
            except ValueError as error:
                code = "insecure-url" if str(error).startswith("http is not") else "bad-value"
                yield document.make_finding(
                    code, (*stream_place, *place, key), str(error), key=False
                )


def _filtered_pages(
    connector: Connector, document: YamlDocument, stream: Stream, place: DocumentPath
) -> Iterator[Finding]:
    """Refuse a filter in ``records`` when the gateway counts the records of a page.

    A page whose records are all filtered out would look like the end of the list.
    """
    numbered = stream.paging.page_number or stream.paging.offset
    if numbered is None:
        return
    states_end = numbered is stream.paging.page_number and (numbered.more or numbered.pages)
    steps = (stream.records,) if isinstance(stream.records, str) else stream.records
    is_filtered = any("[?" in step for step in steps)
    if payload_format(connector, stream.model_copy(update={"expand": None})) == "xml":
        is_filtered = any("[" in step for step in steps)
    if is_filtered and not states_end:
        yield document.make_finding(
            "filtered-pages",
            (*place, "records"),
            "the gateway counts the records of a page, and this filter hides some of them; "
            "select all records here and use deleted or a when condition, "
            "or read the end from the reply with page_number.more or pages",
        )


def _batch_without_key(
    document: YamlDocument, stream: Stream, place: DocumentPath
) -> Iterator[Finding]:
    if (rule := stream.expand) is not None and rule.batch > 1 and rule.key is None:
        yield document.make_finding(
            "incomplete",
            (*place, "expand", "batch"),
            "expand with batch needs key: EXPR, the id inside each fetched record, "
            "to assign the records to their ids; add it",
        )


def _second_list(
    connector: Connector, document: YamlDocument, second: PagedList, stream_place: DocumentPath
) -> Iterator[Finding]:
    place = (*stream_place, *second.place)
    key = "paging" if second.paging else "total"
    if (second.paging or second.total) and second.request is None:
        yield document.make_finding(
            "incomplete",
            (*place, key),
            "this list has no request of its own, so it has no pages; leave the key out",
        )
        return
    if (second.paging or second.total) and second.is_whole_record:
        yield document.make_finding(
            "incomplete",
            (*place, key),
            "pages need records: EXPR, the list inside each reply; add it",
        )
    yield from _unused_placeholder(document, second, place)
    for inner, text in (*second.expressions, *paging_expressions(second)):
        yield from _compile(connector, document, second, (*place, *inner_place(inner)), text)


def inner_place(name: str) -> DocumentPath:
    """Return the place of a dotted name."""
    return tuple(name.split("."))


def paging_expressions(second: PagedList) -> Iterator[tuple[str, str]]:
    """Yield the expressions of a second list's paging and total, with their dotted names."""
    if second.total:
        yield "total", second.total
    if second.paging is None:
        return
    for scheme in ("link_header", "next_url", "cursor", "page_number", "offset"):
        block = getattr(second.paging, scheme)
        for field, info in type(block).model_fields.items() if block is not None else ():
            if field in {"from_", "more", "pages", "total"} and (text := getattr(block, field)):
                yield f"paging.{scheme}.{info.alias or field}", text


def _unused_placeholder(
    document: YamlDocument, second: PagedList, place: DocumentPath
) -> Iterator[Finding]:
    if second.paging is None or second.request is None:
        return
    following = second.paging.cursor.request if second.paging.cursor else None
    used = {
        name
        for request in (second.request, following)
        if request is not None
        for _, text in request_texts(request)
        for name in parse_template(text).names
    }
    for scheme, name in PLACEHOLDERS.items():
        if getattr(second.paging, scheme) is not None and name not in used:
            yield document.make_finding(
                "unused-placeholder",
                (*place, "paging"),
                f"this request does not hold {{{name}}}, so every page would be the same; "
                "put it into query or body",
            )


def _compile(
    connector: Connector,
    document: YamlDocument,
    second: PagedList,
    place: DocumentPath,
    text: str,
) -> Iterator[Finding]:
    """Compile an expression in the format of the list, or in either when the reply decides."""
    errors = []
    for kind in _formats(connector, second):
        try:
            compile_expression(kind, text, connector.protocol.namespaces)
        except ExpressionError as error:
            errors.append(error)
        else:
            return
    yield finding_at(document, errors[0].code, place, str(errors[0]), errors[0].column)


def _formats(connector: Connector, second: PagedList) -> tuple[PayloadKind, ...]:
    for step in reversed(second.decode):
        name = step if isinstance(step, str) else step.kind.rstrip("_")
        if name in {"xml", "atom", "signed"}:
            return ("xml",)
        if name == "csv":
            return ("csv",)
        if name == "json":
            return ("json",)
    return ("xml",) if connector.soap is not None else ("json", "xml")
