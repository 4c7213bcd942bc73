"""What rendering one record costs: microseconds and bytes, a row per kind. Run with ``python bench/render.py``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "render"))

import samples  # type: ignore[import-not-found]

from gateway.render import Rendered, render

ROUNDS = 400


def measure(name: str) -> tuple[float, int]:
    """Return the fastest of five runs in microseconds a record, and the bytes of its documents."""
    accepted, raw = samples.accepted(samples.RECORDS[name]), samples.raw(name)
    best = float("inf")
    found: object = None
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(ROUNDS):
            found = render(accepted, raw, template=None, country="IE", at=samples.AT, audience_key=samples.KEY)
        best = min(best, (time.perf_counter() - begun) / ROUNDS * 1e6)
    documents = found.documents if isinstance(found, Rendered) else ()
    return best, sum(len(document.value or b"") for document in documents)


def main() -> None:
    """Print the table."""
    print(f"{'record':24} {'µs':>8} {'bytes':>8}")
    for name in samples.RECORDS:
        cost, size = measure(name)
        print(f"{name:24} {cost:8.1f} {size:8}")


if __name__ == "__main__":
    main()
