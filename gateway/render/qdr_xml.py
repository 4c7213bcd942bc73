"""The XML data set of catalogue entries that the Qualification Dataset Register pulls.

The gateway converts the JSON-LD documents of the topics, so that both formats always agree. The
data set follows version 3.1 of the XSD, even if the JSON-LD documents use version 3.3. Elements
have the order of the XSD. Each notation occurs once in a data set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from gateway.render.elm_common import Node

LOQ: Final = "http://data.europa.eu/snb/model/ap/loq-constraints/"
SKOS: Final = "http://www.w3.org/2004/02/skos/core#"
_EU_CREDITS: Final = "http://data.europa.eu/snb/education-credit/"
XSD_VERSION: Final = "3.1.0"
_NAMESPACES: Any = {None: LOQ, "skos": SKOS}
CONTAINERS: Final = (
    "learningOpportunityReferences",
    "learningAchievementSpecificationReferences",
    "learningOutcomeReferences",
    "learningActivitySpecificationReferences",
    "agentReferences",
    "accreditationReferences",
    "locationReferences",
)


@dataclass(slots=True)
class OmittedDocument:
    """A document that the data set omits, with the reason."""

    iri: str
    reason: str


@dataclass(slots=True)
class DataSet:
    """A builder of one data set.

    Call :meth:`add` for each document, then :meth:`to_bytes`.
    """

    omitted: list[OmittedDocument] = field(default_factory=list)
    included: int = 0
    _root: Any = field(
        default_factory=lambda: etree.Element(
            f"{{{LOQ}}}Courses", nsmap=_NAMESPACES, xsdVersion=XSD_VERSION
        )
    )
    _places: dict[str, Any] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _notations: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name in CONTAINERS:
            self._places[name] = _child(self._root, name)

    def add(self, document: Node) -> None:
        """Add a document of a catalogue topic.

        A document that the data set cannot contain goes to ``omitted``, with the reason.
        """
        reason = _unfit_reason(document)
        if reason or document["id"] in self._seen:
            self.omitted.append(
                OmittedDocument(document["id"], reason or "the data set already contains this IRI")
            )
            return
        self.included += 1
        if document["type"] == "LearningOpportunity":
            self._opportunity(document)
        else:
            self._specification(document)

    def to_bytes(self) -> bytes:
        """Return the data set as XML, without empty containers."""
        for place in self._places.values():
            if len(place) == 0 and place.getparent() is not None:
                self._root.remove(place)
        return etree.tostring(self._root, xml_declaration=True, encoding="UTF-8", pretty_print=True)

    def _opportunity(self, node: Node) -> None:
        self._seen.add(node["id"])
        element = _child(
            self._places["learningOpportunityReferences"], "learningOpportunity", id=node["id"]
        )
        self._identifiers(element, node)
        _texts(element, "title", node["title"])
        _texts(element, "description", node.get("description"))
        _concepts(element, "type", node.get("dcType"))
        _web(element, "homepage", node["homepage"])
        _period(element, node.get("temporal"))
        _text(element, "duration", node.get("duration"))
        _child(element, "providedBy", idref=self._organisation(node["providedBy"]))
        if place := node.get("location"):
            _child(element, "location", idref=self._location(place))
        _child(
            element,
            "learningAchievementSpecification",
            idref=self._specification(node["learningAchievementSpecification"]),
        )
        if activity := node.get("learningActivitySpecification"):
            _child(element, "learningActivitySpecification", idref=self._activity(activity))
        _concepts(element, "defaultLanguage", node["defaultLanguage"])
        _text(element, "modified", node.get("modified"))

    def _specification(self, node: Node) -> str:
        iri = str(node["id"])
        self._seen.add(iri)
        qualification = node["type"] == "Qualification"
        name = "qualification" if qualification else "learningAchievementSpecification"
        element = _child(self._places["learningAchievementSpecificationReferences"], name, id=iri)
        self._identifiers(element, node)
        _texts(element, "title", node["title"])
        _texts(element, "description", node.get("description"))
        credits_ = _as_list(node.get("creditPoint"))
        _notes(element, node, [credit for credit in credits_ if not _is_european(credit)])
        _web(element, "homepage", node.get("homepage"))
        _text(element, "status", node.get("status"))
        _text(element, "modified", node.get("modified"))
        _labelled_concepts(element, "type", node.get("dcType"))
        _concepts(element, "ISCEDFCode", node["thematicArea"])
        _text(element, "volumeOfLearning", node.get("volumeOfLearning"))
        for credit in filter(_is_european, credits_):
            points = _child(element, "creditPoint")
            _concepts(points, "framework", credit["framework"])
            _text(points, "point", credit["point"])
        _labelled_concepts(element, "educationLevel", node.get("educationLevel"))
        _concepts(element, "language", node["language"])
        _concepts(element, "mode", node.get("mode"))
        _concepts(element, "learningSetting", node.get("learningSetting"))
        _text(element, "maximumDuration", node.get("maximumDuration"))
        if note := node.get("entryRequirement"):
            _texts(_child(element, "entryRequirement"), "noteLiteral", note["noteLiteral"])
        for outcome in _as_list(node["learningOutcome"]):
            _child(element, "learningOutcome", idref=self._outcome(outcome))
        for awarding in _as_list(node.get("awardingOpportunity")):
            place = _child(element, "awardingOpportunity")
            _child(place, "awardingBody", idref=self._organisation(awarding["awardingBody"]))
            _period(place, awarding.get("temporal"))
            _child(place, "learningAchievementSpecification", idref=iri)
        if qualification:
            if "isPartialQualification" in node:
                _text(
                    element,
                    "isPartialQualification",
                    "true" if node["isPartialQualification"] else "false",
                )
            _concepts(element, "EQFLevel", node["eqfLevel"])
            _concepts(element, "NQFLevel", node["nqfLevel"])
            for accreditation in _as_list(node.get("accreditation")):
                _child(element, "accreditation", idref=self._accreditation(accreditation))
        return iri

    def _outcome(self, node: Node) -> str:
        element = self._new_element("learningOutcomeReferences", "learningOutcome", node)
        if element is not None:
            _texts(element, "title", node["title"])
            _concepts(element, "type", node.get("dcType"))
            _concepts(element, "relatedESCOSkill", node.get("relatedESCOSkill"))
        return str(node["id"])

    def _activity(self, node: Node) -> str:
        name = "learningActivitySpecification"
        element = self._new_element(f"{name}References", name, node)
        if element is not None:
            _texts(element, "title", node["title"])
            _child(element, "influences", idref=self._reference(node["influences"]))
        return str(node["id"])

    def _reference(self, node: Node) -> str:
        """Add a reference to a qualification that another document describes."""
        element = self._new_element(
            "learningAchievementSpecificationReferences", "qualificationReference", node
        )
        if element is not None:
            etree.SubElement(_child(element, "identifier"), f"{{{SKOS}}}notation").text = node[
                "identifier"
            ]["notation"]
        return str(node["id"])

    def _organisation(self, node: Node) -> str:
        element = self._new_element("agentReferences", "organisation", node)
        if element is not None:
            _texts(element, "legalName", node["legalName"])
            _web(element, "homepage", node.get("homepage"))
            _child(element, "location", idref=self._location(node["location"]))
        return str(node["id"])

    def _location(self, node: Node) -> str:
        element = self._new_element("locationReferences", "location", node)
        if element is not None:
            _texts(element, "geographicName", node.get("geographicName"))
            _concepts(_child(element, "address"), "countryCode", node["address"]["countryCode"])
        return str(node["id"])

    def _accreditation(self, node: Node) -> str:
        element = self._new_element("accreditationReferences", "accreditation", node)
        if element is not None:
            _concepts(element, "type", node["dcType"])
            _texts(element, "title", node["title"])
            _web(element, "report", node.get("report"))
            _child(element, "organisation", idref=self._organisation(node["organisation"]))
            _child(element, "accreditingAgent", idref=self._organisation(node["accreditingAgent"]))
            _text(element, "issued", node.get("dateIssued"))
            _text(element, "expiryDate", node.get("expiryDate"))
        return str(node["id"])

    def _new_element(self, container: str, name: str, node: Node) -> Any | None:
        """Return a new element for a node, or ``None`` if the data set contains the node."""
        if node["id"] in self._seen:
            return None
        self._seen.add(node["id"])
        return _child(self._places[container], name, id=node["id"])

    def _identifiers(self, element: Any, node: Node) -> None:
        for identifier in _as_list(node.get("identifier")):
            notation = identifier["notation"]
            if notation in self._notations:
                # The register accepts each notation once. Entries remain distinct by IRI.
                continue
            self._notations.add(notation)
            place = _child(element, "identifier")
            etree.SubElement(place, f"{{{SKOS}}}notation").text = notation
            _text(place, "schemeName", identifier.get("schemeName"))


def dataset(documents: Iterable[Node]) -> tuple[bytes, list[OmittedDocument]]:
    """Return the data set as XML, and the documents that it omits."""
    data_set = DataSet()
    for document in documents:
        data_set.add(document)
    return data_set.to_bytes(), data_set.omitted


def _unfit_reason(document: Node) -> str:
    specification = document
    if document["type"] == "LearningOpportunity":
        specification = document["learningAchievementSpecification"]
    for name in ("thematicArea", "learningOutcome", "language"):
        if not specification.get(name):
            return f"the XML profile demands {name}"
    return ""


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _child(parent: Any, name: str, **attributes: str) -> Any:
    return etree.SubElement(parent, f"{{{LOQ}}}{name}", attrib=attributes)


def _text(parent: Any, name: str, value: str | None) -> None:
    if value:
        _child(parent, name).text = value


def _texts(parent: Any, name: str, values: dict[str, str] | None) -> None:
    for tag, text in (values or {}).items():
        _child(parent, name, language=tag).text = text


def _concepts(parent: Any, name: str, nodes: Any) -> None:
    for node in _as_list(nodes):
        _child(parent, name, uri=node["id"])


def _labelled_concepts(parent: Any, name: str, nodes: Any) -> None:
    """Add concepts of any scheme with their names."""
    for node in _as_list(nodes):
        element = _child(parent, name, uri=node["id"])
        for tag, text in node.get("prefLabel", {}).items():
            etree.SubElement(element, f"{{{SKOS}}}prefLabel", language=tag).text = text


def _period(parent: Any, node: Node | None) -> None:
    if node:
        element = _child(parent, "temporal")
        _text(element, "startDate", node.get("startDate"))
        _text(element, "endDate", node.get("endDate"))


def _is_european(credit: Node) -> bool:
    """Return whether the XSD allows the framework of a credit point."""
    return str(credit["framework"]["id"]).startswith(_EU_CREDITS)


def _notes(parent: Any, node: Node, national_credits: list[Node]) -> None:
    """Add the notes of an entry, and its credits in a framework that the XSD does not allow."""
    for note in _as_list(node.get("additionalNote")):
        _texts(_child(parent, "additionalNote"), "noteLiteral", note["noteLiteral"])
    for credit in national_credits:
        texts = {
            tag: f"{credit['point']} {unit}"
            for tag, unit in credit["framework"]["prefLabel"].items()
        }
        _texts(_child(parent, "additionalNote"), "noteLiteral", texts)


def _web(parent: Any, name: str, node: Node | None) -> None:
    if node:
        _text(_child(parent, name), "contentUrl", node["contentUrl"])
