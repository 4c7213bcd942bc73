"""Hand a certificate and its key to OpenSSL, which reads certificate chains from files only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def temporary_pem_file(pem: bytes) -> Iterator[Path]:
    """Provide a file that only this user can read, and delete it after the block.

    It is kept in memory where ``/dev/shm`` exists, so that the key is not written to a disk.
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkstemp creates a private file there
    folder = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        yield Path(name)
    finally:
        with suppress(OSError):
            Path(name).unlink()
