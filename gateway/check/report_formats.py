"""Format findings for people, programs, pull requests and code scanning.

People read text with a caret under the column. Programs read JSON. GitHub shows workflow commands
in a pull request, and code scanning reads SARIF.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from gateway.errors import Finding

_LONGEST_LINE = 200
Format = Literal["text", "json", "github", "sarif"]


def format_findings(findings: Sequence[Finding], form: Format = "text") -> str:
    """Return the findings in the given format."""
    return {"text": text, "json": as_json, "github": github, "sarif": sarif}[form](findings)


def text(findings: Sequence[Finding]) -> str:
    """Return one line for each finding.

    The source line follows, with a caret under the column, when the file is readable.
    """
    sources: dict[str, list[str]] = {}
    lines: list[str] = []
    for finding in findings:
        lines.append(
            str(finding)
            if finding.severity == "error"
            else str(finding).replace(
                f" {finding.code}:", f" {finding.severity}: {finding.code}:", 1
            )
        )
        if finding.line:
            if finding.file not in sources:
                sources[finding.file] = _source(finding.file)
            lines += _excerpt(sources[finding.file], finding)
    return "\n".join(lines)


def _excerpt(source: list[str], finding: Finding) -> list[str]:
    """Return the part of the source line around a finding, and a caret below the column."""
    if finding.line > len(source):
        return []
    line, column = source[finding.line - 1], max(finding.column - 1, 0)
    start = 0 if len(line) <= _LONGEST_LINE else max(0, column - _LONGEST_LINE // 2)
    shown = "".join(
        sign if sign.isprintable() else " " for sign in line[start : start + _LONGEST_LINE]
    )
    return [f"    {shown}", f"    {' ' * (column - start)}^"]


def _source(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as a JSON array of objects."""
    return json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2)


def github(findings: Sequence[Finding]) -> str:
    """Return GitHub workflow commands that annotate a pull request."""
    levels = {"error": "error", "warning": "warning"}
    return "\n".join(
        f"::{levels.get(finding.severity, 'notice')} "
        f"file={_escape_property(finding.file)},"
        f"line={finding.line or 1},"
        f"col={finding.column or 1},"
        f"title={_escape_property(finding.code)}::{_escape_data(_message_with_path(finding))}"
        for finding in findings
    )


def _message_with_path(finding: Finding) -> str:
    return f"{finding.path}: {finding.message}" if finding.path else finding.message


def _escape_data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(value: str) -> str:
    return _escape_data(value).replace(":", "%3A").replace(",", "%2C")


def sarif(findings: Sequence[Finding]) -> str:
    """Return the findings as a SARIF 2.1.0 log."""
    levels = {"error": "error", "warning": "warning"}
    results = [
        {
            "ruleId": finding.code,
            "level": levels.get(finding.severity, "note"),
            "message": {"text": _message_with_path(finding)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": Path(finding.file).as_posix()},
                        "region": {
                            "startLine": max(finding.line, 1),
                            "startColumn": max(finding.column, 1),
                        },
                    }
                }
            ],
        }
        for finding in findings
    ]
    rules = [{"id": code} for code in sorted({finding.code for finding in findings})]
    driver = {"name": "gateway check", "rules": rules}
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, ensure_ascii=False, indent=2)
