"""Read YAML files that people write, and report every pitfall with its line and column.

The reader knows only the words of YAML 1.2: ``NO``, ``on`` and ``2026-01-01`` are texts. It
reports anchors, tags, merge keys and duplicate keys. It reports tabs, control characters and
numbers with leading zeros. It also reports several documents in one file, and a file that is too
large or nested too deep.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yaml import MarkedYAMLError, YAMLError

from gateway.config.side_files import IrregularFileError, read_regular_file
from gateway.config.yaml.error_recovery import (
    MAX_REPAIRS,
    ParseBudget,
    first_mistake,
    repair_line,
)
from gateway.config.yaml.reader import MAX_DEPTH, DocumentPath, UnreadableError, read_values
from gateway.errors import ConfigError, Finding

__all__ = [
    "DocumentPath",
    "YamlDocument",
    "format_path",
    "parse_yaml",
    "read_or_raise",
    "read_yaml",
]

MAX_BYTES = 1_000_000
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f"
    r"\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)
_OPEN_BRACKETS = re.compile(r"[\[{][\[{\s]*")
_MORE = "more-findings"
MAX_FINDINGS = 100
"""The number of findings about one file. A last finding says how many more there are."""


@dataclass(slots=True)
class YamlDocument:
    """One file with its plain values and the position of each.

    ``value`` consists of dict, list, str, bool, int, :class:`~decimal.Decimal` and ``None``.
    """

    file: str
    text: str
    value: Any = None
    findings: list[Finding] = field(default_factory=list)
    omitted: int = 0
    """The number of findings beyond :data:`MAX_FINDINGS`."""
    _lines: list[str] | None = field(default=None, repr=False)
    _keys: dict[DocumentPath, tuple[int, int]] = field(default_factory=dict, repr=False)
    _values: dict[DocumentPath, tuple[int, int]] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of the file's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def set_position(
        self, path: DocumentPath, place: tuple[int, int], *, key: bool = False
    ) -> None:
        """Record the line and column of a key or a value."""
        (self._keys if key else self._values)[path] = place

    def position_of(self, path: DocumentPath, *, key: bool = True) -> tuple[int, int]:
        """Return the line and column of a key or, without ``key``, of its value.

        Both count from 1. A path that does not exist has the position of its nearest parent.
        """
        first, second = (self._keys, self._values) if key else (self._values, self._keys)
        while path:
            position = first.get(path) or second.get(path)
            if position:
                return position
            path = path[:-1]
        return (1, 1) if self.text else (0, 0)

    def add_finding(
        self, code: str, path: DocumentPath, message: str, place: tuple[int, int]
    ) -> None:
        """Add a finding at a line and column, or count it if there are too many."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(self.file, *place, code, format_path(path), message))
        else:
            self.omitted += 1

    def forget(self, findings: int) -> None:
        """Drop all positions and all findings but the first ``findings``. A new reading follows."""
        del self.findings[findings:]
        self._keys.clear()
        self._values.clear()

    def make_finding(
        self,
        code: str,
        path: DocumentPath,
        message: str,
        *,
        key: bool = True,
        severity: str = "error",
    ) -> Finding:
        """Return a finding about a place in this document."""
        line, column = self.position_of(path, key=key)
        return Finding(self.file, line, column, code, format_path(path), message, severity)

    def report(self, code: str, message: str, line: int = 0, column: int = 0) -> None:
        """Add a finding without a path. Line 0 means the whole file."""
        self.findings.append(Finding(self.file, line, column, code, "", message))

    def line(self, number: int) -> str:
        """Return a line of the source by its number from 1, or an empty text."""
        if self._lines is None:
            self._lines = self.text.splitlines()
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""


def format_path(path: DocumentPath) -> str:
    """Return a path with dots between its parts."""
    return ".".join(map(str, path))


def read_yaml(path: Path | str) -> YamlDocument:
    """Return the document of a file.

    All mistakes are in ``findings``, even a file that cannot be opened. Reading raises no error, so
    that the caller can read the other files.
    """
    document = YamlDocument(str(path), "")
    try:
        data = read_regular_file(Path(path), MAX_BYTES + 1)
    except IrregularFileError:
        document.report("not-a-file", "not a regular file; give a YAML file")
        return document
    except OSError as error:
        code = "missing-file" if isinstance(error, FileNotFoundError) else "unreadable-file"
        text = f"cannot be read: {error.strerror}; check the path and its permissions"
        document.report(code, text)
        return document
    return parse_yaml(data, str(path))


def read_or_raise(path: Path | str) -> YamlDocument:
    """Return the document of a file without errors.

    Raises :class:`~gateway.errors.ConfigError` when the file has an error.
    """
    document = read_yaml(path)
    if any(finding.severity == "error" for finding in document.findings):
        raise ConfigError(document.findings)
    return document


def parse_yaml(data: bytes, file: str = "<text>") -> YamlDocument:
    """Return the document of bytes, with its mistakes in ``findings``."""
    document = YamlDocument(file, "")
    _parse(document, data)
    if document.omitted:
        document.findings = limit_findings(document.findings, file, document.omitted)
    return document


