"""Serve a registry of any size from its own process, with complete scans of generated records.

``python -m bench.registry SIZE`` prints its port and serves until you stop it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
from aiohttp import web

from bench.peers.records import record

PAGE = 1_000


async def serve(size: int) -> None:
    """Serve ``size`` records on a free port until cancelled."""

    async def answer(request: web.Request) -> web.Response:
        page = int(request.query["page"])
        numbers = range((page - 1) * PAGE, min(page * PAGE, size))
        body = {"items": [record(number) for number in numbers], "more": page * PAGE < size}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    application = web.Application()
    application.router.add_get("/programmes", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@contextmanager
def running(size: int) -> Iterator[int]:
    """Run the registry in another process for the length of a block and yield its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.registry", str(size)], stdout=subprocess.PIPE
    )
    try:
        yield int((process.stdout or sys.exit(1)).readline())
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
