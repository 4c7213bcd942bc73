"""Map codes of languages (ISO 639) and countries (ISO 3166-1) to the form that records carry."""

from __future__ import annotations

from gateway.config.code_lists import LANGUAGE_CODES
from gateway.config.countries import COUNTRIES


def _pairs(text: str) -> dict[str, str]:
    return {word[:3]: word[3:] for word in text.split()}


_TWO_LETTER_CODES = _pairs(
    "aaraa abkab afraf akaak amham araar argan asmas avaav aveae aymay azeaz bakba bambm belbe "
    "benbn bihbh bisbi bodbo bosbs brebr bulbg catca cescs chach chece chucu chvcv corkw "
    "cosco crecr cymcy danda deude divdv dzodz ellel engen epoeo estet euseu eweee faofo "
    "fasfa fijfj finfi frafr fryfy fulff glagd glega glggl glvgv grngn gujgu hatht hauha "
    "hebhe herhz hinhi hmoho hrvhr hunhu hyehy iboig idoio iiiii ikuiu ileie inaia indid "
    "ipkik islis itait javjv jpnja kalkl kankn kasks katka kaukr kazkk khmkm kikki kinrw "
    "kirky komkv konkg korko kuakj kurku laolo latla lavlv limli linln litlt ltzlb lublu "
    "luglg mahmh malml marmr mkdmk mlgmg mltmt monmn mrimi msams myamy nauna navnv nblnr "
    "ndend ndong nepne nldnl nnonn nobnb nyany ocioc ojioj orior ormom ossos panpa plipi "
    "polpl porpt pusps quequ rohrm ronro runrn rusru sagsg sansa sinsi slksk slvsl smese "
    "smosm snasn sndsd somso sotst spaes sqisq srdsc srpsr sswss sunsu swasw swesv tahty "
    "tamta tattt telte tgktg tgltl thath tirti tonto tsntn tsots tuktk turtr twitw uigug "
    "ukruk urdur uzbuz venve vievi volvo wlnwa wolwo xhoxh yidyi yoryo zhaza zhozh zulzu "
)
"""Codes of three letters (ISO 639-2, terminology), each with its code of two letters."""
_BIBLIOGRAPHIC_CODES = _pairs(
    "albsq armhy baqeu burmy chizh czecs dutnl frefr geoka gerde greel iceis macmk maomi "
    "mayms perfa rumro slosk tibbo welcy "
)
"""Other codes of three letters (ISO 639-2, bibliographic), each with its code of two letters."""
_OTHER_CODES = {
    "no": "nb",
    "nor": "nb",
    "iw": "he",
    "in": "id",
    "ji": "yi",
    "mo": "ro",
    "sh": "sh",
    "hbs": "sh",
}
"""Older codes, and codes for a group of languages, each with the code that records carry."""
LANGUAGES = (
    {code: code for code in (*LANGUAGE_CODES, *_TWO_LETTER_CODES.values())}
    | _TWO_LETTER_CODES
    | _BIBLIOGRAPHIC_CODES
    | _OTHER_CODES
)
"""Every code of a language, in lower case, with its shortest code (BCP 47)."""
THREE_LETTER_CODES = {short: code for code, short in _TWO_LETTER_CODES.items()} | {"sh": "hbs"}
"""Codes of two letters, each with its code of three letters."""

__all__ = ["COUNTRIES", "LANGUAGES", "THREE_LETTER_CODES"]
