"""Replace the keys of pseudonyms and of ids, so that no person is published twice.

``gateway run --accept-new-key`` does this before the worker starts. The documents under an old key
must go before the first one under a new key is written. There are three cases:

- The old pseudonym key is known as the previous one. Each record then moves in one transaction.
- It is not known. The documents under it are deleted here, before anything is published again.
- The ``id_key`` of a stream is another one. Its records are deleted, and it is read from its start.

In the first two cases, the owner of each stream renormalises it. See docs/decisions/0076.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from gateway.config.connector import Connector
from gateway.errors import ConfigError, Finding, StreamHalted
from gateway.fetch.secrets import FileSecrets
from gateway.kafka.cluster_check import store_next_to_cursors
from gateway.kafka.topic_reader import count_partitions, read_topic
from gateway.kafka.transactions import TransactionalProducer
from gateway.messages import commands
from gateway.messages.cloudevents import encode_document_headers
from gateway.messages.event_ids import EventIds, new_event_id
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.messages.topics import (
    CARDS_TOPIC,
    CREDENTIALS_TOPIC,
    CURSORS,
    POINTERS_TOPIC,
    RAW,
    STUDENT_STATUS_TOPIC,
)
from gateway.operations.stream_requests import PAUSE, RENORMALISE
from gateway.pipeline import key_check
from gateway.pipeline.harmonise_stage import CONSUMER_GROUP
from gateway.pipeline.key_check import KeyFingerprints
from gateway.pipeline.raw_entry import RawEntry, erasure_entry
from gateway.pipeline.stream_state import ID_KEY_NOTE, StreamState
from gateway.pipeline.suppression_list import read_suppression_list
from gateway.pseudonym_keys import PseudonymKeys, load_keys
from gateway.records import RawRecord
from gateway.render.render import tombstone
from gateway.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

log = structlog.get_logger()
T = TypeVar("T")
BATCH_SIZE = 500
_PSEUDONYM = re.compile(rb"[0-9a-f]{40}")
_CREDENTIAL_ID = re.compile(rb"urn:uuid:[0-9a-f-]{36}")
_PSEUDONYM_TOPICS = (STUDENT_STATUS_TOPIC, CARDS_TOPIC)
_PERMANENT_TOPICS = (CREDENTIALS_TOPIC, POINTERS_TOPIC)


async def accept_keys(settings: Settings, connectors: Mapping[str, Connector]) -> None:
    """Accept the keys of these settings in place of the stored ones. A repetition is harmless.

    Raises :class:`~gateway.errors.ConfigError` if the previous key of the settings is not the one
    that was in use. Raises :class:`~gateway.errors.IntegrityStop` if the gateway could not
    recognise an erased record any more. Raises the errors of Kafka; call this again then.
    """
    for connector in connectors.values():
        await _accept_id_keys(settings, connector)
    stored = await key_check.read_fingerprints(settings)
    current = key_check.fingerprints_of(load_keys(settings))
    if stored is None:
        await key_check.check_or_store_keys(settings)
        return
    if stored == current:
        return
    old = stored.replaces or stored.in_use
    _refuse_wrong_previous_key(settings, old, current)
    # Without the key of a suppression entry, an erased person could be published again.
    await read_suppression_list(settings)
    begun = msgspec.structs.replace(current, replaces=old)
    await _store(settings, begun)
    await _fence_stages(settings)
    removed = await _remove_documents(settings, old, current)
    for connector in connectors.values():
        await _request_renormalisation(settings, connector)
    await _store(settings, current)
    log.info("new key accepted", removed=removed)


def _refuse_wrong_previous_key(
    settings: Settings, old: KeyFingerprints, current: KeyFingerprints
) -> None:
    """Raise an error if the previous key is a slip, because documents would be deleted then."""
    previous = settings.pseudonym_key_previous.get_secret_value()
    changed = old.pseudonym != current.pseudonym
    if not (previous and changed):
        return
    given = key_check.fingerprint(previous.encode(), "pseudonym")
    if given != old.pseudonym:
        text = (
            f"this is not the key that was in use (fingerprint {given[:8]}, expected "
            f"{old.pseudonym[:8]}); set it to that key, or leave it empty if that key is lost: the "
            "gateway then deletes the documents under it and publishes each person once again"
        )
        raise ConfigError([Finding("GATEWAY_PSEUDONYM_KEY_PREVIOUS", 0, 0, "wrong-key", "", text)])


async def _store(settings: Settings, fingerprints: KeyFingerprints) -> None:
    value = msgspec.json.encode(fingerprints)
    await store_next_to_cursors(settings, key_check.KEY, value, overwrite=True)


async def _fence_stages(settings: Settings) -> None:
    """End the transactions of every stage, so that a stage with another key looks again."""
    for partition in range(await count_partitions(settings, RAW.name)):
        producer = TransactionalProducer(
            settings, f"{CONSUMER_GROUP}-{RAW.name}-{partition}", "harmonise"
        )
        try:
            await producer.fence()
        finally:
            await producer.close()


async def _remove_documents(
    settings: Settings, old: KeyFingerprints, current: KeyFingerprints
) -> int:
    """Delete the documents whose keys only an unknown key could make; return their number."""
    known = set(_all_fingerprints(load_keys(settings)))
    topics: dict[str, re.Pattern[bytes]] = {}
    if old.pseudonym != current.pseudonym and old.pseudonym not in known:
        topics |= dict.fromkeys(_PSEUDONYM_TOPICS, _PSEUDONYM)
    if old.permanent != current.permanent and old.permanent not in known:
        topics |= dict.fromkeys(_PERMANENT_TOPICS, _CREDENTIAL_ID)
    removed = 0
    event_ids = EventIds(load_keys(settings).secrets[0])
    producer = TransactionalProducer(settings, f"{CONSUMER_GROUP}-new-key", "harmonise")
    try:
        for topic, pattern in topics.items():
            documents = await _read_standing(settings, topic, pattern)
            for part in _parts(documents):
                if not producer.ready:
                    await producer.fence()
                await producer.commit([_tombstone(document, event_ids) for document in part])
                removed += len(part)
    finally:
        await producer.close()
    return removed


def _all_fingerprints(keys: PseudonymKeys) -> Iterator[str]:
    for secret in keys.secrets:
        yield key_check.fingerprint(secret, "pseudonym")
    for secret in keys.permanent:
        yield key_check.fingerprint(secret, "permanent")


async def _read_standing(
    settings: Settings, topic: str, pattern: re.Pattern[bytes]
) -> list[ConsumerRecord]:
    standing: dict[bytes, ConsumerRecord] = {}
    async for record in read_topic(settings, topic):
        if not pattern.fullmatch(record.key):
            continue
        standing.pop(record.key, None)
        if record.value is not None:
            record.value = b""  # the key and the source are enough
            standing[record.key] = record
    return list(standing.values())


def _tombstone(document: ConsumerRecord, event_ids: EventIds) -> OutgoingRecord:
    source = dict(document.headers).get("ce_source", b"").decode()
    _, connector, stream = source.rsplit("/", 2) if source.count("/") > 1 else ("", "", "")
    raw = RawRecord(
        connector=connector, stream=stream, native_id="", body=None, event_id=new_event_id()
    )
    headers = encode_document_headers(
        tombstone(document.topic, document.key.decode()), raw, None, event_ids
    )
    return OutgoingRecord(document.topic, document.key, None, headers, timestamp=document.timestamp)


async def _request_renormalisation(settings: Settings, connector: Connector) -> None:
    """Store a request in each stream, whose owner carries it out before its next poll."""
    command = commands.Renormalise(connector=connector.connector, id=uuid.uuid4().hex)
    for stream in connector.streams:
        async with _opened(settings, connector.connector, stream) as state:
            await state.write([], None, notes={RENORMALISE: commands.encode(command)})


async def _accept_id_keys(settings: Settings, connector: Connector) -> None:
    """Delete what streams published under another ``id_key``, and reset their cursors."""
    secrets = FileSecrets(settings.secrets_dir)
    for name, stream in connector.streams.items():
        if stream.id_key is None:
            continue
        try:
            current = key_check.id_key_fingerprint(connector.connector, name, stream, secrets)
        except StreamHalted as error:
            log.warning(
                "id_key not checked", connector=connector.connector, stream=name, error=str(error)
            )
            continue
        async with _opened(settings, connector.connector, name) as state:
            stored = state.notes.get(ID_KEY_NOTE)
            if current is None or stored is None or stored == current:
                continue
            ids = list(state.digests)
            for part in _parts(ids):
                await state.write([_erasure(connector.connector, name, id_) for id_ in part], None)
            await _forget_position(state, current)
        log.warning(
            "new id_key accepted",
            connector=connector.connector,
            stream=name,
            removed=len(ids),
            remark="the stream is read from its start; erase again what was erased by id",
        )


def _erasure(connector: str, stream: str, native_id: str) -> RawEntry:
    raw = RawRecord(connector=connector, stream=stream, native_id=native_id, body=None)
    return erasure_entry(raw, "asked")


async def _forget_position(state: StreamState, fingerprint: bytes) -> None:
    """Remove the cursor and every note that belongs to it, and store the fingerprint."""
    name = f"{state.connector}|{state.stream}".encode()
    cursor = OutgoingRecord(CURSORS.name, name, None, [], partition_for(name, CURSORS.partitions))
    stale = dict.fromkeys(note for note in state.notes if note != PAUSE)
    notes: dict[str, bytes | None] = {**stale, ID_KEY_NOTE: fingerprint}
    await state.write([], None, [cursor], notes=notes)


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH_SIZE] for start in range(0, len(items), BATCH_SIZE))


@contextlib.asynccontextmanager
async def _opened(settings: Settings, connector: str, stream: str) -> AsyncIterator[StreamState]:
    state = StreamState(settings, connector, stream)
    try:
        await state.open()
        yield state
    finally:
        await state.close()
