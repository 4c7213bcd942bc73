"""Stand-in registries on loopback: they speak real protocols over real sockets and hold fictional people.

    >>> registry = await soap_credits.start(records=1_000)
    >>> registry.url, registry.add("degrees", 5), registry.misbehave("too_many", times=2)
    >>> registry.ledger  # every record of every well-formed reply

``python -m gateway.local.registries rest_catalogue --records 1000`` runs one by itself.
"""

from gateway.local.registries.misbehaviour import KINDS, Misbehaviour
from gateway.local.registries.record_store import ServedRecord
from gateway.local.registries.server import Registry

__all__ = ["KINDS", "Misbehaviour", "Registry", "ServedRecord"]
