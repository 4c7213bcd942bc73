"""Apply changed connectors and mapping tables while a worker runs.

The reloader compares the content of the files every second. Once the files have stopped changing,
it checks them as ``gateway check`` does and runs the tests inside the connectors. Then it loads all
files. A connector file with a finding of severity error changes nothing for its connector: an
earlier version continues, and the log names the position. After such a finding in a mapping table
nothing changes at all. The new configuration takes effect between two batches, so a transaction
uses one version of the tables.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.check import MISSING_STATEMENTS, check
from gateway.check.mapping_tables import check_mappings
from gateway.errors import ConfigError, Finding, GatewayError
from gateway.fetch.secrets import FileSecrets
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.observability import metrics
from gateway.operations.notifier import Notifier
from gateway.pipeline.config_metrics import publish_config_errors, publish_config_metrics
from gateway.pipeline.loaded_config import (
    FindingsByConnector,
    LoadedConfig,
    first_finding,
    load_config,
)
from gateway.pipeline.required_secrets import missing_secrets, refuse_world_readable_secrets
from gateway.settings import Settings
from gateway.worker.watched_files import FileDigests, WatchedFiles

log = structlog.get_logger()

CHECK_INTERVAL_SECONDS = 1.0
MAX_REPORTED_FILES = 100
"""The number of refused files that the log names after one change."""
SHARED_MAPPINGS = {"eu", "ehea"}
"""Mapping files that the connectors of every country read."""
ApplyConfig = Callable[[LoadedConfig, frozenset[str]], Awaitable[None]]
"""Apply a configuration. The names are the connectors that changed, appeared or disappeared."""


@dataclass(slots=True)
class ConfigReloader:
    """The reloader of one worker.

    ``names`` are the connectors that the worker runs; ``None`` means all.
    """

    settings: Settings
    names: list[str] | None
    fleet: LoadedConfig
    apply: ApplyConfig
    notifier: Notifier | None = None
    has_poll_role: bool = True
    _files: WatchedFiles = field(init=False)
    _loaded_files: FileDigests = field(default_factory=dict)
    """The files from which the running configuration was loaded."""
    _refused: FindingsByConnector = field(default_factory=dict)
    """The connector files of the last attempt, if it changed nothing."""
    _keeps_earlier: bool = False
    """Whether the last attempt changed nothing, because of connector files or other files."""

    def __post_init__(self) -> None:
        self._files = WatchedFiles((self.settings.connectors, self.settings.mappings))

    @property
    def not_loaded(self) -> FindingsByConnector:
        """The connectors whose current file is not valid, with the findings."""
        return {**self.fleet.not_loaded, **self._refused}

    async def run(self) -> None:
        """Check the files every second until cancelled."""
        self._loaded_files = tried = before = await asyncio.to_thread(self.digest_files) or {}
        if self._differs_from_loaded(self._loaded_files):
            tried = {}  # the files changed between the start of the worker and now
        while True:
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            current = await asyncio.to_thread(self.digest_files)
            if current is None or current in (tried, self._loaded_files):
                tried = tried if current is None else current
                if current == self._loaded_files and self._keeps_earlier:
                    self._set_refused({})
            elif current == before:  # the files have stopped changing
                tried = current
                await self._try_reload(current)
            before = current or before

    def digest_files(self) -> FileDigests | None:
        """Return a digest of every file, or ``None`` while a folder cannot be read."""
        return self._files.digests()

    def _differs_from_loaded(self, current: FileDigests) -> bool:
        running = {name: connector.digest for name, connector in self.fleet.connectors.items()}
        files = {
            path.stem: digest.hex()[:16]
            for path, digest in current.items()
            if path.parent == self.settings.connectors
        }
        tables = hashlib.sha256()
        for path in sorted(
            path
            for path in current
            if path.parent == self.settings.mappings and path.suffix == ".yaml"
        ):
            tables.update(path.name.encode() + b"\0" + current[path])
        return tables.hexdigest()[:16] != self.fleet.tables.digest or any(
            files.get(name) != digest for name, digest in running.items()
        )

    async def _try_reload(self, current: FileDigests) -> None:
        try:
            config = await asyncio.to_thread(self._check_and_load, current)
        except ConfigError as error:
            await self._report_refusals(_by_file(error.findings))
            self._keep_earlier(self._findings_by_connector(error.findings))
            return
        except (GatewayError, OSError) as error:
            lines = str(error).splitlines()
            folder = str(self.settings.connectors)
            findings = [Finding(folder, 0, 0, "cannot-run", "", line) for line in lines]
            await self._report_refusals([("", findings)])
            self._keep_earlier(self._refused)
            return
        if await asyncio.to_thread(self.digest_files) != current:
            return  # the files changed again, so the checked and the loaded files may differ
        known = self.not_loaded
        await self._report_refusals(
            [item for item in config.not_loaded.items() if item[1] != known.get(item[0])]
        )
        changed = self._changed_connectors(config, current)
        if not changed and config.not_loaded and config.tables.digest == self.fleet.tables.digest:
            self._keep_earlier(config.not_loaded)
            return
        await self.apply(config, changed)
        before, self.fleet, self._loaded_files = self.fleet, config, current
        publish_config_metrics(config.connectors.values(), config.tables, datetime.now(UTC).date())
        self._set_refused({})
        metrics.CONFIG_RELOADS.labels("ok").inc()
        log.info(
            "configuration replaced",
            connectors=sorted(changed),
            tables=config.tables.digest,
            tables_before=before.tables.digest,
        )
        self._notify_changes(config, before, changed)

    def _notify_changes(
        self, config: LoadedConfig, before: LoadedConfig, changed: frozenset[str]
    ) -> None:
        for name in sorted(changed) or [""]:
            connector = config.connectors.get(name)
            tables = f"tables {config.tables.digest}, not {before.tables.digest}"
            running_connector = (
                tables if not name else f"file {connector.digest}" if connector else "no file"
            )
            if self.notifier:
                self.notifier.notify(
                    "config_changed",
                    connector or name,
                    text=f"this worker runs with {running_connector} from now on",
                )

    def _keep_earlier(self, refused: FindingsByConnector) -> None:
        """Note that the whole earlier configuration runs on, in spite of changed files."""
        self._set_refused(refused)
        self._keeps_earlier = True
        metrics.CONFIG_REFUSED.set(1)

    def _set_refused(self, refused: FindingsByConnector) -> None:
        self._refused, self._keeps_earlier = refused, False
        publish_config_errors(self.not_loaded, self.fleet.connectors)
        metrics.CONFIG_REFUSED.set(not self.not_loaded.keys().isdisjoint(self.fleet.connectors))

    def _findings_by_connector(self, findings: list[Finding]) -> dict[str, list[Finding]]:
        """Return the findings in connector files by the name of the file."""
        by_connector: dict[str, list[Finding]] = {}
        for finding in findings:
            if Path(finding.file).parent == self.settings.connectors:
                by_connector.setdefault(Path(finding.file).stem, []).append(finding)
        return by_connector

    def _check_and_load(self, current: FileDigests) -> LoadedConfig:
        """Check the changed files and the connectors that read them, then load all files.

        A connector whose file is not valid keeps its running version. Raises
        :class:`~gateway.errors.ConfigError` for findings in mapping tables, or if no connector
        is valid.
        """
        changed_files = {
            path
            for path in current.keys() | self._loaded_files.keys()
            if current.get(path) != self._loaded_files.get(path)
        }
        countries = {path.stem for path in changed_files if path.parent == self.settings.mappings}
        if errors := _errors(check_mappings(self.settings.mappings) if countries else []):
            raise ConfigError(errors)
        refused = self._check_connectors(current, changed_files, countries)
        config = load_config(self.settings, self.names, leave_out_invalid=True)
        if self.has_poll_role:
            refused |= self._check_secrets(config, current, changed_files)
        refused |= config.not_loaded
        if refused and not config.connectors.keys() - refused.keys():
            raise ConfigError([finding for findings in refused.values() for finding in findings])
        return self._with_running_versions(config, refused)

    def _check_connectors(
        self, current: FileDigests, changed_files: set[Path], countries: set[str]
    ) -> dict[str, Sequence[Finding]]:
        """Check the changed connector files, and those that read a changed file."""
        tables = Tables.load(self.settings.mappings)
        side_file_changed = any(path.suffix != ".yaml" for path in changed_files)
        refused: dict[str, Sequence[Finding]] = {}
        for path in sorted(
            path
            for path in current
            if path.parent == self.settings.connectors and path.suffix == ".yaml"
        ):
            if self.names and path.stem not in self.names:
                continue
            running_connector = self.fleet.connectors.get(path.stem)
            reads_changed_table = running_connector and (
                countries & SHARED_MAPPINGS
                or (countries and running_connector.has_several_countries)
                or {running_connector.country.lower(), running_connector.country[:2].lower()}
                & countries
            )
            must_check = (
                path in changed_files
                or side_file_changed
                or reads_changed_table
                or path.stem in self.not_loaded
            )
            if must_check and (errors := _errors(check(path, tables))):
                refused[path.stem] = errors
        return refused

    def _check_secrets(
        self, config: LoadedConfig, current: FileDigests, changed_files: set[Path]
    ) -> dict[str, Sequence[Finding]]:
        """Return a finding for each missing secret of a connector whose file changed."""
        secrets = FileSecrets(self.settings.secrets_dir)
        refused: dict[str, Sequence[Finding]] = {}
        for path in sorted(changed_files & current.keys()):
            connector = config.connectors.get(path.stem)
            if connector is None or path.parent != self.settings.connectors:
                continue
            if missing := missing_secrets(connector, secrets):
                refused[path.stem] = [
                    Finding(str(path), 0, 0, "cannot-run", "", line) for line in missing
                ]
        refuse_world_readable_secrets(config, secrets)
        return refused

    def _with_running_versions(
        self, config: LoadedConfig, refused: FindingsByConnector
    ) -> LoadedConfig:
        """Return ``config``, in which the refused connectors keep their running version.

        Records that were polled before their connector file was removed are still harmonised.
        """
        running = {
            name: self.fleet.connectors[name] for name in refused if name in self.fleet.connectors
        }
        valid = {
            name: connector for name, connector in config.connectors.items() if name not in refused
        }
        harmonisers = {
            **self.fleet.harmonisers,
            **{name: config.harmonisers[name] for name in valid},
        }
        return LoadedConfig(valid | running, harmonisers, config.tables, refused)

    def _changed_connectors(self, config: LoadedConfig, current: FileDigests) -> frozenset[str]:
        side_file_changed = {
            path
            for path in current.keys() | self._loaded_files.keys()
            if path.suffix != ".yaml" and current.get(path) != self._loaded_files.get(path)
        }
        before = {name: connector.digest for name, connector in self.fleet.connectors.items()}
        after = {name: connector.digest for name, connector in config.connectors.items()}
        return frozenset(
            name
            for name in before.keys() | after.keys()
            if side_file_changed or before.get(name) != after.get(name)
        )

    async def _report_refusals(self, refused: Sequence[tuple[str, Sequence[Finding]]]) -> None:
        """Report each file once: the first finding, and how many more there are."""
        for number, (connector, findings) in enumerate(refused):
            metrics.CONFIG_RELOADS.labels("refused").inc()
            if number >= MAX_REPORTED_FILES:
                continue
            text = "configuration refused; the previous one stays"
            log.warning(text, **first_finding(findings))
            if self.notifier:
                self.notifier.notify(
                    "config_refused", connector, text=str(findings[0]), reason=findings[0].code
                )
            await asyncio.sleep(0)
        if (further := len(refused) - MAX_REPORTED_FILES) > 0:
            log.warning("configuration of further files refused", files=further)


def _by_file(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    """Return the findings of each file, without the name of a connector."""
    files: dict[str, list[Finding]] = {}
    for finding in findings:
        files.setdefault(finding.file, []).append(finding)
    return [("", found) for found in files.values()]


def _errors(findings: list[Finding]) -> list[Finding]:
    """Return the findings that refuse a changed file.

    A file that an earlier release accepted may lack the statements that ``gateway check`` demands
    today. A running gateway takes its changes, as it takes the file at its start.
    """
    return [
        finding
        for finding in findings
        if finding.severity == "error" and finding.code not in MISSING_STATEMENTS
    ]
