"""Keep the results of the last commands, which the status of the worker reports.

A command is a promise until each of its streams has carried it out. `gateway ... --wait` reads the
results from the status topic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.messages.status import DONE, FAILED, WAITING

MAX_COMMANDS = 50
"""A worker keeps the results of this number of commands."""


@dataclass(slots=True)
class CommandResults:
    """The results of the last commands of one worker, by command id and stream."""

    by_id: dict[str, dict[str, str]] = field(default_factory=dict)
    """The stream is empty for a command that was refused as a whole."""

    def begin(self, command_id: str, stream: str) -> None:
        """Note that a stream has a command to carry out. A command without an id is left out."""
        self._set(command_id, stream, WAITING)

    def end(
        self, command_ids: Iterable[str], stream: str, text: str, beginning: str = DONE
    ) -> None:
        """Note how the commands ended for a stream. A result is one line."""
        for command_id in command_ids:
            self._set(command_id, stream, beginning + text)

    def refuse(self, command_id: str, text: str) -> None:
        """Note that a command was refused for all its streams."""
        if command_id:
            self.by_id.pop(command_id, None)
            self._set(command_id, "", FAILED + text)

    def _set(self, command_id: str, stream: str, text: str) -> None:
        if not command_id:
            return
        self.by_id.setdefault(command_id, {})[stream] = text
        while len(self.by_id) > MAX_COMMANDS:
            del self.by_id[next(iter(self.by_id))]
