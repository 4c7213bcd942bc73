"""Kill, freeze and stop the harmonise stage on a real Kafka and check exactly-once delivery."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced

from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.messages.topics import REJECTIONS
from gateway.observability import blocked_commits, metrics
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.settings import Settings
from tests.support.stage_process import Doubling
from tests.support.topic_records import fill, read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
Create = Callable[..., Awaitable[str]]
ROOT = Path(__file__).parents[2]
KEYS = 97
SHORT_SESSION = "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n"


def records(start: int, count: int) -> list[tuple[bytes, bytes | None]]:
    return [
        (b"k%d" % (number % KEYS), b"k%d:%d" % (number % KEYS, number))
        for number in range(start, start + count)
    ]


class World:
    """Topics of one test and what a subscriber sees on them."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.bootstrap = bootstrap
        self.group = name
        self.raw, self.out, self.rejects = f"{name}-raw", f"{name}-out", f"{name}-rejects"
        self.written = 0

    async def write(self, count: int, partition: int | None = None) -> None:
        await fill(self.bootstrap, self.raw, records(self.written, count), partition)
        self.written += count

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Keep writing for the length of a block."""

        async def feed() -> None:
            while not stop.is_set():
                await self.write(1_000)
                await asyncio.sleep(0.15)

        stop = asyncio.Event()
        feeding = asyncio.create_task(feed())
        try:
            yield
        finally:
            stop.set()
            await feeding

    def stage(self, settings: Settings, batch: int = 300) -> HarmoniseStage:
        process = Doubling(self.out, self.rejects)
        return HarmoniseStage(
            settings, process, process.shrink, topic=self.raw, group=self.group, batch=batch
        )

    async def spawn(self, instance: str = "", defect: str = "") -> asyncio.subprocess.Process:
        command = [sys.executable, str(ROOT / "tests/support/stage_process.py")]
        arguments = [self.bootstrap, self.raw, self.out, self.rejects, self.group, instance, defect]
        return await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
        )

    async def check_every_record_ended_once_in_order(self) -> None:
        """The oracle: recomputed from what was written, never from what the stage says."""
        out, rejects = (
            await read_all(self.bootstrap, self.out),
            await read_all(self.bootstrap, self.rejects),
        )
        originals = [record for record in out if not record.key.startswith(b"copy-")]
        ended = Counter(record.value for record in originals) + Counter(
            record.value for record in rejects
        )
        expected = Counter(value for _, value in records(0, self.written))
        assert sum(expected.values()) == self.written
        lost, doubled = expected - ended, ended - expected
        assert lost + doubled == Counter(), (
            f"lost {sum(lost.values())}, doubled {sum(doubled.values())} of {self.written}"
        )
        assert all(record.value.endswith(b"7") for record in rejects)
        copies = Counter(record.value for record in out if record.key.startswith(b"copy-"))
        assert copies == Counter(record.value for record in originals), "a transaction was torn"
        by_key: dict[bytes, list[int]] = defaultdict(list)
        for record in out:
            by_key[record.key].append(int(record.value.split(b":")[1]))
        assert all(numbers == sorted(numbers) for numbers in by_key.values()), (
            "out of order within a key"
        )


@pytest.fixture
def world(kafka_bootstrap: str, name: str) -> World:
    return World(kafka_bootstrap, name)


async def make(world: World, create_topic: Create, **config: int) -> None:
    await create_topic(world.raw, 4)
    await create_topic(world.out, 3, **config)
    await create_topic(world.rejects, 1)


@contextlib.asynccontextmanager
async def running(stage: HarmoniseStage) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(stage.run())
    try:
        yield task
    finally:
        stage.stop()
        await asyncio.wait_for(task, 60)


async def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Look again and again until it is so. The time is a net, not a promise."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def committed(
    process: asyncio.subprocess.Process, at_least: int, seconds: float = 120
) -> int:
    assert process.stdout
    async with asyncio.timeout(seconds):
        while line := await process.stdout.readline():
            if int(line) >= at_least:
                return int(line)
    raise AssertionError(f"the stage ended with code {process.returncode}")


@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_under_load(world: World, create_topic: Create, kills: int) -> None:
    seed = random.randrange(1_000_000)
    print("seed", seed)
    chance = random.Random(seed)

    async def scenario() -> None:
        await make(world, create_topic)
        async with world.load():
            for _ in range(kills):
                process = await world.spawn(instance="worker-0")
                await committed(process, 1)
                await asyncio.sleep(chance.uniform(0, 0.5))
                process.kill()
                await process.wait()
        assert world.written >= 1_000 * kills, "not enough load for the test to mean anything"
        last = await world.spawn(instance="worker-0")
        await world.write(100)
        await committed(last, 1)  # it runs: a signal before that would end it without its handler
        await _drained(world)
        last.terminate()
        assert await asyncio.wait_for(last.wait(), 60) == 0
        await world.check_every_record_ended_once_in_order()

    asyncio.run(scenario())


async def _drained(world: World, seconds: float = 150) -> None:
    """Wait until the group has committed every input partition to its end."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.bootstrap, group_id=world.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        places = [TopicPartition(world.raw, number) for number in range(4)]
        async with asyncio.timeout(seconds):
            ends = await consumer.end_offsets(places)
            while any([(await consumer.committed(place) or 0) < ends[place] for place in places]):
                await asyncio.sleep(0.1)
    finally:
        await consumer.stop()


