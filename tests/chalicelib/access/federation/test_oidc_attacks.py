"""Forged identity tokens: each is refused for its own reason, and not repeated in the error."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from chalicelib.access.federation.key_sets import parse_key_set
from chalicelib.access.federation.oidc import MAX_LENGTH, claimed_issuer, verify
from chalicelib.access.refusals import AuthenticationError, Reason
from tests.chalicelib.access.values import NOW, forgeries
from tests.support.issuer import (
    AT,
    AUDIENCE,
    ISSUER,
    PAYLOAD,
    FixedKeySets,
    ec_key,
    jwk,
    key_set,
    respelled,
    rsa_key,
    segment,
    token,
)

STRANGER = rsa_key(1)
KEYS = parse_key_set(key_set(jwk(rsa_key(), kid="one"), jwk(ec_key(), kid="two")))
PEM = (
    rsa_key()
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
)
HEADER = {"alg": "RS256", "typ": "JWT", "kid": "one"}
LACKING = "is not there"
TEXT = json.dumps(dict(PAYLOAD)).encode()
GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")


def by_hmac(secret: bytes, **header: object) -> str:
    """Return a token signed with a secret, whose header differs."""
    signed = f"{segment(HEADER | {'alg': 'HS256'} | header)}.{BODY}"
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def by_stranger(**header: Any) -> str:  # noqa: ANN401 - any member of a header
    """Return a token signed with another key, with more in its header."""
    return jwt.encode(dict(PAYLOAD), STRANGER, "RS256", headers={"kid": "one", **header})


def rightly(payload: bytes = TEXT, head: bytes = b"", **header: object) -> str:
    """Return a token that the issuer's own key signed: any payload, a header that differs."""
    kept = {name: value for name, value in (HEADER | header).items() if value is not None}
    signed = f"{segment(head or kept)}.{segment(payload)}"
    signature = rsa_key().sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{segment(signature)}"


def with_header(changes: dict[str, Any]) -> str:
    """Return a token that the issuer's own key signed, whose header differs."""
    return rightly(**changes)


def with_claims(changes: dict[str, Any]) -> str:
    """Return a token that the issuer's key signed, with other claims; LACKING leaves one out."""
    claims = {**PAYLOAD, **changes}.items()
    return rightly(json.dumps({name: text for name, text in claims if text != LACKING}).encode())


def with_exp(text: bytes) -> str:
    """Return a rightly signed token with `exp` as it is written here."""
    return rightly(TEXT.replace(b'"exp": ', b'"exp": ' + text))


JWK = jwk(STRANGER, kid="one")
OTHER, EVIL = "https://other.example.com", "https://evil.example/keys"
ES384 = token(ec.generate_private_key(ec.SECP384R1()), "ES384", "two")

# fmt: off
HEADERS: list[dict[str, Any]] = [
    {"alg": "none"}, {"alg": "None"}, {"alg": ""}, {"alg": None}, {"alg": ["RS256", "none"]},
    {"alg": "rs256"}, {"alg": "PS256"}, {"kid": 1}, {"kid": ["one"]}, {"crit": ["exp"], "exp": 1},
    {"crit": []}, {"b64": False, "crit": ["b64"]}, {"typ": "at+jwt"}, {"typ": ""},
    {"typ": "logout+jwt"}, {"typ": "JWE"},
]
"""Headers of rightly signed tokens, each refused as IDENTITY_HEADER."""

