"""Every error of the gateway, grouped by what can be done about it.

::

    GatewayError
    ├── UsageError          the command was wrong                                   exit 2
    ├── ConfigError         a file cannot be accepted; carries findings             exit 3
    ├── Unavailable         something the gateway needs is missing or unreachable   exit 4
    ├── Denied              the other side refuses this principal                   exit 5
    ├── Fenced              another instance owns this work now                     exit 6
    ├── IntegrityStop       going on could lose or double records                   exit 7
    ├── StorageError        a local file or directory cannot be used                exit 74
    └── StreamError         one stream of one registry cannot go on
        ├── RetryLater      try again after a delay; the cursor has not moved
        └── Halt            a person has to act; the cursor has not moved

A bad **record** is a value (:class:`gateway.records.Rejected`), a bad **stream** is an exception from this file, and a
bad **config** is a list of findings inside one :class:`ConfigError`.

Texts say what is wrong, where, what was expected and what to do. They never hold a payload, a secret or a person's data.
"""

from __future__ import annotations

from dataclasses import dataclass


class GatewayError(Exception):
    """Root of the tree. ``exit_code`` is what the command line answers with."""

    exit_code = 1


class UsageError(GatewayError):
    """The command line or the environment says something that cannot be done."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake in a file a person wrote: what, where, what was expected, what to do.

    ``line`` and ``column`` count from 1; 0 means the whole file. ``code`` is stable and kebab-case. ``path`` is the
    dotted place inside the document. ``severity`` is ``error`` or ``warning``.
    """

    file: str
    line: int
    column: int
    code: str
    path: str
    message: str
    severity: str = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.code}: " + (
            f"{self.path}: {self.message}" if self.path else self.message
        )


class ConfigError(GatewayError):
    """A configuration file does not load. ``findings`` holds at least one finding."""

    exit_code = 3

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings


class Unavailable(GatewayError):
    """A broker, a port, a runtime or a topic the gateway needs is not there."""

    exit_code = 4


class Denied(GatewayError):
    """The other side knows us and refuses; repeating the request would not help."""

    exit_code = 5


class Fenced(GatewayError):
    """Another instance has taken over the same transactional id."""

    exit_code = 6


class IntegrityStop(GatewayError):
    """Going on could lose or double records, so the gateway stops."""

    exit_code = 7


class StorageError(GatewayError):
    """A local path cannot be read or written."""

    exit_code = 74


class StreamError(GatewayError):
    """One stream of one registry cannot go on. ``reason`` is a stable code and a metric label."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RetryLater(StreamError):
    """Transient: try again after ``after`` seconds (``None``: the usual back-off)."""

    exit_code = 4

    def __init__(self, reason: str, message: str, after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = after


class StreamHalted(StreamError):
    """Permanent until a person acts: wrong credentials, changed contract, looping pages."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.exit_code = _EXIT_CODES.get(reason.partition("_")[0], 1)


_EXIT_CODES = {"DENIED": 5, "TOKEN": 5, "SECRET": 2, "KEY": 2, "URL": 2}
"""What a command that meets a halt answers with, by the first word of its reason; the rest is 1."""
