"""``make bench`` measures the cost of one record, alone and from topic to topic.

The figures are valid only for the machine that prints them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench import run_part

PARTS = ("mapper", "render", "harmonise", "large", "poll", "stage", "latency")

RESULTS = Path(__file__).parents[1] / ".gateway" / "bench.json"


def main() -> None:
    """Run all parts, or the named ones, and write their rows to ``.gateway/bench.json``.

    Each part prints its own rows.
    """
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    found = {}
    for name in sys.argv[1:] or PARTS:
        print(f"== {name} ==")
        with ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn")
        ) as process:  # so that each part's memory is its own
            found[name] = process.submit(run_part, name).result()
        print()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({name: rows for name, rows in found.items() if rows is not None}, indent=2)
    )
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
