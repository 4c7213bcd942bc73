"""A cluster of three brokers on one machine, each on a small disk that a test can fill."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from gateway.errors import Unavailable
from gateway.local import broker as kafka
from gateway.messages.strimzi import REPLICAS, topic_resource
from gateway.messages.topics import TOPICS
from tests.conftest import free_port

DISK_MB = 160
NODE = """\
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{voter}
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
leader.imbalance.check.interval.seconds=5
"""
"""The additional properties of a node. A restarted node leads its partitions again soon."""


TELL_WHAT_IS_SKIPPED = "-Dorg.slf4j.simpleLogger.log.kafka.coordinator.transaction.TransactionMarkerChannelManager=info"
SKIPPED = re.compile(
    r"Couldn't find leader endpoint for partitions .* while trying to send transaction markers for (\S+), these partitions"
)
"""The message of a broker that ends a transaction without all its partitions.

The broker treats a partition without a leader as a deleted one.
"""


class Disk:
    """A small ext4 disk in a file, mounted on ``folder``."""

    def __init__(self, folder: Path, megabytes: int = DISK_MB) -> None:
        self.folder = folder
        self._image = folder.with_suffix(".img")
        self._ballast = folder / "ballast"
        folder.mkdir()
        with self._image.open("wb") as image:
            image.truncate(megabytes << 20)
        for command in (
            ["mkfs.ext4", "-q", "-m", "0", str(self._image)],
            ["mount", "-o", "loop", str(self._image), str(folder)],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                pytest.skip(f"a small disk cannot be made here: {error}")
            if done.returncode:
                pytest.skip(
                    f"a small disk cannot be mounted here: {done.stderr.strip()}; run as root"
                )

    def fill(self) -> None:
        """Write until the disk is full."""
        with self._ballast.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(b"x" * 65_536)

    def make_room(self) -> None:
        self._ballast.unlink()

    def drop(self) -> None:
        subprocess.run(["umount", "-R", "-l", str(self.folder)], capture_output=True, check=False)
        self._image.unlink(missing_ok=True)


@dataclass(frozen=True)
class Node:
    """One broker, which is also a controller. A full disk stops both."""

    number: int
    disk: Disk
    port: int
    voter: int
    starts: list[Path] = field(default_factory=list)
    """The log of each start."""

    @property
    def data(self) -> Path:
        return self.disk.folder / "kafka"

    @property
    def runs(self) -> bool:
        return kafka.status(self.data) is not None


class Cluster:
    """Three nodes whose topics are configured as ``deploy/strimzi`` declares.

    Topics have three replicas. A write needs two of them.
    """

    def __init__(self, folder: Path) -> None:
        ports = free_ports(2 * REPLICAS)
        self.nodes: list[Node] = []
        self.voters = ",".join(
            f"{number}@127.0.0.1:{ports[2 * number - 1]}" for number in range(1, REPLICAS + 1)
        )
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports[::2])
        self._folder = folder
        try:
            for number in range(1, REPLICAS + 1):
                disk = Disk(folder / f"disk-{number}")
                self.nodes.append(Node(number, disk, ports[2 * number - 2], ports[2 * number - 1]))
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start all nodes at the same time, because a node answers only when two of three run."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(self.start_node, self.nodes))

    def start_node(self, node: Node) -> None:
        """Start a node for the first time or again."""
        node.data.mkdir(exist_ok=True)
        node.starts.append(self._folder / f"broker-{node.number}-{len(node.starts) + 1}.log")
        log_elsewhere(node.data, node.starts[-1])
        properties = NODE.format(
            number=node.number, voters=self.voters, port=node.port, voter=node.voter
        )
        kafka.start(node.data, node.port, detached=False, properties=properties)

    def create_topics(self) -> None:
        """Create the gateway's topics as the Strimzi files declare them."""
        asyncio.run(self._create_topics())

    async def _create_topics(self) -> None:
        resources = [topic_resource(topic)["spec"] for topic in TOPICS]
        wanted = [
            NewTopic(
                one["topicName"], one["partitions"], one["replicas"], topic_configs=one["config"]
            )
            for one in resources
        ]
        async with self._admin() as client:
            reply = await client.create_topics(wanted)
        assert not [error for error in reply.topic_errors if error[1]], reply

    def partitions(self) -> list[dict[str, Any]]:
        """Return the leader and the in-sync replicas of each partition, including Kafka's own
        topics.

        The list is empty while no broker answers.
        """

        async def ask() -> list[dict[str, Any]]:
            async with self._admin() as client:
                return [
                    one | {"topic": topic["topic"]}
                    for topic in await client.describe_topics()
                    for one in topic["partitions"]
                ]

        try:
            return asyncio.run(ask())
        except (KafkaError, OSError, TimeoutError, Unavailable):
            return []

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    def leads_most(self) -> Node:
        """Return the node that leads the most partitions."""
        found = Counter(one["leader"] for one in self.partitions())
        return max(self.nodes, key=lambda node: found[node.number])

    def led_by(self, node: Node) -> int:
        return sum(one["leader"] == node.number for one in self.partitions())

    def in_sync(self) -> bool:
        """Return whether every partition has all its replicas in sync."""
        found = self.partitions()
        return bool(found) and all(len(one["isr"]) == REPLICAS for one in found)

    def skipped(self) -> list[str]:
        """Return the transactions that any node ended without all their partitions."""
        return sorted({one for node in self.nodes for log in node.starts for one in skipped(log)})

    def keep(self) -> None:
        """Copy the data of every broker to a folder that outlives the disks, for analysis."""
        for node in self.nodes:
            shutil.copytree(node.data, self._folder / f"kafka-{node.number}", symlinks=True)

    def close(self) -> None:
        """Kill every node and remove its disk."""
        for node in self.nodes:
            broker = kafka.status(node.data) if node.data.exists() else None
            if broker:
                with contextlib.suppress(psutil.Error):
                    psutil.Process(broker.pid).kill()
                    psutil.Process(broker.pid).wait(10)
            node.disk.drop()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Run a cluster with the gateway's topics for the length of a block."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        cluster.create_topics()
        yield cluster
    finally:
        cluster.close()


def log_elsewhere(data: Path, log: Path) -> None:
    """Mount a file outside the broker's disk as its log, because the disk may be full.

    The broker refuses a link.
    """
    place = data / "broker.log"
    subprocess.run(["umount", str(place)], capture_output=True, check=False)
    for file in (log, place):
        file.touch()
    subprocess.run(["mount", "--bind", str(log), str(place)], check=True)


def skipped(log: Path) -> list[str]:
    """Return the transactions that a broker ended incompletely, according to its log."""
    return sorted(set(SKIPPED.findall(log.read_text())))


def free_ports(count: int) -> list[int]:
    """Return free ports below the range for outgoing connections.

    A restarted node must find its own port free.
    """
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)
