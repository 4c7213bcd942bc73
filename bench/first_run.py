"""Measure the first run: clone this repository, run ``make demo`` there, and time its output.

The clone, the home folder and the cache of pip are new and empty. Run it with ``make first-run``.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = "one harmonised record"
"""The words in front of the first record that the demo prints."""


def main() -> int:
    """Run the demo and print the seconds and megabytes that it took."""
    with tempfile.TemporaryDirectory(prefix="gateway-first-run-") as name:
        folder = Path(name)
        clone, home = folder / "clone", folder / "home"
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)  # noqa: S607
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("GATEWAY_", "XDG_", "MAKE", "VIRTUAL_ENV"))
        }
        environment |= {
            "HOME": str(home),
            "PIP_CACHE_DIR": str(home / "pip"),
            "PYTHONUNBUFFERED": "1",
        }
        started = time.monotonic()
        first: dict[str, float] = {}
        with subprocess.Popen(
            ["make", "demo"],  # noqa: S607
            cwd=clone,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as demo:
            assert demo.stdout is not None  # noqa: S101
            for line in demo.stdout:
                seconds = time.monotonic() - started
                first.setdefault("output", seconds)
                if RECORD in line:
                    first.setdefault("record", seconds)
                print(f"{seconds:6.1f} s  {line}", end="", flush=True)
        print(
            f"\nfirst output after {first.get('output', 0):.1f} s, "
            f"first record after {first.get('record', 0):.1f} s, "
            f"in all {time.monotonic() - started:.1f} s; {_cpu_seconds():.0f} CPU-seconds, "
            f"{_megabytes(clone / '.venv')} MB of packages, "
            f"{_megabytes(home / '.cache')} MB of Kafka, load {os.getloadavg()[0]:.0f}"
        )
        return demo.returncode


def _cpu_seconds() -> float:
    """Return the work of all processes of the run, which other work on the machine hardly changes.

    The wait for the downloads is not in it.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _megabytes(folder: Path) -> int:
    return round(sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6)


if __name__ == "__main__":
    sys.exit(main())
