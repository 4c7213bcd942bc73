"""Limit a command to a share of the machine's processors.

The module uses a control group of Linux, which needs root.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PERIOD = 20_000
"""The period of a share in microseconds. It is short, so that a process waits only briefly."""
GROUPS = Path("/sys/fs/cgroup/cpu")
"""The folder of CPU control groups, version 1."""
GROUPS_2 = Path("/sys/fs/cgroup")


def available() -> bool:
    """Return whether this process may create control groups."""
    return os.access(_groups(), os.W_OK) and (
        GROUPS.exists() or "cpu" in (GROUPS_2 / "cgroup.subtree_control").read_text().split()
    )


@contextmanager
def cores(share: float) -> Iterator[list[str]]:
    """Yield a command prefix that limits a command and its children to ``share`` of one core."""
    group = _groups() / f"bench-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    try:
        quota = int(share * PERIOD)
        if GROUPS.exists():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD}")
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        group.rmdir()


def _groups() -> Path:
    return GROUPS if GROUPS.exists() else GROUPS_2
