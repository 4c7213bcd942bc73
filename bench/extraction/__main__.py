"""``make extraction`` compares the extraction of one registry with dlt and the Airbyte CDK.

Each tool reads the same pages of 1,000 records from the same server, in an environment of its own,
and in turn. The figures are CPU microseconds of its process for each record, after the first page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import registry
from bench.peers.engines import BUILT, environment_for

HERE = Path(__file__).parent
RECORDS = 30_000
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool in one way of use."""

    name: str
    command: Callable[[int, int], list[str]]


def ours(port: int, size: int) -> list[str]:
    """Return the command that reads with the gateway."""
    return [sys.executable, "-m", "bench.extraction.ours", str(port), str(size)]


def other(folder: str, mode: str) -> Callable[[int, int], list[str]]:
    """Return the command that reads with the tool of a folder."""

    def command(port: int, size: int) -> list[str]:
        python = environment_for(HERE / folder / "requirements.txt")
        return [str(python), str(HERE / folder / "extract.py"), str(port), str(size), mode]

    return command


TOOLS = (
    Tool("this gateway: every check, raw records", ours),
    Tool("dlt 1.31.0: iterating over rest_api", other("dlt", "iterate")),
    Tool("dlt 1.31.0: extract to its own files", other("dlt", "files")),
    Tool("Airbyte CDK 7.39.1: read", other("airbyte", "read")),
    Tool("Airbyte CDK 7.39.1: messages as JSON", other("airbyte", "say")),
)


def main(size: int, rounds: int) -> None:
    """Run the tools in turn, and print a table."""
    for folder in ("dlt", "airbyte"):
        environment_for(HERE / folder / "requirements.txt")
    costs: dict[str, list[float]] = {tool.name: [] for tool in TOOLS}
    with registry.running(size) as port:
        for _ in range(rounds):
            for tool in TOOLS:
                said = subprocess.run(
                    tool.command(port, size), check=True, stdout=subprocess.PIPE, text=True
                ).stdout
                costs[tool.name].append(float(said.splitlines()[-1]))
    own = statistics.median(costs[TOOLS[0].name])
    print("| tool | CPU-µs/record (runs) | it / this gateway |\n|---|---|---:|")
    for name, runs in costs.items():
        each = "/".join(f"{cost:.1f}" for cost in runs)
        print(f"| {name} | {each} | {statistics.median(runs) / own:.2f} |")
    path = BUILT / "extraction.json"
    path.write_text(json.dumps(costs, indent=2))
    print(f"written to {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.extraction", description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    main(given.records, given.rounds)
