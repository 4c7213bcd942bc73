"""The folder with the sockets between a parent and its worker processes.

The folder has a name that cannot be guessed, and only its owner can open it. A parent that was
killed leaves its folder behind, so the next one removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import StorageError

PREFIX = "gateway-sockets-"
LOCK_NAME = "lock"
"""The parent locks this file as long as it runs."""
_LONGEST_NAME = "push-4194304.sock"
_LONGEST_PATH = 103
"""The most bytes of a socket's path. Linux allows 107, other systems fewer."""


@contextlib.contextmanager
def socket_folder() -> Iterator[Path]:
    """Create the folder, and remove it on exit. Remove the folders of killed parents first.

    Raises :class:`~gateway.errors.StorageError` if there is no place for temporary files, or if
    its path is too long for sockets.
    """
    remove_abandoned_folders()
    _check_length(tempfile.gettempdir())
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Locked under another name first, so that no other parent finds the lock free.
        lock = (folder / f"{LOCK_NAME}.new").open("x")
    except OSError as error:
        raise StorageError(
            f"{error.filename or 'temporary files'}: the folder for sockets cannot be created "
            f"({error.strerror}); set TMPDIR to a folder that this process can write to"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Path(lock.name).rename(folder / LOCK_NAME)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _check_length(place: str) -> None:
    """Refuse a place in which the paths of sockets would be longer than the system allows."""
    random_part = "x" * 8
    path = Path(place) / f"{PREFIX}{random_part}" / _LONGEST_NAME
    if (excess := len(os.fsencode(path)) - _LONGEST_PATH) > 0:
        raise StorageError(
            f"{place}: the path is {excess} bytes too long for the sockets of worker processes; "
            "set TMPDIR to a shorter path, such as /tmp"
        )


def remove_abandoned_folders() -> None:
    """Remove the folders of parents that do not run any more.

    Folders of other users, links and folders without a lock are left alone.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
