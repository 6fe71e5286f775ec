"""Identity tokens: which are verified by which keys, and why each forged one is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from chalicelib.access.federation.key_sets import KeySetError, parse_key_set
from chalicelib.access.federation.oidc import (
    LEEWAY,
    MAX_LENGTH,
    VerifiedIdentity,
    claimed_issuer,
    verify,
)
from chalicelib.access.refusals import Reason
from chalicelib.errors import RequestInvalidError
from tests.chalicelib.access import values
from tests.chalicelib.access.values import NOW, forgeries, misshapen
from tests.support.issuer import (
    AT,
    AUDIENCE,
    ISSUER,
    PAYLOAD,
    SUBJECT,
    FixedKeySets,
    ec_key,
    jwk,
    key_set,
    pem,
    respelled,
    rsa_key,
    segment,
    token,
)

STRANGER, OTHER = rsa_key(1), "https://other.example.com"
ONE, TWO = jwk(rsa_key(), kid="one"), jwk(ec_key(), kid="two")
IDENTITY = VerifiedIdentity(ISSUER, frozenset({AUDIENCE}), SUBJECT)


def verified(
    text: str, *keys: dict[str, Any], now: float = NOW, issuer: str = ISSUER
) -> VerifiedIdentity:
    """Verify a token by keys (default: both of ISSUER's) as one of an issuer."""
    sets = {ISSUER: keys or (ONE, TWO), OTHER: [jwk(STRANGER, kid="one")]}
    read = {name: parse_key_set(key_set(*rows)) for name, rows in sets.items()}
    return verify(text, issuer, [AUDIENCE], FixedKeySets(read), now)


def reason_of(text: str, *keys: dict[str, Any], now: float = NOW, issuer: str = ISSUER) -> Reason:
    """Return why a token is refused."""
    return values.reason_of(lambda: verified(text, *keys, now=now, issuer=issuer))


def test_the_key_is_the_one_that_the_token_names() -> None:
    """By its id, of several keys, for RS256 or ES256; the issuer can be read before."""
    assert claimed_issuer(token()) == ISSUER
    keys = [ONE, jwk(rsa_key(1), kid="two"), jwk(ec_key(), kid="three")]
    assert verified(token(), *keys) == IDENTITY
    assert verified(token(rsa_key(1), kid="two"), *keys) == IDENTITY
    assert verified(token(ec_key(), "ES256", kid="three"), *keys) == IDENTITY
    assert reason_of(token(kid="two"), *keys) == Reason.IDENTITY_SIGNATURE


def test_a_token_without_a_kid_is_verified_by_the_only_key() -> None:
    """Which may have no id either; with two keys, none is tried."""
    assert verified(token(kid=None), ONE) == verified(token(kid=None), jwk(rsa_key())) == IDENTITY
    two_of_a_kind = [ONE, jwk(rsa_key(1), kid="two")]
    assert reason_of(token(kid=None), *two_of_a_kind) == Reason.IDENTITY_HEADER
    assert reason_of(token(kid=""), jwk(rsa_key())) == Reason.IDENTITY_KEY


def test_the_key_sets_are_given_the_key_id() -> None:
    """So that they can read an issuer's keys again for an unknown one."""
    keys = FixedKeySets({ISSUER: parse_key_set(key_set(ONE))})
    verify(token(), ISSUER, [AUDIENCE], keys, NOW)
    verify(token(kid=None), ISSUER, [AUDIENCE], keys, NOW)
    assert keys.asked == [(ISSUER, "one"), (ISSUER, None)]


def test_a_token_may_have_several_audiences() -> None:
    """One of them must be ours; all of them are in the identity."""
    assert verified(token(aud=["x", AUDIENCE])).audiences == {"x", AUDIENCE}
    assert verified(token(aud=[AUDIENCE])) == IDENTITY


def test_a_token_is_valid_from_nbf_to_exp_with_the_leeway() -> None:
    """The times may have fractions; without an `nbf` the `iat` counts."""
    text = token(iat=AT, nbf=AT + 5.5, exp=AT + 60)
    assert verified(text, now=AT + 5.5 - LEEWAY) == IDENTITY
    assert reason_of(text, now=AT + 5.4 - LEEWAY) == Reason.IDENTITY_EARLY
    assert verified(text, now=AT + 60 + LEEWAY - 0.001) == IDENTITY
    assert reason_of(text, now=AT + 60 + LEEWAY) == Reason.IDENTITY_EXPIRED
    assert verified(token(nbf=None)) == IDENTITY
    assert reason_of(token(nbf=None, iat=AT + 60)) == Reason.IDENTITY_EARLY


@pytest.mark.parametrize("kind", ["jwt", None])
def test_a_token_may_leave_out_its_type(kind: str | None) -> None:
    """Which is compared without letter case."""
    headers: dict[str, Any] = {"kid": "one", "typ": kind}
    assert verified(jwt.encode(dict(PAYLOAD), rsa_key(), "RS256", headers=headers)) == IDENTITY


# forged tokens

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
EVIL = "https://evil.example/keys"
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
        {"exp": str(AT + 9)}, {"exp": True}, {"exp": 10**300}, {"nbf": "0"},
        {"nbf": None}, {"iat": -1},
        {"aud": LACKING}, {"sub": LACKING}, {"exp": LACKING}, {"iat": LACKING},
    ],
}
"""Claims of rightly signed tokens."""

