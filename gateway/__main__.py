"""Run the command line: turn every foreseen error into one clear line and its exit code."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the ``gateway`` command."""
    from pydantic import ValidationError

    from gateway.cli import app
    from gateway.errors import ConfigError, GatewayError

    try:
        app(prog_name="gateway")
    except ConfigError as error:
        for finding in error.findings:
            print(finding, file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False):
            name = "GATEWAY_" + "_".join(str(part) for part in item["loc"]).upper()
            print(f"gateway: {name}: {item['msg']}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
