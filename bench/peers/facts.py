"""Write the rows and codes of the mapping tables as one JSON file for the other engines.

The file also contains what the gateway writes into headers: the provenance of each table row that
the job uses, the digests, and the key of the event ids.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from bench.peers.ours import KEY, harmonise
from bench.peers.records import RECORDS, bodies
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values.iso_codes import LANGUAGES
from gateway.messages.topics import QUALIFICATIONS_TOPIC
from gateway.pseudonym_keys import derive_key
from gateway.records import Accepted
from gateway.render import elm_catalogue, vocabularies

FIRST, LAST = "0000-00-00", "9999-99-99"


def facts(mappings: Path = Path("mappings")) -> dict[str, Any]:
    """Return every national level and credit unit with its dates, and the job's codes."""
    tables = Tables.load(mappings)
    return {
        "context": elm_catalogue.VERSIONS["3.1"].context,
        "levels": _levels(tables),
        "credits": _credits(tables),
        "languages": {
            code: json.loads(found)["id"]
            for code, short in sorted(LANGUAGES.items())
            if len(code) == 3 and (found := vocabularies.language(short))
        },
        "countries": {
            code: json.loads(found)["id"]
            for code in sorted(vocabularies.COUNTRIES)
            if (found := vocabularies.country(code))
        },
        "modes": {
            "full": vocabularies.MODES["presential"],
            "remote": vocabularies.MODES["online"],
            "mixed": vocabularies.MODES["blended"],
        },
        "formal": vocabularies.SETTINGS["formal"],
        "ects": vocabularies.ECTS,
        "event_key": derive_key(KEY.encode(), f"event ids {QUALIFICATIONS_TOPIC}").hex(),
        **_provenance(),
    }


def _provenance() -> dict[str, Any]:
    """Return the digests, and the provenance of each table row, by the name of the row."""
    lookups: dict[str, Any] = {}
    digests: dict[str, str] = {}
    for kind in RECORDS:
        for native_id, body in bodies(2_000, kind=kind):
            outcome = harmonise(native_id, body)
            if isinstance(outcome, Accepted):
                provenance = outcome.provenance
                digests["config_digest"] = provenance.config_digest
                digests["tables_digest"] = provenance.tables_digest
                for lookup in provenance.lookups:
                    lookups[lookup.row] = msgspec.to_builtins(lookup)
    return {**digests, "lookups": lookups}


def _levels(tables: Tables) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for mapping in tables.mappings:
        for key, framework in mapping.frameworks.items():
            for version in framework.versions:
                for level in version.levels:
                    if level.eqf is None or not level.uri:
                        continue
                    row = {
                        "from": str(level.from_ or version.from_ or FIRST),
                        "until": str(level.until or version.until or LAST),
                        "eqf": f"{vocabularies.SNB_BASE_URI}/eqf/{level.eqf}",
                        "nqf": level.uri,
                        "row": f"{mapping.country}/{key}/{level.level}",
                    }
                    found.setdefault(f"{mapping.country}|{key}|{level.level}", []).append(row)
    return found


def _credits(tables: Tables) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for mapping in tables.mappings:
        for unit in mapping.credits:
            if unit.ects is None or unit.sector not in {"HE", "ALL"}:
                continue
            row = {
                "from": str(unit.from_ or FIRST),
                "until": str(unit.until or LAST),
                "ects": float(unit.ects),
                "row": f"{mapping.country}/{unit.unit}",
            }
            for name in {unit.unit, *unit.also}:
                found.setdefault(f"{mapping.country}|{name}", []).append(row)
    return found


def write(path: Path) -> None:
    """Write the facts to the place where the engines read them."""
    path.write_text(json.dumps(facts(), ensure_ascii=False))
