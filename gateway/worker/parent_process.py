"""End a worker process when its parent ends.

The parent may be killed at any time, also before the worker has read its arguments. A worker
without a parent has no health port and no supervisor. See docs/decisions/0077.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

from gateway.errors import Unavailable

CHECK_INTERVAL_SECONDS = 0.5
DRAIN_SECONDS = 8.0
"""Longer than an ordinary stop needs, see ``SHUTDOWN_TIMEOUT_SECONDS`` of the worker."""
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Make this process end when the process ``parent`` ends.

    On Linux, the kernel kills this process at once. Other systems have no such call, so a thread
    looks for the parent. Call this first: it costs nothing, and the parent may end at any time.

    Raises :class:`~gateway.errors.Unavailable` if the parent has ended already.
    """
    killed_by_kernel = sys.platform == "linux" and _request_signal(signal.SIGKILL)
    # Only now, because a parent that ended before the request sends no signal.
    if os.getppid() != parent:
        raise Unavailable(f"the parent process {parent} ended before this process was ready")
    if not killed_by_kernel:
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def _request_signal(number: signal.Signals) -> bool:
    """Ask the kernel for a signal when the parent ends, and return whether it agreed."""
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number.value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(CHECK_INTERVAL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(DRAIN_SECONDS)
    os._exit(128 + signal.SIGTERM)
