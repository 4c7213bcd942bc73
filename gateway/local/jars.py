"""Fetch the broker's jars: from a lock file with checksums, in parallel, into a cache; no host name of our own."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.errors import Unavailable

LOCK = Path(__file__).with_name("kafka-jars.lock")
TRIES = 3
MIRROR = "GATEWAY_JAR_MIRROR"
"""Environment variable: the URL of a Maven repository to use instead of the resolver's default."""


def fetch_jars(cache: Path) -> list[Path]:
    """Return the paths of every jar of the lock file, downloaded into ``cache`` where missing, each checksum verified."""
    wanted = [line.split() for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    folder = cache / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [(name, digest) for name, digest in wanted if not _is_good(folder / _file_name(name), digest)]
    if missing:
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(lambda item: _fetch(item[0], item[1], cache, folder), missing))
    return [folder / _file_name(name) for name, _ in wanted]


def _file_name(name: str) -> str:
    _, artifact, version = name.split(":")
    return f"{artifact}-{version}.jar"


def _is_good(path: Path, digest: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _fetch(name: str, digest: str, cache: Path, folder: Path) -> None:
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError:
        raise Unavailable(
            "the local Kafka needs its jars, and the package that fetches them is not installed: pip install 'qualification-gateway[local]', "
            "or set GATEWAY_KAFKA_BOOTSTRAP to a cluster you have"
        ) from None
    mirror = os.environ.get(MIRROR)
    repository = MavenContext(
        repo_cache=cache / "maven", resolver=PythonResolver(), remote_repos={"central": mirror} if mirror else None, timeout=30
    )
    group, artifact, version = name.split(":")
    cause: Exception | None = None
    for _ in range(TRIES):
        try:
            path = Path(repository.project(group, artifact).at_version(version).artifact().resolve())
        except Exception as error:  # noqa: BLE001 - the resolver raises many kinds; the last one is reported
            cause = error
            continue
        if _is_good(path, digest):
            partial = folder / (_file_name(name) + ".part")
            partial.write_bytes(path.read_bytes())
            partial.replace(folder / _file_name(name))
            return
        path.unlink(missing_ok=True)
        cause = ValueError("its checksum differs from the lock file")
    raise Unavailable(f"{name} could not be fetched ({cause}); check the network, or set {MIRROR} to a Maven mirror you reach")
