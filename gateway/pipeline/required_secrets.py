"""The secrets that the loaded connectors need."""

from __future__ import annotations

import os

import structlog
from pydantic import BaseModel

from gateway.config.types import Secret
from gateway.errors import ConfigError, Finding, StreamHalted, UsageError
from gateway.fetch.secrets import FileSecrets
from gateway.pipeline.loaded_config import LoadedConfig

log = structlog.get_logger()


def secret_names(value: object) -> set[str]:
    """Return the name of every secret that a connector, or a part of one, refers to."""
    if isinstance(value, Secret):
        return {value.secret}
    if isinstance(value, BaseModel):
        return {name for _, inner in value for name in secret_names(inner)}
    if isinstance(value, dict):
        return {name for inner in value.values() for name in secret_names(inner)}
    if isinstance(value, tuple | list):
        return {name for inner in value for name in secret_names(inner)}
    return set()


def check_secrets(fleet: LoadedConfig, secrets: FileSecrets) -> None:
    """Raise :class:`~gateway.errors.UsageError` naming each secret that is not there, one a line: better now than at the first poll.

    Raises :class:`~gateway.errors.ConfigError` for secrets that every user of this machine may read; root in a container cannot help
    how they were mounted, and is only told.
    """
    missing = []
    for connector in fleet.connectors.values():
        for name in sorted(secret_names(connector)):
            try:
                secrets(name)
            except StreamHalted as error:
                missing.append(f"{connector.connector}: {error}")
    if missing:
        raise UsageError("\n".join(missing))
    found = find_world_readable_secrets(fleet, secrets)
    if found and os.geteuid():
        raise ConfigError(found)
    for finding in found:
        log.warning("secret is open", reason=str(finding))


def find_world_readable_secrets(fleet: LoadedConfig, secrets: FileSecrets) -> list[Finding]:
    """Return a finding for each secret that every user of this machine may read."""
    names = sorted(
        {name for connector in fleet.connectors.values() for name in secret_names(connector)}
    )
    paths = [path for name in names if (path := secrets.world_readable_file(name)) is not None]
    return [
        Finding(
            str(path),
            0,
            0,
            "file-mode",
            "",
            "everybody on this machine may read this secret; chmod 600 it",
        )
        for path in paths
    ]
