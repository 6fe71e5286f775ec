"""Forged registry tokens: each is refused for its own reason, and not repeated in the error."""

from __future__ import annotations

import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.signing_keys import SigningKey
from tests.chalicelib.access.values import KEYS, NOW, TOKENS, check_tells_only_why, forgeries
from tests.support.issuer import respelled, segment

KEY = KEYS.signing
AT = int(NOW)
HEADER: dict[str, Any] = {"alg": "HS256", "typ": "JWT", "kid": KEY.id}
PAYLOAD: dict[str, Any] = {
    "iss": TOKENS.issuer,
    "aud": TOKENS.service,
    "sub": "credential:1",
    "scope": "repository:team/app:pull",
    "iat": AT,
    "nbf": AT - 10,
    "exp": AT + 300,
    "jti": "t",
    "cid": "1",
    "ver": 1,
}
PUBLIC = (
    rsa.generate_private_key(65537, 2048)
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
)


def made(
    header: object = HEADER,
    payload: object = PAYLOAD,
    key: bytes = KEY.secret,
    hashed: str = "sha256",
) -> str:
    """Return a token with any header, any payload and a signature by HMAC."""
    signed = f"{segment(header)}.{segment(payload)}"
    return f"{signed}.{segment(hmac.new(key, signed.encode(), hashed).digest())}"


def with_header(changes: dict[str, Any]) -> str:
    """Return a token, rightly signed, whose header differs; None leaves a member out."""
    return made({name: value for name, value in (HEADER | changes).items() if value is not None})


def with_claims(changes: dict[str, Any]) -> str:
    """Return a token, rightly signed, whose claims differ; None leaves one out."""
    claims = {name: value for name, value in (PAYLOAD | changes).items() if value is not None}
    return made(HEADER, claims)


def asymmetric(algorithm: str, key: Any) -> str:  # noqa: ANN401 - a private key of any kind
    """Return a token that is signed with a private key."""
    return jwt.encode(PAYLOAD, key, algorithm, headers={"kid": KEY.id})


GOOD = made()
HEAD, BODY, SIGNATURE = GOOD.split(".")
SERVICE, ISSUER = TOKENS.service, TOKENS.issuer

# fmt: off
HEADERS: dict[Reason, list[dict[str, Any]]] = {
    Reason.JWT_HEADER: [
        {"alg": "none"}, {"alg": "None"}, {"alg": "NONE"}, {"alg": ""}, {"alg": None},
        {"alg": ["HS256", "none"]}, {"alg": "hs256"}, {"kid": None}, {"kid": 0}, {"kid": [KEY.id]},
        {"jwk": {"kty": "oct", "k": "AA"}}, {"jku": "http://127.0.0.1/k"}, {"x5c": ["AA"]},
        {"crit": ["b64"], "b64": False}, {"typ": "JWE"}, {"typ": None},
    ],
    Reason.JWT_KEY: [
        {"kid": "0" * 16}, {"kid": ""}, {"kid": "../../dev/null"}, {"kid": "x' OR '1'='1"},
        {"kid": KEY.id + "\0"},
    ],
}
"""Changes of the header of a token that is rightly signed."""

CLAIMS: dict[Reason, list[dict[str, Any]]] = {
    Reason.JWT_AUDIENCE: [
        {"aud": "other.example.com"}, {"aud": [SERVICE, "x"]}, {"aud": [SERVICE]},
        {"aud": SERVICE.upper()}, {"aud": 1}, {"aud": f"{SERVICE}#refresh"},
    ],
    Reason.JWT_ISSUER: [{"iss": "https://evil.example"}, {"iss": ISSUER + "/"}, {"iss": [ISSUER]}],
    Reason.JWT_EXPIRED: [{"exp": AT}, {"exp": 0}],
    Reason.JWT_EARLY: [{"nbf": AT + 60}],
    Reason.JWT_CLAIMS: [
        {"aud": None}, {"iss": None}, {"exp": None}, {"nbf": None}, {"iat": None}, {"sub": None},
        {"scope": None}, {"jti": None}, {"exp": AT + 10**9}, {"exp": float("inf")},
        {"exp": float("nan")}, {"exp": str(AT + 300)}, {"exp": True}, {"iat": AT + 0.5},
        {"sub": 1}, {"sub": {"$ne": ""}}, {"scope": ["repository:a:pull"]}, {"scope": "x" * 4100},
        {"jti": 7}, {"cid": 1}, {"ver": "1"}, {"ver": True},
    ],
}
"""Changes of the claims of a token that is rightly signed."""