CLAIMS: dict[Reason, list[dict[str, Any]]] = {
    Reason.IDENTITY_ISSUER: [
        {"iss": "https://token.example.com/other"}, {"iss": ISSUER + "/"}, {"iss": [ISSUER]},
        {"iss": LACKING},
    ],
    Reason.IDENTITY_AUDIENCE: [
        {"aud": "other.example.com"}, {"aud": ["a", "b"]}, {"aud": "registry"}, {"aud": ["x"]},
        {"aud": AUDIENCE + "x"}, {"aud": AUDIENCE[:-1]}, {"aud": [AUDIENCE.upper()]},
    ],
    Reason.IDENTITY_EXPIRED: [{"exp": AT - 31}, {"exp": 0}],
    Reason.IDENTITY_EARLY: [{"nbf": AT + 31}, {"iat": AT + 60}],
    Reason.IDENTITY_CLAIMS: [
        {"aud": {AUDIENCE: 1}}, {"aud": [[AUDIENCE]]}, {"aud": [AUDIENCE, 1]}, {"aud": []},
        {"aud": ""}, {"sub": ""}, {"sub": ["a"]}, {"sub": "a\nb"}, {"sub": "a\0b"},
        {"sub": "\ud800"}, {"sub": "a" * 1025}, {"exp": str(AT + 9)}, {"exp": True},
        {"exp": 10**400}, {"nbf": "0"}, {"nbf": None}, {"iat": -1},
        {"aud": LACKING}, {"sub": LACKING}, {"exp": LACKING}, {"iat": LACKING},
    ],
}
"""Claims of rightly signed tokens."""

OTHERS: dict[Reason, dict[str, str]] = {
    Reason.IDENTITY_HEADER: {
        "HS256 with the public key": by_hmac(PEM),
        "HS256 with an empty key": by_hmac(b""),
        "HS512": by_hmac(PEM, alg="HS512"),
        "RS512 by the right key": token(algorithm="RS512"),
        "PS256 by the right key": token(algorithm="PS256"),
        "ES256 under an RSA key's id": token(ec_key(), "ES256"),
        "RS256 under another key's id": token(kid="two"),
        "ES384": ES384,
        "no kid": token(kid=None),
        "a type that is null": rightly(head=b'{"alg": "RS256", "kid": "one", "typ": null}'),
    },
    Reason.IDENTITY_SIGNATURE: {
        "HS256 with the public key said to be RS256": by_hmac(PEM, alg="RS256"),
        "RS256 said to be ES256": rightly(alg="ES256", kid="two"),
        "ES256 of zeros": f"{segment({'alg': 'ES256', 'kid': 'two'})}.{BODY}.{segment(bytes(64))}",
        "another key": by_stranger(),
        "another key in the header": by_stranger(jwk=JWK),
        "another key at a URL": by_stranger(jku=EVIL),
        "another certificate at a URL": by_stranger(x5u=EVIL),
        "another certificate": by_stranger(x5c=["AAAA"]),
        "another key on the curve": token(ec_key(1), "ES256", "two"),
        "another payload": f"{HEAD}.{segment(dict(PAYLOAD) | {'sub': 'x'})}.{SIGNATURE}",
        "a signature cut":
            f"{HEAD}.{BODY}.{segment(base64.urlsafe_b64decode(f'{SIGNATURE}==')[:-1])}",
    },
    Reason.IDENTITY_KEY: {
        "another key in the header alone": by_stranger(jwk=JWK, kid="x"),
        "an unknown kid": token(kid="three"),
        "a kid that is a path": token(kid="../../../dev/null"),
        "an empty kid": token(kid=""),
    },
    Reason.IDENTITY_CLAIMS: {"an infinite end": with_exp(b'1e999, "x": ')},
    Reason.IDENTITY_FORM: {
        "alg none, unsigned": f"{segment(HEADER | {'alg': 'none'})}.{BODY}.",
        "no signature": f"{HEAD}.{BODY}.",
        "two segments": f"{HEAD}.{BODY}",
        "five segments": f"{GOOD}.{BODY}.{BODY}",
        "b64 without crit": rightly(b64=False),
        "a signature respelled": respelled(GOOD),
        "an end that is Infinity": with_exp(b'Infinity, "x": '),
        "an end that is NaN": with_claims({"exp": float("nan")}),
        "an end of many digits": with_exp(b"9" * 4900),
        "a subject twice": rightly(TEXT[:-1] + b', "sub": "x"}'),
        "a kid twice": rightly(head=b'{"alg": "RS256", "kid": "two", "kid": "one"}'),
        "alg twice": rightly(head=b'{"alg": "none", "kid": "one", "alg": "RS256"}'),
        "a list": rightly(b"[]"),
        "no JSON": rightly(b"iss"),
        "UTF-16": rightly(TEXT.decode().encode("utf-16")),
        "no UTF-8": rightly(b'{"sub": "\xff"}'),
        "a deep header": rightly(head=b"[" * 1500),
        "a deep payload": rightly(b"[" * 5000),
        "empty": "", "dots": "..", "a space before": f" {GOOD}", "a line end behind": f"{GOOD}\n",
        "padded": f"{GOOD}=",
        "plus and slash": f"{HEAD}.{BODY}.a+/a",
        "another alphabet": f"{HEAD}.{BODY}.\u0430\u0431",
        "a letter too many": f"{HEAD}A.{BODY}.{SIGNATURE}",
        "a long header": rightly(pad="x" * 2000),
    },
    Reason.IDENTITY_LENGTH: {
        "too long": rightly(json.dumps({**PAYLOAD, "pad": "x" * 7000}).encode()),
        "far too long": "a" * 10_000_000,
    },
}
# fmt: on

