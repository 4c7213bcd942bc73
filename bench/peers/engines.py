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
    """The start of an engine. ``output`` and ``rejects`` are the topics that it writes.

    With ``same_outputs`` it writes the gateway's keys, headers and partitions, too.
    """

    name: str
    guarantee: str
    command: Callable[[Run], list[str]]
    output: str
    rejects: str
    environment: dict[str, str] = field(default_factory=dict)
    same_outputs: bool = False


def build() -> None:
    """Build the peers into ``.gateway/peers``. Go, Maven and pip cache the result."""
    BUILT.mkdir(parents=True, exist_ok=True)
    facts.write(BUILT / "facts.json")
    environment_for(HERE / "confluent" / "requirements.txt")
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


def environment_for(requirements: Path) -> Path:
    """Return the Python of an environment with these requirements, and create it if necessary."""
    BUILT.mkdir(parents=True, exist_ok=True)
    folder = BUILT / f"venv-{requirements.parent.name}"
    python = folder / "bin" / "python"
    installed = folder / "requirements.txt"
    wanted = requirements.read_text()
    if not installed.exists() or installed.read_text() != wanted:
        _call([sys.executable, "-m", "venv", "--clear", str(folder)], HERE)
        _call([str(python), "-m", "pip", "install", "-q", "-r", str(requirements)], HERE)
        installed.write_text(wanted)
    return python


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


def streams(outputs: str, topic: str) -> Callable[[Run], list[str]]:
    """Return the command of Kafka Streams with exactly_once_v2 and one thread."""

    def command(run: Run) -> list[str]:
        classpath = f"{BUILT}/classes{os.pathsep}{BUILT}/jars/*"
        given = [run.bootstrap, run.topic, topic, f"{topic}.rejects", run.group]
        given += [str(BUILT / "facts.json"), "1", str(run.folder / "state"), outputs]
        return [find_java(), "-cp", classpath, "Peer", *given]

    return command


def confluent(mode: str, topic: str) -> Callable[[Run], list[str]]:
    """Return the command of a loop of confluent-kafka in an environment of its own."""

    def command(run: Run) -> list[str]:
        python = BUILT / "venv-confluent" / "bin" / "python"
        given = [run.bootstrap, run.topic, topic, f"{topic}.rejects", run.group]
        given += [str(BUILT / "facts.json"), mode]
        return [str(python), str(HERE / "confluent" / "peer.py"), *given]

    return command


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
        "Kafka Streams 4.3.1, same outputs",
        "exactly_once_v2",
        streams("outputs", "peers.streams"),
        "peers.streams",
        "peers.streams.rejects",
        same_outputs=True,
    ),
    "streams-bare": Engine(
        "Kafka Streams 4.3.1, bare",
        "exactly_once_v2",
        streams("bare", "peers.bare"),
        "peers.bare",
        "peers.bare.rejects",
    ),
    "pydantic": Engine(
        "confluent-kafka 2.16.1 and pydantic, bare",
        "exactly once",
        confluent("pydantic", "peers.pydantic"),
        "peers.pydantic",
        "peers.pydantic.rejects",
    ),
    "orjson": Engine(
        "confluent-kafka 2.16.1 and orjson, bare",
        "exactly once",
        confluent("orjson", "peers.orjson"),
        "peers.orjson",
        "peers.orjson.rejects",
    ),
    "connect": Engine(
        "Benthos 4.60.0, bare", "at least once", connect, "peers.connect", "peers.connect.rejects"
    ),
    "connect-gc": Engine(
        "Benthos 4.60.0, bare, GOGC=400",
        "at least once",
        connect,
        "peers.connect",
        "peers.connect.rejects",
        {"GOGC": "400"},
    ),
}