def test_members_join_and_leave_during_a_batch(
    world: World, settings: Settings, create_topic: Create
) -> None:
    async def scenario() -> None:
        await make(world, create_topic)
        await world.write(3_000)
        first, second, third = (world.stage(settings) for _ in range(3))
        async with running(first):
            await until(lambda: first.committed > 500)
            async with world.load(), running(second):
                await until(lambda: second.committed > 500)
                async with running(third):
                    await until(lambda: third.committed > 300)
                await until(lambda: second.committed > 2_000)
            await _drained(world)
        assert first.committed + second.committed + third.committed == world.written
        await world.check_every_record_ended_once_in_order()

    asyncio.run(scenario())


def test_frozen_worker_writes_nothing_twice(
    world: World, settings: Settings, create_topic: Create
) -> None:
    async def scenario() -> None:
        await make(world, create_topic)
        await world.write(4_000)
        frozen = await world.spawn()
        await committed(frozen, 600)
        frozen.send_signal(signal.SIGUSR1)  # stops itself between sending and committing
        await until(lambda: psutil.Process(frozen.pid).status() == psutil.STATUS_STOPPED)
        successor = world.stage(settings)
        async with running(successor):
            await until(lambda: successor.committed > 300)
            await world.write(2_000)
            frozen.send_signal(signal.SIGCONT)
            await world.write(2_000)
            await _drained(world)
            frozen.terminate()
            assert await asyncio.wait_for(frozen.wait(), 60) == 0
        await world.check_every_record_ended_once_in_order()

    asyncio.run(scenario())


def test_stage_waits_for_a_restarted_broker(tmp_path: Path, name: str) -> None:
    # a broker that was killed may come back once its old session has ended: nine seconds, unless told otherwise
    start = partial(kafka.start, tmp_path / "data", detached=False, properties=SHORT_SESSION)

    async def scenario(broker: kafka.Broker) -> None:
        world = World(broker.bootstrap, name)
        await _create(world)
        await world.write(5_000)
        stage = world.stage(Settings(kafka_bootstrap=broker.bootstrap), batch=100)
        async with running(stage):
            await until(lambda: stage.committed > 300)
            psutil.Process(broker.pid).kill()
            await until(lambda: kafka.status(tmp_path / "data") is None)
            await until(
                lambda: (
                    metrics.REGISTRY.get_sample_value(
                        "gateway_publish_blocked_seconds", {"role": "harmonise"}
                    )
                    > 0
                )
            )
            await asyncio.to_thread(start)
            await _drained(
                world
            )  # what was on its way when the broker died may be committed without the stage's having heard of it
            await until(
                lambda: (
                    metrics.REGISTRY.get_sample_value(
                        "gateway_publish_blocked_seconds", {"role": "harmonise"}
                    )
                    == 0
                )
            )
        await world.check_every_record_ended_once_in_order()

    try:
        asyncio.run(scenario(start()))
    finally:
        kafka.stop(tmp_path / "data")


async def _move_back(world: World, place: TopicPartition, offset: int) -> None:
    """Fence whoever works on a partition, and commit another offset in its place: what a broker that lost its last ones looks like."""
    while True:
        producer = AIOKafkaProducer(
            bootstrap_servers=world.bootstrap,
            transactional_id=f"{world.group}-{place.topic}-{place.partition}",
        )
        await producer.start()
        try:
            async with producer.transaction():
                await producer.send_offsets_to_transaction({place: offset}, world.group)
        except ProducerFenced:
            continue  # the stage came in between, as it does each time it tries again
        else:
            return
        finally:
            await producer.stop()


