"""Apply changed connectors and mapping tables while a worker runs.

The reloader compares the content of the files every second. Once the files have stopped changing,
it checks them as ``gateway check`` does and runs the tests inside the connectors. Then it loads all
files. After one finding of severity error nothing changes, and the log names the position.
Otherwise the new configuration takes effect between two batches, so a transaction uses one version
of the tables.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.check import check
from gateway.check.mapping_tables import check_mappings
from gateway.errors import ConfigError, Finding, GatewayError
from gateway.fetch.secrets import FileSecrets
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.observability import metrics
from gateway.operations.notifier import Notifier
from gateway.pipeline.config_metrics import publish_config_metrics
from gateway.pipeline.loaded_config import LoadedConfig, load_config
from gateway.pipeline.required_secrets import check_secrets
from gateway.settings import Settings

log = structlog.get_logger()

CHECK_INTERVAL_SECONDS = 1.0
WATCHED_SUFFIXES = {".yaml", ".wsdl", ".xsd", ".json"}
SHARED_MAPPINGS = {"eu", "ehea"}
"""Mapping files that the connectors of every country read."""
FileDigests = dict[Path, bytes]
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
    _loaded_files: FileDigests = field(default_factory=dict)
    """The files from which the running configuration was loaded."""

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
            elif current == before:  # the files have stopped changing
                tried = current
                await self._try_reload(current)
            before = current or before

    def digest_files(self) -> FileDigests | None:
        """Return a digest of every file, or ``None`` while one cannot be read."""
        try:
            return {
                path: hashlib.sha256(path.read_bytes()).digest()
                for folder in (self.settings.connectors, self.settings.mappings)
                for path in sorted(folder.iterdir())
                if path.suffix in WATCHED_SUFFIXES
            }
        except OSError:
            return None

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
            self._report_refusal(error.findings)
            return
        except (GatewayError, OSError) as error:
            self._report_refusal(
                [
                    Finding(str(self.settings.connectors), 0, 0, "cannot-run", "", line)
                    for line in str(error).splitlines()
                ]
            )
            return
        if await asyncio.to_thread(self.digest_files) != current:
            return  # the files changed again, so the checked and the loaded files may differ
        changed = self._changed_connectors(config, current)
        await self.apply(config, changed)
        before, self.fleet, self._loaded_files = self.fleet, config, current
        publish_config_metrics(config.connectors.values(), config.tables, datetime.now(UTC).date())
        metrics.CONFIG_RELOADS.labels("ok").inc()
        log.info(
            "configuration replaced",
            connectors=sorted(changed),
            tables=config.tables.digest,
            tables_before=before.tables.digest,
        )
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

    def _check_and_load(self, current: FileDigests) -> LoadedConfig:
        """Check the changed files and the connectors that read them, then load all files.

        Raises :class:`~gateway.errors.ConfigError` with the findings of severity error.
        """
        changed_files = {
            path
            for path in current.keys() | self._loaded_files.keys()
            if current.get(path) != self._loaded_files.get(path)
        }
        countries = {path.stem for path in changed_files if path.parent == self.settings.mappings}
        findings = check_mappings(self.settings.mappings) if countries else []
        if not _errors(findings):
            tables = Tables.load(self.settings.mappings)
            side_file_changed = any(path.suffix != ".yaml" for path in changed_files)
            for path in sorted(
                path
                for path in current
                if path.parent == self.settings.connectors and path.suffix == ".yaml"
            ):
                running_connector = self.fleet.connectors.get(path.stem)
                reads_changed_table = running_connector and (
                    countries & SHARED_MAPPINGS
                    or {running_connector.country.lower(), running_connector.country[:2].lower()}
                    & countries
                )
                if path in changed_files or side_file_changed or reads_changed_table:
                    findings += check(path, tables)
        if errors := _errors(findings):
            raise ConfigError(errors)
        config = load_config(self.settings, self.names)
        if self.has_poll_role:
            check_secrets(config, FileSecrets(self.settings.secrets_dir))
        # Records that were polled before their connector file was removed are still harmonised.
        still_draining = {
            name: harmoniser
            for name, harmoniser in self.fleet.harmonisers.items()
            if name not in config.harmonisers
        }
        return LoadedConfig(
            connectors=config.connectors,
            harmonisers=still_draining | config.harmonisers,
            tables=config.tables,
        )

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

    def _report_refusal(self, findings: list[Finding]) -> None:
        metrics.CONFIG_RELOADS.labels("refused").inc()
        for finding in findings:
            log.warning("configuration refused; the previous one stays", finding=str(finding))
        if self.notifier:
            self.notifier.notify(
                "config_refused", "", text=str(findings[0]), reason=findings[0].code
            )


def _errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]
