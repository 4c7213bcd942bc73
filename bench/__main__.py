"""``make bench``: what one record costs, alone and from topic to topic. Figures are for the machine they are printed on."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

PARTS = ("mapper", "render", "harmonise", "large", "poll", "stage", "latency")

RESULTS = Path(__file__).parents[1] / ".gateway" / "bench.json"


def _part(name: str) -> object:
    return importlib.import_module(f"bench.{name}").main()


def main() -> None:
    """Run every part in turn; each prints its own rows, and what it returns goes to ``.gateway/bench.json``."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    found = {}
    for name in PARTS:
        print(f"== {name} ==")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:  # so that each part's memory is its own
            found[name] = process.submit(_part, name).result()
        print()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({name: rows for name, rows in found.items() if rows is not None}, indent=2))
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
