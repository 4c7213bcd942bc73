"""Serve replies of ten gigabytes, or replies that never end.

``python endless_registry.py`` prints its address and serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import zlib

TEN_GIGABYTES = 10_000_000_000
BLANKS = b" " * 65_536
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n"


async def chunked(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\n<list>\r\n")
    for _ in range(TEN_GIGABYTES // len(BLANKS)):
        writer.write(b"%x\r\n%b\r\n" % (len(BLANKS), BLANKS))
        await writer.drain()


async def unframed(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n<list>")
    for _ in range(TEN_GIGABYTES // len(BLANKS)):
        writer.write(BLANKS)
        await writer.drain()


async def packed(writer: asyncio.StreamWriter) -> None:
    """Send ten gigabytes of blanks as one gzip stream of about ten megabytes."""
    writer.write(HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    pack = zlib.compressobj(9, wbits=31)
    for _ in range(TEN_GIGABYTES // len(BLANKS)):
        if piece := pack.compress(BLANKS):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()


async def loris(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
    for _ in range(1_000_000):
        writer.write(b"<")
        await writer.drain()
        await asyncio.sleep(0.1)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        path = (
            (await reader.readuntil(b"\r\n\r\n"))
            .split(b" ", 2)[1]
            .decode()
            .strip("/")
            .partition("/")[0]
        )
        await {"chunked": chunked, "unframed": unframed, "packed": packed, "loris": loris}[path](
            writer
        )
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