OTHERS: dict[Reason, dict[str, str]] = {
    Reason.IDENTITY_HEADER: {
        "HS256 with the public key": by_hmac(pem(rsa_key())),
        "HS256 with an empty key": by_hmac(b""),
        "HS512": by_hmac(pem(rsa_key()), alg="HS512"),
        "RS512 by the right key": token(algorithm="RS512"),
        "PS256 by the right key": token(algorithm="PS256"),
        "ES256 under an RSA key's id": token(ec_key(), "ES256"),
        "RS256 under another key's id": token(kid="two"),
        "ES384": ES384,
        "no kid": token(kid=None),
        "a type that is null": rightly(head=b'{"alg": "RS256", "kid": "one", "typ": null}'),
    },
    Reason.IDENTITY_SIGNATURE: {
        "HS256 with the public key said to be RS256": by_hmac(pem(rsa_key()), alg="RS256"),
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
    Reason.IDENTITY_FORM: {
        **misshapen(GOOD),
        "b64 without crit": rightly(b64=False),
        "a signature respelled": respelled(GOOD),
        "an end that is Infinity": with_exp(b'Infinity, "x": '),
        "an infinite end": with_exp(b'1e999, "x": '),
        "an end that no float holds": with_claims({"exp": 10**400}),
        "half of a surrogate pair": with_claims({"sub": "\ud800"}),
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
        "a long header": rightly(pad="x" * 2000),
    },
    Reason.IDENTITY_LENGTH: {
        "too long": rightly(json.dumps({**PAYLOAD, "pad": "x" * 7000}).encode()),
        "far too long": "a" * 10_000_000,
    },
}
# fmt: on


@pytest.mark.parametrize(
    ("text", "reason"),
    forgeries(OTHERS, (with_header, {Reason.IDENTITY_HEADER: HEADERS}), (with_claims, CLAIMS)),
)
def test_a_forged_token_is_refused_for_its_reason(text: str, reason: Reason) -> None:
    """Those that they were made from are accepted, so each is refused for its own change."""
    assert verified(GOOD) == verified(rightly()) == verified(with_claims({})) == IDENTITY
    assert reason_of(text) == reason


def test_a_subject_that_is_too_long_is_400() -> None:
    """Only of a token that is valid otherwise; a forged one is refused as any other."""
    assert verified(with_claims({"sub": "a" * 1024})).subject == "a" * 1024
    with pytest.raises(RequestInvalidError, match="1024 characters"):
        verified(with_claims({"sub": "a" * 1025}))
    assert reason_of(with_claims({"sub": "a" * 1025, "exp": 0})) is Reason.IDENTITY_EXPIRED


def test_another_issuers_key_verifies_nothing() -> None:
    """A token of one issuer is not verified by the keys of another, whatever the ids."""
    assert reason_of(by_stranger()) == Reason.IDENTITY_SIGNATURE
    assert reason_of(by_stranger(), issuer=OTHER) == Reason.IDENTITY_ISSUER


def test_without_an_expected_audience_no_token_is_accepted() -> None:
    """An empty list of audiences does not mean any."""
    keys = FixedKeySets({ISSUER: parse_key_set(key_set(ONE))})
    reason = values.reason_of(verify, GOOD, ISSUER, [], keys, NOW)
    assert reason == Reason.IDENTITY_AUDIENCE


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
    assert values.reason_of(claimed_issuer, text) == reason


def test_no_keys_are_read_for_a_token_of_another_form_or_header() -> None:
    """Such a token causes no request to the issuer."""
    keys = FixedKeySets({})
    for text in ("x", rightly(crit=["exp"]), rightly(kid=1), rightly(typ="at+jwt")):
        values.reason_of(verify, text, ISSUER, [AUDIENCE], keys, NOW)
    assert keys.asked == []


# key sets


def test_keys_of_other_kinds_sizes_and_uses_are_left_out() -> None:
    """What is left is the key set."""
    good = jwk(rsa_key(), kid="one", use="sig", alg="RS256", key_ops=["verify"], x5t="x")
    # fmt: off
    others: list[Any] = [
        None, "key", 5, [], {"kty": "oct", "k": "AAAA"},
        {"kty": "oct", "k": "AAAA", "alg": "RS256"}, {"kty": "RSA"},
        {"kty": "RSA", "n": 5, "e": "AQAB"}, {"kty": "RSA", "n": "", "e": ""},
        {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        *(jwk(rsa_key(), **member) for member in (
            {"use": "enc"}, {"alg": "PS256"}, {"alg": "HS256"}, {"key_ops": ["encrypt"]},
            {"key_ops": "verify"},
        )),
        jwk(rsa_key(9, 1024)), jwk(ec.generate_private_key(ec.SECP384R1())),
        jwk(ec_key(), crv="P-384"), jwk(ec_key(), alg="RS256"), jwk(ec_key(), y="AAAA"),
    ]
    # fmt: on
    for number, other in enumerate(others):
        row = other | {"kid": f"{number}"} if isinstance(other, dict) else other
        assert set(parse_key_set(key_set(row, good))) == {"one"}


def test_a_private_key_is_read_as_its_public_half() -> None:
    """Should an issuer publish one."""
    numbers = rsa_key().private_numbers()
    read = parse_key_set(key_set(jwk(rsa_key(), kid="one", d=f"{numbers.d:x}")))
    assert not hasattr(read["one"].key, "private_numbers")


# fmt: off
NO_KEY_SETS = [
    b"", b"\xff", b"null", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": NaN}',
    b"[" * 100_000, b'{"keys": ' + b"[" * 100_000, b'{"keys": [], "keys": []}',
    key_set({"kty": "oct", "k": "AAAA"}),
    key_set(ONE, jwk(rsa_key(1), kid="one")),
    key_set(jwk(rsa_key()), jwk(ec_key())),
    key_set(jwk(rsa_key(), kid=5)), key_set(jwk(rsa_key(), kid=None)),
    json.dumps({"keys": [jwk(rsa_key())]}).encode("utf-16"),
]
# fmt: on


@pytest.mark.parametrize("body", NO_KEY_SETS, ids=range(len(NO_KEY_SETS)))
def test_a_text_that_is_no_key_set_is_refused(body: bytes) -> None:
    """One that can't be read, is empty, or has two keys of one id."""
    with pytest.raises(KeySetError):
        parse_key_set(body)
