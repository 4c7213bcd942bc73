"""One health port for several worker processes: each serves its own on a Unix socket, the parent asks them all and shows the sum.

Every sample keeps a label ``process``, so that a counter of a process that starts anew is a reset and not a step back.
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

from gateway.observability.status_page import Snapshot

ASK_SECONDS = 2.0


class _SnapshotMessage(msgspec.Struct):
    """A snapshot on its way from a process to its parent."""

    stage: str
    roles: list[str]
    titles: dict[str, str]
    paused: list[tuple[str, str]]
    problems: list[tuple[str, str, str]]


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return what a process tells its parent for the page."""
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
        )
    )


def merge_snapshots(parts: Iterable[bytes]) -> Snapshot:
    """Return one snapshot of what several processes told."""
    answers = [msgspec.json.decode(part, type=_SnapshotMessage) for part in parts]
    return Snapshot(
        stage=answers[0].stage if answers else "",
        roles=tuple(sorted({role for one in answers for role in one.roles})),
        titles={name: title for one in answers for name, title in one.titles.items()},
        paused=frozenset(stream for one in answers for stream in one.paused),
        problems={
            (connector, stream): text for one in answers for connector, stream, text in one.problems
        },
    )


@dataclass(slots=True, eq=False)
class MergedMetrics(Collector):
    """What all processes say, as of the last :meth:`ask`. ``sockets`` names each process and where it answers."""

    sockets: Mapping[str, Path]
    own_collectors: tuple[Collector, ...] = ()
    """What the parent itself counts."""
    snapshot: Snapshot = field(default_factory=Snapshot)
    ready: dict[str, str] = field(default_factory=dict)
    """By process: what it answered at ``/readyz``, or why there is no answer."""
    _families: list[Metric] = field(default_factory=list)

    async def refresh(self) -> None:
        """Ask every process; one that does not answer within two seconds is left out."""
        answers = dict(
            zip(self.sockets, await asyncio.gather(*map(_ask, self.sockets.values())), strict=True)
        )
        self.ready = {
            process: answers[process].get("/readyz", b"no answer").decode()
            for process in self.sockets
        }
        self.snapshot = merge_snapshots(
            one["/snapshot"] for one in answers.values() if "/snapshot" in one
        )
        families: dict[str, Metric] = {}
        for process, answer in answers.items():
            for family in text_string_to_metric_families(answer.get("/metrics", b"").decode()):
                kept = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    kept.samples.append(
                        sample._replace(labels={**sample.labels, "process": process})
                    )
        self._families = list(families.values())

    def collect(self) -> Iterable[Metric]:
        """Return every family once."""
        yield from self._families
        for one in self.own_collectors:
            yield from one.collect()


async def _ask(socket: Path) -> dict[str, bytes]:
    """Return what a process answers, by path."""
    answers: dict[str, bytes] = {}
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
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
