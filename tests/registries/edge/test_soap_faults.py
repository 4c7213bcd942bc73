"""SOAP faults: which ones are repeated, which ones stop the stream, and what patterns match."""

from __future__ import annotations

import pytest

from tests.support.wire import Read, Sent, poll_once

ENV11 = "http://schemas.xmlsoap.org/soap/envelope/"
ENV12 = "http://www.w3.org/2003/05/soap-envelope"
STREAM = "request: {envelope: '<ask/>'}\nrecords: //award\nid: '@id'\n"


def soap12(code: str, *subcodes: str) -> str:
    nested = ""
    for subcode in reversed(subcodes):
        nested = f'<e:Subcode><e:Value xmlns:a="urn:a">{subcode}</e:Value>{nested}</e:Subcode>'
    return (
        f'<e:Envelope xmlns:e="{ENV12}"><e:Body><e:Fault><e:Code><e:Value>{code}</e:Value>{nested}'
        '</e:Code><e:Reason><e:Text xml:lang="en">CANARY</e:Text></e:Reason><e:Detail>'
        "<Code><Value>e:Receiver</Value></Code></e:Detail></e:Fault></e:Body></e:Envelope>"
    )


def soap11(code: str, prefix: str = "", envelope: str = ENV11) -> str:
    name = f"{prefix}:" if prefix else ""
    return (
        f'<s:Envelope xmlns:s="{envelope}"><s:Body><s:Fault><{name}faultcode>{code}</{name}faultcode>'
        f"<{name}faultstring>CANARY</{name}faultstring></s:Fault></s:Body></s:Envelope>"
    )


def read(tmp_path, body: str, block: str = "", status: int = 500) -> Read:
    sent = Sent(body.encode(), "text/xml; charset=utf-8", status)
    found = poll_once(tmp_path, sent, STREAM, block, protocol="soap")
    assert "CANARY" not in found.message
    return found


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (soap12("e:Receiver", "a:InternalServiceFault"), "RetryLater"),
        (soap12("e:Receiver", "a:SenderUnknown", "a:Client"), "RetryLater"),
        (soap12("Receiver"), "RetryLater"),
        (soap12("e:Sender", "a:ServerTooBusyForThisSender"), "StreamHalted"),
        (soap12("e:Sender", "a:Receiver"), "StreamHalted"),
        (soap12("e:MustUnderstand", "a:Server"), "StreamHalted"),
        (soap12("e:VersionMismatch"), "StreamHalted"),
        (soap12("e:DataEncodingUnknown"), "StreamHalted"),
        (soap11("s:Server"), "RetryLater"),
        (soap11("Server"), "RetryLater"),
        (soap11("s:Server", "s"), "RetryLater"),
        (soap11("s:Server.ServerProxy.ServiceFailed.InternalError"), "RetryLater"),
        (soap11("SOAP-ENV:Server.ServerProxy.NetworkError"), "RetryLater"),
        (soap11("ns1:Server.NoService"), "RetryLater"),
        (soap11("s:Server:Timeout"), "RetryLater"),
        (soap11(f"{{{ENV11}}}Server.userException"), "RetryLater"),
        (soap11("s:Server", envelope=ENV12), "RetryLater"),
        (soap11("s:Client"), "StreamHalted"),
        (soap11("Client.Authentication", "s"), "StreamHalted"),
        (soap11("s:Client.ServerNotFound"), "StreamHalted"),
        (soap11("s:MustUnderstand"), "StreamHalted"),
        (soap11(""), "StreamHalted"),
        (soap11("x").replace("<faultcode>x</faultcode>", ""), "StreamHalted"),
    ],
)
def test_outermost_code_decides(tmp_path, body, kind, status):
    found = read(tmp_path, body, status=status)
    assert (found.kind, found.reason, found.records) == (kind, "SOAP_FAULT", [])


def test_codes_in_any_namespace_are_in_the_message(tmp_path):
    assert "'s:Client.Own'" in read(tmp_path, soap11("s:Client.Own", "s")).message
    assert "'Client.Own'" in read(tmp_path, soap11("Client.Own")).message
    assert "'e:Sender a:Own'" in read(tmp_path, soap12("e:Sender", "a:Own")).message
    assert "without a code" in read(tmp_path, soap11("")).message


@pytest.mark.parametrize(
    ("pattern", "body"),
    [
        ("InternalServiceFault", soap12("e:Receiver", "a:InternalServiceFault")),
        ("a:InternalServiceFault", soap12("e:Receiver", "a:InternalServiceFault")),
        ("e:Receiver a:InternalServiceFault", soap12("e:Receiver", "a:InternalServiceFault")),
        ("*ServiceFault", soap12("e:Receiver", "a:InternalServiceFault")),
        ("Second", soap12("e:Sender", "a:First", "a:Second")),
        ("Server.ServerProxy.*", soap11("SOAP-ENV:Server.ServerProxy.NetworkError")),
        ("Client.NoResults", soap11("s:Client.NoResults", "s")),
        ("CANARY", soap12("e:Sender")),
    ],
)
def test_pattern_matches_each_code_with_and_without_its_prefix(tmp_path, pattern, body):
    block = f'replies: [{{when: {{fault: "{pattern}"}}, then: empty}}]'
    assert read(tmp_path, body, block).reason == ""


def test_pattern_for_one_code_does_not_match_another(tmp_path):
    for pattern in ("Internal", "Receiver.*", "Service", "e"):
        block = f'replies: [{{when: {{fault: "{pattern}"}}, then: empty}}]'
        found = read(tmp_path, soap12("e:Receiver", "a:InternalServiceFault"), block)
        assert found.reason == "SOAP_FAULT"
