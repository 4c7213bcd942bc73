"""Merge the metrics and the readiness of several worker processes under one parent.

Each process serves its health port on a Unix socket. The parent reads all of them. Each sample gets
the label ``process``. Without it, a restarted process would make a counter decrease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.observability.diagnosis import Diagnosis
from gateway.observability.page_snapshot import Snapshot
from gateway.observability.unmapped_samples import UnmappedSample

READ_TIMEOUT_SECONDS = 2.0


class _SnapshotMessage(msgspec.Struct):
    """A snapshot as a process sends it to its parent."""

    stage: str
    roles: list[str]
    titles: dict[str, str]
    paused: list[tuple[str, str]]
    problems: list[tuple[str, str, str]]
    not_loaded: dict[str, str]
    diagnoses: list[Diagnosis] = []
    unmapped: list[UnmappedSample] = []


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return the snapshot of a process as JSON for its parent."""
    problems = [
        (connector, stream, text) for (connector, stream), text in snapshot.problems.items()
    ]
    return msgspec.json.encode(
        _SnapshotMessage(
            snapshot.stage,
            list(snapshot.roles),
            dict(snapshot.titles),
            sorted(snapshot.paused),
            problems,
            dict(snapshot.not_loaded),
            list(snapshot.diagnoses()),
            list(snapshot.unmapped()),
        )
    )


def merge_snapshots(parts: Iterable[bytes]) -> Snapshot:
    """Return one snapshot from the JSON of several processes."""
    answers = [msgspec.json.decode(part, type=_SnapshotMessage) for part in parts]
    diagnoses = list(
        {
            (one.connector, one.stream): one for answer in answers for one in answer.diagnoses
        }.values()
    )
    return Snapshot(
        stage=answers[0].stage if answers else "",
        roles=tuple(sorted({role for answer in answers for role in answer.roles})),
        titles={name: title for answer in answers for name, title in answer.titles.items()},
        paused=frozenset(stream for answer in answers for stream in answer.paused),
        problems={
            (connector, stream): text
            for answer in answers
            for connector, stream, text in answer.problems
        },
        not_loaded={name: text for answer in answers for name, text in answer.not_loaded.items()},
        diagnoses=lambda: diagnoses,
        unmapped=lambda: [sample for answer in answers for sample in answer.unmapped],
    )


@dataclass(slots=True, eq=False)
class MergedMetrics(Collector):
    """The metrics of all processes as of the last :meth:`refresh`.

    ``sockets`` maps the name of each process to its Unix socket.
    """

    sockets: Mapping[str, Path]
    own_collectors: tuple[Collector, ...] = ()
    """The metrics of the parent itself."""
    snapshot: Snapshot = field(default_factory=Snapshot)
    ready: dict[str, str] = field(default_factory=dict)
    """The answer of each process at ``/readyz``, or the reason why there is none."""
    _families: list[Metric] = field(default_factory=list)

    async def refresh(self) -> None:
        """Read all processes.

        A process that does not answer within two seconds is left out.
        """
        answers = dict(
            zip(
                self.sockets,
                await asyncio.gather(*map(_read_process, self.sockets.values())),
                strict=True,
            )
        )
        self.ready = {
            process: answers[process].get("/readyz", b"no answer").decode()
            for process in self.sockets
        }
        self.snapshot = merge_snapshots(
            answer["/snapshot"] for answer in answers.values() if "/snapshot" in answer
        )
        families: dict[str, Metric] = {}
        for process, answer in answers.items():
            for family in text_string_to_metric_families(answer.get("/metrics", b"").decode()):
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    merged.samples.append(
                        sample._replace(labels={**sample.labels, "process": process})
                    )
        self._families = list(families.values())

    def collect(self) -> Iterable[Metric]:
        """Yield each metric family once."""
        yield from self._families
        for collector in self.own_collectors:
            yield from collector.collect()


async def _read_process(socket: Path) -> dict[str, bytes]:
    """Return the answers of a process, by path. The result lacks the paths without an answer."""
    answers: dict[str, bytes] = {}
    timeout = aiohttp.ClientTimeout(total=READ_TIMEOUT_SECONDS)
    try:
        async with aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(socket)), timeout=timeout
        ) as session:
            for path in ("/readyz", "/metrics", "/snapshot"):
                async with session.get(f"http://process{path}") as reply:
                    answers[path] = await reply.read()
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass
    return answers
