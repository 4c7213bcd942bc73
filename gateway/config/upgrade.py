"""Carry connector files of an older language version forward, keeping comments and order.

Version 1 is the first, so there is nothing to carry yet. A version 2 adds one function to :data:`STEPS`: it takes the text of a file of
version 1 and returns the text of version 2; files are upgraded one version at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from gateway.config.yaml.document import parse_yaml
from gateway.errors import ConfigError, Finding

CURRENT_VERSION = 1
UPGRADES: Mapping[int, Callable[[str], str]] = {}
"""Language version to the function that makes the next version's text."""


def version_of(text: str, file: str) -> int:
    """Return the language version a file says it is written in."""
    value = parse_yaml(text.encode(), file).value
    found = value.get("language") if isinstance(value, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise ConfigError(
            [
                Finding(
                    file,
                    1,
                    1,
                    "missing-key",
                    "language",
                    "'language' is missing or no number; write language: 1",
                )
            ]
        )
    return found


def upgrade_text(
    text: str,
    file: str,
    steps: Mapping[int, Callable[[str], str]] = UPGRADES,
    current: int = CURRENT_VERSION,
) -> str:
    """Return the text in the current version; unchanged when it is that already."""
    version = version_of(text, file)
    if version > current:
        message = f"version {version} is newer than this gateway, which reads {current}; use a newer gateway"
        raise ConfigError([Finding(file, 1, 1, "unknown-word", "language", message)])
    while version < current:
        text = re.sub(
            rf"(?m)^language:[ ]*{version}\b",
            f"language: {version + 1}",
            steps[version](text),
            count=1,
        )
        version += 1
    return text
