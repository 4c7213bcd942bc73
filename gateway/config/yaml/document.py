"""Read YAML a person wrote: YAML 1.2 words only, every value with its line and column, and every trap a finding.

``NO``, ``on`` and ``2026-01-01`` are texts. Anchors, tags, tabs, duplicate keys, numbers with leading zeros,
several documents, control characters and files that are too large or too deep are findings, not surprises.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, DocumentStartEvent, Event
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.config.yaml import fast_reader
from gateway.config.yaml.error_recovery import MAX_REPAIRS, repair_line
from gateway.config.yaml.fast_reader import AMBIGUOUS_NUMBER, LEADING_ZERO, MAX_DEPTH, MAX_NODES
from gateway.errors import ConfigError, Finding

MAX_BYTES = 1_000_000
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)
_NESTING_BOMB = re.compile(rf"(?:[\[{{]\s*){{{10 * MAX_DEPTH}}}")

_VARIABLE = re.compile(r"\$\{[A-Z_][A-Z0-9_]*\}")

DocumentPath = tuple[str | int, ...]


@dataclass(slots=True)
class YamlDocument:
    """One file: its plain values and where each of them stands.

    ``value`` holds dicts, lists, text, bool, int, :class:`~decimal.Decimal` and ``None``.
    """

    file: str
    text: str
    value: Any = None
    findings: list[Finding] = field(default_factory=list)
    _keys: dict[DocumentPath, tuple[int, int]] = field(default_factory=dict, repr=False)
    _values: dict[DocumentPath, tuple[int, int]] = field(default_factory=dict, repr=False)
    _positions_missing: bool = field(default=False, repr=False)
    """A file without a mistake was read without its lines and columns; they are looked up when somebody asks."""

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of the file's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def set_position(
        self, path: DocumentPath, place: tuple[int, int], *, key: bool = False
    ) -> None:
        """Remember where a key or a value stands."""
        (self._keys if key else self._values)[path] = place

    def position_of(self, path: DocumentPath, *, key: bool = True) -> tuple[int, int]:
        """Return line and column, from 1, of a place: of its key, or of its value; of the nearest parent when it is not there."""
        if self._positions_missing:
            self._positions_missing = False
            if node := _compose(self, _sanitise(self.text)):
                _ValueBuilder(self).build(node, (), 0)
        first, second = (self._keys, self._values) if key else (self._values, self._keys)
        while path:
            found = first.get(path) or second.get(path)
            if found:
                return found
            path = path[:-1]
        return (1, 1) if self.text else (0, 0)

    def make_finding(
        self,
        code: str,
        path: DocumentPath,
        message: str,
        *,
        key: bool = True,
        severity: str = "error",
    ) -> Finding:
        """Make a finding about a place of this document."""
        line, column = self.position_of(path, key=key)
        return Finding(self.file, line, column, code, format_path(path), message, severity)

    def line(self, number: int) -> str:
        """Return a line of the source, from 1."""
        lines = self.text.splitlines()
        return lines[number - 1] if 0 < number <= len(lines) else ""


def format_path(path: DocumentPath) -> str:
    """Write a path as people say it."""
    return ".".join(map(str, path))


def read_yaml(path: Path | str) -> YamlDocument:
    """Read a file. Mistakes are in ``findings``, and so is that it cannot be read: the other files are read all the same."""
    place, document = Path(path), YamlDocument(str(path), "")
    try:
        if place.exists() and not place.is_file():  # reading a pipe would wait for ever
            document.findings.append(
                Finding(
                    document.file, 0, 0, "not-a-file", "", "not a regular file; give a YAML file"
                )
            )
            return document
        with place.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        code = "missing-file" if isinstance(error, FileNotFoundError) else "unreadable-file"
        text = f"cannot be read: {error.strerror}; check the path and its permissions"
        document.findings.append(Finding(document.file, 0, 0, code, "", text))
        return document
    return parse_yaml(data, str(path))


def read_or_raise(path: Path | str) -> YamlDocument:
    """Read a file that must be free of mistakes; raises :class:`~gateway.errors.ConfigError`."""
    document = read_yaml(path)
    if any(finding.severity == "error" for finding in document.findings):
        raise ConfigError(document.findings)
    return document


def parse_yaml(data: bytes, file: str = "<text>") -> YamlDocument:
    """Read bytes; see :func:`read`."""
    document = YamlDocument(file, "")
    if len(data) > MAX_BYTES:
        document.findings.append(
            Finding(file, 0, 0, "too-large", "", f"larger than {MAX_BYTES} bytes; split the file")
        )
        return document
    try:
        document.text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        document.findings.append(
            Finding(
                file,
                line,
                column,
                "not-utf-8",
                "",
                "this byte is not UTF-8; save the file as UTF-8",
            )
        )
        return document
    value = fast_reader.read_simple_yaml(document.text)
    if value is not fast_reader.NOT_SIMPLE:
        document.value, document._positions_missing = value, True  # noqa: SLF001 - this module fills its own class
        return document
    document.findings += _characters(document)
    if bomb := _NESTING_BOMB.search(document.text):  # the reader looks far ahead before it counts
        line, column = (
            document.text.count("\n", 0, bomb.start()) + 1,
            bomb.start() - document.text.rfind("\n", 0, bomb.start()),
        )
        document.findings.append(
            Finding(
                file, line, column, "too-deep", "", f"nested more than {MAX_DEPTH} deep; flatten it"
            )
        )
        return document
    try:
        node = _compose_with_recovery(document, _sanitise(document.text))
        if node is not None:
            document.value = _ValueBuilder(document).build(node, (), 0)
        elif not document.findings:
            document.findings.append(
                Finding(
                    file,
                    1,
                    1,
                    "empty",
                    "",
                    "the file is empty; `gateway new` writes one to start from",
                )
            )
    except MarkedYAMLError as error:
        document.findings.append(_syntax(file, error))
    except YAMLError as error:
        document.findings.append(Finding(file, 1, 1, "bad-yaml", "", str(error).splitlines()[0]))
    except RecursionError:
        document.findings.append(
            Finding(file, 1, 1, "too-deep", "", f"nested more than {MAX_DEPTH} deep; flatten it")
        )
    return document


def _characters(document: YamlDocument) -> Iterator[Finding]:
    for number, line in enumerate(document.text.splitlines(), 1):
        body = line.lstrip(" ")
        if body.startswith("\t") and body.strip():
            column = len(line) - len(body) + 1
            yield Finding(
                document.file,
                number,
                column,
                "tab",
                "",
                "a tab cannot indent YAML; use two spaces for each level",
            )
        start = 1 if number == 1 and line.startswith("\ufeff") else 0
        if found := _CONTROL.search(line, start):
            name = f"U+{ord(found[0]):04X}"
            yield Finding(
                document.file,
                number,
                found.start() + 1,
                "control-character",
                "",
                f"{name} is invisible and not allowed; remove it",
            )


def _sanitise(text: str) -> str:
    """Replace what is a finding already, so that the rest of the file can be read, too."""
    lines = text.removeprefix("\ufeff").splitlines()
    indented = (
        line[: len(line) - len(line.lstrip(" \t"))].replace("\t", "  ") + line.lstrip(" \t")
        for line in lines
    )
    return _CONTROL.sub(" ", "\n".join(indented) + "\n")


def _compose_with_recovery(document: YamlDocument, text: str) -> Node | None:
    """Report each syntax mistake and read on behind it; one that cannot be read past is raised."""
    noted = len(document.findings)
    mistakes: list[Finding] = []
    while True:
        try:
            node = _compose(document, text)
        except MarkedYAMLError as error:
            repaired = repair_line(text, error) if len(mistakes) < MAX_REPAIRS else None
            if repaired is None:
                document.findings[noted:] = mistakes
                raise
            mistakes.append(_syntax(document.file, error))
            del document.findings[noted:]  # what was noted on the way is noted again
            text = repaired
        else:
            document.findings += mistakes
            return node


def _compose(document: YamlDocument, text: str) -> Node | None:
    yaml = YAML(typ="rt", pure=True)
    yaml.version = "1.2"
    documents = 0
    aliased = False
    event: Event
    depth = 0
    for event in yaml.parse(text):
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                document.findings.append(
                    Finding(
                        document.file,
                        line,
                        column,
                        "several-documents",
                        "",
                        "one file holds one document; remove '---'",
                    )
                )
                return None
        name = type(event).__name__
        depth += {
            "MappingStartEvent": 1,
            "SequenceStartEvent": 1,
            "MappingEndEvent": -1,
            "SequenceEndEvent": -1,
        }.get(name, 0)
        if depth > MAX_DEPTH:
            document.findings.append(
                Finding(
                    document.file,
                    line,
                    column,
                    "too-deep",
                    "",
                    f"nested more than {MAX_DEPTH} deep; flatten it",
                )
            )
            return None
        if isinstance(event, AliasEvent):
            aliased = True
            document.findings.append(
                Finding(
                    document.file,
                    line,
                    column,
                    "alias",
                    "",
                    "aliases (*name) are not read; write the value out",
                )
            )
        elif tag := getattr(event, "tag", None):
            document.findings.append(
                Finding(
                    document.file, line, column, "tag", "", f"tags ({tag}) are not read; remove it"
                )
            )
        elif getattr(event, "anchor", None):
            document.findings.append(
                Finding(
                    document.file,
                    line,
                    column,
                    "anchor",
                    "",
                    "anchors (&name) are not read; remove it",
                )
            )
    if aliased:
        return None
    yaml = YAML(typ="rt", pure=True)
    yaml.version = "1.2"
    return yaml.compose(text)  # type: ignore[no-any-return]


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


class _ValueBuilder:
    """Turns nodes into plain values and remembers where they stood."""

    def __init__(self, document: YamlDocument) -> None:
        self.document = document
        self.count = 0

    def build(self, node: Node, path: DocumentPath, depth: int) -> Any:
        self.count += 1
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.document.set_position(path, place)
        if self.count > MAX_NODES:
            if self.count == MAX_NODES + 1:
                self._add(
                    "too-many-values", path, f"more than {MAX_NODES} values; split the file", place
                )
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node, path, place)
        if isinstance(node, SequenceNode):
            return [
                self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)
            ]
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        return None

    def _mapping(self, node: MappingNode, path: DocumentPath, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, ScalarNode):
                self._add("bad-key", path, "a key is a plain text", place)
                continue
            name = key_node.value
            here = (*path, name)
            if name == "<<" and key_node.style is None:
                self._add(
                    "merge-key", path, "merge keys (<<) are not read; write the values out", place
                )
                continue
            if name in made:
                first = self.document.position_of(here)
                self._add(
                    "duplicate-key",
                    here,
                    f"'{name}' is given twice; the first is in line {first[0]}; remove one",
                    place,
                )
                continue
            if key_node.style is None and LEADING_ZERO.fullmatch(name):
                self._add("leading-zero", here, f'{name} reads as a number; write "{name}"', place)
            self.document.set_position(here, place, key=True)
            made[name] = self.build(value_node, here, depth + 1)
        return made

    def _scalar(self, node: ScalarNode, path: DocumentPath, place: tuple[int, int]) -> Any:
        text: str = node.value
        if found := _VARIABLE.search(text):
            words = f"{found[0]} is not replaced: files have no variables, so that they mean the same everywhere; write the value itself"
            self._add("variable", path, words, place)
        if node.style is not None:
            return (
                text.replace("\a", "") if node.style == ">" else text
            )  # the library's own marks of where it folded
        if LEADING_ZERO.fullmatch(text):
            self._add(
                "leading-zero",
                path,
                f'{text} is a number to some readers and a code to others; write "{text}"',
                place,
            )
        elif AMBIGUOUS_NUMBER.fullmatch(text):
            self._add(
                "odd-number",
                path,
                f'{text} reads differently from reader to reader; write "{text}" or a plain decimal number',
                place,
            )
        return fast_reader.resolve_plain_scalar(text)

    def _add(self, code: str, path: DocumentPath, message: str, place: tuple[int, int]) -> None:
        self.document.findings.append(
            Finding(self.document.file, *place, code, format_path(path), message)
        )