def _parse(document: YamlDocument, data: bytes) -> None:
    if len(data) > MAX_BYTES:
        document.report("too-large", f"larger than {MAX_BYTES} bytes; split the file")
        return
    try:
        document.text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        document.report("not-utf-8", "this byte is not UTF-8; save the file as UTF-8", line, column)
        return
    _add_character_findings(document)
    # The parser reads far ahead before it counts levels, so very deep nesting must stop here.
    if bomb := _find_nesting_bomb(document.text):
        line = document.text.count("\n", 0, bomb.start()) + 1
        column = bomb.start() - document.text.rfind("\n", 0, bomb.start())
        document.report("too-deep", f"nested more than {MAX_DEPTH} deep; flatten it", line, column)
        return
    try:
        document.value = _read_with_recovery(document, _sanitise(document.text))
        if document.value is None and not document.findings:
            document.report(
                "empty", "the file is empty; `gateway new` writes one to start from", 1, 1
            )
    except MarkedYAMLError as error:
        document.findings.append(_syntax(document.file, error))
    except YAMLError as error:
        document.report("bad-yaml", str(error).splitlines()[0], 1, 1)


def limit_findings(
    findings: list[Finding], file: str, omitted: int = 0, *, is_exact: bool = True
) -> list[Finding]:
    """Return the first findings in the order of their lines, and one that counts the others.

    ``omitted`` findings were not made. Without ``is_exact``, there can be more than the count.
    """
    ordered = sorted(findings, key=lambda finding: (finding.line, finding.column))
    kept, left_out = ordered[:MAX_FINDINGS], ordered[MAX_FINDINGS:]
    if count := len(left_out) + omitted:
        severities = {finding.severity for finding in left_out or kept}
        number = f"{count:,}" if is_exact else f"at least {count:,}"
        text = f"{number} more findings in this file; correct the ones above first"
        severity = "error" if "error" in severities else "warning"
        kept.append(Finding(file, 0, 0, _MORE, "", text, severity))
    return kept


def are_incomplete(findings: list[Finding]) -> bool:
    """Return whether the last finding counts others that are left out."""
    return bool(findings) and findings[-1].code == _MORE


def _find_nesting_bomb(text: str) -> re.Match[str] | None:
    """Return the first place with too many brackets in a row. The time is linear."""
    for match in _OPEN_BRACKETS.finditer(text):
        if match[0].count("[") + match[0].count("{") >= 10 * MAX_DEPTH:
            return match
    return None


def _add_character_findings(document: YamlDocument) -> None:
    for number, line in enumerate(document.text.splitlines(), 1):
        body = line.lstrip(" ")
        if body.startswith("\t") and body.strip():
            column = len(line) - len(body) + 1
            text = "a tab cannot indent YAML; use two spaces for each level"
            document.add_finding("tab", (), text, (number, column))
        start = 1 if number == 1 and line.startswith("\ufeff") else 0
        if match := _CONTROL.search(line, start):
            name = f"U+{ord(match[0]):04X}"
            text = f"{name} is invisible and not allowed; remove it"
            document.add_finding("control-character", (), text, (number, match.start() + 1))


def _sanitise(text: str) -> str:
    """Replace the characters that already have findings, so that the parser reads the rest."""
    lines = text.removeprefix("\ufeff").splitlines()
    indented = (
        line[: len(line) - len(line.lstrip(" \t"))].replace("\t", "  ") + line.lstrip(" \t")
        for line in lines
    )
    return _CONTROL.sub(" ", "\n".join(indented) + "\n")


def _read_with_recovery(document: YamlDocument, text: str) -> Any:
    """Return the value of a text, with a finding for each syntax mistake that can be repaired.

    Raises :class:`yaml.YAMLError` at a mistake that nothing repairs.
    """
    noted = len(document.findings)
    budget = ParseBudget()
    mistakes: list[Finding] = []
    while True:
        try:
            value = read_values(text, document)
        except UnreadableError:
            value = None
        except YAMLError as error:
            mistake = (first_mistake(text) if budget.take_for_python(len(text)) else None) or error
            if not isinstance(mistake, MarkedYAMLError):
                raise mistake from None
            repaired = repair_line(text, mistake, budget) if len(mistakes) < MAX_REPAIRS else None
            if repaired is None:
                document.findings[noted:] = mistakes
                raise mistake from None
            mistakes.append(_syntax(document.file, mistake))
            document.forget(noted)
            text = repaired
            continue
        document.findings += mistakes
        return value


def _syntax(file: str, error: MarkedYAMLError) -> Finding:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = (error.problem or "cannot be read").replace("\n", " ")
    remedy = "check indentation, quotes and colons here"
    if "mapping values are not allowed" in problem:
        remedy = "put text that holds ': ' in quotes, or check the indentation"
    elif "expected <block end>" in problem or "block mapping" in (error.context or ""):
        remedy = "the indentation does not fit the lines above; align keys of one level"
    elif "cannot start any token" in problem:
        remedy = "put this text in quotes"
    return Finding(file, line, column, "bad-yaml", "", f"{problem}; {remedy}")