FORGED = {
    **forgeries(with_header, {Reason.IDENTITY_HEADER: HEADERS}),
    **forgeries(with_claims, CLAIMS),
    **{name: (text, reason) for reason, rows in OTHERS.items() for name, text in rows.items()},
}


def verified(text: str, issuer: str = ISSUER) -> object:
    """Verify a token, by default as one of our issuer for our audience."""
    other = parse_key_set(key_set(jwk(STRANGER, kid="one")))
    keys = FixedKeySets({ISSUER: KEYS, OTHER: other})
    return verify(text, issuer, [AUDIENCE], keys, NOW)


def test_the_tokens_that_they_were_made_from_are_accepted() -> None:
    """So each forgery is refused for its own change."""
    for text in (GOOD, rightly(), with_claims({}), token(ec_key(), "ES256", "two")):
        assert verified(text)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused_for_its_reason(name: str) -> None:
    """The error has the reason, and nothing of the token."""
    text, reason = FORGED[name]
    with pytest.raises(AuthenticationError) as refused:
        verified(text)
    assert refused.value.reason == reason
    # What the library says may quote the token: neither client nor log is to see that.
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    shown = f"{refused.value!r} {refused.value} {refused.value.reason}"
    assert not any(part in shown for part in text.split(".") if len(part) > 5)


@pytest.mark.parametrize(
    ("issuer", "reason"),
    [(ISSUER, Reason.IDENTITY_SIGNATURE), (OTHER, Reason.IDENTITY_ISSUER)],
)
def test_another_issuers_key_verifies_nothing(issuer: str, reason: Reason) -> None:
    """A token of one issuer is not verified by the keys of another, whatever the ids."""
    with pytest.raises(AuthenticationError) as refused:
        verified(by_stranger(), issuer)
    assert refused.value.reason == reason


def test_without_an_expected_audience_no_token_is_accepted() -> None:
    """An empty list of audiences does not mean any."""
    with pytest.raises(AuthenticationError) as refused:
        verify(GOOD, ISSUER, [], FixedKeySets({ISSUER: KEYS}), NOW)
    assert refused.value.reason == Reason.IDENTITY_AUDIENCE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x", Reason.IDENTITY_FORM),
        (token(iss=None), Reason.IDENTITY_CLAIMS),
        (with_claims({"iss": [ISSUER]}), Reason.IDENTITY_CLAIMS),
        (rightly(TEXT[:-1] + b', "iss": "x"}'), Reason.IDENTITY_FORM),
        ("a" * (MAX_LENGTH + 1), Reason.IDENTITY_LENGTH),
    ],
    ids=range(5),
)
def test_a_token_without_one_issuer_is_refused_before_keys_are_read(
    text: str, reason: Reason
) -> None:
    """A token that names no issuer, or two, has none to choose the keys by."""
    with pytest.raises(AuthenticationError) as refused:
        claimed_issuer(text)
    assert refused.value.reason == reason


def test_no_keys_are_read_for_a_token_of_another_form_or_header() -> None:
    """Such a token causes no request to the issuer."""
    keys = FixedKeySets({})
    for text in ("x", rightly(crit=["exp"]), rightly(kid=1), rightly(typ="at+jwt")):
        with pytest.raises(AuthenticationError):
            verify(text, ISSUER, [AUDIENCE], keys, NOW)
    assert keys.asked == []
