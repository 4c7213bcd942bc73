"""Fail when a release of zeep loses a private name that the gateway uses."""

import ast
import inspect
from pathlib import Path

import pytest
import zeep
from lxml import etree
from zeep.proxy import ServiceProxy
from zeep.wsdl.bindings import Soap11Binding, Soap12Binding
from zeep.wsdl.bindings.soap import SoapBinding

import gateway
from gateway.fetch.soap import zeep_internals
from gateway.local.registries import soap_credits


@pytest.fixture(scope="module")
def client():
    return zeep.Client(str(soap_credits.WSDL))


def test_service_proxy_has_private_binding(client):
    assert "_binding" in vars(client.bind(None, None))
    assert "binding" in inspect.signature(ServiceProxy.__init__).parameters


@pytest.mark.parametrize("binding", [SoapBinding, Soap11Binding, Soap12Binding])
def test_binding_has_private_create(binding):
    parameters = list(inspect.signature(binding._create).parameters)
    assert parameters[:4] == ["self", "operation", "args", "kwargs"]
    assert "client" in parameters


def test_binding_lists_operations(client):
    assert "Degrees" in zeep_internals.binding(client, None, None).all()


def test_create_message_returns_envelope_and_headers(client):
    binding = zeep_internals.binding(client, None, None)
    body = {
        "caller": {"system": "demo", "user": "demo", "key": "demo-key"},
        "search": {
            "changedFrom": "2026-01-01T00:00:00Z",
            "changedUntil": "2026-01-02T00:00:00Z",
            "page": 1,
            "pageSize": 10,
        },
    }
    envelope, headers = zeep_internals.create_message(client, binding, "Degrees", body)
    assert etree.QName(envelope).localname == "Envelope"
    assert "SOAPAction" in headers


def test_only_one_module_uses_private_names_of_zeep():
    folder = Path(gateway.__file__).parent / "fetch"
    users = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and (
            node.attr == "_create"
            or (
                node.attr == "_binding"
                and not (isinstance(node.value, ast.Name) and node.value.id == "self")
            )
        )
    }
    assert users == {"zeep_internals.py"}
