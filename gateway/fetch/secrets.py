"""Read secrets from files in one directory, or else from environment variables.

A connector file only names a secret (``{secret: name}``). The gateway reads the value at the moment
of use, so it uses a rotated file without a restart. No configuration object holds a secret.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from gateway.config.side_files import find_side_file
from gateway.errors import StreamHalted

Secrets = Callable[[str], bytes]
"""A function that returns the bytes of a secret by name.

The function raises :class:`~gateway.errors.StreamHalted` with ``SECRET_MISSING`` when the secret
does not exist.
"""


class FileSecrets:
    """The secrets of one deployment; call an instance with the name of a secret.

    The file ``<directory>/<name>`` takes precedence. One line end is removed from its end. Without
    a file, the environment variable ``GATEWAY_SECRET_<NAME>`` applies. ``<NAME>`` is in upper case,
    with ``_`` for every other character.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cache: dict[str, tuple[tuple[int, int, int], bytes]] = {}

    def __call__(self, name: str) -> bytes:
        """Return the current value of a secret; read its file again when the file has changed.

        Raise ``SECRET_MISSING`` or ``SECRET_UNREADABLE``.
        """
        try:
            path = find_side_file(self._directory, name)
        except ValueError:
            raise StreamHalted(
                "SECRET_MISSING",
                f"secret {name!r} points outside {self._directory}; name a file inside it",
            ) from None
        try:
            status = path.stat()
        except OSError:
            return self._from_environment(name, path)
        if not stat.S_ISREG(status.st_mode):
            raise StreamHalted(
                "SECRET_UNREADABLE",
                f"secret {name!r}: {path} is not a regular file; "
                "write the value into a file of this name",
            )
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        cached = self._cache.get(name)
        if cached is None or cached[0] != state:
            try:
                cached = (state, _strip_newline(path.read_bytes()))
            except OSError as error:
                raise StreamHalted(
                    "SECRET_UNREADABLE", f"secret {name!r}: {path} cannot be read: {error.strerror}"
                ) from None
            self._cache[name] = cached
        return cached[1]

    def names_in(self, folder: str) -> list[str]:
        """Return the names of the secrets in a folder, and none for a folder that is not there."""
        try:
            return sorted(f"{folder}/{path.name}" for path in (self._directory / folder).iterdir())
        except OSError:
            return []

    def world_readable_file(self, name: str) -> Path | None:
        """Return the file of a secret if every user of this machine may read it, or ``None``.

        The result is also ``None`` when there is no such file.
        """
        try:
            path = find_side_file(self._directory, name)
            status, above = (
                path.stat(),
                [parent.stat().st_mode for parent in path.resolve().parents],
            )
        except (OSError, ValueError):
            return None
        return (
            path
            if status.st_mode & stat.S_IROTH and all(mode & stat.S_IXOTH for mode in above)
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
    """Return a secret as text.

    Raise ``SECRET_UNREADABLE`` when it is not UTF-8. The error names the secret, never its value.
    """
    try:
        return secrets(name).decode()
    except UnicodeDecodeError:
        raise StreamHalted(
            "SECRET_UNREADABLE", f"secret {name!r} is not UTF-8 text; write the file again as UTF-8"
        ) from None


def _strip_newline(value: bytes) -> bytes:
    if value.endswith(b"\r\n"):
        return value[:-2]
    return value.removesuffix(b"\n")
