"""Build the message that a request of a connector becomes: REST, SOAP or X-Road."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lxml import etree
from pydantic import BaseModel

from gateway.config.connector import Connector, Protocol, Soap
from gateway.config.expressions.template import parse_template
from gateway.config.requests import Request
from gateway.config.types import Secret
from gateway.errors import ConfigError, StreamHalted
from gateway.fetch.http.request_reply import RegistryRequest
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.request_builder import TemplateFiller, build_request, require_header_text
from gateway.fetch.soap import envelope

Values = Mapping[str, Any]
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class OutgoingRequests:
    """A builder of the messages of one connector.

    ``secure`` signs the envelope of a SOAP message, when the connector says so.
    """

    connector: Connector
    client: RegistryClient
    log_prefix: str
    secure: Callable[[Soap, etree._Element], None]

    def build(
        self,
        protocol: Protocol,
        request: Request,
        values: Values,
        filler: TemplateFiller,
        base: str,
    ) -> tuple[RegistryRequest, str]:
        """Return the message of a request, and its WS-Addressing id or an empty text.

        A header of the request replaces the one of the connector, and both replace the one that
        the gateway would send. Only the ``Content-Type`` of a body goes before the connector's.
        """
        common = filler.headers(protocol.headers, values)
        if request.operation is not None or request.envelope is not None:
            made, message_id = self._soap(protocol, request, values, filler, base)
            own = filler.headers(request.headers, values)
            return _with_headers(
                made, _soap_headers(protocol, request, made.headers, common, own)
            ), message_id
        xroad = _filled(protocol.xroad, filler, values) if protocol.xroad else None
        if xroad and not base.rstrip("/").endswith(envelope.xroad_path(xroad)):
            base = base.rstrip("/") + "/" + envelope.xroad_path(xroad)
        made = build_request(request, base, values, filler)
        if xroad:
            common = merged_headers(common, envelope.xroad_http_headers(xroad, str(values["uuid"])))
        return _with_headers(made, merged_headers(common, made.headers)), ""

    def build_without_credentials(
        self,
        protocol: Protocol,
        request: Request,
        values: Values,
        filler: TemplateFiller,
        base: str,
        *,
        is_link: bool,
    ) -> tuple[RegistryRequest, str]:
        """Return the message of a request for a host that receives no credentials.

        The path and the query of a link come from the registry, so that those of the request do not
        matter. Raise ``CREDENTIALS_WITHHELD`` when the message cannot be sent without a secret.
        """
        if isinstance(protocol, Soap) and protocol.security is not None:
            raise StreamHalted(
                "CREDENTIALS_WITHHELD",
                f"{self.log_prefix}: a message with WS-Security would go to a host that may "
                "receive no credentials; if it may, write `{host: …, credentials: true}` "
                "under `hosts`",
            )
        if is_link and (request.get is not None or request.post is not None):
            path = "get" if request.get is not None else "post"
            request = request.model_copy(update={path: "/", "query": {}})
        try:
            return self.build(protocol, request, values, filler.withholding(), base)
        except StreamHalted as error:
            raise StreamHalted(error.reason, f"{self.log_prefix}: {error}") from None

    def _soap(
        self,
        block: Protocol,
        request: Request,
        values: Values,
        filler: TemplateFiller,
        base: str,
    ) -> tuple[RegistryRequest, str]:
        if not isinstance(block, Soap):
            raise StreamHalted(
                "PROTOCOL",
                f"{self.log_prefix}: operation and envelope need a soap connector; "
                "write `get` or `post` for a rest connector",
            )
        action = block.action
        if request.operation is not None:
            try:
                wsdl = self.client.wsdl(Path(self.connector.folder), block)
                content, action = wsdl.build(
                    request.operation, filler.json(request.body or {}, values)
                )
            except ConfigError as error:
                raise StreamHalted("REQUEST_INVALID", f"{self.log_prefix}: {error}") from None
            action = block.action or action
        else:
            content = filler.xml(request.envelope or "", values)
        action = request.action if request.action is not None else action
        action = _filled_text(action, filler, values)
        require_header_text("SOAPAction", action)
        made = envelope.build_message(block.version, content, action)
        if block.xroad:
            xroad = _filled(block.xroad, filler, values)
            made = envelope.with_xroad(made, xroad, str(values["uuid"]))
        if block.addressing:
            made = envelope.with_addressing(made, _filled(block.addressing, filler, values), base)
        self.secure(block, made.envelope)
        headers = envelope.http_headers(block.version, made.action)
        content_bytes = etree.tostring(made.envelope, encoding="utf-8", xml_declaration=True)
        label = request.operation or etree.QName(content).localname
        query = tuple(filler.query_pairs(request.query, values))
        sent = RegistryRequest("POST", base, headers, content_bytes, label, query)
        return sent, made.message_id


def _soap_headers(
    block: Protocol,
    request: Request,
    made: Mapping[str, str],
    common: Mapping[str, str],
    own: Mapping[str, str],
) -> dict[str, str]:
    """Return the headers of a SOAP message.

    The key ``action`` goes before a header ``SOAPAction`` of the connector, and this header goes
    before the action of the WSDL. The media type of the envelope goes before a ``Content-Type`` of
    the connector.
    """
    action = request.action or (isinstance(block, Soap) and block.action)
    fixed = {"content-type"} | ({"soapaction"} if action else set())
    kept = {name: value for name, value in common.items() if name.lower() not in fixed}
    return merged_headers(merged_headers(made, kept), own)


def merged_headers(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Return all headers; ``second`` wins. Upper and lower case do not matter in a name."""
    names = {name.lower() for name in second}
    return {name: value for name, value in first.items() if name.lower() not in names} | dict(
        second
    )


def _with_headers(made: RegistryRequest, headers: Mapping[str, str]) -> RegistryRequest:
    return RegistryRequest(made.method, made.url, headers, made.content, made.label, made.query)


def _filled(block: ModelT, filler: TemplateFiller, values: Values) -> ModelT:
    """Return a block of the connector with its placeholders replaced."""
    changes: dict[str, Any] = {}
    for name in type(block).model_fields:
        value = getattr(block, name)
        if isinstance(value, str):
            changes[name] = _filled_text(value, filler, values)
        elif isinstance(value, BaseModel) and not isinstance(value, Secret):
            changes[name] = _filled(value, filler, values)
    return block.model_copy(update=changes)


def _filled_text(text: str, filler: TemplateFiller, values: Values) -> str:
    """Return a text with its placeholders replaced.

    A text such as ``{urn:x}Operation`` has braces that name no value; it stays as it is.
    """
    return filler.text(text, values) if parse_template(text).names <= values.keys() else text
