"""Run demo registries on the loopback interface.

They use real protocols and real sockets. All their data is fictional.

    >>> registry = await soap_credits.start(records=1_000)
    >>> registry.url, registry.add("degrees", 5), registry.misbehave("too_many", times=2)
    >>> registry.ledger  # all records in well-formed replies

``python -m gateway.local.registries rest_catalogue --records 1000`` runs a single registry.
"""

from gateway.local.registries.misbehaviour import KINDS, WHOLE_POLL, Misbehaviour
from gateway.local.registries.record_store import ServedRecord
from gateway.local.registries.server import Registry

__all__ = ["KINDS", "WHOLE_POLL", "Misbehaviour", "Registry", "ServedRecord"]
