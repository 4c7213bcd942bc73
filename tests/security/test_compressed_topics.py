"""Read and write compressed topics, and tell topics and records that cannot be read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka import codec
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record._crc32c import crc as crc32c

from gateway.errors import IntegrityStop
from gateway.kafka import cluster_check, topic_admin
from gateway.kafka.record_fetch import UnreadableRecords, fetch_records
from gateway.kafka.topic_reader import read_latest, read_positions, read_topic
from gateway.kafka.transactions import read_partition
from gateway.local import broker as kafka
from gateway.messages import topics
from gateway.observability import blocked_commits, metrics
from gateway.pipeline import harmonise_stage
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.settings import Settings
from tests.support.stage_process import Doubling
from tests.support.topic_records import fill, read_all

CODECS = ("zstd", "lz4", "snappy", "gzip")
VALUE = b"seldom-met-value-of-this-record-" * 8


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Settings]]:
    """Return the data folder and the settings of a broker that compresses every topic."""
    data = tmp_path_factory.mktemp("kafka") / "data"
    broker = kafka.start(
        data,
        detached=False,
        mirror=os.environ.get("GATEWAY_JAR_MIRROR", ""),
        properties="compression.type=zstd\n",
    )
    yield data, Settings(kafka_bootstrap=broker.bootstrap, registry_environment="acceptance")
    kafka.stop(data)


async def create(bootstrap: str, *names: str, partitions: int = 1, **config: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        wanted = {key.replace("_", "."): value for key, value in config.items()}
        await client.create_topics(
            [NewTopic(name, partitions, 1, topic_configs=wanted) for name in names]
        )
        async with asyncio.timeout(60):
            while not all(each["partitions"] for each in await client.describe_topics(list(names))):
                await asyncio.sleep(0.05)
    finally:
        await client.close()


def stage_of(settings: Settings, name: str, batch: int = 300) -> HarmoniseStage:
    process = Doubling(f"{name}-out", f"{name}-rejects")
    return HarmoniseStage(
        settings, process, process.shrink, topic=f"{name}-raw", group=name, batch=batch
    )


@contextlib.asynccontextmanager
async def running(stage: HarmoniseStage) -> AsyncIterator[None]:
    task = asyncio.create_task(stage.run())
    try:
        yield
    finally:
        stage.stop()
        await asyncio.wait_for(task, 60)


async def until(condition: object, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.05)


@pytest.mark.kafka
@pytest.mark.parametrize("name", CODECS)
def test_records_of_a_compressed_topic_are_harmonised(site: tuple[Path, Settings], name: str):
    _, settings = site

    async def scenario() -> None:
        await create(
            settings.kafka_bootstrap,
            f"{name}-raw",
            f"{name}-out",
            f"{name}-rejects",
            compression_type=name,
        )
        written = [(b"k%d" % number, VALUE + b":%d" % number) for number in range(400)]
        await fill(settings.kafka_bootstrap, f"{name}-raw", written)
        stage = stage_of(settings, name)
        async with running(stage):
            await until(lambda: stage.committed == 400)
        values = {
            record.value for record in await read_all(settings.kafka_bootstrap, f"{name}-out")
        }
        assert values == {value for _, value in written if not value.endswith(b"7")}
        assert [record.value async for record in read_topic(settings, f"{name}-raw")] == [
            value for _, value in written
        ]
        assert (await read_latest(settings, f"{name}-raw", b"k399")).value == written[399][1]
        assert [
            record.offset async for record in read_positions(settings, f"{name}-raw", [(0, 7)])
        ] == [7]
        assert (await read_partition(settings, f"{name}-raw", 0))[b"k3"] == written[3][1]

    asyncio.run(scenario())


@pytest.mark.kafka
def test_state_is_kept_when_the_broker_compresses_every_topic(site: tuple[Path, Settings]):
    _, settings = site

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        assert await topic_admin.verify_topics(settings) == []
        await cluster_check.verify_cluster(settings)
        identity = await cluster_check.read_cluster_id(settings)
        assert await cluster_check.read_recorded_id_quickly(settings) == identity
        assert await cluster_check.read_recorded_id_quickly(settings) == identity

    asyncio.run(scenario())


def damage(data: Path, topic: str, partition: int, kind: str) -> None:
    """Damage the last batch of a partition in the file of its broker."""
    file = data / "logs" / f"{topic}-{partition}" / "00000000000000000000.log"
    content = bytearray(file.read_bytes())
    start = position = 0
    while position < len(content):
        start = position
        position += 12 + struct.unpack_from(">i", content, position + 8)[0]
    if kind == "checksum":
        content[-3] ^= 0xFF
    else:
        attributes = {"zstd": 4, "lz4": 3, "snappy": 2, "gzip": 1, "codec 7": 7}[kind]
        content[start + 22] = (content[start + 22] & 0xF8) | attributes
        struct.pack_into(">I", content, start + 17, crc32c(bytes(content[start + 21 :])))
    file.write_bytes(content)


@pytest.mark.kafka
@pytest.mark.parametrize(
    "kind",
    [
        "checksum",
        "gzip",
        "codec 7",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("zstd", "snappy")),
    ],
)
def test_damaged_records_block_only_their_partition(site: tuple[Path, Settings], kind: str):
    data, settings = site
    name = f"damaged-{kind.replace(' ', '')}"

    async def scenario() -> None:
        await create(
            settings.kafka_bootstrap, f"{name}-raw", partitions=2, compression_type="uncompressed"
        )
        await create(settings.kafka_bootstrap, f"{name}-out", f"{name}-rejects")
        for number in range(5):
            await fill(settings.kafka_bootstrap, f"{name}-raw", [(b"k", b"good%d" % number)], 0)
        await fill(settings.kafka_bootstrap, f"{name}-raw", [(b"k", VALUE)], 0)
        damage(data, f"{name}-raw", 0, kind)
        await fill(settings.kafka_bootstrap, f"{name}-raw", [(b"o", b"other")], 1)
        stage = stage_of(settings, name)
        async with running(stage):
            await until(lambda: stage.committed == 6)
            reason = f"partition 0 of {name}-raw cannot be read ("
            await until(
                lambda: (
                    blocked_commits.blocked_seconds("harmonise") > 3
                    and reason in blocked_commits.blocked_reason("harmonise")
                )
            )
            await fill(settings.kafka_bootstrap, f"{name}-raw", [(b"o", b"later")], 1)
            await until(lambda: stage.committed == 7)
            lag = metrics.CONSUMER_LAG.labels("0")._value
            await until(lambda: lag.get() == 1)
        assert blocked_commits.blocked_seconds("harmonise") == 0
        with pytest.raises(IntegrityStop, match=f"reading {name}-raw: records cannot be decoded"):
            _ = [record async for record in read_topic(settings, f"{name}-raw")]
        with pytest.raises(IntegrityStop, match=f"partition 0 of {name}-raw: records cannot"):
            await read_partition(settings, f"{name}-raw", 0)

    asyncio.run(scenario())


@pytest.mark.kafka
def test_stage_stops_being_ready_when_its_topic_is_deleted(site: tuple[Path, Settings]):
    """The broker monitor finds it, because a consumer without partitions only waits."""
    from gateway.kafka import broker_monitor

    _, settings = site

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        monitor = asyncio.create_task(broker_monitor.monitor_brokers(settings, ["harmonise"]))
        await asyncio.sleep(3)
        assert blocked_commits.blocked_seconds("harmonise") == 0
        client = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
        await client.start()
        await client.delete_topics([topics.NOTIFICATIONS.name])
        await client.close()
        await until(lambda: "topics are missing" in blocked_commits.blocked_reason("harmonise"))
        await topic_admin.create_missing(settings)
        await until(lambda: blocked_commits.blocked_seconds("harmonise") == 0)
        monitor.cancel()
        await asyncio.wait([monitor])

    asyncio.run(scenario())


@pytest.mark.kafka
def test_stage_reads_new_partitions_and_notices_another_topic_of_its_name(
    site: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
):
    """A consumer that has lost its partitions only waits, and looks healthy."""
    monkeypatch.setattr(harmonise_stage, "METADATA_MS", 3_000)
    _, settings = site
    name, bootstrap = "changing", settings.kafka_bootstrap

    async def scenario() -> None:
        await create(bootstrap, f"{name}-raw", f"{name}-out", f"{name}-rejects")
        await fill(bootstrap, f"{name}-raw", [(b"k", b"one"), (b"k", b"two")])
        stage = stage_of(settings, name)
        client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await client.start()
        async with running(stage):
            await until(lambda: stage.committed == 2)
            await client.create_partitions({f"{name}-raw": NewPartitions(2)})
            await fill(bootstrap, f"{name}-raw", [(b"k", b"three")], 1)
            await until(lambda: stage.committed == 3, 90)
            await client.delete_topics([f"{name}-raw"])
            await asyncio.sleep(2)
            await create(bootstrap, f"{name}-raw")
            await fill(bootstrap, f"{name}-raw", [(b"k", b"four")])
            await until(
                lambda: (
                    stage.committed == 4
                    or "went back" in blocked_commits.blocked_reason("harmonise")
                ),
                90,
            )
        await client.close()

    asyncio.run(scenario())


class FailingConsumer:
    """A consumer that raises in place of the parser of aiokafka."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def getmany(self, *_: object, **__: object) -> object:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        CorruptRecordException("crc"),
        UnsupportedCodecError("no codec"),
        ValueError("a varint"),
        struct.error("short"),
        AssertionError(),
        EOFError(),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_of_the_parser_is_one_error(error: Exception):
    with pytest.raises(UnreadableRecords, match=type(error).__name__) as raised:
        asyncio.run(fetch_records(FailingConsumer(error), timeout_ms=1))
    assert raised.value.cause == type(error).__name__


