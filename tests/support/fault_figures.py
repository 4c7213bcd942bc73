"""Collect one line of figures for each scenario. The terminal shows them after the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.fault_site import FaultSite
    from tests.support.oracle import Verdict


@dataclass
class Figure:
    """The measurements of one scenario."""

    row: str
    what: str
    records: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    recovery: float = 0.0
    seed: str = ""
    remarks: list[str] = field(default_factory=list)


FIGURES: list[Figure] = []


def note(
    row: str,
    what: str,
    fault_site: FaultSite | None = None,
    verdict: Verdict | None = None,
    *,
    seed: object = "",
    remark: str = "",
) -> None:
    """Store the figures of a scenario."""
    figure = Figure(row, what, seed=str(seed))
    if fault_site is not None:
        figure.kills = fault_site.kills
        figure.recovery = max(fault_site.recoveries, default=0.0)
    if verdict is not None:
        figure.records, figure.lost, figure.doubled = verdict.served, verdict.lost, verdict.doubled
    if remark:
        figure.remarks.append(remark)
    FIGURES.append(figure)


def table() -> list[str]:
    """Return the figures as lines of text."""
    head = f"{'row':>4}  {'fault':<58} {'records':>7} {'kills':>5} {'lost':>4} {'doubled':>7} {'recovery':>8}  seed / remark"
    lines = [head]
    for one in sorted(FIGURES, key=lambda figure: (int(figure.row), figure.what)):
        recovery = f"{one.recovery:.1f} s" if one.recovery else ""
        tail = " ".join(filter(None, [one.seed, *one.remarks]))
        lines.append(
            f"{one.row:>4}  {one.what:<58} {one.records:>7} {one.kills or '':>5} {one.lost:>4} {one.doubled:>7} {recovery:>8}  {tail}".rstrip()
        )
    return lines
