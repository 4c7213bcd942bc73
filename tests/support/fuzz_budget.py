"""Limit what one input of a fuzz target may cost."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

MAX_SECONDS = 2.0
"""The time of the CPU for one input. Instrumented code takes several times as long."""
MAX_KILOBYTES = 300_000
"""How much the memory of the process may grow with one input."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def within_budget(target: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Return a function that also fails when a call takes too much time or memory.

    The time is that of all threads of the process.
    """

    @wraps(target)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        memory, began = _peak(), time.process_time()
        try:
            return target(*args, **kwargs)
        finally:
            _require_within(time.process_time() - began, _peak() - memory)

    return run


def _require_within(seconds: float, grown: int) -> None:
    assert seconds < MAX_SECONDS, f"{seconds:.1f} s"
    assert grown < MAX_KILOBYTES, f"{grown} kB"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
