"""Print tables and colours, and keep the texts in them printable."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gateway.printable import plain_stream, printable


class SafeConsole(Console):
    """A console whose own control sequences reach the terminal, and those of texts do not."""

    @property
    def file(self) -> IO[str]:
        """The stream of the terminal itself."""
        return plain_stream(sys.stdout)

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        raise NotImplementedError

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the parts of an output with printable texts."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text)
            yield Segment(text, segment.style, segment.control)

    def on_broken_pipe(self) -> None:
        """End the command as at every other output that its reader has closed: with exit code 0."""
        raise BrokenPipeError
