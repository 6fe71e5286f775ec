"""Valid identity tokens, and the key sets that verify them."""

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


def test_a_token_is_verified_by_rs256_or_es256() -> None:
    """Whichever its key is for; its issuer can be read before."""
    assert verified(token()) == GOOD
    assert claimed_issuer(token()) == ISSUER
    assert verified(token(ec_key(), "ES256"), jwk(ec_key(), kid="one")) == GOOD


def test_the_key_is_the_one_that_the_token_names() -> None:
    """By its id, of several keys."""
    keys = [jwk(rsa_key(), kid="one"), jwk(rsa_key(1), kid="two"), jwk(ec_key(), kid="three")]
    assert verified(token(), *keys) == GOOD
    assert verified(token(rsa_key(1), kid="two"), *keys) == GOOD
    assert verified(token(ec_key(), "ES256", kid="three"), *keys) == GOOD
    assert reason_of(token(kid="two"), *keys) == Reason.IDENTITY_SIGNATURE
    assert reason_of(token(kid="three"), *keys) == Reason.IDENTITY_HEADER
    assert reason_of(token(kid="four"), *keys) == Reason.IDENTITY_KEY


def test_a_token_without_a_kid_is_verified_by_the_only_key() -> None:
    """Which may have no id either; with two keys, none is tried."""
    assert verified(token(kid=None)) == GOOD
    assert verified(token(kid=None), jwk(rsa_key())) == GOOD
    two = [jwk(rsa_key(), kid="one"), jwk(rsa_key(1), kid="two")]
    assert reason_of(token(kid=None), *two) == Reason.IDENTITY_HEADER
    assert reason_of(token(kid=""), jwk(rsa_key())) == Reason.IDENTITY_KEY


def test_the_key_sets_are_given_the_key_id() -> None:
    """So that they can read an issuer's keys again for an unknown one."""
    keys = FixedKeySets({ISSUER: parse_key_set(key_set(jwk(rsa_key(), kid="one")))})
    verify(token(), ISSUER, [AUDIENCE], keys, NOW)
    verify(token(kid=None), ISSUER, [AUDIENCE], keys, NOW)
    assert keys.asked == [(ISSUER, "one"), (ISSUER, None)]


def test_a_token_may_have_several_audiences() -> None:
    """One of them must be ours; all of them are in the identity."""
    assert verified(token(aud=["x", AUDIENCE])).audiences == {"x", AUDIENCE}
    assert verified(token(aud=[AUDIENCE])) == GOOD


def test_a_token_is_valid_from_nbf_to_exp_with_the_leeway() -> None:
    """The times may have fractions; without an `nbf` the `iat` counts."""
    text = token(iat=AT, nbf=AT + 5.5, exp=AT + 60)
    assert verified(text, now=AT + 5.5 - LEEWAY) == GOOD
    assert reason_of(text, now=AT + 5.4 - LEEWAY) == Reason.IDENTITY_EARLY
    assert verified(text, now=AT + 60 + LEEWAY - 0.001) == GOOD
    assert reason_of(text, now=AT + 60 + LEEWAY) == Reason.IDENTITY_EXPIRED
    assert verified(token(nbf=None)) == GOOD
    assert reason_of(token(nbf=None, iat=AT + 60)) == Reason.IDENTITY_EARLY


@pytest.mark.parametrize("kind", ["jwt", None])
def test_a_token_may_leave_out_its_type(kind: str | None) -> None:
    """Which is compared without letter case; test_oidc_attacks.py has other types."""
    headers: dict[str, Any] = {"kid": "one", "typ": kind}
    assert verified(jwt.encode(dict(PAYLOAD), rsa_key(), "RS256", headers=headers)) == GOOD


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
    key_set(jwk(rsa_key(), kid="one"), jwk(rsa_key(1), kid="one")),
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
