"""Everything that configuration says, loaded once: connectors, mapping tables and one harmoniser per connector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from gateway.errors import ConfigError, Finding, Halt, UsageError
from gateway.harmonise import Harmoniser
from gateway.harmonise.privacy import MIN_KEY
from gateway.harmonise.tables import Tables
from gateway.language import load_connector
from gateway.language.connector import Connector
from gateway.language.scalars import Secret
from gateway.settings import Settings
from gateway.watch import metrics


@dataclass(frozen=True, slots=True)
class Fleet:
    """The connectors that run, by name, with what harmonises their records. Immutable: a reload makes a new one."""

    connectors: dict[str, Connector]
    harmonisers: dict[str, Harmoniser]
    tables: Tables


def connector_files(paths: list[Path]) -> list[Path]:
    """Return the connector files under ``paths``; a file stands for itself, a folder for its ``*.yaml``."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.glob("*.yaml"))
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path}: no such file or folder; give a connector file or a folder of them")
    return found


def load_fleet(settings: Settings, names: list[str] | None = None) -> Fleet:
    """Load the connectors called ``names`` (all when none are given) and the tables; collect every finding before giving up."""
    tables = Tables.load(settings.mappings)
    findings: list[Finding] = []
    connectors: dict[str, Connector] = {}
    for path in connector_files([settings.connectors]):
        if names and path.stem not in names:
            continue
        try:
            connector = load_connector(path)
        except ConfigError as error:
            findings += error.findings
            continue
        connectors[connector.connector] = connector
    if findings:
        raise ConfigError(findings)
    if unknown := sorted(set(names or ()) - connectors.keys()):
        known = ", ".join(path.stem for path in connector_files([settings.connectors])) or "none"
        raise UsageError(f"unknown connector {', '.join(unknown)}; {settings.connectors}/ has: {known}")
    key = settings.pseudonym_key.get_secret_value().encode()
    if len(key) < MIN_KEY:
        raise UsageError(f"GATEWAY_PSEUDONYM_KEY is missing or shorter than {MIN_KEY} bytes; make one with `openssl rand -base64 32` and keep it")
    harmonisers = {name: Harmoniser(connector, tables, pseudonym_key=key) for name, connector in connectors.items()}
    for connector in connectors.values():
        metrics.CONFIG_INFO.labels(connector.connector, connector.digest, str(connector.language)).set(1)
    return Fleet(connectors=connectors, harmonisers=harmonisers, tables=tables)


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


def require_secrets(fleet: Fleet, secrets: Callable[[str], bytes]) -> None:
    """Raise :class:`~gateway.errors.UsageError` naming the first secret that is not there: better now than at the first poll."""
    for connector in fleet.connectors.values():
        for name in sorted(secret_names(connector)):
            try:
                secrets(name)
            except Halt as error:
                raise UsageError(f"{connector.connector}: {error}") from None
