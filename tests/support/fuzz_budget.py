"""Limit what one input of a fuzz target may cost."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import wraps

MAX_SECONDS = 2.0
"""The time of the CPU for one input. Instrumented code takes several times as long."""
MAX_KILOBYTES = 300_000
"""How much the memory of the process may grow with one input."""

Target = Callable[[bytes], None]


def within_budget(target: Target) -> Target:
    """Return a target that also fails when an input takes too much time or memory."""

    @wraps(target)
    def run(data: bytes) -> None:
        memory, began = _peak(), time.thread_time()
        target(data)
        seconds, grown = time.thread_time() - began, _peak() - memory
        assert seconds < MAX_SECONDS, f"{seconds:.1f} s"
        assert grown < MAX_KILOBYTES, f"{grown} kB"

    return run


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
