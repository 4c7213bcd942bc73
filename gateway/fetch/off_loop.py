"""Decode large replies in a thread, so that the event loop runs meanwhile.

Large replies are decoded one after another, because only one of them may take much memory while it
is built. The parser of JSON does not let other threads run: see ``docs/decisions/0066``.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from gateway.config.requests import Decode, Decoder

MAX_BYTES_ON_LOOP = 1_000_000
MAX_PACKED_BYTES_ON_LOOP = 10_000
"""The same for a reply that the steps of ``decode`` unpack, to a thousand times its size."""
_CONTAINERS = {"gzip", "zip", "base64"}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_pool = ThreadPoolExecutor(1, thread_name_prefix="decode")


def needs_thread(size: int, steps: Decode = ()) -> bool:
    """Return whether a reply of ``size`` bytes is decoded in a thread."""
    if size <= MAX_PACKED_BYTES_ON_LOOP:
        return False
    words = {step.kind if isinstance(step, Decoder) else step for step in steps}
    return size > MAX_BYTES_ON_LOOP or not _CONTAINERS.isdisjoint(words)


async def run(
    in_thread: bool,
    function: Callable[Parameters, Result],
    *args: Parameters.args,
    **named: Parameters.kwargs,
) -> Result:
    """Return the result of a function, which runs in the thread for large replies if asked to."""
    if not in_thread:
        return function(*args, **named)
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_pool, lambda: context.run(function, *args, **named))
