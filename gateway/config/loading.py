"""What a configuration may say: no network, no clock; files are read, and mistakes come back with file, line and column."""

from __future__ import annotations

from pathlib import Path

from gateway.config.connector import Connector
from gateway.config.validation import validate_document, validate_partially
from gateway.config.yaml.document import YamlDocument, read_yaml
from gateway.errors import ConfigError, Finding


def load_connector(path: Path | str) -> Connector:
    """Return the connector a file describes; raises :class:`~gateway.errors.ConfigError` with every finding."""
    connector, findings = build_connector(read_yaml(path))
    errors = [finding for finding in findings if finding.severity == "error"]
    if connector is None or errors:
        raise ConfigError(errors or findings)
    return connector


def build_connector(
    document: YamlDocument, *, partially: bool = False
) -> tuple[Connector | None, list[Finding]]:
    """Return the connector of a document, or ``None``, and what is wrong or odd about it.

    ``leniently``: a connector of what is left without the mistakes, so that a check can go on; never to be run.
    """
    findings = list(document.findings)
    if not partially and any(finding.severity == "error" for finding in findings):
        return None, findings
    if document.value is None:
        return None, findings
    connector, more = (validate_partially if partially else validate_document)(Connector, document)
    if connector is not None:
        connector._digest = document.digest  # noqa: SLF001 - the file's own digest, set once where it is read
        connector._folder = str(Path(document.file).parent)  # noqa: SLF001
    return connector, findings + more


__all__ = ["Connector", "build_connector", "load_connector"]