def test_stage_rejects_an_offset_behind_its_own_commit(
    world: World, settings: Settings, create_topic: Create, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        await make(world, create_topic)
        place = TopicPartition(world.raw, 0)
        await world.write(2_000)
        stage = world.stage(settings)
        async with running(stage):
            await until(lambda: stage.committed >= world.written)
            done = stage._committed_offsets[place]
            await _move_back(world, place, 5)
            await world.write(1_000)
            await until(
                lambda: place in stage._partitions and stage._partitions[place].failures > 1
            )  # the first one is the fence
            await until(
                lambda: (
                    "the committed offset of partition 0 went back"
                    in blocked_commits.blocked_reason("harmonise")
                )
            )
            assert blocked_commits.blocked_seconds("harmonise") > 2
            await _move_back(world, place, done)
            await until(lambda: stage.committed >= world.written)
            await until(lambda: not blocked_commits.blocked_reason("harmonise"))
        assert f"offset 5 of partition 0 is behind {done}" in capsys.readouterr().out
        await world.check_every_record_ended_once_in_order()

    asyncio.run(scenario())


async def _create(world: World) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    client = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await client.start()
    await client.create_topics(
        [NewTopic(world.raw, 4, 1), NewTopic(world.out, 3, 1), NewTopic(world.rejects, 1, 1)]
    )
    await client.close()


def test_only_the_too_large_record_is_rejected(
    world: World, settings: Settings, create_topic: Create
) -> None:
    async def scenario() -> None:
        await make(world, create_topic, max_message_bytes=30_000)
        await world.write(500)
        large = [
            (b"k%d" % number, b"k%d:%d:" % (number, number) + b"x" * 60_000) for number in (3, 4, 5)
        ]
        await fill(world.bootstrap, world.raw, large)
        await world.write(500)
        stage = world.stage(settings)
        before = _rejected()
        async with running(stage):
            await until(lambda: stage.committed >= 1_003)
        rejected = [
            record.value
            for record in await read_all(world.bootstrap, world.rejects)
            if record.value.endswith(b"x")
        ]
        assert sorted(value.split(b":")[0] for value in rejected) == [b"k3", b"k4", b"k5"]
        assert len(await read_all(world.bootstrap, world.out)) == 2 * 900
        assert _rejected() - before == 103

    asyncio.run(scenario())


def _rejected() -> float:
    return (
        metrics.REGISTRY.get_sample_value(
            "gateway_records_total", {"connector": "c", "stream": "s", "outcome": "rejected"}
        )
        or 0
    )


def test_tombstone_deletes_published_documents(
    world: World, settings: Settings, create_topic: Create
) -> None:
    async def scenario() -> None:
        await make(world, create_topic)
        await fill(world.bootstrap, world.raw, [(b"k1", b"k1:1"), (b"k1", None)])
        stage = world.stage(settings)
        async with running(stage):
            await until(lambda: stage.committed >= 2)
        assert [
            record.value
            for record in await read_all(world.bootstrap, world.out)
            if record.key == b"k1"
        ] == [b"k1:1", None]

    asyncio.run(scenario())


def test_poison_record_is_rejected_without_its_content(
    world: World, settings: Settings, create_topic: Create, caplog: pytest.LogCaptureFixture
) -> None:
    class Breaking(Doubling):
        def __call__(self, record):
            if record.value == b"k9:9":
                raise KeyError(record.value)
            return super().__call__(record)

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        await topic_admin.verify_topics(settings)
        await make(world, create_topic)
        await world.write(40)
        process = Breaking(world.out, world.rejects)
        stage = HarmoniseStage(
            settings, process, process.shrink, topic=world.raw, group=world.group
        )
        async with running(stage):
            await until(lambda: stage.committed >= 40)
        found = [
            record
            for record in await read_all(world.bootstrap, REJECTIONS.name)
            if world.raw.encode() in (record.value or b"")
        ]
        assert len(found) == 1
        assert b'"reason":"internal_error"' in found[0].value
        assert b"KeyError" in found[0].value
        assert b"k9:9" not in found[0].value
        assert "k9:9" not in caplog.text
        assert len(await read_all(world.bootstrap, world.out)) == 2 * 35

    asyncio.run(scenario())


def test_results_are_counted_once() -> None:
    from gateway.pipeline.processed_record import count_key, count_results

    results = [ProcessedRecord([], "cc", "ss", "accepted", issues=("level-by-proxy",))] * 3 + [
        ProcessedRecord([], "cc", "ss", "rejected", "r", "f")
    ]
    count_results(Counter(map(count_key, results)))
    value = metrics.REGISTRY.get_sample_value
    assert (
        value("gateway_records_total", {"connector": "cc", "stream": "ss", "outcome": "accepted"})
        == 3
    )
    assert (
        value(
            "gateway_rejections_total",
            {"connector": "cc", "stream": "ss", "reason": "r", "field": "f"},
        )
        == 1
    )
    assert (
        value("gateway_issues_total", {"connector": "cc", "stream": "ss", "code": "level-by-proxy"})
        == 3
    )


def test_oracle_detects_random_transactional_id(
    world: World, settings: Settings, create_topic: Create
) -> None:
    """A planted defect: with an id of its own, a frozen worker is not fenced and doubles what its successor did."""

    async def scenario() -> None:
        await make(world, create_topic)
        await world.write(
            3_000, partition=0
        )  # one transaction at a time: none is left open that nobody will end
        frozen = await world.spawn(defect="random-id")
        await committed(frozen, 600)
        frozen.send_signal(
            signal.SIGUSR1
        )  # stops itself between sending and committing: SIGSTOP at the worst moment
        await until(lambda: psutil.Process(frozen.pid).status() == psutil.STATUS_STOPPED)
        successor = world.stage(settings)
        async with running(successor):
            await until(lambda: successor.committed > 300)
            await _drained(world)
            frozen.send_signal(signal.SIGCONT)
            await read_all(
                world.bootstrap, world.out
            )  # a reader gets past an open transaction once it has ended
            frozen.terminate()  # it finishes the batch in hand: killed, it would leave another transaction open
            await asyncio.wait_for(frozen.wait(), 60)
        with pytest.raises(AssertionError, match=r"lost 0, doubled [1-9]"):
            await world.check_every_record_ended_once_in_order()

    asyncio.run(scenario())
