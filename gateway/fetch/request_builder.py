"""Build an HTTP request from its template: path, query, headers and body.

A body is JSON, XML or a form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from lxml import etree

from gateway.config.expressions.template import (
    MissingValue,
    Placeholder,
    Template,
    format_value,
    parse_template,
)
from gateway.config.requests import Request
from gateway.config.types import Secret
from gateway.errors import StreamHalted
from gateway.fetch import xml_parser
from gateway.fetch.charset import text_bytes
from gateway.fetch.http.request_reply import RegistryRequest
from gateway.fetch.paging import join_link
from gateway.fetch.secrets import Secrets
from gateway.fetch.secrets import text_secret as secret_text

Values = Mapping[str, Any]


CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


class SecretValue(str):
    """A value of a placeholder that must go only where credentials may go."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SecretValue(***)"


class TemplateFiller:
    """A filler of templates; it reads each secret at the moment of use.

    With ``withhold``, it leaves out headers and query parameters that hold a secret, and raises
    ``CREDENTIALS_WITHHELD`` for any other text with one.
    """

    def __init__(self, secrets: Secrets, separator: str = ",", *, withhold: bool = False) -> None:
        self._secrets = secrets
        self._separator = separator
        self._withhold = withhold

    def withholding(self) -> TemplateFiller:
        """Return the same filler for a host that receives no credentials."""
        return TemplateFiller(self._secrets, self._separator, withhold=True)

    def text(self, source: str | Secret, values: Values) -> str:
        """Return a text with its placeholders replaced.

        Raise ``VALUE_MISSING`` when a placeholder has no value.
        """
        self._refuse_secret(source, values)
        if isinstance(source, Secret):
            return SecretValue(secret_text(self._secrets, source.secret))
        try:
            return parse_template(source).fill(self._flatten(values))
        except MissingValue as missing:
            raise StreamHalted(
                "VALUE_MISSING",
                f"the request needs {{{missing}}}, which has no value here; "
                "correct the placeholder, or add the value to the loop or to `variables`",
            ) from None

    def headers(self, sources: Mapping[str, str | Secret], values: Values) -> dict[str, str]:
        """Return headers without those whose only placeholder has no value.

        Raise ``HEADER_INVALID`` for a value that no header can carry.
        """
        filled: dict[str, str] = {}
        for name, source in sources.items():
            if self._withhold and (
                name.lower() in CREDENTIAL_HEADERS or holds_secret(source, values)
            ):
                continue
            value = self.value(source, values)
            if value is None:
                continue
            filled[name] = value if isinstance(value, str) else self.text(source, values)
            require_header_text(name, filled[name])
        return filled

    def url(self, base: str, path: str, values: Values) -> str:
        """Return the URL of a path below ``base``.

        Every value is percent-encoded, so that no value can change the path. When the path is one
        placeholder, its value may be a link from the registry, which stays unchanged. The client
        refuses links to other hosts. Raise ``VALUE_MISSING`` or ``URL_INVALID``.
        """
        self._refuse_secret(path, values)
        sole = sole_placeholder(parse_template(path))
        link = str(values.get(sole.name) or "") if sole else ""
        if link.startswith(("http://", "https://", "/")):
            return join_link(base, link)
        try:
            filled = parse_template(path).fill(
                self._flatten(values), lambda value: quote(value, safe="")
            )
        except MissingValue as missing:
            raise StreamHalted(
                "VALUE_MISSING",
                f"the path needs {{{missing}}}, which has no value here; "
                "correct the placeholder, or add the value to the loop or to `variables`",
            ) from None
        if filled.startswith(("http://", "https://")):
            return filled
        if any(piece in {".", ".."} for piece in filled.split("?")[0].split("/")):
            raise StreamHalted(
                "URL_INVALID",
                "a value would lead the path out of its folder (. or ..); "
                "check the values that the path reads",
            )
        return base.rstrip("/") + "/" + filled.lstrip("/") if filled.strip("/") else base

    def query_pairs(
        self, query: Mapping[str, Any], values: Values, *, is_form: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Yield the name and value pairs of a query or a form.

        A list repeats the name. A pair without a value is omitted.
        """
        for name, source in query.items():
            for part in source if isinstance(source, list | tuple) else (source,):
                if self._withhold and not is_form and holds_secret(part, values):
                    continue
                filled = self.value(part, values)
                for item in filled if isinstance(filled, list | tuple) else (filled,):
                    if item is not None:
                        yield (
                            name,
                            item
                            if isinstance(item, str)
                            else format_value(item, Placeholder(name)),
                        )

    def value(self, source: Any, values: Values) -> Any:
        """Return one value of a template.

        A value that is only a placeholder keeps its type; it is ``None`` when it has no value.
        """
        self._refuse_secret(source, values)
        if not isinstance(source, str):
            return (
                secret_text(self._secrets, source.secret) if isinstance(source, Secret) else source
            )
        template = parse_template(source)
        sole = sole_placeholder(template)
        if sole is None:
            return self.text(source, values)
        value = values.get(sole.name)
        if value is None or (isinstance(value, int | list | tuple) and not sole.format):
            return value
        return format_value(value, sole)

    def json(self, source: Any, values: Values) -> Any:
        """Return a JSON body without the entries whose placeholder has no value."""
        if isinstance(source, Mapping):
            if set(source) == {"secret"}:
                secret = Secret(secret=str(source["secret"]))
                self._refuse_secret(secret, values)
                return secret_text(self._secrets, secret.secret)
            filled = {key: self.json(item, values) for key, item in source.items()}
            return {
                key: item for key, item in filled.items() if item is not None or source[key] is None
            }
        if isinstance(source, list | tuple):
            return [self.json(item, values) for item in source]
        value = self.value(source, values)
        return list(value) if isinstance(value, tuple) else value

    def xml(self, source: str, values: Values) -> etree._Element:
        """Return an XML body.

        Values enter texts and attributes after parsing, so no value can become markup. An element
        whose text is one placeholder is repeated for a list. It is omitted when there is no value.
        """
        root = xml_parser.parse_bytes(text_bytes(source.strip()), where="the request template")
        self._fill_element(root, values)
        return root

    def _fill_element(self, element: etree._Element, values: Values) -> None:
        for child in list(element):
            sole = (
                sole_placeholder(parse_template(child.text.strip()))
                if child.text and not len(child)
                else None
            )
            self._refuse_secret(child.text.strip() if sole and child.text else "", values)
            found = values.get(sole.name) if sole else ""
            if sole and found is None:
                element.remove(child)
            elif sole and isinstance(found, list | tuple):
                self._repeat(element, child, sole, found)
            else:
                self._fill_element(child, values)
        for name, attribute in element.attrib.items():
            element.set(name, self.text(str(attribute), values))
        if element.text and element.text.strip():
            element.text = self.text(element.text, values)
        for child in element:
            if child.tail and child.tail.strip():
                child.tail = self.text(child.tail, values)

    def _repeat(
        self, parent: etree._Element, child: etree._Element, sole: Placeholder, found: Sequence[Any]
    ) -> None:
        place = parent.index(child)
        parent.remove(child)
        for offset, value in enumerate(found):
            copy = etree.fromstring(etree.tostring(child, with_tail=False))
            copy.text = format_value(value, sole)
            parent.insert(place + offset, copy)

    def _refuse_secret(self, source: Any, values: Values) -> None:
        """Raise an error for a secret that is missing, or that must not be sent."""
        for name in parse_template(source).names if isinstance(source, str) else ():
            if isinstance(missing := values.get(name), StreamHalted):
                raise missing
        if self._withhold and holds_secret(source, values):
            raise StreamHalted(
                "CREDENTIALS_WITHHELD",
                "the request holds a secret in its address or body, and its host may receive no "
                "credentials; if it may, write `{host: …, credentials: true}` under `hosts`",
            )

    def _flatten(self, values: Values) -> dict[str, Any]:
        return {
            k: self._separator.join(map(str, v)) if isinstance(v, list | tuple) else v
            for k, v in values.items()
        }


def require_header_text(name: str, value: str) -> None:
    """Raise ``HEADER_INVALID`` unless an HTTP header can carry a value."""
    if not (value.isascii() and value.replace("\t", " ").isprintable()):
        raise StreamHalted(
            "HEADER_INVALID",
            f"the header {name} has a value with line breaks or letters outside ASCII, which no "
            "HTTP header can carry; send the value in the query or the body",
        )


def holds_secret(source: Any, values: Values) -> bool:
    """Return whether a template is a secret, or has a placeholder with a secret value."""
    if isinstance(source, Secret):
        return True
    if not isinstance(source, str):
        return False
    found = (values.get(name) for name in parse_template(source).names)
    return any(
        isinstance(part, SecretValue)
        for value in found
        for part in (value if isinstance(value, list | tuple) else (value,))
    )


def sole_placeholder(template: Template) -> Placeholder | None:
    """Return the placeholder of a template that holds nothing else, or ``None``."""
    if len(template.parts) == 1 and isinstance(template.parts[0], Placeholder):
        return template.parts[0]
    return None


def build_request(
    request: Request, base: str, values: Values, filler: TemplateFiller
) -> RegistryRequest:
    """Return the HTTP request of a ``get`` or ``post`` request."""
    method, path = ("GET", request.get) if request.get is not None else ("POST", request.post or "")
    headers = filler.headers(request.headers, values)
    content: bytes | None = None
    media_type = ""
    if request.json_ is not None:
        content = json.dumps(filler.json(request.json_, values), ensure_ascii=False).encode()
        media_type = "application/json"
    elif request.form:
        content = urlencode(list(filler.query_pairs(request.form, values, is_form=True))).encode()
        media_type = "application/x-www-form-urlencoded"
    elif request.xml is not None:
        content = etree.tostring(
            filler.xml(request.xml, values), encoding="utf-8", xml_declaration=True
        )
        media_type = "application/xml; charset=utf-8"
    if media_type and "content-type" not in map(str.lower, headers):
        headers["Content-Type"] = media_type
    return RegistryRequest(
        method,
        filler.url(base, path, values),
        headers,
        content,
        label=f"{method} {path.partition('?')[0]}",
        query=tuple(filler.query_pairs(request.query, values)),
    )


def follow_link(previous: RegistryRequest, url: str) -> RegistryRequest:
    """Return the request for a URL from the registry.

    It has no query of its own, because the URL already contains the query.
    """
    return RegistryRequest(
        previous.method,
        join_link(previous.url, url),
        previous.headers,
        previous.content,
        label=previous.label,
    )
