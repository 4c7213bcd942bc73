"""Check the form of student, card and provider identifiers and of web addresses.

The functions name the error when the form is wrong.

The reasons are stable codes. This module never completes, guesses or issues an identifier.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

_COUNTRY_CODES: Final = (
    "AFGAF ALAAX ALBAL DZADZ ASMAS ANDAD AGOAO AIAAI ATAAQ ATGAG ARGAR ARMAM ABWAW AUSAU AUTAT "
    "AZEAZ BHSBS BHRBH BGDBD BRBBB BLRBY BELBE BLZBZ BENBJ BMUBM BTNBT BOLBO BESBQ BIHBA BWABW "
    "BVTBV BRABR IOTIO BRNBN BGRBG BFABF BDIBI CPVCV KHMKH CMRCM CANCA CYMKY CAFCF TCDTD CHLCL "
    "CHNCN CXRCX CCKCC COLCO COMKM COGCG CODCD COKCK CRICR CIVCI HRVHR CUBCU CUWCW CYPCY CZECZ "
    "DNKDK DJIDJ DMADM DOMDO ECUEC EGYEG SLVSV GNQGQ ERIER ESTEE SWZSZ ETHET FLKFK FROFO FJIFJ "
    "FINFI FRAFR GUFGF PYFPF ATFTF GABGA GMBGM GEOGE DEUDE GHAGH GIBGI GRCGR GRLGL GRDGD GLPGP "
    "GUMGU GTMGT GGYGG GINGN GNBGW GUYGY HTIHT HMDHM VATVA HNDHN HKGHK HUNHU ISLIS INDIN IDNID "
    "IRNIR IRQIQ IRLIE IMNIM ISRIL ITAIT JAMJM JPNJP JEYJE JORJO KAZKZ KENKE KIRKI PRKKP KORKR "
    "KWTKW KGZKG LAOLA LVALV LBNLB LSOLS LBRLR LBYLY LIELI LTULT LUXLU MACMO MDGMG MWIMW MYSMY "
    "MDVMV MLIML MLTMT MHLMH MTQMQ MRTMR MUSMU MYTYT MEXMX FSMFM MDAMD MCOMC MNGMN MNEME MSRMS "
    "MARMA MOZMZ MMRMM NAMNA NRUNR NPLNP NLDNL NCLNC NZLNZ NICNI NERNE NGANG NIUNU NFKNF MKDMK "
    "MNPMP NORNO OMNOM PAKPK PLWPW PSEPS PANPA PNGPG PRYPY PERPE PHLPH PCNPN POLPL PRTPT PRIPR "
    "QATQA REURE ROURO RUSRU RWARW BLMBL SHNSH KNAKN LCALC MAFMF SPMPM VCTVC WSMWS SMRSM STPST "
    "SAUSA SENSN SRBRS SYCSC SLESL SGPSG SXMSX SVKSK SVNSI SLBSB SOMSO ZAFZA SGSGS SSDSS ESPES "
    "LKALK SDNSD SURSR SJMSJ SWESE CHECH SYRSY TWNTW TJKTJ TZATZ THATH TLSTL TGOTG TKLTK TONTO "
    "TTOTT TUNTN TURTR TKMTM TCATC TUVTV UGAUG UKRUA AREAE GBRGB USAUS UMIUM URYUY UZBUZ VUTVU "
    "VENVE VNMVN VGBVG VIRVI WLFWF ESHEH YEMYE ZMBZM ZWEZW "
)
ALPHA_2_BY_ALPHA_3: Final = {word[:3]: word[3:] for word in _COUNTRY_CODES.split()}
"""The officially assigned ISO 3166-1 codes: alpha-3 to alpha-2."""
ISO_COUNTRIES: Final = frozenset(ALPHA_2_BY_ALPHA_3.values())
"""The officially assigned ISO 3166-1 alpha-2 codes. ``XK`` (Kosovo) is not one of them."""

_ESI_PREFIX: Final = "urn:schac:personaluniquecode:int:esi:"
"""In lower case, because case does not matter in it."""
STUDENT_IDENTIFIER_PATTERN: Final = (
    "^"
    + re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", _ESI_PREFIX)
    + "[^:]+:.+$"
)
"""A regular expression for a European Student Identifier, for readers without this module."""
_ESI_MAX_LENGTH: Final = 255
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}(?:-[A-Za-z0-9]{1,3})?")
_DOMAIN: Final = re.compile(r"(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)+[A-Za-z]{2,24}")
_CODE: Final = re.compile(r"(?:[A-Za-z0-9()+,\-.:=@;$_!*']|%[0-9A-Fa-f]{2})+")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ERASMUS_SINGLE_DIGIT: Final = re.compile(r"^(.*[^0-9])([0-9])$")
_ERASMUS_COUNTRY_LENGTH: Final = 3
_ERASMUS_COUNTRIES: Final = {
    3: frozenset({"IRL", "LUX"}),
    2: frozenset(re.findall("..", "ALBABGCHCYCZDKEEFOGLHRHUISLILTLVMEMKMTNLPLRORSSFSISKTRUKXK")),
    1: frozenset("ABDEFGINPS"),
}
"""The countries of Erasmus codes, by length. They are not those of ISO 3166-1."""
_DEQAR: Final = re.compile(r"(?:DEQAR-?INST-?)?(AP)?0*([0-9]{1,9})")
_ETER: Final = re.compile(r"\s*([A-Z]{2})[\s-]?([0-9]{4})(?![0-9])")
_BRIN: Final = re.compile(r"[0-9]{2}[A-Z]{2}([0-9]{2})?")
_BRIN_LENGTH: Final = 4
_NATIONAL_SCHEME: Final = re.compile(r"[a-z]{2}-[a-z0-9][a-z0-9-]*")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CARD_NUMBER: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-([0-9]{3})([0-9]{9})"
)
_LEGACY: Final = re.compile(r"[A-Z]{2}-[0-9]{9}-.+")
_WEB_ADDRESS: Final = re.compile(r"https?://[^\s/?#]+[^\s]*")
_NO_HOST: Final = frozenset({"", "/", "?", "#"})
_MAX_DOMAIN_LENGTH: Final = 253
_PATTERNS: Final = {
    "pic": re.compile(r"[0-9]{9}"),
    "oid": re.compile(r"E[0-9]{8}"),
    "eter": re.compile(r"[A-Z]{2}[0-9]{4}"),
    "deqar": re.compile(r"DEQARINST(AP)?[0-9]{4,}"),
    "ror": re.compile(r"https://ror\.org/0[a-z|0-9]{8}"),
    "erasmus": re.compile(r"(IRL|LUX|[A-Z]{2} |[A-Z] {2})[A-Z][A-Z-]*[A-Z][0-9]{2,3}"),
    "schac": re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}"),
}
IDENTIFIER_SCHEMES: Final = (
    "schac", "pic", "erasmus", "oid", "eter", "deqar", "ror", "vat", "eidas", "local",
)  # fmt: skip
"""The schemes of identifiers that documents and the provider check know."""


class StudentIdentifier(NamedTuple):
    """The parts of a European Student Identifier.

    ``value`` is the spelling that the registry sent. The gateway publishes it unchanged.
    """

    value: str
    scope: str
    code: str
    national: bool
    """True when the scope is a country or region, False when it is an institution's domain."""

    @property
    def comparison_key(self) -> str:
        """The spelling to compare by, because case does not matter in it."""
        return self.value.casefold()


