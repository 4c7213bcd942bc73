"""Write the pages of an imaginary registry through stream state, in a process that tests can kill.

Page ``n`` holds records ``n*50`` to ``n*50+49``. The cursor is the number of the next page.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys

from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.stream_state import StreamState
from gateway.records import RawRecord
from gateway.settings import Settings

PAGE = 50


def page(connector: str, number: int) -> list[RawEntry]:
    found = []
    for native_id in range(number * PAGE, (number + 1) * PAGE):
        body = b'{"id":%d}' % native_id
        raw = RawRecord(connector=connector, stream="s", native_id=str(native_id), body=body)
        found.append(RawEntry(raw, hashlib.blake2b(body, digest_size=16).digest(), None))
    return found


async def main(bootstrap: str, connector: str, pages: str) -> None:
    ledger = StreamState(
        Settings(kafka_bootstrap=bootstrap, registry_environment="acceptance"), connector, "s"
    )
    number = int(await ledger.open() or b"0")
    assert len(ledger.digests) == number * PAGE, (len(ledger.digests), number)
    while number < int(pages):
        await ledger.write(page(connector, number), b"%d" % (number + 1))
        number += 1
        print(number, flush=True)
    await ledger.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
