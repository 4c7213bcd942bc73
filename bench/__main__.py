"""``make bench``: what one record costs, alone and from topic to topic. Figures are for the machine they are printed on."""

from __future__ import annotations

import importlib
import os
import platform

PARTS = ("mapper", "render", "harmonise", "stage")


def main() -> None:
    """Run every part in turn; each prints its own rows."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    for name in PARTS:
        print(f"== {name} ==")
        importlib.import_module(f"bench.{name}").main()
        print()


if __name__ == "__main__":
    main()
