"""VerifiedIdentity tokens that are what they should be, and the key sets that verify them."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.access.federation.key_sets import KeySetError, parse_key_set
from chalicelib.access.federation.oidc import LEEWAY, VerifiedIdentity, claimed_issuer, verify
from chalicelib.access.refusals import AuthenticationError, Reason
from tests.chalicelib.access.values import NOW
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
    rsa_key,
    token,
)

GOOD = VerifiedIdentity(ISSUER, frozenset({AUDIENCE}), SUBJECT)


def verified(text: str, *keys: dict[str, Any], now: float = NOW) -> VerifiedIdentity:
    """Verify a token by keys (default: our RSA key under `one`)."""
    read = parse_key_set(key_set(*(keys or (jwk(rsa_key(), kid="one"),))))
    return verify(text, ISSUER, [AUDIENCE], FixedKeySets({ISSUER: read}), now)


def reason_of(text: str, *keys: dict[str, Any], now: float = NOW) -> Reason:
    """Return why a token is refused."""
    with pytest.raises(AuthenticationError) as refused:
        verified(text, *keys, now=now)
    return refused.value.reason


def test_rs256() -> None:
    """A token by an RSA key is verified by RS256."""
    assert verified(token()) == GOOD
    assert claimed_issuer(token()) == ISSUER


def test_es256() -> None:
    """A token by a key on P-256 is verified by ES256."""
    assert verified(token(ec_key(), "ES256"), jwk(ec_key(), kid="one")) == GOOD


def test_the_key_is_chosen_by_its_id() -> None:
    """Of several keys the one counts that the token names."""
    keys = [jwk(rsa_key(), kid="one"), jwk(rsa_key(1), kid="two"), jwk(ec_key(), kid="three")]
    assert verified(token(), *keys) == GOOD
    assert verified(token(rsa_key(1), kid="two"), *keys) == GOOD
    assert verified(token(ec_key(), "ES256", kid="three"), *keys) == GOOD
    assert reason_of(token(kid="two"), *keys) == Reason.IDENTITY_SIGNATURE
    assert reason_of(token(kid="three"), *keys) == Reason.IDENTITY_HEADER
    assert reason_of(token(kid="four"), *keys) == Reason.IDENTITY_KEY


def test_an_only_key_need_not_be_named() -> None:
    """A token without a kid is verified if there is one key, which may have none either."""
    assert verified(token(kid=None)) == GOOD
    assert verified(token(kid=None), jwk(rsa_key())) == GOOD
    two = [jwk(rsa_key(), kid="one"), jwk(rsa_key(1), kid="two")]
    assert reason_of(token(kid=None), *two) == Reason.IDENTITY_HEADER
    assert reason_of(token(kid=""), jwk(rsa_key())) == Reason.IDENTITY_KEY


def test_the_key_set_is_asked_with_the_id() -> None:
    """The issuer's keys are asked for together with the id, so that they can be read again."""
    keys = FixedKeySets({ISSUER: parse_key_set(key_set(jwk(rsa_key(), kid="one")))})
    verify(token(), ISSUER, [AUDIENCE], keys, NOW)
    verify(token(kid=None), ISSUER, [AUDIENCE], keys, NOW)
    assert keys.asked == [(ISSUER, "one"), (ISSUER, None)]


def test_audiences() -> None:
    """A token may be meant for others too, and then all of them are told."""
    assert verified(token(aud=["x", AUDIENCE])).audiences == {"x", AUDIENCE}
    assert verified(token(aud=[AUDIENCE])) == GOOD
    for other in (["x"], "x", AUDIENCE + "x", AUDIENCE[:-1], [AUDIENCE.upper()]):
        assert reason_of(token(aud=other)) == Reason.IDENTITY_AUDIENCE


