"""Write a first version of a connector file.

A sample reply, a WSDL file or an OpenAPI file supplies the values. Every guessed or missing value
has a TODO.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.config.publishing_needs import NEEDS
from gateway.config.yaml.document import read_yaml
from gateway.errors import ConfigError, StorageError, StreamError, UsageError
from gateway.fetch import xml_parser
from gateway.fetch.decode.steps import step_for_media_type
from gateway.fetch.http.body import ReplyBody
from gateway.harmonise.values.payload import PayloadError, json_value

_TITLE = re.compile(r"title|name|benamning|nimi|naam|label", re.IGNORECASE)
_ID = re.compile(r"(^|[a-z_])(id|uuid|code|key|number)$", re.IGNORECASE)

MAX_LIST_DEPTH = 2
"""The number of dots from which on the path of an object is too deep to hold the records."""


@dataclass(frozen=True, slots=True)
class ScaffoldAnswers:
    """What the author of a new connector file says about its registry.

    ``country`` is in upper case. The three files are optional.
    """

    country: str
    protocol: str
    name: str
    sample: Path | None = None
    wsdl: Path | None = None
    openapi: Path | None = None

    @property
    def connector(self) -> str:
        """The name of the connector, such as ``ie-registry``."""
        return f"{self.country.lower()}-{self.name}"


def write_connector(answers: ScaffoldAnswers, directory: Path) -> Path:
    """Write ``<country>-<name>.yaml`` and return its path.

    Raises :class:`UsageError` when an answer is not valid or the file exists, and
    :class:`StorageError` when the file cannot be written.
    """
    country, name, wsdl = answers.country, answers.name, answers.wsdl
    if not re.fullmatch(r"[A-Z]{2}(-[A-Z]{2,4})?", country):
        raise UsageError(f"{country} is not a country code; give an ISO 3166-1 code, such as IE")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"--name {name}: use lower case letters, digits and hyphens")
    path = directory / f"{answers.connector}.yaml"
    if path.exists():
        raise UsageError(f"{path} already exists; give another --name or remove it")
    text = _connector_yaml(answers)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if wsdl is not None and wsdl.resolve().parent != directory.resolve():
            (directory / wsdl.name).write_bytes(wsdl.read_bytes())
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _address_and_request(answers: ScaffoldAnswers) -> tuple[str, list[str]]:
    """Return the base address and the lines of the request."""
    url = "https://registry.example/TODO"
    if answers.openapi is not None:
        described = _json_or_yaml(answers.openapi)
        servers = [
            str(server.get("url", ""))
            for server in described.get("servers", [])
            if isinstance(server, dict)
        ]
        url = next((server.rstrip("/") for server in servers if server.startswith("http")), url)
        paths = [
            path
            for path, methods in described.get("paths", {}).items()
            if isinstance(methods, dict) and "get" in methods
        ]
        plain = sorted((path for path in paths if "{" not in path), key=len) or ["/TODO"]
        return url, [
            f"      get: {plain[0]}" + f"   # TODO one of {', '.join(plain[:6])}" * (len(plain) > 1)
        ]
    if answers.wsdl is not None:
        from gateway.fetch.soap.envelope import Wsdl

        described_by = Wsdl(answers.wsdl)
        operations = described_by.operations
        body = json.dumps(_parameters(described_by, operations[0]))
        return url, [
            f"      operation: {operations[0]}   # TODO one of {', '.join(operations[:8])}",
            f"      body: {body}   # TODO its parameters",
        ]
    if answers.protocol == "soap":
        return url, ["      envelope: '<TODO/>'"]
    return url, ["      get: /TODO"]


def _parameters(wsdl: Any, operation: str) -> dict[str, Any]:
    """Return the required parameters of an operation, each with the value "1".

    The WSDL library reports one missing element at a time. Each attempt adds the reported element.
    """
    body: dict[str, Any] = {}
    for _attempt in range(40):
        try:
            wsdl.build(operation, body)
        except ConfigError as error:
            missing = re.search(r"Missing element \w+ \(([\w.-]+)\)", str(error))
            if not missing:
                break
            parent = body
            *parents, last = missing[1].split(".")[1:] or [missing[1]]
            for part in parents:
                inner = parent.get(part)
                parent[part] = parent = inner if isinstance(inner, dict) else {}
            parent[last] = "1"
        else:
            break
    return body


def _json_or_yaml(file: Path) -> dict[str, Any]:
    value = read_yaml(file).value
    if not isinstance(value, dict):
        raise UsageError(f"{file}: not an OpenAPI document")
    return value


def _analyse_sample(sample: Path | None, protocol: str) -> tuple[str, str, Any]:
    """Return the payload format, the ``records`` expression and the first record of a sample."""
    if sample is None:
        return ("xml", "//TODO/TODO", None) if protocol == "soap" else ("json", "TODO", None)
    try:
        body = sample.read_bytes()
    except OSError as error:
        raise StorageError(f"{sample}: cannot be read: {error.strerror}") from None
    try:
        reply = ReplyBody.from_bytes(body)
        if step_for_media_type("", reply) == "xml":
            return _from_xml(xml_parser.parse(reply, where=str(sample)))
        value = json_value(body.removeprefix(b"\xef\xbb\xbf"))
    except StreamError as error:
        raise UsageError(str(error)) from None
    except PayloadError as error:
        raise UsageError(
            f"{sample}: {error.detail} expected; give a saved reply in JSON or XML"
        ) from None
    expression, record = _longest_list(value, "")
    return "json", expression or "@", record


def _longest_list(value: Any, path: str) -> tuple[str, Any]:
    """Return the expression of the longest list of objects, and its first object.

    The result is a guess, so the connector file marks it with a TODO.
    """
    if isinstance(value, list):
        return (path or "[]"), next((item for item in value if isinstance(item, dict)), None)
    best: tuple[int, str, Any] = (0, "", value)
    pending = [(value, "")]
    while pending:
        parent, place = pending.pop(0)
        for key, inner in parent.items() if isinstance(parent, dict) else ():
            spot = f"{place}.{_quoted(key)}" if place else _quoted(key)
            if (
                isinstance(inner, list)
                and inner
                and isinstance(inner[0], dict)
                and len(inner) > best[0]
                and place.count(".") < MAX_LIST_DEPTH
            ):
                best = (len(inner), spot, inner[0])
            elif isinstance(inner, dict):
                pending.append((inner, spot))
    return (best[1], best[2]) if best[0] > 1 or _looks_wrapped(value) else ("@", value)


def _looks_wrapped(value: Any) -> bool:
    return isinstance(value, dict) and any(
        key in value for key in ("items", "results", "data", "content", "_embedded", "value")
    )


def _quoted(key: str) -> str:
    return key if key.isidentifier() else json.dumps(key, ensure_ascii=False)


def _from_xml(root: Any) -> tuple[str, str, Any]:
    counts: dict[str, list[Any]] = {}
    for element in root.iter():
        if isinstance(element.tag, str) and len(element):
            counts.setdefault(element.tag, []).append(element)
    tag, elements = max(
        ((tag, elements) for tag, elements in counts.items() if elements[0] is not root),
        key=lambda pair: len(pair[1]) * min(len(pair[1][0]), 12),
        default=(root.tag, [root]),
    )
    parent = elements[0].getparent()
    if parent is None:
        return "xml", f"/{_with_prefix(tag)}", elements[0]
    # The element around the records tells an empty list from a reply of another form.
    around = _with_prefix(parent.tag)
    if etree.QName(parent).namespace != etree.QName(tag).namespace:
        around = f"*[local-name() = '{etree.QName(parent).localname}']"
    return "xml", f"//{around}/{_with_prefix(tag)}", elements[0]


def _with_prefix(tag: str) -> str:
    name = etree.QName(tag)
    return f"r:{name.localname}" if name.namespace else name.localname


def _connector_yaml(answers: ScaffoldAnswers) -> str:
    """Return the text of the connector file."""
    protocol, wsdl = answers.protocol, answers.wsdl
    url, request = _address_and_request(answers)
    kind, records, record = _analyse_sample(answers.sample, protocol)
    fields, given, namespace = _fields(kind, record)
    own = [field for field in fields if "." not in field]
    identifier = next((field for field in own if _ID.search(field)), next(iter(own), "TODO"))
    titles = _titles(record, fields)
    spaces = [f'  namespaces: {{r: "{namespace}"}}'] if namespace else []
    lines = [
        "# yaml-language-server: $schema=../schemas/connector.schema.json",
        "language: 1",
        f"connector: {answers.connector}",
        f"country: {answers.country}",
        "title: TODO the name of the registry",
        "owner: {name: TODO, contact: TODO@registry.example}",
        "",
        f"{protocol}:",
        f'  url: {{production: "{url}"}}   # TODO acceptance: the test system',
        *([f"  wsdl: {wsdl.name}"] if wsdl else []),
        *spaces,
        "  limits: {rate: 1/s, concurrency: 1, timeout: 30s}   # TODO the limits of the registry",
        "  errors: by_status   # TODO or rules under replies, for an error inside a reply",
        "",
        "streams:",
        "  records:   # TODO a name",
        (
            "    emits: qualification"
            "   # TODO credential, learning_opportunity, student_status, card, provider"
        ),
        "    every: 1d",
        "    request:",
        *request,
        "    cursor: scan   # TODO field or window, when the registry can list changes",
        "    # TODO paging: when a reply holds one page of several",
        *(["    decode: xml"] if kind == "xml" and protocol != "soap" else []),
        f"    records: {json.dumps(records, ensure_ascii=False)}   # TODO guessed",
        f"    id: {json.dumps(identifier, ensure_ascii=False)}   # TODO guessed",
        (
            "    # TODO achieved: for credential, the records that are awards: "
            "{path: STATUS, is: [passed], not: [failed]}"
        ),
        "    map:",
        *titles[1:],
        *_needed("qualification"),
        *(
            f"      # TODO {field}"
            for field in fields
            if field != identifier and field.partition(".")[0] != titles[0]
        ),
        "    tests:",
        "      - name: TODO what it shows",
        *given,
        "        native_id: '1'",
        "        expect_some: {id: '1'}",
    ]
    return "\n".join(lines) + "\n"


def _needed(emits: str) -> list[str]:
    """Return a comment for each value that publishing needs, besides the title."""
    return [
        f"      # TODO {' or '.join(need.write)}   (a {emits} is published only with {need.text})"
        for need in NEEDS[emits]
        if need.field != "title"
    ]


def _titles(record: Any, fields: list[str]) -> list[str]:
    """Return the field that looks like a title, and the lines that map it.

    The field holds a text, or an object whose keys are languages.
    """
    if isinstance(record, dict):
        for key, value in record.items():
            if (
                _TITLE.search(key)
                and isinstance(value, dict)
                and value
                and all(re.fullmatch(r"[a-z]{2,3}", inner) for inner in value)
            ):
                return [
                    _quoted(key),
                    (
                        "      title: {languages: {object: "
                        f"{json.dumps(_quoted(key), ensure_ascii=False)}}}}}   # TODO guessed"
                    ),
                ]
    title = next((field for field in fields if _TITLE.search(field) and "." not in field), "TODO")
    return [
        title,
        (
            f"      title.en: {{from: {json.dumps(title, ensure_ascii=False)}, "
            "pick: first, default: TODO}"
        ),
        "      # TODO the language of the title; languages: for several",
    ]


def _leaf_expressions(record: dict[str, Any]) -> list[str]:
    """Return the fields of an object as expressions, down to one nested level."""
    return [
        field
        for key, value in record.items()
        for field in (
            [f"{_quoted(key)}.{_quoted(inner)}" for inner in value]
            if isinstance(value, dict)
            else [_quoted(key)]
        )
    ]


def _fields(kind: str, record: Any) -> tuple[list[str], list[str], str]:
    """Return the record's fields as expressions, the ``given`` lines of a test, and its namespace.

    The namespace is an empty text for JSON and for XML without a namespace.
    """
    if record is None:
        if kind == "xml":
            return [], ["        given: '<TODO/>'"], ""
        return [], ["        given: {TODO: TODO}"], ""
    if kind == "xml":
        spaces = (
            etree.QName(element).namespace
            for element in record.iter()
            if isinstance(element.tag, str)
        )
        namespace = next(filter(None, spaces), "") or ""
        attributes = [f"@{name}" for name in record.attrib if not name.startswith("{")]
        children = [_with_prefix(child.tag) for child in record if isinstance(child.tag, str)]
        own = etree.QName(record)
        opening = (
            f'<r:{own.localname} xmlns:r="{namespace}"/>'
            if own.namespace
            else f"<{own.localname}/>"
        )
        return (
            list(dict.fromkeys([*attributes, *children])),
            [f"        given: '{opening}'"],
            namespace,
        )
    return (
        (_leaf_expressions(record) if isinstance(record, dict) else []),
        ["        given: {TODO: TODO}"],
        "",
    )
