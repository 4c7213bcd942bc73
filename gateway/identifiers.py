# ruff: noqa: SIM905 - two hundred and forty-nine codes read better in eight lines than in a list
"""Identifiers of the student-card family and of providers: what a well-formed one is, and why one is not.

The reasons are stable codes. An identifier is never completed, guessed or minted here.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple

ISO_COUNTRIES: Final = frozenset(
    (
        "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT "
        "BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH "
        "ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT "
        "HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS "
        "LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI "
        "NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG "
        "SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG "
        "UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "
    ).split()
)
"""ISO 3166-1 alpha-2 codes that are officially assigned."""

_ESI_PREFIX: Final = "urn:schac:personalUniqueCode:int:esi:"
_ESI_MAX_LENGTH: Final = 255
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}(?:-[A-Za-z0-9]{1,3})?")
_DOMAIN: Final = re.compile(r"(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)+[A-Za-z]{2,24}")
_CODE: Final = re.compile(r"(?:[A-Za-z0-9()+,\-.:=@;$_!*']|%[0-9A-Fa-f]{2})+")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ERASMUS_SINGLE_DIGIT: Final = re.compile(r"^(.*[^0-9])([0-9])$")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LEGACY: Final = re.compile(r"[A-Z]{2}-[0-9]{9}-.+")
_PATTERNS: Final = {
    "pic": re.compile(r"[0-9]{9}"),
    "oid": re.compile(r"E[0-9]{8}"),
    "eter": re.compile(r"[A-Z]{2}[0-9]{4}"),
    "deqar": re.compile(r"DEQARINST(AP)?[0-9]{4,}"),
    "ror": re.compile(r"https://ror\.org/0[a-z|0-9]{8}"),
    "erasmus": re.compile(r"(IRL|LUX|[A-Z]{2} |[A-Z] {2})[A-Z][A-Z-]*[A-Z][0-9]{2,3}"),
    "schac": re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}"),
}


class StudentIdentifier(NamedTuple):
    """A European Student Identifier in its parts. ``value`` is the received spelling, which goes on the wire unchanged."""

    value: str
    scope: str
    code: str
    national: bool
    """True when the scope is a country or region, False when it is an institution's domain."""

    @property
    def comparison_key(self) -> str:
        """The spelling to compare by: the attribute is compared without regard to case."""
        return self.value.casefold()


def parse_student_identifier(value: str) -> StudentIdentifier | str:
    """Return the parts of a European Student Identifier, or the code of what is wrong with it."""
    problem = _urn_problem(value)
    if problem:
        return problem
    scope, _, code = value[len(_ESI_PREFIX) :].partition(":")
    problem = _scope_problem(scope) or _code_problem(code)
    return problem or StudentIdentifier(value, scope, code, national="." not in scope)


def is_legacy_student_identifier(value: str) -> bool:
    """Return whether a value has the older form of country, PIC and code, which exists and is no longer given out."""
    return bool(_LEGACY.fullmatch(value))


class CardNumber(NamedTuple):
    """A European Student Card Number: its wire form in lower case, the issuing server's prefix and the issuer's PIC."""

    value: str
    prefix: str
    pic: str


def parse_card_number(value: str) -> CardNumber | str:
    """Return the parts of a card number, or the code of what is wrong with it. Upper case is accepted and lowered.

    The time inside says nothing reliable: the official generators and plain version 1 UUIDs count it differently.
    """
    lowered = value.lower()
    if not _UUID.fullmatch(lowered):
        return "BAD_SHAPE"
    if lowered[14] != "1":
        return "VERSION_NOT_1"
    if lowered[19] not in "89ab":
        return "VARIANT_NOT_RFC4122"
    node = lowered[24:]
    if not (node.isascii() and node.isdigit()):
        return "NODE_NOT_DECIMAL"
    return CardNumber(lowered, node[:3], node[3:])


@lru_cache(maxsize=8192)
def normalise_identifier(scheme: str, value: str) -> str:
    """Return a provider's identifier in the spelling it is compared by: no-break spaces, case and stray space made even."""
    text = unicodedata.normalize("NFKC", value).strip()
    if scheme == "erasmus":
        code = (text[:3] + text[3:].replace(" ", "")).upper()
        return _ERASMUS_SINGLE_DIGIT.sub(r"\g<1>0\g<2>", code)
    if scheme in {"schac", "ror"}:
        return text.lower().rstrip("/")
    return "".join(text.split()).upper()


@lru_cache(maxsize=8192)
def is_well_formed(scheme: str, value: str) -> bool:
    """Return whether an identifier has its scheme's form; schemes without a public form accept anything that is not empty."""
    pattern = _PATTERNS.get(scheme)
    return bool(pattern.fullmatch(value)) if pattern else bool(value)


def _urn_problem(value: str) -> str:
    lowered = value.lower()
    if len(value) > _ESI_MAX_LENGTH:
        return "TOO_LONG"
    if not lowered.startswith("urn:"):
        return "NOT_A_URN"
    if lowered.startswith("urn:mace:terena.org:"):
        return "OLD_TERENA_URN"
    return "" if value.startswith(_ESI_PREFIX) else "NOT_INT_ESI"


def _scope_problem(scope: str) -> str:
    if not scope:
        return "EMPTY_SCOPE"
    if _COUNTRY.fullmatch(scope):
        return "" if scope[:2].upper() in ISO_COUNTRIES else "UNKNOWN_COUNTRY"
    if "." not in scope:
        return "SCOPE_NEITHER_COUNTRY_NOR_DOMAIN"
    return "" if _DOMAIN.fullmatch(scope) else "BAD_DOMAIN"


def _code_problem(code: str) -> str:
    if not code:
        return "EMPTY_CODE"
    if _BAD_PERCENT.search(code):
        return "BAD_PERCENT_ENCODING"
    return "" if _CODE.fullmatch(code) else "BAD_CHARACTER"
