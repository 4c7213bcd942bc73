"""Answer the requests of a registry client with a function instead of the network.

Checks, previews and inline tests use this client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from gateway.fetch.registry_client import RegistryClient

Request = httpx2.Request
Response = httpx2.Response


def make_response(status: int, headers: Mapping[str, str], body: bytes) -> Response:
    """Return a reply; add ``content-length`` when ``headers`` does not contain it."""
    return Response(
        status,
        headers={"content-length": str(len(body)), **headers},
        stream=httpx2.ByteStream(body),
    )


class OfflineClient(RegistryClient):
    """A client that passes each request to ``answer`` and uses the result as the reply."""

    answer: Callable[[Request], Response]

    def _open_client(self, context: Any) -> httpx2.AsyncClient:  # noqa: ARG002
        return httpx2.AsyncClient(
            transport=httpx2.MockTransport(self.answer), follow_redirects=False, trust_env=False
        )
