"""Publish metrics about the loaded configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta

from gateway.config.connector import Connector, Stream
from gateway.config.mapping_tables import FrameworkVersion
from gateway.config.target_fields import field_names, find_target, record_type
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.observability import metrics


def publish_config_metrics(connectors: Collection[Connector], tables: Tables, today: date) -> None:
    """Publish the loaded connectors, the mapped fields of each stream and the expiry of tables.

    A table expires after its last version if no later version follows. ``today`` decides
    which versions count.
    """
    metrics.CONFIG_INFO.clear()
    metrics.COVERAGE.clear()
    metrics.TABLE_EXPIRY.clear()
    for connector in connectors:
        metrics.CONFIG_INFO.labels(
            connector.connector, connector.digest, str(connector.language)
        ).set(1)
        for name, stream in connector.streams.items():
            metrics.COVERAGE.labels(connector.connector, name).set(mapped_field_ratio(stream))
            metrics.start_stream(connector.connector, name)
    countries = {connector.country for connector in connectors}
    every_country = any(connector.has_several_countries for connector in connectors)
    for mapping in tables.mappings:
        if mapping.country not in countries and not every_country:
            continue
        for key, framework in mapping.frameworks.items():
            if last := last_valid_day(framework.versions, today):
                end = datetime.combine(last + timedelta(days=1), time(), UTC)
                metrics.TABLE_EXPIRY.labels(mapping.country, key).set(end.timestamp())


def publish_config_errors(not_loaded: Iterable[str], running: Collection[str]) -> None:
    """Publish which connectors have a file that is not valid.

    ``running`` names the connectors that run, with an earlier version of such a file.
    """
    metrics.CONFIG_ERROR_STATE.clear()
    for name in not_loaded:
        metrics.CONFIG_ERROR_STATE.labels(name).set(1 if name in running else 2)


def mapped_field_ratio(stream: Stream) -> float:
    """Return the share of the target's fields that a stream maps, from 0 to 1.

    Fields that the gateway derives do not count.
    """
    kinds = [stream.map, *(kind.map for kind in stream.kinds.values())]
    mapped = {target.partition(".")[0] for rules in kinds for target in rules}
    owner = record_type(stream.emits)
    fields = {name for name in field_names(owner) if not find_target(owner, name).derived} - {"id"}
    return len(mapped & fields) / len(fields)


def last_valid_day(versions: Iterable[FrameworkVersion], today: date) -> date | None:
    """Return the last day on which any of the versions is valid.

    Returns ``None`` if a version has no end, or if the last day is before ``today``.
    """
    ends = [version.until for version in versions]
    last_day = max((end for end in ends if end), default=None)
    return None if last_day is None or None in ends or last_day < today else last_day
