"""The trusted providers of the saved registers, with which the saved replies are judged."""

from __future__ import annotations

import asyncio
from functools import cache

from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.quality_assurance import Providers
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Accepted, Provider
from tests.support.saved_replies import CASES, ROOT, connector_for, read

SAVED_REGISTERS = ("eu-eche",)
"""The connectors whose saved replies list providers.

The saved reply of ``eu-deqar`` is left out, because its reports are those of another institution.
"""


@cache
def saved_providers() -> Providers:
    """Return every provider that a saved register names, as the connectors read it."""
    tables = Tables.load(ROOT / "mappings")
    providers: list[Provider] = []
    for case in CASES:
        if case.connector not in SAVED_REGISTERS:
            continue
        harmonise = Harmoniser(connector_for(case), tables, pseudonym_key=b"k" * 32)
        for raw in asyncio.run(read(case)):
            outcome = harmonise(raw)
            if isinstance(outcome, Accepted) and isinstance(outcome.record, Provider):
                providers.append(outcome.record)
    return Providers(providers)
