"""The fields of each class of the European Learning Model that documents use."""

from __future__ import annotations

import re
from typing import Final

# The texts below list the fields of a class as "name:type", separated by spaces.
# "name!" marks a required field, "type*" a list, and "A|B" a choice of classes.
# A type is a simple type of ``gateway.render.json_schemas`` or the name of a class.
_SPECIFICATION: Final = (
    "title!:text description:text homepage:WebResource identifier:Identifier "
    "thematicArea:Concept* language:Concept* mode:Concept learningSetting:Concept "
    "learningOutcome:LearningOutcome* creditPoint:CreditPoint volumeOfLearning:duration "
    "maximumDuration:duration entryRequirement:Note modified:moment educationLevel:Concept* "
    "additionalNote:Note* dcType:Concept"
)
_QUALIFICATION: Final = (
    f"{_SPECIFICATION} eqfLevel:Concept nqfLevel:Concept isPartialQualification:boolean "
    "accreditation:Accreditation*"
)


def _with_required(fields: str) -> str:
    """Return the fields, and mark those as required that every catalogue entry contains."""
    for name in ("thematicArea", "learningOutcome", "eqfLevel", "nqfLevel"):
        fields = fields.replace(f"{name}:", f"{name}!:")
    return fields


_AWARDED: Final = " awardingOpportunity:AwardingOpportunity status:string"
_ASSESSED: Final = " provenBy:LearningAssessmentSpecification accreditation:Accreditation*"
_SHARED: Final = {
    "Concept": "inScheme:ConceptScheme prefLabel:text notation:string",
    "ConceptScheme": "",
    "Identifier": "notation!:string schemeName:string",
    "LegalIdentifier": "notation!:string spatial!:Concept",
    "WebResource": "contentUrl:iri contentURL:iri",
    "Note": "noteLiteral!:text",
    "CreditPoint": "framework!:Concept point!:decimal",
    "LearningOutcome": "title:text dcType:Concept relatedESCOSkill:Concept* order:order",
    "Address": "countryCode!:Concept",
    "Location": "address!:Address geographicName:text",
    "PeriodOfTime": "startDate:moment endDate:moment",
    "Organisation": (
        "legalName:text identifier:Identifier* eIDASIdentifier:LegalIdentifier "
        "location:Location homepage:WebResource"
    ),
    "Accreditation": (
        "dcType!:Concept title!:text accreditingAgent!:Organisation organisation:Organisation "
        "report:WebResource dateIssued:moment expiryDate:moment"
    ),
    "AwardingOpportunity": (
        "learningAchievementSpecification!:iri awardingBody!:Organisation temporal:PeriodOfTime"
    ),
}
CATALOGUE: Final = _SHARED | {
    "LearningActivitySpecification": "title!:text influences!:QualificationReference",
    "QualificationReference": "identifier!:Identifier",
    "Qualification": _with_required(_QUALIFICATION + _AWARDED),
    "LearningAchievementSpecification": _with_required(_SPECIFICATION + _AWARDED),
    "LearningOpportunity": (
        "title!:text description:text identifier!:Identifier defaultLanguage!:Concept "
        "providedBy!:Organisation homepage!:WebResource "
        "learningAchievementSpecification!:Qualification|LearningAchievementSpecification "
        "duration:duration modified:moment temporal:PeriodOfTime location:Location "
        "learningActivitySpecification:LearningActivitySpecification dcType:Concept"
    ),
}
INCOMPLETE_CATALOGUE: Final = {
    name: re.sub(r"\b(thematicArea|learningOutcome|defaultLanguage|homepage)!:", r"\1:", fields)
    for name, fields in CATALOGUE.items()
}
"""The catalogue without the fields that only LOQ requires."""
CREDENTIAL: Final = _SHARED | {
    "ContactPoint": "emailAddress!:Mailbox",
    "Mailbox": "",
    "Evidence": "dcType!:Concept embeddedEvidence!:MediaObject",
    "Qualification": _QUALIFICATION + _ASSESSED,
    "LearningAchievementSpecification": _SPECIFICATION + _ASSESSED,
    "Person": (
        "givenName:text familyName:text fullName:text dateOfBirth:moment identifier:Identifier "
        "contactPoint:ContactPoint "
        "hasClaim!:LearningAchievement"
    ),
    "LearningAchievement": (
        "title!:text description:text awardedBy!:AwardingProcess creditReceived:CreditPoint "
        "provenBy:LearningAssessment "
        "specifiedBy!:Qualification|LearningAchievementSpecification "
        "hasPart:LearningAchievement* additionalNote:Note"
    ),
    "AwardingProcess": "awardingBody!:Organisation awardingDate:moment",
    "LearningAssessment": (
        "title!:text awardedBy!:AwardingProcess grade!:Note idVerification:Concept "
        "specifiedBy:LearningAssessmentSpecification dateIssued:moment"
    ),
    "LearningAssessmentSpecification": "title!:text dcType!:Concept",
    "DisplayParameter": (
        "title!:text language!:Concept* primaryLanguage!:Concept "
        "individualDisplay!:IndividualDisplay*"
    ),
    "IndividualDisplay": "language!:Concept displayDetail!:DisplayDetail",
    "DisplayDetail": "page!:one image!:MediaObject",
    "MediaObject": "content!:string contentEncoding!:Concept contentType!:Concept",
    "ShaclValidator2017": "",
}


CREDENTIAL_ROOT: Final = (
    "credentialSchema!:ShaclValidator2017 credentialProfiles!:Concept issuer!:Organisation "
    "issued:moment issuanceDate:moment validFrom!:moment validUntil:moment "
    "expirationDate:moment displayParameter!:DisplayParameter credentialSubject!:Person "
    "evidence:Evidence"
)