_USUAL_ESI = re.compile(
    r"urn:schac:personalUniqueCode:int:esi:"
    r"(?:[a-z0-9]++(?:-++[a-z0-9]++)*+\.)++[a-z]{2,24}:[A-Za-z0-9.-]++"
)
"""A form of valid student identifiers. The search is faster than parsing them."""
_MAX_USUAL_LENGTH = 100
"""With this length, no label of a domain is longer than 63 characters."""


def is_student_identifier(text: str) -> bool:
    """Return whether a text is a European Student Identifier."""
    if len(text) <= _MAX_USUAL_LENGTH and _USUAL_ESI.fullmatch(text):
        return True
    return not isinstance(parse_student_identifier(text), str)


def parse_student_identifier(value: str) -> StudentIdentifier | str:
    """Return the parts of a European Student Identifier, or the code of its error."""
    problem = _urn_problem(value)
    if problem:
        return problem
    scope, _, code = value[len(_ESI_PREFIX) :].partition(":")
    problem = _scope_problem(scope) or _code_problem(code)
    return problem or StudentIdentifier(value, scope, code, national="." not in scope)


def is_legacy_student_identifier(value: str) -> bool:
    """Return whether a value has the older form of country, PIC and code.

    Such identifiers still exist, but institutions no longer issue them.
    """
    return bool(_LEGACY.fullmatch(value))


class CardNumber(NamedTuple):
    """A European Student Card Number.

    ``value`` is the number in lower case. ``prefix`` names the issuing server. ``pic`` is the
    issuer's Participant Identification Code.
    """

    value: str
    prefix: str
    pic: str


def parse_card_number(value: str) -> CardNumber | str:
    """Return the parts of a card number, or the code of its error.

    The function accepts upper case and returns lower case. It ignores the time inside the number,
    because the official generators and plain version 1 UUIDs count it differently.
    """
    lowered = value.lower()
    if found := _CARD_NUMBER.fullmatch(lowered):
        return CardNumber(lowered, found[1], found[2])
    if not _UUID.fullmatch(lowered):
        return "BAD_SHAPE"
    if lowered[14] != "1":
        return "VERSION_NOT_1"
    if lowered[19] not in "89ab":
        return "VARIANT_NOT_RFC4122"
    return "NODE_NOT_DECIMAL"


def is_card_number(value: str) -> bool:
    """Return whether a text is a card number in lower case. It ends with the PIC."""
    return _CARD_NUMBER.fullmatch(value) is not None


