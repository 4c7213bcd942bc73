"""Run the gateway's command line with one change: ``python altered_gateway.py CHANGE run ...``.

The changes provoke alerts that a gateway without a defect cannot show.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))


def use_other_group() -> None:
    """Join another control group, as the worker of an unrelated installation does."""
    import faust

    class OtherApp(faust.App):
        def __init__(self, name: str, *arguments: Any, **words: Any) -> None:
            super().__init__(f"{name}-of-another-installation", *arguments, **words)

    faust.App = OtherApp


def lose_an_outcome() -> None:
    """Leave one record without an outcome in the counters, after each batch."""
    from gateway.observability import metrics
    from gateway.pipeline import harmonise_stage

    count = harmonise_stage.count_results

    def miscount(counts: Mapping[Any, int]) -> None:
        count(counts)
        for connector, stream in {(key[0], key[1]) for key in counts}:
            metrics.HARMONISED.labels(connector, stream).inc()

    harmonise_stage.count_results = miscount


CHANGES: dict[str, Callable[[], None]] = {
    "other-group": use_other_group,
    "lost-outcome": lose_an_outcome,
}


def main() -> None:
    """Make the change and run the command line."""
    CHANGES[sys.argv.pop(1)]()
    from gateway.__main__ import main as gateway

    gateway()


if __name__ == "__main__":
    main()