@pytest.mark.parametrize("error", [ConnectionResetError(), asyncio.CancelledError()])
def test_error_of_the_connection_stays_what_it_is(error: BaseException):
    with pytest.raises(type(error)):
        asyncio.run(fetch_records(FailingConsumer(error), timeout_ms=1))


@pytest.mark.parametrize(
    ("topic", "setting", "value", "message"),
    [
        (topics.RAW, "cleanup.policy", "delete", "must be compact"),
        (topics.CURSORS, "cleanup.policy", "compact,delete", "must be compact alone"),
        (topics.DIGESTS, "cleanup.policy", "delete,compact", "must be compact alone"),
        (topics.SUPPRESSIONS, "cleanup.policy", "compact,delete", "must be compact alone"),
        (topics.AUDIT, "cleanup.policy", "compact", "must be delete"),
        (topics.COMMANDS, "cleanup.policy", "compact,delete", "must be delete"),
        (topics.CURSORS, "max.message.bytes", "2000", "must be 65536 or more"),
        (topics.REJECTIONS, "max.message.bytes", "65535", "must be 65536 or more"),
        (topics.RAW, "compression.type", "brotli", "compression.type is brotli, and this gateway"),
    ],
)
def test_setting_that_loses_or_hides_records_stops_the_gateway(
    topic: topics.Topic, setting: str, value: str, message: str
):
    configured = topics.topic_config(topic) | {"compression.type": "producer"}
    topic_admin._check_settings(topic, configured)
    with pytest.raises(IntegrityStop, match=f"{topic.name}: .*{message}"):
        topic_admin._check_settings(topic, configured | {setting: value})


@pytest.mark.parametrize("name", ["snappy", "lz4", "zstd"])
def test_codec_that_is_not_installed_stops_the_gateway(name: str, monkeypatch: pytest.MonkeyPatch):
    configured = topics.topic_config(topics.RAW) | {"compression.type": name}
    topic_admin._check_settings(topics.RAW, configured)
    monkeypatch.setattr(codec, f"has_{name}", lambda: False)
    with pytest.raises(IntegrityStop, match=f"compression.type is {name}.*install.*cramjam"):
        topic_admin._check_settings(topics.RAW, configured)


@pytest.mark.parametrize("value", ["producer", "uncompressed", "gzip", None])
def test_usual_compression_is_accepted(value: str | None):
    topic_admin._check_settings(
        topics.RAW, topics.topic_config(topics.RAW) | {"compression.type": value}
    )
