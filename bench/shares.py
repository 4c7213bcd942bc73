"""A command with no more than a share of the machine's processors: a control group of Linux, which takes root."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PERIOD = 20_000
"""Microseconds in which a share is used up: short, so that nobody waits long for the next one."""
GROUPS = Path("/sys/fs/cgroup/cpu")
"""Control groups of version 1; those of version 2 are all in one place."""
GROUPS_2 = Path("/sys/fs/cgroup")


def available() -> bool:
    """Whether such groups can be made here."""
    return os.access(_groups(), os.W_OK) and (
        GROUPS.exists() or "cpu" in (GROUPS_2 / "cgroup.subtree_control").read_text().split()
    )


@contextmanager
def cores(share: float) -> Iterator[list[str]]:
    """Yield what to put before a command, so that it and all it starts have no more than ``share`` of one core between them."""
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
