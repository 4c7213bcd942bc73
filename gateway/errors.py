"""Define every error of the gateway, grouped by its remedy.

::

    GatewayError
    ├── UsageError          the command is wrong                                    exit 2
    ├── ConfigError         a file is not valid; carries findings                   exit 3
    ├── Unavailable         something the gateway needs is missing or unreachable   exit 4
    ├── Denied              the other side refuses this principal                   exit 5
    ├── Fenced              another instance owns this work now                     exit 6
    ├── IntegrityStop       continuing could lose or duplicate records              exit 7
    ├── StorageError        a local file or directory is not usable                 exit 74
    └── StreamError         one stream of one registry cannot continue
        ├── RetryLater      try again after a delay; the cursor has not moved
        └── StreamHalted    a person has to act; the cursor has not moved

A bad record is a value, :class:`gateway.records.Rejected`. A bad stream is an exception from this
module. Bad configuration is a list of findings in one :class:`ConfigError`.

A message says what happened, where, what the gateway expected and what to do. It never contains a
payload, a secret or personal data.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.printable import one_line


class GatewayError(Exception):
    """The base class of all errors. ``exit_code`` is the exit code of the command line."""

    exit_code = 1


class UsageError(GatewayError):
    """The command line or the environment requests something impossible."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake in a configuration file.

    ``line`` and ``column`` count from 1, and 0 means the whole file. ``code`` is stable and in
    kebab-case. ``path`` is the dotted path inside the document. ``message`` says what the gateway
    expected and what to do. ``severity`` is ``error`` or ``warning``.
    """

    file: str
    line: int
    column: int
    code: str
    path: str
    message: str
    severity: str = "error"

    def __str__(self) -> str:
        """Return one line of text without the control characters that a file can contain."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{self.path}: {self.message}" if self.path else self.message
        if len(text) > _LONGEST_FINDING:
            text = text[: _LONGEST_FINDING // 2] + " … " + text[-_LONGEST_FINDING // 2 :]
        line = f"{place}: {self.code}: {text}"
        return line if line.isprintable() else _printable(line)


_LONGEST_FINDING = 2_000


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


class ConfigError(GatewayError):
    """A configuration file does not load. ``findings`` has at least one finding."""

    exit_code = 3

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings


class Unavailable(GatewayError):
    """A broker, a port, a runtime or a topic that the gateway needs is not available."""

    exit_code = 4


class Denied(GatewayError):
    """The other side knows the gateway and refuses access. A repeated request does not help."""

    exit_code = 5


class Fenced(GatewayError):
    """Another instance has taken over the same transactional id."""

    exit_code = 6


class IntegrityStop(GatewayError):
    """The gateway stops, because continuing could lose or duplicate records."""

    exit_code = 7


class StorageError(GatewayError):
    """The gateway cannot read or write a local path."""

    exit_code = 74


class StreamError(GatewayError):
    """One stream of one registry cannot continue.

    ``reason`` is a stable code and a metric label. The message may name a host or a code of the
    registry, so that it is kept on one line without control characters.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(one_line(message))
        self.reason = reason


class RetryLater(StreamError):
    """A transient failure. The gateway tries again later.

    ``retry_after`` is the delay in seconds, or ``None`` for the usual backoff. ``cause`` is the
    reason of the failure because of which no request was sent, if there was one.
    """

    exit_code = 4

    def __init__(
        self, reason: str, message: str, after: float | None = None, *, cause: str = ""
    ) -> None:
        super().__init__(reason, message)
        self.retry_after = after
        self.cause = cause


class StreamHalted(StreamError):
    """A permanent failure, which a person has to fix.

    Examples are wrong credentials, a changed contract and pages that repeat.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.exit_code = _EXIT_CODES.get(reason.partition("_")[0], 1)


_EXIT_CODES = {"DENIED": 5, "TOKEN": 5, "SECRET": 2, "KEY": 2, "URL": 2}
"""The exit code of a halted stream, by the first word of its reason. Any other word means 1."""