OTHERS: dict[Reason, dict[str, str]] = {
    Reason.JWT_HEADER: {
        "HS384 with our key": made(HEADER | {"alg": "HS384"}, hashed="sha384"),
        "HS512 with our key": made(HEADER | {"alg": "HS512"}, hashed="sha512"),
        "RS256": asymmetric("RS256", rsa.generate_private_key(65537, 2048)),
        "ES256": asymmetric("ES256", ec.generate_private_key(ec.SECP256R1())),
        "EdDSA": asymmetric("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        "RS256 signed by HMAC": made(HEADER | {"alg": "RS256"}, key=PUBLIC),
        "alg twice": made(json.dumps(HEADER).encode()[:-1] + b', "alg": "none"}'),
    },
    Reason.JWT_SIGNATURE: {
        "HS384 said to be HS256": made(hashed="sha384"),
        "HS256 with a public key": made(key=PUBLIC),
        "no key": made(key=b""),
        "the key's id as the key": made(key=KEY.id.encode()),
        "the key's text as the key": made(key=KEY.text().encode()),
        "another key under our id": made(key=SigningKey.generate().secret),
        "scope widened": f"{HEAD}.{segment(PAYLOAD | {'scope': 'repository:a:push'})}.{SIGNATURE}",
        "signature of another token": f"{HEAD}.{BODY}.{made(HEADER, {}).split('.')[2]}",
        "signature cut": GOOD[:-11],
    },
    Reason.JWT_FORM: {
        "alg none, unsigned": f"{segment(HEADER | {'alg': 'none'})}.{BODY}.",
        "no signature": f"{HEAD}.{BODY}.",
        "two segments": f"{HEAD}.{BODY}",
        "four segments": GOOD + ".AAAA",
        "an empty segment before": "." + GOOD,
        "signature respelled": respelled(GOOD),
        "padded": GOOD + "=",
        "a space before": " " + GOOD,
        "a line end behind": GOOD + "\n",
        "claims a list": made(HEADER, [PAYLOAD]),
        "claims a text": made(HEADER, "x"),
        "claims null": made(HEADER, b"null"),
        "claims no JSON": made(HEADER, b"{"),
        "claims no UTF-8": made(HEADER, b"\xff\xfe"),
        "claims empty": f"{HEAD}..{SIGNATURE}",
        "a token in a token": made(HEADER, GOOD.encode()),
        "empty": "", "dots": "..", "NUL": "\0",
        "not ASCII": GOOD.replace("e", "é", 1),
        "full-width dots": GOOD.replace(".", "\uff0e"),
        "a lone surrogate": GOOD + "\ud800",
        "a long header": made(HEADER | {"x": "y" * 200}),
        "a deep header": f"{segment(b'[' * 5000)}.AA.AA",
        "a header as deep as fits": f"{segment(b'[' * 150)}.AA.AA",
        "header a list": f"{segment([HEADER])[:200]}.AA.AA",
        "header null": made(b"null"),
        "header no UTF-8": made(b"\xff"),
        "an API token": "moor_" + "A" * 49,
    },
    Reason.JWT_LENGTH: {
        "huge": "A" * 10_000_000,
        "just too long": f"{HEAD}.{'A' * 8192}.{SIGNATURE}",
    },
}
# fmt: on

FORGED = {
    **forgeries(with_header, HEADERS),
    **forgeries(with_claims, CLAIMS),
    **{name: (token, reason) for reason, rows in OTHERS.items() for name, token in rows.items()},
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused_for_its_reason(name: str) -> None:
    """The error has the reason, and nothing of the token."""
    token, reason = FORGED[name]
    with pytest.raises(AuthenticationError) as caught:
        TOKENS.verify(token, NOW)
    assert caught.value.reason is reason
    check_tells_only_why(caught.value)


def test_the_token_that_they_were_made_from_is_accepted() -> None:
    """So each forgery is refused for its own change."""
    assert TOKENS.verify(GOOD, NOW).subject == "credential:1"
    assert GOOD not in {token for token, _ in FORGED.values()}
