"""Write ``kafka-jars.lock`` again for a version of Kafka.

Run ``python -m gateway.local.lock_jars [version of Kafka]``, and review the difference.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.local.jars import LOCK

KAFKA = "4.2.2"
"""The version of the local broker.

4.3 and 4.4 can end a transaction incompletely when their only broker restarts (KAFKA-20734).
See docs/decisions/0036.
"""
ROOT_ARTIFACTS = ("org.apache.kafka:kafka_2.13:{kafka}", "org.slf4j:slf4j-simple:1.7.36")
SCOPES = frozenset({"compile", "runtime", None})


def resolve_lock(kafka: str, cache: Path) -> list[str]:
    """Return one line for each jar of this broker version: ``group:artifact:version sha256``."""
    from jgo.maven import MavenContext, PythonResolver

    context = MavenContext(repo_cache=cache, resolver=PythonResolver())
    roots = [context.create_dependency(root.format(kafka=kafka)) for root in ROOT_ARTIFACTS]
    inputs, others = context.resolver.resolve(roots)
    artifacts = [
        dependency.artifact for dependency in (*inputs, *others) if dependency.scope in SCOPES
    ]
    with ThreadPoolExecutor(max_workers=8) as pool:
        paths = list(pool.map(lambda artifact: Path(artifact.resolve()), artifacts))
    return sorted(
        f"{artifact.groupId}:{artifact.artifactId}:{artifact.version} "
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for artifact, path in zip(artifacts, paths, strict=True)
    )


def main() -> None:
    """Resolve and download the jars, and write the lock file."""
    kafka = sys.argv[1] if len(sys.argv) > 1 else KAFKA
    with tempfile.TemporaryDirectory() as folder:
        lines = resolve_lock(kafka, Path(folder))
    title = (
        f"# Apache Kafka {kafka} (broker, KRaft) with slf4j-simple: group:artifact:version sha256. "
        "Renew with: make kafka-lock"
    )
    LOCK.write_text("\n".join([title, *lines]) + "\n")
    sys.stdout.write(f"{LOCK}: {len(lines)} jars\n")


if __name__ == "__main__":
    main()
