"""Concepts of EU vocabularies as JSON, ready for documents.

SHACL requires the type and the scheme of each concept inside the document, because validators do
not load the vocabularies.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from orjson import dumps

from gateway.config.code_lists import EU_LANGUAGES, ISCED_F
from gateway.harmonise.values.iso_codes import THREE_LETTER_CODES

_DATA: Final[dict[str, Any]] = json.loads(
    Path(__file__).with_name("vocab.json").read_text(encoding="utf-8")
)
COUNTRIES: Final[dict[str, str]] = _DATA["country"]
"""ISO 3166-1 alpha-2 to the EU authority code."""
_TWO_LETTERS: Final = re.compile("[a-z]{2}")
SNB_BASE_URI: Final = "http://data.europa.eu/snb"
AUTHORITY_BASE_URI: Final = "http://publications.europa.eu/resource/authority"

MODES: Final = {
    "online": "920fbb3cbe",
    "blended": "e92d221e4d",
    "presential": "9191af2ed9",
    "workbased": "729f3bed4b",
    "project": "7813801c77",
    "research": "ed4c557045",
}
ASSESSMENTS: Final = {
    "written": "6e6cb2cc78",
    "oral": "d30284d7df",
    "marked_assignment": "2939dae15f",
    "continuous": "3484bd7e51",
    "portfolio": "4f03b91c0e",
    "project": "795dac4096",
    "practical": "6a4db9f11d",
    "quiz": "b1b68f6735",
    "artefact": "de4d165a6c",
    "attendance": "7331eb4762",
    "peer": "19a2e5e671",
}
SUPERVISION: Final = {"unsupervised": "c598449d64", "supervised_with_id": "70be69aaf9"}
SETTINGS: Final = {"formal": "6fd4685715", "non_formal": "e207a81fc7"}
ACCREDITATIONS: Final = {
    "licence": "003293d2ce",
    "institutional": "bb4618238e",
    "programme": "820101cba6",
}
ECTS: Final = "6fcec5c5af"
GENERIC_CREDENTIAL: Final = "e34929035b"
SHORT_LEARNING_PROGRAMME: Final = "74a4a268e8"


@lru_cache(maxsize=4096)
def snb_concept(vocabulary: str, code: str) -> bytes:
    """Return a concept of a ``data.europa.eu/snb`` vocabulary."""
    return concept(f"{SNB_BASE_URI}/{vocabulary}/{code}", f"{SNB_BASE_URI}/{vocabulary}/25831c2")


@lru_cache(maxsize=4096)
def concept(uri: str, scheme: str) -> bytes:
    """Return a typed concept in its scheme."""
    return b'{"id":%b,"type":"Concept","inScheme":{"id":%b,"type":"ConceptScheme"}}' % (
        dumps(uri),
        dumps(scheme),
    )


@lru_cache(maxsize=4096)
def labelled_concept(uri: str, scheme: str, label: str) -> bytes:
    """Return a concept of a scheme outside the EU vocabularies, with its name."""
    return (
        b'{"id":%b,"type":"Concept","prefLabel":{"en":%b},'
        b'"inScheme":{"id":%b,"type":"ConceptScheme"}}'
    ) % (dumps(uri), dumps(label), dumps(scheme))


@lru_cache(maxsize=1024)
def country(code: str | None) -> bytes | None:
    """Return the concept of an ISO 3166-1 alpha-2 country, or ``None`` if it is unknown."""
    authority_code = COUNTRIES.get((code or "").upper()[:2])
    return (
        concept(f"{AUTHORITY_BASE_URI}/country/{authority_code}", f"{AUTHORITY_BASE_URI}/country")
        if authority_code
        else None
    )


@lru_cache(maxsize=1024)
def language(tag: str | None) -> bytes | None:
    """Return the language concept of a BCP 47 tag, or ``None`` when the vocabulary has none."""
    short = (tag or "").lower().split("-", 1)[0]
    code = THREE_LETTER_CODES.get(short, short)
    if code not in EU_LANGUAGES:
        return None
    return concept(
        f"{AUTHORITY_BASE_URI}/language/{code.upper()}", f"{AUTHORITY_BASE_URI}/language"
    )


@lru_cache(maxsize=1024)
def two_letter_tag(tag: str) -> str:
    """Return the first part of a language tag if it has two letters, or else ``en``."""
    short = tag.split("-", 1)[0].lower()
    return short if _TWO_LETTERS.fullmatch(short) else "en"


@lru_cache(maxsize=1024)
def languages(tags: tuple[str, ...]) -> bytes:
    """Return the items of a JSON list: the languages of BCP 47 tags, without unknown tags."""
    return b",".join([item for tag in tags if (item := language(tag))])


@lru_cache(maxsize=4096)
def education_fields(codes: tuple[str, ...]) -> bytes:
    """Return the items of a JSON list: the fields of ISCED-F codes, without unknown codes."""
    return b",".join([snb_concept("isced-f", code) for code in codes if code in ISCED_F])


def file_type(code: str) -> bytes:
    """Return a file-type concept."""
    return concept(f"{AUTHORITY_BASE_URI}/file-type/{code}", f"{AUTHORITY_BASE_URI}/file-type")
