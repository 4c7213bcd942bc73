"""Upgrade connector files of an older language version, and keep their comments and order.

Version 1 is the first version, so no upgrade exists yet. Version 2 will add one function to
:data:`UPGRADES`, which takes the text of version 1 and returns the text of version 2. The gateway
upgrades a file one version at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from gateway.config.yaml.document import parse_yaml
from gateway.errors import ConfigError, Finding

CURRENT_VERSION = 1
UPGRADES: Mapping[int, Callable[[str], str]] = {}
"""Each language version and the function that returns the text of the next version."""


def version_of(text: str, file: str) -> int:
    """Return the language version of a file.

    Raises :class:`~gateway.errors.ConfigError` when the file names none.
    """
    value = parse_yaml(text.encode(), file).value
    version = value.get("language") if isinstance(value, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
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
    return version


def upgrade_text(
    text: str,
    file: str,
    steps: Mapping[int, Callable[[str], str]] = UPGRADES,
    current: int = CURRENT_VERSION,
) -> str:
    """Return the text in the current version, unchanged when it already has that version.

    Raises :class:`~gateway.errors.ConfigError` when the version is newer than ``current``.
    """
    version = version_of(text, file)
    if version > current:
        message = (
            f"version {version} is newer than this gateway, which reads {current}; "
            "use a newer gateway"
        )
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
