"""Everything that configuration says, loaded once: connectors, mapping tables and one harmoniser per connector."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
from pydantic import BaseModel

from gateway.errors import ConfigError, Finding, Halt, UsageError
from gateway.harmonise import Harmoniser
from gateway.harmonise.privacy import MIN_KEY
from gateway.harmonise.tables import Tables
from gateway.language import load_connector
from gateway.language.connector import Connector, Stream
from gateway.language.mapping import Version
from gateway.language.parties import split_by_party
from gateway.language.scalars import Secret
from gateway.records import EMITS
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
            connector = split_by_party(load_connector(path))
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
        raise UsageError(
            f"GATEWAY_PSEUDONYM_KEY is missing or shorter than {MIN_KEY} bytes; make one with `openssl rand -base64 32` and keep it"
        )
    harmonisers = {name: Harmoniser(connector, tables, pseudonym_key=key) for name, connector in connectors.items()}
    announce(connectors.values(), tables, datetime.now(UTC).date())
    return Fleet(connectors=connectors, harmonisers=harmonisers, tables=tables)


def announce(connectors: Collection[Connector], tables: Tables, today: date) -> None:
    """Say in metrics which configuration runs, how much of its target each stream maps, and when tables end without a successor."""
    metrics.CONFIG_INFO.clear()
    metrics.COVERAGE.clear()
    metrics.TABLE_EXPIRY.clear()
    for connector in connectors:
        metrics.CONFIG_INFO.labels(connector.connector, connector.digest, str(connector.language)).set(1)
        for name, stream in connector.streams.items():
            metrics.COVERAGE.labels(connector.connector, name).set(coverage(stream))
    countries = {connector.country for connector in connectors}
    for mapping in tables.mappings:
        if mapping.country not in countries:
            continue
        for key, framework in mapping.frameworks.items():
            if last := last_day(framework.versions, today):
                end = datetime.combine(last + timedelta(days=1), time(), UTC)
                metrics.TABLE_EXPIRY.labels(mapping.country, key).set(end.timestamp())


def coverage(stream: Stream) -> float:
    """Return the share of the target's fields that a stream maps; what the gateway derives by itself does not count."""
    kinds = [stream.map, *(kind.map for kind in stream.kinds.values())]
    mapped = {target.partition(".")[0] for rules in kinds for target in rules}
    hints = get_type_hints(EMITS[stream.emits], include_extras=True)
    fields = {name for name, hint in hints.items() if not _derived(hint)} - {"id"}
    return len(mapped & fields) / len(fields)


def last_day(versions: Iterable[Version], today: date) -> date | None:
    """Return the last day on which any version holds that has begun or will begin; ``None`` when there is no end, or it is past."""
    ends = [version.until for version in versions]
    last = max((end for end in ends if end), default=None)
    return None if last is None or None in ends or last < today else last


def _derived(kind: object) -> bool:
    return any(isinstance(mark, msgspec.Meta) and (mark.extra or {}).get("derived") for mark in get_args(kind)[1:])


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
