"""Serve five REST and five SOAP demo registries from one process.

The process prints their addresses as one line of JSON and then serves.
"""

from __future__ import annotations

import asyncio
import json
import sys

from gateway.local.registries import rest_catalogue, soap_credits


async def main(records: int) -> None:
    found = {}
    for number in range(5):
        found[f"rest-{number}"] = await rest_catalogue.start(records=records, seed=number)
        found[f"soap-{number}"] = await soap_credits.start(records=records, seed=number + 10)
    print(json.dumps({name: registry.url for name, registry in found.items()}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
