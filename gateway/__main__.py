"""Run the command line, and turn every expected error into a clear message and an exit code."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TextIO, cast


def main() -> None:
    """Run the ``gateway`` command."""
    from pydantic import ValidationError

    from gateway.cli import app
    from gateway.errors import ConfigError, GatewayError

    _make_standard_streams_safe()
    try:
        try:
            app(prog_name="gateway")
        finally:
            _report_unreadable_records()
            if sys.stdout is not None and not sys.stdout.closed:
                sys.stdout.flush()  # the reader may have closed it; the interpreter would complain
    except ConfigError as error:
        for finding in error.findings:
            print(finding, file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except GatewayError as error:
        for line in str(error).split("\n"):
            print(f"gateway: {line}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False):
            name = "GATEWAY_" + "_".join(str(part) for part in item["loc"]).upper().removeprefix(
                "GATEWAY_"
            )
            print(f"gateway: {name}: {item['msg']}", file=sys.stderr)  # noqa: T201
        sys.exit(ConfigError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)


def _report_unreadable_records() -> None:
    """Say how many records of topics the command could not read."""
    # Only a command that reads topics has loaded the module.
    if module := sys.modules.get("gateway.kafka.unreadable_records"):
        for line in module.summary():
            print(f"gateway: {line}", file=sys.stderr)  # noqa: T201


def _make_standard_streams_safe() -> None:
    """Prevent tracebacks from a closed standard input, and texts that act on a terminal.

    A closed standard input becomes an empty one. Characters that a terminal cannot show, or would
    act on, become escape sequences.
    """
    from gateway.printable import PrintableStream

    if sys.stdin is None:
        # The stream stays open until the process ends.
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is not None:
        sys.stdout = cast("TextIO", PrintableStream(sys.stdout))
    if sys.stderr is not None:
        sys.stderr = cast("TextIO", PrintableStream(sys.stderr))


if __name__ == "__main__":
    main()
