"""List the commands of ``gateway --help`` by task, with whole sentences."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

COMMANDS_BY_TASK: dict[str, tuple[str, ...]] = {
    "Write a connector": ("new", "check", "preview", "diff", "explain"),
    "Mapping tables": ("level", "credits", "field", "coverage", "provider"),
    "Run": ("run", "demo", "drill", "topics", "kafka"),
    "Operate": (
        "status",
        "why",
        "poll",
        "pause",
        "resume",
        "backfill",
        "rejections",
        "renormalise",
        "verify",
    ),
    "Personal data": ("erase",),
    "Schemas and other formats": ("schema", "language", "validate", "export"),
}
"""The commands of each task. A command that is missing here belongs to "Other"."""


def group_by_task(names: list[str]) -> dict[str, list[str]]:
    """Return the names of commands by task, in the order of ``COMMANDS_BY_TASK``."""
    groups = {
        task: [name for name in commands if name in names]
        for task, commands in COMMANDS_BY_TASK.items()
    }
    listed = {name for commands in groups.values() for name in commands}
    groups["Other"] = [name for name in names if name not in listed]
    return {task: commands for task, commands in groups.items() if commands}


class CommandGroup(TyperGroup):
    """A command with subcommands, whose help shows the first sentence of each of them.

    The help of ``gateway`` itself lists its commands by task.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of the help that list the commands."""
        names = [name for name in self.list_commands(ctx) if not self.commands[name].hidden]
        width = max(map(len, names))
        sections = {"Commands": names} if ctx.parent else group_by_task(names)
        for title, commands in sections.items():
            sentences = [_first_sentence(self.commands[name].help or "") for name in commands]
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(width), sentence)
                        for name, sentence in zip(commands, sentences, strict=True)
                    ]
                )


def _first_sentence(text: str) -> str:
    """Return the first sentence of a help text on one line."""
    return " ".join(text.split()).partition(". ")[0].rstrip(".") + "."