def test_times() -> None:
    """A token's life has both its ends, each with the leeway, and may have fractions."""
    text = token(iat=AT, nbf=AT + 5.5, exp=AT + 60)
    assert verified(text, now=AT + 5.5 - LEEWAY) == GOOD
    assert reason_of(text, now=AT + 5.4 - LEEWAY) == Reason.IDENTITY_EARLY
    assert verified(text, now=AT + 60 + LEEWAY - 0.001) == GOOD
    assert reason_of(text, now=AT + 60 + LEEWAY) == Reason.IDENTITY_EXPIRED
    assert verified(token(nbf=None)) == GOOD
    assert reason_of(token(nbf=None, iat=AT + 60)) == Reason.IDENTITY_EARLY


def test_types() -> None:
    """A token may leave out its type; one that says another type is none."""
    assert verified(typed("jwt")) == GOOD
    assert verified(typed(None)) == GOOD
    for other in ("at+jwt", "logout+jwt", "JWE"):
        assert reason_of(typed(other)) == Reason.IDENTITY_HEADER


def typed(kind: str | None) -> str:
    """Return a token that says of which type it is; None: of none."""
    headers: dict[str, Any] = {"kid": "one", "typ": kind}
    return jwt.encode(dict(PAYLOAD), rsa_key(), "RS256", headers=headers)


# key sets


def test_other_keys_are_left_out() -> None:
    """Keys of other kinds, sizes and uses are not in a set that is read."""
    good = jwk(rsa_key(), kid="one", use="sig", alg="RS256", key_ops=["verify"], x5t="x")
    others = [
        {"kty": "oct", "k": "AAAA", "kid": "a"},
        {"kty": "oct", "k": "AAAA", "kid": "b", "alg": "RS256"},
        jwk(rsa_key(), kid="c", use="enc"),
        jwk(rsa_key(), kid="d", alg="PS256"),
        jwk(rsa_key(), kid="e", alg="HS256"),
        jwk(rsa_key(), kid="f", key_ops=["encrypt"]),
        jwk(rsa_key(), kid="g", key_ops="verify"),
        jwk(rsa_key(9, 1024), kid="h"),
        jwk(ec.generate_private_key(ec.SECP384R1()), kid="i"),
        jwk(ec_key(), kid="j", crv="P-384"),
        jwk(ec_key(), kid="k", alg="RS256"),
        jwk(ec_key(), kid="l", y="AAAA"),
        {"kty": "RSA", "kid": "m"},
        {"kty": "RSA", "kid": "n", "n": 5, "e": "AQAB"},
        {"kty": "RSA", "kid": "o", "n": "", "e": ""},
        {"kty": "EC", "kid": "p", "crv": "P-256", "x": "!", "y": "!"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "q"},
    ]
    odd: list[Any] = [None, "key", 5, []]
    assert set(parse_key_set(key_set(*odd, *others, good))) == {"one"}


def test_a_private_key_is_read_as_its_public_half() -> None:
    """An issuer that publishes too much makes no private key of it here."""
    numbers = rsa_key().private_numbers()
    read = parse_key_set(key_set(jwk(rsa_key(), kid="one", d=f"{numbers.d:x}")))
    assert not hasattr(read["one"].key, "private_numbers")


# fmt: off
NO_KEY_SETS = [
    b"", b"\xff", b"null", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": NaN}',
    b"[" * 100_000, b'{"keys": ' + b"[" * 100_000, b'{"keys": [], "keys": []}',
    key_set({"kty": "oct", "k": "AAAA"}),
    key_set(jwk(rsa_key(), kid="one"), jwk(rsa_key(1), kid="one")),
    key_set(jwk(rsa_key()), jwk(ec_key())),
    key_set(jwk(rsa_key(), kid=5)), key_set(jwk(rsa_key(), kid=None)),
    json.dumps({"keys": [jwk(rsa_key())]}).encode("utf-16"),
]
# fmt: on


@pytest.mark.parametrize("body", NO_KEY_SETS, ids=range(len(NO_KEY_SETS)))
def test_what_is_no_key_set(body: bytes) -> None:
    """A set that can't be read, is empty, or has two keys of one id is refused whole."""
    with pytest.raises(KeySetError):
        parse_key_set(body)
