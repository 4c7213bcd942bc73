"""Explain whose tables judge a record of a source that holds records of several countries."""

from __future__ import annotations

from gateway.config.connector import Stream
from gateway.harmonise.mapping.record_country import NO_SINGLE_COUNTRY
from gateway.records import Accepted, Outcome, Rejected


def describe_country(stream: Stream, outcome: Outcome) -> str:
    """Return the country of a record and the expression that reads it.

    The text is empty if the stream does not name the country of each record.
    """
    if stream.record_country is None:
        return ""
    country = ""
    if isinstance(outcome, Accepted):
        country = outcome.provenance.country
    elif isinstance(outcome, Rejected):
        country = outcome.country
    if country == NO_SINGLE_COUNTRY:
        return f"not known, so {country} applies: {stream.record_country} names no single country"
    return f"{country or 'none with tables'}, from {stream.record_country}"
