"""Wrap the private functions of zeep that the gateway needs.

The public ``Client.create_message`` of zeep returns only the envelope. The gateway also needs the
HTTP headers, because they contain the ``soapAction``, and the names of the operations. No other
module uses private names of zeep. ``tests/unit/fetch/test_zeep_internals.py`` fails when a release
of zeep no longer has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lxml import etree


def binding(client: Any, service: str | None, port: str | None) -> Any:
    """Return the zeep binding of a port.

    zeep chooses the first service or port when ``service`` or ``port`` is ``None``. Raise
    ``ValueError`` when the WSDL describes no such service or port.
    """
    return client.bind(service, port)._binding  # noqa: SLF001


def create_message(
    client: Any, binding: Any, operation: str, body: dict[str, Any]
) -> tuple[etree._Element, dict[str, str]]:
    """Return the SOAP envelope of an operation and its HTTP headers.

    The errors of zeep are passed on, for example for an unknown operation or a missing element.
    """
    envelope, headers = binding._create(operation, (), body, client=client)  # noqa: SLF001
    return envelope, headers