@lru_cache(maxsize=8192)
def normalise_identifier(scheme: str, value: str) -> str:
    """Return a provider's identifier in the spelling to compare by.

    Differences in case, blanks, prefixes such as ``urn:oid:`` and leading zeros disappear.
    """
    text = " ".join(unicodedata.normalize("NFKC", value).split())
    normalise = _NORMALISED_FORMS.get(scheme, _normalise_code)
    return normalise(text)


def is_national_scheme(scheme: str) -> bool:
    """Return whether a scheme numbers the institutions of one country, such as ``fi-national``."""
    return bool(_NATIONAL_SCHEME.fullmatch(scheme))


def _normalise_code(text: str) -> str:
    """Return a code without blanks and leading zeros, in upper case."""
    code = "".join(text.split()).upper()
    return code.lstrip("0") or code


def _normalise_erasmus(text: str) -> str:
    """Return an Erasmus code with its country in three places: ``E TARRAGO1`` has two blanks."""
    country, _, place = text.upper().partition(" ")
    if not place or len(country) > _ERASMUS_COUNTRY_LENGTH:
        code = (country + place).replace(" ", "")
        country = _erasmus_country(code)
        place = code[len(country) :]
    place = place.replace(" ", "")
    code = f"{country:<{_ERASMUS_COUNTRY_LENGTH}}{place}" if country else place
    return _ERASMUS_SINGLE_DIGIT.sub(r"\g<1>0\g<2>", code)


def _erasmus_country(code: str) -> str:
    """Return the country at the start of an Erasmus code without blanks, if only one fits."""
    fitting = [code[:length] for length in (3, 2, 1) if code[:length] in _ERASMUS_COUNTRIES[length]]
    return fitting[0] if len(fitting) == 1 else ""


def _normalise_domain(text: str) -> str:
    """Return a domain in lower case, without the parts of a URN before it."""
    last = text.lower().rpartition(":")[2] if text.lower().startswith("urn:") else text.lower()
    return "".join(last.split()).strip("/.")


def _normalise_ror(text: str) -> str:
    code = "".join(text.split()).lower().partition("?")[0].rstrip("/").rpartition("/")[2]
    return f"https://ror.org/{code}" if code else ""


def _normalise_pic(text: str) -> str:
    code = re.sub(r"[\s.-]", "", text).upper().removeprefix("PIC").lstrip(":")
    return code.lstrip("0") or code


def _normalise_oid(text: str) -> str:
    return "".join(text.split()).upper().removeprefix("URN:OID:").removeprefix("OID:")


def _normalise_vat(text: str) -> str:
    code = re.sub(r"[\s./-]", "", text).upper()
    return "EL" + code[2:] if code.startswith("GR") else code


def _normalise_deqar(text: str) -> str:
    code = "".join(text.split()).upper().rstrip("/").rpartition("/")[2]
    found = _DEQAR.fullmatch(code)
    return f"DEQARINST{found[1] or ''}{int(found[2]):04d}" if found else code


def _normalise_eter(text: str) -> str:
    """Return the code of a text such as ``ES0022 - Universitat Rovira i Virgili``."""
    found = _ETER.match(text.upper())
    return found[1] + found[2] if found else "".join(text.split()).upper()


def _normalise_brin(text: str) -> str:
    """Return the number of an institution, also from the number of one of its places."""
    code = "".join(text.split()).upper()
    return code[:_BRIN_LENGTH] if _BRIN.fullmatch(code) else code


_NORMALISED_FORMS: Final[Mapping[str, Callable[[str], str]]] = {
    "erasmus": _normalise_erasmus,
    "schac": _normalise_domain,
    "ror": _normalise_ror,
    "pic": _normalise_pic,
    "oid": _normalise_oid,
    "vat": _normalise_vat,
    "deqar": _normalise_deqar,
    "eter": _normalise_eter,
    "nl-brin": _normalise_brin,
}


@lru_cache(maxsize=8192)
def is_well_formed(scheme: str, value: str) -> bool:
    """Return whether an identifier has the form of its scheme.

    A scheme without a public form accepts any text that is not empty.
    """
    pattern = _PATTERNS.get(scheme)
    if pattern is None:
        return bool(value)
    return len(value) <= _MAX_DOMAIN_LENGTH and bool(pattern.fullmatch(value))


def is_web_address(value: str) -> bool:
    """Return whether a text is an address with http or https, as documents may contain it."""
    if value.isascii() and value.isprintable() and " " not in value:  # faster than the pattern
        start = 8 if value.startswith("https://") else 7 if value.startswith("http://") else None
        return start is not None and value[start : start + 1] not in _NO_HOST
    return bool(_WEB_ADDRESS.fullmatch(value))


def _urn_problem(value: str) -> str:
    lowered = value.lower()
    if len(value) > _ESI_MAX_LENGTH:
        return "TOO_LONG"
    if not lowered.startswith("urn:"):
        return "NOT_A_URN"
    if lowered.startswith("urn:mace:terena.org:"):
        return "OLD_TERENA_URN"
    return "" if lowered.startswith(_ESI_PREFIX) else "NOT_INT_ESI"


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
