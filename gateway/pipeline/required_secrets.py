"""Check the secrets that the loaded connectors need."""

from __future__ import annotations

import os

import structlog
from pydantic import BaseModel

from gateway.config.connector import Connector
from gateway.config.types import Secret
from gateway.errors import ConfigError, Finding, StreamHalted, UsageError
from gateway.fetch.secrets import FileSecrets
from gateway.pipeline.loaded_config import LoadedConfig

log = structlog.get_logger()


def secret_names(value: object) -> set[str]:
    """Return the name of every secret to which a connector or a part of one refers."""
    if isinstance(value, Secret):
        return {value.secret}
    if isinstance(value, BaseModel):
        return {name for _, inner in value for name in secret_names(inner)}
    if isinstance(value, dict):
        return {name for inner in value.values() for name in secret_names(inner)}
    if isinstance(value, tuple | list):
        return {name for inner in value for name in secret_names(inner)}
    return set()


def missing_secrets(connector: Connector, secrets: FileSecrets) -> list[str]:
    """Return one line for each secret of a connector that cannot be read."""
    missing = []
    for name in sorted(secret_names(connector)):
        try:
            secrets(name)
        except StreamHalted as error:
            missing.append(f"{connector.connector}: {error}")
    return missing


def report_missing_secrets(config: LoadedConfig, secrets: FileSecrets) -> None:
    """Log the secrets that are missing. Their connectors halt until the secrets exist.

    Raises :class:`~gateway.errors.UsageError` if no connector has all its secrets. Raises
    :class:`~gateway.errors.ConfigError` for world-readable files, as :func:`check_secrets` does.
    """
    missing = {
        name: lines
        for name, connector in config.connectors.items()
        if (lines := missing_secrets(connector, secrets))
    }
    if missing and len(missing) == len(config.connectors):
        raise UsageError("\n".join(line for lines in missing.values() for line in lines))
    for name, lines in missing.items():
        for line in lines:
            log.error("secret is missing", connector=name, reason=line)
    refuse_world_readable_secrets(config, secrets)


def check_secrets(config: LoadedConfig, secrets: FileSecrets) -> None:
    """Check that every secret exists and that its file is not world-readable.

    Raises :class:`~gateway.errors.UsageError` with one line for each missing secret. Raises
    :class:`~gateway.errors.ConfigError` for world-readable files. If the process is root,
    such a file is only logged. A container cannot change how its secrets are mounted.
    """
    missing = [
        line
        for connector in config.connectors.values()
        for line in missing_secrets(connector, secrets)
    ]
    if missing:
        raise UsageError("\n".join(missing))
    refuse_world_readable_secrets(config, secrets)


def refuse_world_readable_secrets(config: LoadedConfig, secrets: FileSecrets) -> None:
    """Raise :class:`~gateway.errors.ConfigError` if every user can read a secret.

    If the process is root, such a file is only logged.
    """
    findings = find_world_readable_secrets(config, secrets)
    if findings and os.geteuid():
        raise ConfigError(findings)
    for finding in findings:
        log.warning("secret is open", reason=str(finding))


def find_world_readable_secrets(config: LoadedConfig, secrets: FileSecrets) -> list[Finding]:
    """Return a finding for each secret that every user of this machine can read."""
    names = sorted(
        {name for connector in config.connectors.values() for name in secret_names(connector)}
        | {
            name
            for connector in config.connectors.values()
            for stream in connector.streams.values()
            for loop in stream.for_each.values()
            for folder in loop.secrets.values()
            for name in secrets.names_in(folder)
        }
    )
    paths = [path for name in names if (path := secrets.world_readable_file(name)) is not None]
    return [
        Finding(
            str(path),
            0,
            0,
            "file-mode",
            "",
            "every user of this machine can read this secret; run `chmod 600` on it",
        )
        for path in paths
    ]
