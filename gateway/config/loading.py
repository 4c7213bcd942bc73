"""Load connector files, and report each mistake with file, line and column.

Loading uses neither the network nor the clock.
"""

from __future__ import annotations

from pathlib import Path

from gateway.config.connector import Connector
from gateway.config.validation import validate_document, validate_partially
from gateway.config.yaml.document import YamlDocument, read_yaml
from gateway.errors import ConfigError, Finding


def load_connector(path: Path | str) -> Connector:
    """Return the connector that a file describes.

    Raises :class:`~gateway.errors.ConfigError` with every finding.
    """
    connector, findings = build_connector(read_yaml(path))
    errors = [finding for finding in findings if finding.severity == "error"]
    if connector is None or errors:
        raise ConfigError(errors or findings)
    return connector


def build_connector(
    document: YamlDocument, *, partially: bool = False
) -> tuple[Connector | None, list[Finding]]:
    """Return the connector of a document, or ``None``, and all findings about it.

    With ``partially``, the connector leaves the mistakes out, so that a check can report more of
    them. Never run such a connector.
    """
    findings = list(document.findings)
    if not partially and any(finding.severity == "error" for finding in findings):
        return None, findings
    if document.value is None or document.omitted:
        return None, findings
    connector, more = (validate_partially if partially else validate_document)(Connector, document)
    if connector is not None:
        folder = str(Path(document.file).parent)
        connector = connector.with_source(digest=document.digest, folder=folder)
    return connector, findings + more


__all__ = ["Connector", "build_connector", "load_connector"]
