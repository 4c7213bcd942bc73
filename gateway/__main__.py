"""Run the command line, and turn every expected error into a clear message and an exit code."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from pydantic import ValidationError

    from gateway.cli.standard_output import StandardOutput


def main() -> None:
    """Run the ``gateway`` command."""
    from pydantic import ValidationError

    from gateway.cli import app
    from gateway.errors import ConfigError, GatewayError

    output = _make_standard_streams_safe()
    try:
        try:
            app(prog_name="gateway")
        finally:
            _report_unreadable_records()
            if not sys.stdout.closed:
                sys.stdout.flush()  # the reader may have closed it; the interpreter would complain
    except ConfigError as error:
        for finding in error.findings:
            print(finding, file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except GatewayError as error:
        for line in str(error).split("\n"):
            print(f"gateway: {line}", file=sys.stderr)  # noqa: T201
        if output.failed:
            output.discard()
        sys.exit(error.exit_code)
    except ValidationError as error:
        _report_invalid_settings(error)
        sys.exit(ConfigError.exit_code)
    except BrokenPipeError:
        output.discard()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)


def _report_invalid_settings(error: ValidationError) -> None:
    """Name each setting that is not valid, with the reason."""
    for item in error.errors(include_input=False, include_url=False):
        name = "_".join(str(part) for part in item["loc"]).upper().removeprefix("GATEWAY_")
        print(f"gateway: GATEWAY_{name}: {item['msg']}", file=sys.stderr)  # noqa: T201


def _report_unreadable_records() -> None:
    """Say how many records of topics the command could not read."""
    # Only a command that reads topics has loaded the module.
    if module := sys.modules.get("gateway.kafka.unreadable_records"):
        for line in module.summary():
            print(f"gateway: {line}", file=sys.stderr)  # noqa: T201


def _make_standard_streams_safe() -> StandardOutput:
    """Prevent tracebacks from closed or full streams, and texts that act on a terminal.

    A closed standard input becomes an empty one, and a closed output one that nobody reads.
    Characters that a terminal cannot show, or would act on, become escape sequences.
    """
    from gateway.cli.standard_output import StandardOutput
    from gateway.printable import PrintableStream

    # Each stream takes the lowest free number: its own. Otherwise the next file that the command
    # opens would take it. The streams stay open until the process ends.
    null = Path(os.devnull)
    sys.stdin = sys.stdin or null.open(encoding="utf-8")
    sys.stdout = sys.stdout or null.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or null.open("w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    output = StandardOutput(sys.stdout)
    sys.stdout = cast("TextIO", PrintableStream(cast("TextIO", output)))
    sys.stderr = cast("TextIO", PrintableStream(sys.stderr))
    return output


if __name__ == "__main__":
    main()
