"""Load the configuration: connectors, mapping tables and one harmoniser per connector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.config.split_streams import split_by_party
from gateway.config.yaml.document import read_yaml
from gateway.errors import ConfigError, Finding, UsageError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.pseudonyms import MIN_KEY_BYTES
from gateway.harmonise.rule_findings import rule_findings
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.settings import Settings
from gateway.similar_name import did_you_mean

log = structlog.get_logger()
EARLIEST_PLAUSIBLE_YEAR = 2020
FindingsByConnector = Mapping[str, Sequence[Finding]]


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The running connectors and their harmonisers by connector name.

    The object is immutable. A reload creates a new one.
    """

    connectors: dict[str, Connector]
    harmonisers: dict[str, Harmoniser]
    tables: Tables
    not_loaded: FindingsByConnector = field(default_factory=dict)
    """The connectors whose file is not valid, by the name of the file."""

    def log_not_loaded(self) -> None:
        """Log one line for each file that is not valid, with its first finding."""
        for name, findings in self.not_loaded.items():
            log.error("connector not loaded", connector=name, **first_finding(findings))


def first_finding(findings: Sequence[Finding]) -> dict[str, str | int]:
    """Return the first finding of a file for a log line, and the number of further ones."""
    further = {"further_findings": len(findings) - 1} if len(findings) > 1 else {}
    return {"finding": str(findings[0]), **further}


def connector_files(path: Path) -> list[Path]:
    """Return the connector files at ``path``: the file itself, or every ``*.yaml`` of a folder.

    Raises :class:`~gateway.errors.ConfigError` if nothing exists there.
    """
    if path.is_dir():
        return sorted(path.glob("*.yaml"))
    if path.exists():
        return [path]
    text = (
        "no such file or folder; give a connector file or a folder of them, "
        "in GATEWAY_CONNECTORS or with --connectors"
    )
    raise ConfigError([Finding(str(path), 0, 0, "missing-file", "", text)])


def find_connector_file(folder: Path, connector: str) -> Path:
    """Return the file of a connector.

    Raises :class:`~gateway.errors.UsageError` with the most similar name if there is none.
    """
    files = {path.stem: path for path in connector_files(folder)}
    if connector not in files:
        raise UsageError(
            f"unknown connector {connector}{did_you_mean(connector, files)}; "
            f"{folder}/ has: {', '.join(files) or 'none'}"
        )
    return files[connector]


def check_system_clock(now: datetime) -> None:
    """Raise :class:`~gateway.errors.ConfigError` if the system clock was never set.

    The gateway uses the clock for windows, tokens and certificates.
    """
    if now.year < EARLIEST_PLAUSIBLE_YEAR:
        text = (
            f"this machine says it is {now:%Y-%m-%d}; set its clock, "
            "because windows, tokens and certificates depend on it"
        )
        raise ConfigError([Finding("clock", 0, 0, "clock-not-set", "", text)])


def load_config(
    settings: Settings, names: list[str] | None = None, *, leave_out_invalid: bool = False
) -> LoadedConfig:
    """Load the mapping tables and the connectors in ``names``, or every connector.

    Raises :class:`~gateway.errors.ConfigError` with the findings of all files. With
    ``leave_out_invalid``, it raises only if no connector is valid, and the result names the others.
    Raises :class:`~gateway.errors.UsageError` for an unknown name or a missing pseudonym key.
    """
    check_system_clock(datetime.now(UTC))
    tables = Tables.load(settings.mappings)
    for other in sorted(settings.connectors.glob("*.yml")):
        log.warning("file is not read", file=str(other), reason="connector files end in .yaml")
    connectors, files, not_loaded = _load_connectors(settings.connectors, names)
    if unknown := sorted(set(names or ()) - connectors.keys() - not_loaded.keys()):
        known = [path.stem for path in connector_files(settings.connectors)]
        raise UsageError(
            f"unknown connector {', '.join(unknown)}{did_you_mean(unknown[0], known)}; "
            f"{settings.connectors}/ has: {', '.join(known) or 'none'}"
        )
    key = settings.pseudonym_key.get_secret_value().encode()
    if len(key) < MIN_KEY_BYTES and (leave_out_invalid or not not_loaded):
        raise UsageError(
            f"GATEWAY_PSEUDONYM_KEY is missing or shorter than {MIN_KEY_BYTES} bytes; "
            "make one with `openssl rand -base64 32` and keep it"
        )
    harmonisers: dict[str, Harmoniser] = {}
    if not not_loaded or leave_out_invalid:
        harmonisers, broken = _build_harmonisers(connectors, files, tables, key)
        not_loaded |= broken
    if not_loaded and not (leave_out_invalid and harmonisers):
        raise ConfigError([finding for findings in not_loaded.values() for finding in findings])
    return LoadedConfig(
        connectors={name: connectors[name] for name in harmonisers},
        harmonisers=harmonisers,
        tables=tables,
        not_loaded=not_loaded,
    )


def _load_connectors(
    folder: Path, names: list[str] | None
) -> tuple[dict[str, Connector], dict[str, Path], dict[str, list[Finding]]]:
    """Return the valid connectors, their files, and the findings about the other files."""
    connectors: dict[str, Connector] = {}
    files: dict[str, Path] = {}
    not_loaded: dict[str, list[Finding]] = {}
    for path in connector_files(folder):
        if names and path.stem not in names:
            continue
        try:
            connector = split_by_party(load_connector(path))
        except ConfigError as error:
            not_loaded[path.stem] = error.findings
            continue
        findings = _find_duplicate_push_path(path, connector, connectors)
        if path.stem != connector.connector:
            text = (
                f"the file is called {path.stem}; name both alike, "
                "because two connectors with the same name would replace each other"
            )
            findings.append(
                read_yaml(path).make_finding("wrong-name", ("connector",), text, key=False)
            )
        if findings:
            not_loaded[path.stem] = findings
            continue
        connectors[connector.connector] = connector
        files[connector.connector] = path
    return connectors, files, not_loaded


def _find_duplicate_push_path(
    path: Path, connector: Connector, others: dict[str, Connector]
) -> list[Finding]:
    """Return a finding if another push connector has the same path.

    Only one of the two would receive records.
    """
    if (push := connector.push) is None:
        return []
    same = next(
        (
            name
            for name, other in others.items()
            if other.push is not None and other.push.path == push.path
        ),
        None,
    )
    text = f"{same} receives at {push.path}, too; give each connector a path of its own"
    return (
        [read_yaml(path).make_finding("path-twice", ("push", "path"), text, key=False)]
        if same
        else []
    )


def _build_harmonisers(
    connectors: dict[str, Connector], files: dict[str, Path], tables: Tables, key: bytes
) -> tuple[dict[str, Harmoniser], dict[str, list[Finding]]]:
    """Return the harmonisers, and the findings about the connectors that have none."""
    harmonisers: dict[str, Harmoniser] = {}
    not_loaded: dict[str, list[Finding]] = {}
    for name, connector in connectors.items():
        try:
            harmonisers[name] = Harmoniser(connector, tables, pseudonym_key=key)
        except ConfigError as error:
            # The harmoniser names the rule. The file adds the line.
            not_loaded[name] = [
                *rule_findings(load_connector(files[name]), read_yaml(files[name]), tables)
            ] or error.findings
    return harmonisers, not_loaded
