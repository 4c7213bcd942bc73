"""Check the client assertions that the gateway signs for ``private_key_jwt`` (RFC 7523)."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.errors import StreamHalted
from gateway.fetch.http.auth import OAuth2, sign_jwt
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.http.request_reply import RegistryReply, RegistryRequest

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256_KEY = ec.generate_private_key(ec.SECP256R1())
P384_KEY = ec.generate_private_key(ec.SECP384R1())
ED25519_KEY = ed25519.Ed25519PrivateKey.generate()
PKCS8 = serialization.PrivateFormat.PKCS8
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def pem(key, password=None):
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, PKCS8, encryption)


@pytest.mark.parametrize(
    ("algorithm", "key"), [("RS256", RSA_KEY), ("PS256", RSA_KEY), ("ES256", P256_KEY)]
)
def test_token_verifies_with_public_key(algorithm, key):
    token = sign_jwt({"iss": "client-1"}, pem(key), algorithm, "key-7")
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT", "kid": "key-7"}
    assert jwt.decode(token, key.public_key(), [algorithm]) == {"iss": "client-1"}


def test_header_has_no_key_id_when_none_is_configured():
    assert jwt.get_unverified_header(sign_jwt({}, pem(RSA_KEY), "RS256")) == {
        "alg": "RS256",
        "typ": "JWT",
    }


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", P256_KEY),
        ("PS256", P256_KEY),
        ("ES256", RSA_KEY),
        ("ES256", P384_KEY),
        ("RS256", ED25519_KEY),
    ],
)
def test_key_of_another_type_or_curve_is_refused(algorithm, key):
    with pytest.raises(StreamHalted, match=f"does not fit {algorithm}") as raised:
        sign_jwt({}, pem(key), algorithm)
    assert raised.value.reason == "KEY_UNREADABLE"


@pytest.mark.parametrize(
    "content",
    [
        b"not a key",
        pem(RSA_KEY, b"password"),
        RSA_KEY.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    ],
    ids=["no PEM", "encrypted", "public key"],
)
def test_unreadable_key_is_refused(content):
    with pytest.raises(StreamHalted, match="not an unencrypted PEM private key") as raised:
        sign_jwt({}, content, "RS256")
    assert raised.value.reason == "KEY_UNREADABLE"


def test_token_request_carries_assertion_with_expected_claims():
    auth = OAuth2(
        "https://login.example/token",
        lambda: "client-1",
        assertion_key=lambda: pem(RSA_KEY),
        audience="https://login.example",
    )
    flow = auth.flow(RegistryRequest("GET", "https://registry.example/awards"), NOW)
    form = {name: values[0] for name, values in parse_qs(next(flow).content.decode()).items()}
    assert form["grant_type"] == "client_credentials"
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    claims = jwt.decode(form["client_assertion"], options={"verify_signature": False})
    assert len(claims.pop("jti")) >= 16
    issued = int(NOW.timestamp())
    assert claims == {
        "iss": "client-1",
        "sub": "client-1",
        "aud": "https://login.example",
        "iat": issued,
        "exp": issued + 60,
    }
    reply = ReplyBody.from_bytes(json.dumps({"access_token": "token-1"}).encode())
    sent = flow.send(RegistryReply(200, {}, reply, "https://login.example/token"))
    assert sent.headers["Authorization"] == "Bearer token-1"
