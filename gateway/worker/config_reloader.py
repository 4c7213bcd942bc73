"""Connectors and mapping tables change while a worker runs: only files that check replace what is running.

The files' content is compared every few seconds, whatever their times say. What has changed is tried once it has stopped changing:
checked as ``gateway check`` does, with the tests inside the connectors, then loaded as a whole. One mistake and nothing changes; the
log says where it is. A set that loads is put in place at once, between two batches, so a transaction knows one version of the tables.
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
"""Mapping files that connectors of every country read."""
FileDigests = dict[Path, bytes]
ApplyConfig = Callable[[LoadedConfig, frozenset[str]], Awaitable[None]]
"""Put a fleet in place; the names are those of connectors that changed, came or went."""


@dataclass(slots=True)
class ConfigReloader:
    """Watches the files of one worker. :meth:`run` ends when cancelled. ``names`` are the connectors it was told to run, all when empty."""

    settings: Settings
    names: list[str] | None
    fleet: LoadedConfig
    apply: ApplyConfig
    herald: Notifier | None = None
    has_poll_role: bool = True
    _loaded_files: FileDigests = field(default_factory=dict)
    """The files as they were when what runs was loaded."""

    async def run(self) -> None:
        """Look, for ever."""
        self._loaded_files = tried = before = await asyncio.to_thread(self.digest_files) or {}
        if self._differs_from_loaded(
            self._loaded_files
        ):  # they changed between their being loaded and now
            tried = {}
        while True:
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            found = await asyncio.to_thread(self.digest_files)
            if found is None or found in (tried, self._loaded_files):
                tried = tried if found is None else found
            elif found == before:  # nobody is writing any more
                tried = found
                await self._try_reload(found)
            before = found or before

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

    def _differs_from_loaded(self, found: FileDigests) -> bool:
        running = {name: connector.digest for name, connector in self.fleet.connectors.items()}
        there = {
            path.stem: digest.hex()[:16]
            for path, digest in found.items()
            if path.parent == self.settings.connectors
        }
        tables = hashlib.sha256()
        for path in sorted(
            path
            for path in found
            if path.parent == self.settings.mappings and path.suffix == ".yaml"
        ):
            tables.update(path.name.encode() + b"\0" + found[path])
        return tables.hexdigest()[:16] != self.fleet.tables.digest or any(
            there.get(name) != digest for name, digest in running.items()
        )

    async def _try_reload(self, found: FileDigests) -> None:
        try:
            fleet = await asyncio.to_thread(self._check_and_load, found)
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
        if await asyncio.to_thread(self.digest_files) != found:
            return  # changed once more while it was loaded: what was checked is not what was read
        changed = self._changed_connectors(fleet, found)
        await self.apply(fleet, changed)
        before, self.fleet, self._loaded_files = self.fleet, fleet, found
        publish_config_metrics(fleet.connectors.values(), fleet.tables, datetime.now(UTC).date())
        metrics.CONFIG_RELOADS.labels("ok").inc()
        log.info(
            "configuration replaced",
            connectors=sorted(changed),
            tables=fleet.tables.digest,
            tables_before=before.tables.digest,
        )
        for name in sorted(changed) or [""]:
            known = fleet.connectors.get(name)
            tables = f"tables {fleet.tables.digest}, not {before.tables.digest}"
            running_connector = (
                tables if not name else f"file {known.digest}" if known else "no file"
            )
            if self.herald:
                self.herald.notify(
                    "config_changed",
                    known or name,
                    text=f"this worker runs with {running_connector} from now on",
                )

    def _check_and_load(self, found: FileDigests) -> LoadedConfig:
        """Check what changed, and what reads it; then load everything."""
        changed_files = {
            path
            for path in found.keys() | self._loaded_files.keys()
            if found.get(path) != self._loaded_files.get(path)
        }
        countries = {path.stem for path in changed_files if path.parent == self.settings.mappings}
        findings = check_mappings(self.settings.mappings) if countries else []
        if not _errors(findings):
            tables = Tables.load(self.settings.mappings)
            side_file_changed = any(path.suffix != ".yaml" for path in changed_files)
            for path in sorted(
                path
                for path in found
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
        fleet = load_config(self.settings, self.names, publish_metrics=False)
        if self.has_poll_role:
            check_secrets(fleet, FileSecrets(self.settings.secrets_dir))
        # What was polled before its file went is harmonised still: no record is rejected for the file's sake.
        still_draining = {
            name: one
            for name, one in self.fleet.harmonisers.items()
            if name not in fleet.harmonisers
        }
        return LoadedConfig(
            connectors=fleet.connectors,
            harmonisers=still_draining | fleet.harmonisers,
            tables=fleet.tables,
        )

    def _changed_connectors(self, fleet: LoadedConfig, found: FileDigests) -> frozenset[str]:
        side_file_changed = {
            path
            for path in found.keys() | self._loaded_files.keys()
            if path.suffix != ".yaml" and found.get(path) != self._loaded_files.get(path)
        }
        before = {name: one.digest for name, one in self.fleet.connectors.items()}
        after = {name: one.digest for name, one in fleet.connectors.items()}
        return frozenset(
            name
            for name in before.keys() | after.keys()
            if side_file_changed or before.get(name) != after.get(name)
        )

    def _report_refusal(self, findings: list[Finding]) -> None:
        metrics.CONFIG_RELOADS.labels("refused").inc()
        for finding in findings:
            log.warning("configuration refused; what ran before runs on", finding=str(finding))
        if self.herald:
            self.herald.notify("config_refused", "", text=str(findings[0]), reason=findings[0].code)


def _errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]
