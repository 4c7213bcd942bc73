"""Build, configure and start the engines of the comparison."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.peers import facts
from gateway.local.broker import find_java
from gateway.messages.topics import QUALIFICATIONS_TOPIC, REJECTIONS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILT = ROOT / ".gateway" / "peers"
BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an engine: the broker, the input topic and the consumer group."""

    bootstrap: str
    topic: str
    group: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Engine:
    """The start of an engine. ``output`` and ``rejects`` are the topics that it writes."""

    name: str
    guarantee: str
    command: Callable[[Run], list[str]]
    output: str
    rejects: str
    environment: dict[str, str] = field(default_factory=dict)


def build() -> None:
    """Build the peers into ``.gateway/peers``. Go and Maven cache the result."""
    BUILT.mkdir(parents=True, exist_ok=True)
    facts.write(BUILT / "facts.json")
    _call(["go", "build", "-o", str(BUILT / "connect"), "."], HERE / "connect")
    if not (BUILT / "jars").exists():
        _call(
            [
                "mvn",
                "-q",
                "-B",
                "dependency:copy-dependencies",
                f"-DoutputDirectory={BUILT / 'jars'}",
            ],
            HERE / "streams",
        )
    sources = [str(path) for path in sorted((HERE / "streams").glob("*.java"))]
    _call(
        ["javac", "-cp", f"{BUILT}/jars/*", "-d", str(BUILT / "classes"), *sources],
        HERE / "streams",
    )


def _call(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True)
    except FileNotFoundError:
        raise SystemExit(
            f"{command[0]} is not installed; the peers need go 1.26, a JDK 17 or newer and mvn"
        ) from None


def ours(run: Run) -> list[str]:
    """Return the command that runs the gateway's stage in its own process."""
    return [sys.executable, "-m", "bench.peers.ours", run.bootstrap, run.topic, run.group]


def streams(run: Run) -> list[str]:
    """Return the command of Kafka Streams with exactly_once_v2 and one thread."""
    classpath = f"{BUILT}/classes{os.pathsep}{BUILT}/jars/*"
    given = [
        run.bootstrap,
        run.topic,
        "peers.streams",
        "peers.streams.rejects",
        run.group,
        str(BUILT / "facts.json"),
        "1",
    ]
    return [find_java(), "-cp", classpath, "Peer", *given, str(run.folder / "state")]


def connect(run: Run) -> list[str]:
    """Return the command of Benthos with one mapping and one thread for each core."""
    configuration = {
        "http": {"enabled": False},
        "logger": {"level": "ERROR"},
        "input": {
            "topic": {
                "broker": run.bootstrap,
                "topic": run.topic,
                "group": run.group,
                "batch": BATCH,
            }
        },
        "pipeline": {
            "threads": -1,
            "processors": [{"mapping": mapping("peers.connect", "peers.connect.rejects")}],
        },
        "output": {"topics": {"broker": run.bootstrap, "topic": "${! @topic }"}},
    }
    path = run.folder / "connect.json"
    path.write_text(json.dumps(configuration, ensure_ascii=False))
    return [str(BUILT / "connect"), "run", str(path)]


def mapping(output: str, rejects: str) -> str:
    """Return the Bloblang mapping with the tables as literals."""
    text = (HERE / "connect" / "mapping.blobl").read_text()
    known: dict[str, Any] = facts.facts() | {"output": output, "rejects": rejects}
    for name, value in known.items():
        text = text.replace("{" + name + "}", json.dumps(value, ensure_ascii=False))
    return text


ENGINES = {
    "ours": Engine("this gateway", "exactly once", ours, QUALIFICATIONS_TOPIC, REJECTIONS.name),
    "streams": Engine(
        "Kafka Streams 4.3.1",
        "exactly_once_v2",
        streams,
        "peers.streams",
        "peers.streams.rejects",
    ),
    "connect": Engine(
        "Benthos 4.60.0", "at least once", connect, "peers.connect", "peers.connect.rejects"
    ),
    "connect-gc": Engine(
        "Benthos 4.60.0, GOGC=400",
        "at least once",
        connect,
        "peers.connect",
        "peers.connect.rejects",
        {"GOGC": "400"},
    ),
}
