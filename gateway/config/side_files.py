"""Find the files that a connector file names: WSDL and schema files, and secrets.

A name never leads out of its folder. It is checked before any file is opened.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote

MAX_SIDE_FILE_BYTES = 10_000_000
"""The size limit of a WSDL or schema file, together with the files that it imports."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class IrregularFileError(OSError):
    """A path is a folder, a pipe, a socket or a device."""


def read_regular_file(path: Path, limit: int) -> bytes:
    """Return at most ``limit`` bytes of a regular file. Opening a pipe does not block.

    Raise :class:`IrregularFileError` for any other file, and ``OSError`` if it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a device can have effects
        raise IrregularFileError(f"{path.name} is not a regular file")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise IrregularFileError(f"{path.name} is not a regular file")
        return file.read(limit)


def validate_file_name(name: str) -> str:
    """Return a relative name of a file, or raise ``ValueError`` when it leads out of its folder."""
    for text in {name, unquote(name)}:
        if _CONTROL.search(text):
            raise ValueError("a file name must not contain control characters; rename the file")
        is_absolute = text.startswith(("/", "\\", "~")) or _SCHEME.match(text)
        if is_absolute or "\\" in text or ".." in text.split("/"):
            raise ValueError(
                "the name leads out of its folder; save the file in the folder, "
                "and write its name alone, without / at the beginning, \\ and .."
            )
    return name


def find_side_file(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder. The file may be missing.

    Raise ``ValueError`` if the name or a symbolic link leads out of the folder.
    """
    path = folder / validate_file_name(name)
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a link that leads to itself
        is_inside = False
    if not is_inside:
        raise ValueError(
            f"{name} is a link that leads out of the folder; save the file itself there"
        )
    return path


def read_side_file(path: Path, limit: int = MAX_SIDE_FILE_BYTES) -> bytes:
    """Return the content of a regular file.

    Raise ``OSError`` for any other file, and for more than ``limit`` bytes.
    """
    content = read_regular_file(path, limit + 1)
    if len(content) > limit:
        raise OSError(
            f"{path.name} is too large: it and the files that it imports may have "
            f"{MAX_SIDE_FILE_BYTES:,} bytes"
        )
    return content
