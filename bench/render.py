"""Measure the cost of rendering one record: CPU microseconds and bytes for each kind.

Run with ``python bench/render.py``.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway.render.render import Rendered, render
from tests.support import samples

ROUNDS, RUNS = 400, 9


def measure(name: str) -> tuple[float, int]:
    """Return the median CPU microseconds a record and the bytes of its documents."""
    accepted = samples.accepted(samples.RECORDS[name])
    costs = []
    found: object = None
    for _ in range(RUNS):
        begun = time.process_time()
        for _ in range(ROUNDS):
            found = render(accepted, samples.keys(name), country="IE", at=samples.AT)
        costs.append((time.process_time() - begun) / ROUNDS * 1e6)
    documents = found.documents if isinstance(found, Rendered) else ()
    return statistics.median(costs), sum(len(document.value or b"") for document in documents)


def main() -> None:
    """Print the table."""
    print(f"{'record':24} {'CPU µs':>8} {'bytes':>8}")
    for name in samples.RECORDS:
        cost, size = measure(name)
        print(f"{name:24} {cost:8.1f} {size:8}")


if __name__ == "__main__":
    main()
