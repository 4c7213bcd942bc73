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


class _Wire(msgspec.Struct):
    """A snapshot on its way from a process to its parent."""

    stage: str
    roles: list[str]
    titles: dict[str, str]
    paused: list[tuple[str, str]]
    problems: list[tuple[str, str, str]]


def encode(snapshot: Snapshot) -> bytes:
    """Return what a process tells its parent for the page."""
    problems = [(connector, stream, text) for (connector, stream), text in snapshot.problems.items()]
    return msgspec.json.encode(_Wire(snapshot.stage, list(snapshot.roles), dict(snapshot.titles), sorted(snapshot.paused), problems))


def joined(parts: Iterable[bytes]) -> Snapshot:
    """Return one snapshot of what several processes told."""
    told = [msgspec.json.decode(part, type=_Wire) for part in parts]
    return Snapshot(
        stage=told[0].stage if told else "",
        roles=tuple(sorted({role for one in told for role in one.roles})),
        titles={name: title for one in told for name, title in one.titles.items()},
        paused=frozenset(stream for one in told for stream in one.paused),
        problems={(connector, stream): text for one in told for connector, stream, text in one.problems},
    )


@dataclass(slots=True, eq=False)
class Merged(Collector):
    """What all processes say, as of the last :meth:`ask`. ``sockets`` names each process and where it answers."""

    sockets: Mapping[str, Path]
    own: tuple[Collector, ...] = ()
    """What the parent itself counts."""
    snapshot: Snapshot = field(default_factory=Snapshot)
    ready: dict[str, str] = field(default_factory=dict)
    """By process: what it answered at ``/readyz``, or why there is no answer."""
    _families: list[Metric] = field(default_factory=list)

    async def ask(self) -> None:
        """Ask every process; one that does not answer within two seconds is left out."""
        told = dict(zip(self.sockets, await asyncio.gather(*map(_ask, self.sockets.values())), strict=True))
        self.ready = {process: told[process].get("/readyz", b"no answer").decode() for process in self.sockets}
        self.snapshot = joined(one["/snapshot"] for one in told.values() if "/snapshot" in one)
        families: dict[str, Metric] = {}
        for process, answers in told.items():
            for family in text_string_to_metric_families(answers.get("/metrics", b"").decode()):
                kept = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    kept.samples.append(sample._replace(labels={**sample.labels, "process": process}))
        self._families = list(families.values())

    def collect(self) -> Iterable[Metric]:
        """Return every family once."""
        yield from self._families
        for one in self.own:
            yield from one.collect()


async def _ask(socket: Path) -> dict[str, bytes]:
    """Return what a process answers, by path."""
    answers: dict[str, bytes] = {}
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session:
            for path in ("/readyz", "/metrics", "/snapshot"):
                async with session.get(f"http://process{path}") as reply:
                    answers[path] = await reply.read()
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass
    return answers
