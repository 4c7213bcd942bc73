"""Tell which configuration files have changed, at the cost of one ``stat`` for each file."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.config.side_files import MAX_SIDE_FILE_BYTES, read_regular_file

FileDigests = dict[Path, bytes]
"""A digest of the content of each file. It is no hash for a file that cannot be read."""
_Signature = tuple[int, int, int, int]

WATCHED_SUFFIXES = {".yaml", ".wsdl", ".xsd", ".json"}
_CLOCK_STEP_NS = 2_000_000_000
"""A file that changed shortly before it was read is read again.

Two changes within one step of the clock can have one time.
"""


@dataclass(slots=True)
class WatchedFiles:
    """The configuration files of some folders."""

    folders: Sequence[Path]
    _known: dict[Path, tuple[_Signature, int, bytes]] = field(default_factory=dict)
    """For each file its signature, the time of the reading and the digest."""

    def digests(self) -> FileDigests | None:
        """Return a digest of every file, or ``None`` while a folder cannot be read."""
        try:
            paths = [
                path
                for folder in self.folders
                for path in sorted(folder.iterdir())
                if path.suffix in WATCHED_SUFFIXES
            ]
        except OSError:
            return None
        current = {path: digest for path in paths if (digest := self._digest(path)) is not None}
        for path in self._known.keys() - current.keys():
            del self._known[path]
        return current

    def _digest(self, path: Path) -> bytes | None:
        """Return the digest of a file, or ``None`` if it has just disappeared."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return b"no file" if path.is_symlink() else None
        except OSError as error:
            return f"unreadable: {error.errno}".encode()
        signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        known = self._known.get(path)
        if known and known[0] == signature and _is_settled(status, known[1]):
            return known[2]
        read_at = time.time_ns()
        digest = _read_digest(path, status)
        self._known[path] = (signature, read_at, digest)
        return digest


def _is_settled(status: os.stat_result, read_at: int) -> bool:
    return max(status.st_mtime_ns, status.st_ctime_ns) + _CLOCK_STEP_NS < read_at


def _read_digest(path: Path, status: os.stat_result) -> bytes:
    if not stat.S_ISREG(status.st_mode):
        return b"not a file"
    if status.st_size > MAX_SIDE_FILE_BYTES:
        return f"too large: {status.st_size} {status.st_mtime_ns}".encode()
    try:
        return hashlib.sha256(read_regular_file(path, MAX_SIDE_FILE_BYTES + 1)).digest()
    except OSError as error:
        return f"unreadable: {error.errno}".encode()
