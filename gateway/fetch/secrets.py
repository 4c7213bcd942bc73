"""Where secrets come from: files under one directory, re-read when they change, else the environment.

A connector file only ever names a secret (``{secret: name}``); the value is fetched at the moment it is used, so a rotated
file is picked up without a restart and no configuration object ever holds a secret.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from gateway.errors import StreamHalted

Secrets = Callable[[str], bytes]
"""A function that returns the bytes of a secret by name.

It raises :class:`~gateway.errors.StreamHalted` with ``SECRET_MISSING`` when there is none.
"""


class FileSecrets:
    """Secrets of one deployment. Call it with a name.

    The file ``<directory>/<name>`` wins; one trailing line end is dropped from text. Without a file the environment variable
    ``GATEWAY_SECRET_<NAME>`` is read (upper case, every other character becomes ``_``).
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cache: dict[str, tuple[tuple[int, int, int], bytes]] = {}

    def __call__(self, name: str) -> bytes:
        """Return the secret as it is now."""
        path = self._directory / name
        if not path.resolve().is_relative_to(self._directory.resolve()):
            raise StreamHalted(
                "SECRET_MISSING",
                f"secret {name!r} points outside {self._directory}; name a file inside it",
            )
        try:
            found = path.stat()
        except OSError:
            return self._from_environment(name, path)
        if not stat.S_ISREG(found.st_mode):
            raise StreamHalted(
                "SECRET_UNREADABLE", f"secret {name!r}: {path} is not a regular file"
            )
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
        kept = self._cache.get(name)
        if kept is None or kept[0] != state:
            try:
                kept = (state, _strip_newline(path.read_bytes()))
            except OSError as error:
                raise StreamHalted(
                    "SECRET_UNREADABLE", f"secret {name!r}: {path} cannot be read: {error.strerror}"
                ) from None
            self._cache[name] = kept
        return kept[1]

    def world_readable_file(self, name: str) -> Path | None:
        """Return the file of a secret that every user of this machine may read, ``None`` when it is not, or there is none."""
        path = self._directory / name
        try:
            found, above = path.stat(), [parent.stat().st_mode for parent in path.resolve().parents]
        except OSError:
            return None
        return (
            path
            if found.st_mode & stat.S_IROTH and all(mode & stat.S_IXOTH for mode in above)
            else None
        )

    @staticmethod
    def _from_environment(name: str, path: Path) -> bytes:
        variable = "GATEWAY_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
        value = os.environ.get(variable)
        if value is None:
            raise StreamHalted(
                "SECRET_MISSING",
                f"secret {name!r} is missing: write it to {path} (mode 0600) or set {variable}",
            )
        return value.encode()


def text_secret(secrets: Secrets, name: str) -> str:
    """Return a secret that is text; says which one is not UTF-8, and nothing of its value."""
    try:
        return secrets(name).decode()
    except UnicodeDecodeError:
        raise StreamHalted("SECRET_UNREADABLE", f"secret {name!r} is not UTF-8 text") from None


def _strip_newline(value: bytes) -> bytes:
    if value.endswith(b"\r\n"):
        return value[:-2]
    return value.removesuffix(b"\n")
