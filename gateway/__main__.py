"""Run the command line: turn every foreseen error into one clear line and its exit code."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def main() -> None:
    """Entry point of the ``gateway`` command."""
    from pydantic import ValidationError

    from gateway.cli import app
    from gateway.errors import ConfigError, GatewayError

    _make_standard_streams_safe()
    try:
        app(prog_name="gateway")
    except ConfigError as error:
        for finding in error.findings:
            print(finding, file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except GatewayError as error:
        for line in str(error).splitlines():
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


def _make_standard_streams_safe() -> None:
    """Let a closed standard input be an empty one, and what a terminal cannot show be an escape: neither is worth a traceback."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
