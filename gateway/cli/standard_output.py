"""Write to the standard output, and end a command clearly when it cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from gateway.errors import StorageError


class StandardOutput:
    """The standard output of a command. A failure to write raises one clear error.

    A reader that has closed the output still raises a ``BrokenPipeError``: that is no failure.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.failed = False

    def write(self, text: str) -> int:
        """Write a text, and return its length."""
        with self._clear_errors():
            return self.stream.write(text)

    def flush(self) -> None:
        """Write what is still in memory."""
        with self._clear_errors():
            self.stream.flush()

    def discard(self) -> None:
        """Write nothing more. Otherwise the interpreter would try again at its end."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            self.failed = True
            msg = (
                f"cannot write to the standard output: {error.strerror or error}; "
                f"give the command an output with free space that can be written"
            )
            raise StorageError(msg) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
