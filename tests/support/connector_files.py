"""Files for the rows of the table: a valid connector, folders and the command line."""

from __future__ import annotations

import importlib
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.forked_process import FinishedProcess, command

for _name in (
    "cli",
    "pipeline.loaded_config",
    "worker.worker",
    "local.broker",
    "check",
    "fetch.secrets",
    "observability.logs",
    "kafka.cluster_check",
    "worker.supervisor",
):
    importlib.import_module(f"gateway.{_name}")  # loaded once here, so that no fork has to load it

GOOD = """language: 1
connector: test
country: "NO"
title: A registry for tests
owner: {name: Tests, contact: tests@example.org}
rest:
  url: {production: "https://registry.example/api"}
  errors: by_status
  auth: {bearer: {token: {secret: test/token}}}
  limits: {rate: 5/s, timeout: 10s}
tables:
  kind: {map: {D: diploma, C: certificate}}
streams:
  awards:
    emits: credential
    every: 15m
    request: {get: /awards, query: {page: "{page}", since: "{since:iso}"}}
    paging: {page_number: {start: 1, pages: pages}}
    cursor: {window: 30d, start: 2026-01-01}
    records: items
    id: id
    changed_at: changed
    achieved: {always: "The registry contains awards alone"}
    map:
      kind: {from: kind, table: kind}
      title.en: title
      awarded_on: {const: 2026-01-01}
      awarding_body.name.en: {const: A school}
      awarding_body.country: {const: SE}
    tests:
      - name: a diploma
        given: {id: "1", kind: D, title: Diploma, changed: "2026-01-02T00:00:00Z"}
        expect_some: {kind: diploma, title: {en: Diploma}}
"""
MAPPING = """country: "NO"
name: Norway
sources:
  act: {kind: act, title: A law, article: "1", gazette: G 1, read: 2026-11-30, states: [pairing, dates, unit, scale]}
frameworks:
  NKR:
    name: Framework
    versions:
      - from: 2011-12-15
        relation: referenced
        confidence: verified
        sources: [act]
        levels:
          - {level: "6", eqf: 6}
          - {level: "7", eqf: 7}
credits:
  - {unit: studiepoeng, system: "NO", sector: HE, conversion: identity, ects: 1, from: 2003-07-01, confidence: verified, sources: [act]}
grading:
  - {scale: A-F, sector: HE, best: A, worst: F, pass: E, direction: table, values: [A, B, C, D, E, F], confidence: verified, sources: [act]}
"""
_FINDING = re.compile(
    r"(?P<file>\S+?)(:(?P<line>\d+):(?P<column>\d+))?: (?P<code>[a-z0-9-]+): (?P<message>.*)"
)


def closed_port() -> str:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{closed.getsockname()[1]}"


@dataclass
class GatewayFolder:
    """A folder with connectors, mappings and secrets, in which a test runs the gateway."""

    folder: Path
    said: list[str] = field(default_factory=list)
    """The lines that the last command wrote to standard error."""

    @property
    def connectors(self) -> Path:
        made = self.folder / "connectors"
        made.mkdir(exist_ok=True)
        return made

    @property
    def mappings(self) -> Path:
        made = self.folder / "mappings"
        if not made.is_dir():
            made.mkdir()
            (made / "no.yaml").write_text(MAPPING)
        return made

    def secret(
        self, name: str = "test/token", value: bytes = b"CANARY-SECRET", mode: int = 0o600
    ) -> Path:
        path = self.folder / "secrets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
        path.chmod(mode)
        return path

    def write(self, text: str | bytes, name: str = "test.yaml", folder: Path | None = None) -> Path:
        path = (folder or self.connectors) / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return path

    def gateway(
        self, *arguments: str, before: object = None, stdin: str = "/dev/null", **environment: str
    ) -> FinishedProcess:
        given = {
            "GATEWAY_CONNECTORS": str(self.connectors),
            "GATEWAY_MAPPINGS": str(self.mappings),
            "GATEWAY_SECRETS_DIR": str(self.folder / "secrets"),
            "GATEWAY_DATA_DIR": str(self.folder / "data"),
            "GATEWAY_PSEUDONYM_KEY": "a key for tests only, never for people",
            "GATEWAY_KAFKA_BOOTSTRAP": closed_port(),
            "GATEWAY_METRICS_PORT": "0",
            "GATEWAY_STAGE": "production",
        }
        done = command(
            *arguments, environment=given | environment, cwd=self.folder, before=before, stdin=stdin
        )
        self.said = done.lines
        assert "Traceback" not in done.err, done.err
        assert "CANARY" not in done.err + done.out
        return done

    def run(self, *names: str) -> str:
        """Start a worker on the folder, or on the connectors with these names.

        Return its exit code and, for refused files, the codes of the findings.
        """
        done = self.gateway("run", *names)
        codes = {found["code"] for line in self.said if (found := _FINDING.fullmatch(line))}
        return f"exit {done.code}" + (
            f": {', '.join(sorted(codes))}" if codes and done.code == 3 else ""
        )

    def refused(
        self, *changes: tuple[str, str], words: str = "", line: int | None = None, text: str = GOOD
    ) -> str:
        """Start a worker on the valid connector with changes and return how it ended.

        The output must contain ``words`` and name ``line`` of the file.
        """
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        self.write(text)
        ended = self.run()
        self.has(words, line)
        return ended

    def has(self, words: str, line: int | None = None) -> None:
        """Check that one line of the last command contains all words and names the line.

        ``|`` separates the words.
        """
        fits = [
            said
            for said in self.said
            if all(word in said for word in filter(None, words.split("|")))
            and (line is None or re.search(rf":{line}:\d+: ", said))
        ]
        assert fits, self.said


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def one(endings: list[str]) -> str:
    """Return the common ending of several inputs, or all endings when they differ."""
    return "; ".join(dict.fromkeys(endings))
