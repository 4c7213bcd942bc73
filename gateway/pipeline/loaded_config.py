"""Everything that configuration says, loaded once: connectors, mapping tables and one harmoniser per connector."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import structlog
from pydantic import BaseModel

from gateway.check import check
from gateway.config.connector import Connector, Stream
from gateway.config.loading import load_connector
from gateway.config.mapping_tables import Version
from gateway.config.split_streams import split_by_party
from gateway.config.target_fields import names, record_type, target
from gateway.config.types import Secret
from gateway.config.yaml.document import read
from gateway.errors import ConfigError, Finding, Halt, UsageError
from gateway.fetch.secrets import FileSecrets
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.pseudonyms import MIN_KEY
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.observability import metrics
from gateway.settings import Settings

log = structlog.get_logger()
FIRST_YEAR = 2020


@dataclass(frozen=True, slots=True)
class Fleet:
    """The connectors that run, by name, with what harmonises their records. Immutable: a reload makes a new one."""

    connectors: dict[str, Connector]
    harmonisers: dict[str, Harmoniser]
    tables: Tables


def connector_files(path: Path) -> list[Path]:
    """Return the connector files at ``path``; a file stands for itself, a folder for its ``*.yaml``."""
    if path.is_dir():
        return sorted(path.glob("*.yaml"))
    if path.exists():
        return [path]
    text = "no such file or folder; give a connector file or a folder of them, in GATEWAY_CONNECTORS or with --connectors"
    raise ConfigError([Finding(str(path), 0, 0, "missing-file", "", text)])


def require_clock(now: datetime) -> None:
    """Refuse to run by a clock that was never set: windows, tokens and certificates would all be judged by it."""
    if now.year < FIRST_YEAR:
        text = f"this machine says it is {now:%Y-%m-%d}; set its clock, windows and certificates are judged by it"
        raise ConfigError([Finding("clock", 0, 0, "clock-not-set", "", text)])


def load_fleet(settings: Settings, names: list[str] | None = None, *, say: bool = True) -> Fleet:
    """Load the connectors called ``names`` (all when none are given) and the tables; collect every finding before giving up.

    ``say``: tell in metrics that this is what runs.
    """
    now = datetime.now(UTC)
    require_clock(now)
    tables = Tables.load(settings.mappings)
    findings: list[Finding] = []
    connectors: dict[str, Connector] = {}
    files: dict[str, Path] = {}
    for other in sorted(settings.connectors.glob("*.yml")):
        log.warning("file is not read", file=str(other), reason="connector files end in .yaml")
    for path in connector_files(settings.connectors):
        if names and path.stem not in names:
            continue
        try:
            connector = split_by_party(load_connector(path))
        except ConfigError as error:
            findings += error.findings
            continue
        if path.stem != connector.connector:
            text = f"the file is called {path.stem}; name both alike: two files of one name would take each other's place"
            findings.append(read(path).finding("wrong-name", ("connector",), text, key=False))
        findings += _taken(path, connector, connectors)
        connectors[connector.connector] = connector
        files[connector.connector] = path
    if findings:
        raise ConfigError(findings)
    if unknown := sorted(set(names or ()) - connectors.keys()):
        known = ", ".join(path.stem for path in connector_files(settings.connectors)) or "none"
        raise UsageError(f"unknown connector {', '.join(unknown)}; {settings.connectors}/ has: {known}")
    key = settings.pseudonym_key.get_secret_value().encode()
    if len(key) < MIN_KEY:
        raise UsageError(
            f"GATEWAY_PSEUDONYM_KEY is missing or shorter than {MIN_KEY} bytes; make one with `openssl rand -base64 32` and keep it"
        )
    harmonisers = _harmonisers(connectors, files, tables, key)
    if say:
        announce(connectors.values(), tables, now.date())
    return Fleet(connectors=connectors, harmonisers=harmonisers, tables=tables)


def _taken(path: Path, connector: Connector, others: dict[str, Connector]) -> list[Finding]:
    """Return a finding when another connector is called at the same path: only one of them would be."""
    if (push := connector.push) is None:
        return []
    same = next((name for name, other in others.items() if other.push is not None and other.push.path == push.path), None)
    text = f"{same} receives at {push.path}, too; give each connector a path of its own"
    return [read(path).finding("path-twice", ("push", "path"), text, key=False)] if same else []


def _harmonisers(connectors: dict[str, Connector], files: dict[str, Path], tables: Tables, key: bytes) -> dict[str, Harmoniser]:
    made: dict[str, Harmoniser] = {}
    findings: list[Finding] = []
    for name, connector in connectors.items():
        try:
            made[name] = Harmoniser(connector, tables, pseudonym_key=key)
        except ConfigError as error:  # it knows the rule, `check` knows its line
            findings += [finding for finding in check(files[name], tables) if finding.severity == "error"] or error.findings
    if findings:
        raise ConfigError(findings)
    return made


def announce(connectors: Collection[Connector], tables: Tables, today: date) -> None:
    """Say in metrics which configuration runs, how much of its target each stream maps, and when tables end without a successor."""
    metrics.CONFIG_INFO.clear()
    metrics.COVERAGE.clear()
    metrics.TABLE_EXPIRY.clear()
    for connector in connectors:
        metrics.CONFIG_INFO.labels(connector.connector, connector.digest, str(connector.language)).set(1)
        for name, stream in connector.streams.items():
            metrics.COVERAGE.labels(connector.connector, name).set(coverage(stream))
            metrics.RECEIVED.labels(connector.connector, name)  # from 0: a counter that appears with a value has grown from nothing
            for outcome in ("accepted", "rejected", "unchanged", "deleted"):
                metrics.RECORDS.labels(connector.connector, name, outcome)
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
    owner = record_type(stream.emits)
    fields = {name for name in names(owner) if not target(owner, name).derived} - {"id"}
    return len(mapped & fields) / len(fields)


def last_day(versions: Iterable[Version], today: date) -> date | None:
    """Return the last day on which any version holds that has begun or will begin; ``None`` when there is no end, or it is past."""
    ends = [version.until for version in versions]
    last = max((end for end in ends if end), default=None)
    return None if last is None or None in ends or last < today else last


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


def require_secrets(fleet: Fleet, secrets: FileSecrets) -> None:
    """Raise :class:`~gateway.errors.UsageError` naming each secret that is not there, one a line: better now than at the first poll.

    Raises :class:`~gateway.errors.ConfigError` for secrets that every user of this machine may read; root in a container cannot help
    how they were mounted, and is only told.
    """
    missing = []
    for connector in fleet.connectors.values():
        for name in sorted(secret_names(connector)):
            try:
                secrets(name)
            except Halt as error:
                missing.append(f"{connector.connector}: {error}")
    if missing:
        raise UsageError("\n".join(missing))
    found = open_secrets(fleet, secrets)
    if found and os.geteuid():
        raise ConfigError(found)
    for finding in found:
        log.warning("secret is open", reason=str(finding))


def open_secrets(fleet: Fleet, secrets: FileSecrets) -> list[Finding]:
    """Return a finding for each secret that every user of this machine may read."""
    names = sorted({name for connector in fleet.connectors.values() for name in secret_names(connector)})
    paths = [path for name in names if (path := secrets.open_to_others(name)) is not None]
    return [Finding(str(path), 0, 0, "file-mode", "", "everybody on this machine may read this secret; chmod 600 it") for path in paths]
