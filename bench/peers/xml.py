"""Measure XML in process, without Kafka, on one record of 3 KB.

Benthos reads the record. The gateway reads and maps it.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from itertools import cycle, islice
from pathlib import Path

from bench.mapper import XML_FILE, harmoniser, xml_raws
from bench.peers.engines import BUILT

LINES = 20_000
ROUNDS = 3


def measure(folder: Path) -> dict[str, list[float]]:
    """Return CPU microseconds a record: a list of alternating runs for each engine."""
    path = folder / "records.xml"
    bodies = [(raw.body or b"") + b"\n" for raw in xml_raws()]
    path.write_bytes(b"".join(islice(cycle(bodies), LINES)))
    found: dict[str, list[float]] = {"ours: read and map": [], "Benthos: parse_xml alone": []}
    for _ in range(ROUNDS):
        found["ours: read and map"].append(_ours())
        found["Benthos: parse_xml alone"].append(
            _benthos(path, "root = content().parse_xml()") - _benthos(path, "root = content()")
        )
    return found


def _ours() -> float:
    harmonise, raws = harmoniser(XML_FILE), xml_raws()
    for raw in raws:
        harmonise(raw)
    started = time.process_time()
    for raw in islice(cycle(raws), LINES):
        harmonise(raw)
    return (time.process_time() - started) / LINES * 1e6


def _benthos(path: Path, mapping: str) -> float:
    """Return the CPU of the whole process with this mapping.

    The figure includes the start of the process. The caller subtracts it.
    """
    configuration = {
        "http": {"enabled": False},
        "logger": {"level": "ERROR"},
        "input": {"file": {"paths": [str(path)], "scanner": {"lines": {}}}},
        "pipeline": {"threads": 1, "processors": [{"mapping": mapping}]},
        "output": {"drop": {}},
    }
    file = path.with_suffix(".json")
    file.write_text(json.dumps(configuration))
    before = os.times()
    subprocess.run([str(BUILT / "connect"), "run", str(file)], check=True)
    after = os.times()
    return (
        (
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
        / LINES
        * 1e6
    )


def table(found: dict[str, list[float]]) -> str:
    """Return the runs as a Markdown table."""
    rows = [
        f"| {name} | {'/'.join(f'{value:.0f}' for value in runs)} |" for name, runs in found.items()
    ]
    return "\n".join(
        ["| one XML record of 3 KB, in process | CPU-µs/record (runs) |", "|---|---|", *rows]
    )
