"""Download the jars of the broker into a cache, and verify them against a lock file.

The resolver or the setting ``GATEWAY_JAR_MIRROR`` names the host. This module names none.
"""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.errors import StorageError, Unavailable

LOCK = Path(__file__).with_name("kafka-jars.lock")
MAX_ATTEMPTS = 3
JAR_CACHE = Path("~/.cache/qualification-gateway")
"""The directory that contains the jars for all brokers of this user."""


def fetch_jars(cache: Path, mirror: str = "") -> list[Path]:
    """Return the paths of all jars in the lock file, after verifying each checksum.

    The function downloads missing jars into ``cache``, eight at a time. ``mirror`` is the URL of a
    Maven repository that replaces the default of the resolver. Raise ``Unavailable`` when a jar
    cannot be downloaded, and ``StorageError`` when ``cache`` cannot be written.
    """
    locked_jars = [
        line.split() for line in LOCK.read_text().splitlines() if line and not line.startswith("#")
    ]
    folder = cache / "jars"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [
            (name, digest)
            for name, digest in locked_jars
            if not _has_digest(folder / _file_name(name), digest)
        ]
        pool = ThreadPoolExecutor(max_workers=8)
        try:
            for download in [
                pool.submit(_fetch, name, digest, cache, folder, mirror) for name, digest in missing
            ]:
                download.result()
        finally:
            pool.shutdown(cancel_futures=True)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: the jars cannot be stored here ({error.strerror})"
        ) from None
    return [folder / _file_name(name) for name, _ in locked_jars]


def _file_name(name: str) -> str:
    _, artifact, version = name.split(":")
    return f"{artifact}-{version}.jar"


def _has_digest(path: Path, digest: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _fetch(name: str, digest: str, cache: Path, folder: Path, mirror: str) -> None:
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError:
        raise Unavailable(
            "the local Kafka needs a package that downloads its jars: "
            "run pip install 'qualification-gateway[local]', "
            "or set GATEWAY_KAFKA_BOOTSTRAP to your own cluster"
        ) from None
    repository = MavenContext(
        repo_cache=cache / "maven",
        resolver=PythonResolver(),
        remote_repos={"central": mirror} if mirror else None,
        timeout=30,
    )
    group, artifact, version = name.split(":")
    cause: Exception | None = None
    for _ in range(MAX_ATTEMPTS):
        try:
            path = Path(
                repository.project(group, artifact).at_version(version).artifact().resolve()
            )
        except Exception as error:  # noqa: BLE001 - the resolver raises many types of error
            cause = error
            continue
        if _has_digest(path, digest):
            partial = folder / (_file_name(name) + ".part")
            shutil.move(path, partial)
            partial.replace(folder / _file_name(name))
            return
        path.unlink(missing_ok=True)
        cause = ValueError("its checksum differs from the lock file")
    raise Unavailable(
        f"{name} could not be fetched ({cause}); "
        "check the network, or set GATEWAY_JAR_MIRROR to a Maven mirror that you can reach"
    )
