"""Check the last part of a target's name: a language tag, or the scheme of an identifier."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

from gateway.config.countries import COUNTRIES
from gateway.config.target_fields import TargetField, find_target
from gateway.harmonise.values import casts
from gateway.harmonise.values.text import CastError
from gateway.identifiers import IDENTIFIER_SCHEMES


def normalise_last_name(
    target: TargetField, record_type: type[Any]
) -> tuple[TargetField, str, str]:
    """Return the target with the language tag of records, and the code and text of a problem.

    Without a problem, the text is empty. For example, ``title.swe`` fills ``title.sv``.
    """
    *parents, name = target.path
    if not parents:
        return target, "", ""
    owner = ".".join(parents)
    match find_target(record_type, owner).value_type:
        case "languages":
            tag, problem = normalise_tag(name)
            if tag != name:
                problem = f"write {owner}.{tag}, the shortest code of this language"
            return replace(target, path=(*parents, tag)), "bad-language", problem
        case "dictionary":
            if problem := _national_scheme_problem(name):
                return target, "unknown-word", problem
            near = difflib.get_close_matches(name, IDENTIFIER_SCHEMES, 1, 0.7)
            if name not in IDENTIFIER_SCHEMES and near:
                message = f"'{name}' is no scheme of identifiers; did you mean '{near[0]}'?"
                return target, "unknown-word", message
    return target, "", ""


def _national_scheme_problem(scheme: str) -> str:
    """Return what to write for a national scheme such as ``FI-number``, or an empty text."""
    country, hyphen, word = scheme.partition("-")
    if not hyphen or len(country) != len("fi"):
        return ""
    known = COUNTRIES.get(country.upper())
    if known is None:
        return (
            f"'{country}' is no country of ISO 3166-1; a national scheme starts with the two "
            "letters of its country, such as fi-national"
        )
    right = f"{known}-{word}".lower()
    return "" if right == scheme else f"'{scheme}' is no scheme of identifiers; write '{right}'"


def normalise_tag(tag: str) -> tuple[str, str]:
    """Return a language tag as records carry it, and a problem or an empty text.

    A tag that names no language stays as it is.
    """
    try:
        return casts.language(tag), ""
    except CastError as error:
        return tag, f"'{tag}' is not {error.expected}"
