"""Explain with the current files how a stored raw record is harmonised. Persons are hidden."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.config.split_streams import split_by_party
from gateway.errors import Unavailable, UsageError
from gateway.harmonise.explanation import Explanation
from gateway.harmonise.explanation import explain as explained
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.kafka.connection import KafkaError
from gateway.kafka.topic_reader import read_latest
from gateway.kafka.unreadable_records import DECODING_ERRORS
from gateway.messages.cloudevents import decode_raw
from gateway.messages.event_ids import EventIds
from gateway.messages.topics import RAW
from gateway.operations.provider import load_providers
from gateway.pipeline.fast_path.fast_path import DocumentSettings, build_fast_path
from gateway.pipeline.loaded_config import find_connector_file
from gateway.records import RawRecord
from gateway.render.elm_catalogue import DEFAULT_VERSION
from gateway.render.publication import publication
from gateway.settings import Settings

MASKING_KEY = b"the key of explanations, never of a gateway"
"""Explanations hide the pseudonyms that are made with this key, so the key protects nothing."""


async def read_stored_record(
    settings: Settings, connector: str, native_id: str
) -> tuple[RawRecord, str]:
    """Return the latest raw record with this id, and its position.

    Raises :class:`~gateway.errors.UsageError` if there is none, and
    :class:`~gateway.errors.Unavailable` if the topic cannot be read.
    """
    try:
        record = await read_latest(settings, RAW.name, f"{connector}|{native_id}".encode())
    except (KafkaError, OSError) as error:
        raise Unavailable(f"{RAW.name} cannot be read now ({type(error).__name__})") from None
    if record is None or record.value is None:
        raise UsageError(
            f"{RAW.name} holds no record {native_id} of {connector}; "
            f"`gateway topics read {RAW.name}` lists keys"
        )
    position = f"{RAW.name}-{record.partition}@{record.offset}"
    try:
        return decode_raw(record.key, record.value, record.headers), position
    except DECODING_ERRORS:
        raise UsageError(
            f"{position} is no record that a gateway wrote: its headers cannot be read; "
            "the gateway reads the record again with `gateway backfill`"
        ) from None


async def explain_stored_record(settings: Settings, connector: str, native_id: str) -> Explanation:
    """Return the explanation of a stored record.

    Raises a :class:`~gateway.errors.GatewayError` that names the missing connector or record.
    """
    path = find_connector_file(settings.connectors, connector)
    raw, position = await read_stored_record(settings, connector, native_id)
    providers = await load_providers(settings)

    def work() -> Explanation:
        loaded, tables = split_by_party(load_connector(path)), Tables.load(settings.mappings)
        return explain_record(loaded, raw, tables, position, providers)

    return await asyncio.to_thread(work)


def explain_record(
    connector: Connector,
    raw: RawRecord,
    tables: Tables,
    position: str = "",
    providers: Providers | None = None,
) -> Explanation:
    """Return the explanation of a raw record, rule by rule.

    Without ``providers``, the quality assurance of an award is not assessed.

    The outcome is the one that the record would have in a run. It uses the rules as functions,
    which are slower than the generated code and give the same result.
    """
    harmoniser = Harmoniser(connector, tables, pseudonym_key=MASKING_KEY, providers=providers)
    outcome = harmoniser.harmonise_with_rules(raw)
    made = publication(outcome, raw, connector)
    page = explained(connector, raw, outcome, tables=tables, position=position, topics=made.topics)
    if type(made.outcome) is type(outcome):
        return page
    # The rules accept the record, but it cannot become a document. The page shows both.
    rejected = explained(connector, raw, made.outcome, tables=tables, position=position)
    return replace(page, outcome=rejected.outcome, notes=(*rejected.notes, *page.notes))


def generated_code(connector: Connector, stream: str, tables: Tables) -> str:
    """Return the Python code that is generated for each kind of record of a stream.

    The function of the rules comes first, and then that of the fast path, if the kind has one.
    """
    harmoniser = Harmoniser(connector, tables, pseudonym_key=MASKING_KEY)
    compiled = harmoniser.compiled_stream(stream)
    if compiled is None:
        return ""
    settings = DocumentSettings(EventIds(MASKING_KEY), DEFAULT_VERSION, MASKING_KEY, MASKING_KEY)
    sources = []
    for kind in compiled.kinds():
        sources.append(f"# The rules for a {kind.emits}.\n{kind.source}")
        if path := build_fast_path(harmoniser, stream, kind, settings):
            sources.append(f"# The fast path for a {kind.emits}.\n{path.source}")
    return "\n\n".join(sources)
