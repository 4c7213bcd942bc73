"""Run one local registry until you interrupt it.

For example, run ``python -m gateway.local.registries soap_credits --records 1000``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.local.registries import card_office, rest_catalogue, soap_credits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.local.registries.server import Registry

SERVICES: dict[str, Callable[..., Awaitable[Registry]]] = {
    "soap_credits": soap_credits.start,
    "rest_catalogue": rest_catalogue.start,
    "card_office": card_office.start,
}


async def serve(service: str, port: int, records: int, seed: int) -> None:
    """Start one registry, print its URL, and serve until the task is cancelled."""
    registry = await SERVICES[service](port=port, records=records, seed=seed)
    async with registry:
        print(f"{service} at {registry.url} (controls: {registry.url}/_control)", flush=True)  # noqa: T201
        await asyncio.Event().wait()


def main() -> None:
    """Read the command line and run the registry."""
    parser = argparse.ArgumentParser(prog="python -m gateway.local.registries", description=__doc__)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(arguments.service, arguments.port, arguments.records, arguments.seed))
    except GatewayError as error:
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
