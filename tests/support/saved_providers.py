"""The trusted providers of the saved registers, with which the saved replies are judged."""

from __future__ import annotations

import asyncio
from functools import cache

from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Accepted, Organisation, Provider
from tests.support.saved_replies import CASES, ROOT, connector_for, read

SAVED_REGISTERS = ("eu-eche",)
"""The connectors whose saved replies list providers.

The saved reply of ``eu-deqar`` is left out, because its reports are those of another institution.
"""

NAMED_BODIES = {
    "be-national": ("34975", "35881", "48629"),
    "fi-national": ("00204", "00648", "01694"),
    "fi-oid": ("1.2.246.562.10.43628088406",),
}
"""Bodies of the saved replies that no list of charters holds: schools, centres and a board.

A register of providers that knows them is part of the replay, so that a number that does not join
shows as ``UNKNOWN_PROVIDER``. It holds no report about them.
"""


def named_bodies() -> list[Provider]:
    """Return the providers that the saved replies name and that no saved register holds."""
    return [
        Provider(
            id=f"{scheme} {number}",
            organisation=Organisation(country=scheme[:2].upper(), identifiers={scheme: number}),
        )
        for scheme, numbers in NAMED_BODIES.items()
        for number in numbers
    ]


@cache
def saved_providers() -> Providers:
    """Return every provider that a saved register or a saved reply names."""
    tables = Tables.load(ROOT / "mappings")
    providers = named_bodies()
    for case in CASES:
        if case.connector not in SAVED_REGISTERS:
            continue
        harmonise = Harmoniser(connector_for(case), tables, pseudonym_key=b"k" * 32)
        for raw in asyncio.run(read(case)):
            outcome = harmonise(raw)
            if isinstance(outcome, Accepted) and isinstance(outcome.record, Provider):
                providers.append(outcome.record)
    return Providers(providers)
