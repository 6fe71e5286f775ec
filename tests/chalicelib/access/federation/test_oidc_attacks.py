"""Forged identity tokens: a table of tricks, each with the reason for which it is refused."""

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
from tests.chalicelib.access.values import NOW
from tests.support.issuer import (
    AT,
    AUDIENCE,
    ISSUER,
    PAYLOAD,
    FixedKeySets,
    ec_key,
    jwk,
    key_set,
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
TEXT = json.dumps(dict(PAYLOAD)).encode()
GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")


def by_hmac(secret: bytes, **header: object) -> str:
    """Return a token signed with a secret, whose header differs."""
    signed = f"{segment(HEADER | {'alg': 'HS256'} | header)}.{BODY}"
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def by_stranger(**header: Any) -> str:  # noqa: ANN401 - any member of a header
    """Return a token that a stranger signed, with more in its header."""
    return jwt.encode(dict(PAYLOAD), STRANGER, "RS256", headers={"kid": "one", **header})


def rightly(payload: bytes = TEXT, head: bytes = b"", **header: object) -> str:
    """Return a token that the issuer's own key signed: any payload, a header that differs."""
    kept = {name: value for name, value in (HEADER | header).items() if value is not None}
    signed = f"{segment(head or kept)}.{segment(payload)}"
    signature = rsa_key().sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{segment(signature)}"


def claiming(**claims: object) -> str:
    """Return a token that the issuer's own key signed, with other claims; None is null."""
    return rightly(json.dumps({**PAYLOAD, **claims}).encode())


def respelled() -> str:
    """Return a good token whose signature has another spelling of the same bytes."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return GOOD[:-1] + letters[letters.index(GOOD[-1]) ^ 1]


def cut() -> str:
    """Return a token whose signature lacks its last byte."""
    signature = base64.urlsafe_b64decode(f"{SIGNATURE}==")
    return f"{HEAD}.{BODY}.{segment(signature[:-1])}"


def lacking(claim: str) -> str:
    """Return a token without a claim."""
    claims: dict[str, Any] = {claim: None}
    return token(**claims)


JWK = jwk(STRANGER, kid="one")

# fmt: off
FORGED = {
    # unsigned
    "alg none": (f"{segment(HEADER | {'alg': 'none'})}.{BODY}.", Reason.IDENTITY_FORM),
    "alg none, a signature": (rightly(alg="none"), Reason.IDENTITY_HEADER),
    "alg None": (rightly(alg="None"), Reason.IDENTITY_HEADER),
    "alg empty": (rightly(alg=""), Reason.IDENTITY_HEADER),
    "alg left out": (rightly(alg=None), Reason.IDENTITY_HEADER),
    "alg a list": (rightly(alg=["RS256", "none"]), Reason.IDENTITY_HEADER),
    "alg lower case": (rightly(alg="rs256"), Reason.IDENTITY_HEADER),
    "no signature": (f"{HEAD}.{BODY}.", Reason.IDENTITY_FORM),
    "two segments": (f"{HEAD}.{BODY}", Reason.IDENTITY_FORM),
    "five segments": (f"{GOOD}.{BODY}.{BODY}", Reason.IDENTITY_FORM),
    # another algorithm
    "HS256 with the public key": (by_hmac(PEM), Reason.IDENTITY_HEADER),
    "HS256 with the public key said to be RS256": (by_hmac(PEM, alg="RS256"),
                                                   Reason.IDENTITY_SIGNATURE),
    "HS256 with nothing": (by_hmac(b""), Reason.IDENTITY_HEADER),
    "HS512": (by_hmac(PEM, alg="HS512"), Reason.IDENTITY_HEADER),
    "RS512 by the right key": (token(algorithm="RS512"), Reason.IDENTITY_HEADER),
    "PS256 by the right key": (token(algorithm="PS256"), Reason.IDENTITY_HEADER),
    "RS256 said to be PS256": (rightly(alg="PS256"), Reason.IDENTITY_HEADER),
    "ES256 under an RSA key's id": (token(ec_key(), "ES256"), Reason.IDENTITY_HEADER),
    "RS256 under another key's id": (token(kid="two"), Reason.IDENTITY_HEADER),
    "RS256 said to be ES256": (rightly(alg="ES256", kid="two"), Reason.IDENTITY_SIGNATURE),
    "ES256 of zeros": (f"{segment({'alg': 'ES256', 'kid': 'two'})}.{BODY}.{segment(bytes(64))}",
                       Reason.IDENTITY_SIGNATURE),
    "ES384": (token(ec.generate_private_key(ec.SECP384R1()), "ES384", "two"),
              Reason.IDENTITY_HEADER),
    # another key
    "a stranger's key": (by_stranger(), Reason.IDENTITY_SIGNATURE),
    "a stranger's key in the header": (by_stranger(jwk=JWK), Reason.IDENTITY_SIGNATURE),
    "a stranger's key in the header alone": (by_stranger(jwk=JWK, kid="x"), Reason.IDENTITY_KEY),
    "a stranger's key elsewhere": (by_stranger(jku="https://evil.example/keys"),
                                   Reason.IDENTITY_SIGNATURE),
    "a stranger's certificate elsewhere": (by_stranger(x5u="https://evil.example/c"),
                                           Reason.IDENTITY_SIGNATURE),
    "a stranger's certificate": (by_stranger(x5c=["AAAA"]), Reason.IDENTITY_SIGNATURE),
    "a stranger's curve": (token(ec_key(1), "ES256", "two"), Reason.IDENTITY_SIGNATURE),
    "an unknown kid": (token(kid="three"), Reason.IDENTITY_KEY),
    "a kid that is a path": (token(kid="../../../dev/null"), Reason.IDENTITY_KEY),
    "an empty kid": (token(kid=""), Reason.IDENTITY_KEY),
    "no kid": (token(kid=None), Reason.IDENTITY_HEADER),
    "a kid that is a number": (rightly(kid=1), Reason.IDENTITY_HEADER),
    "a kid that is a list": (rightly(kid=["one"]), Reason.IDENTITY_HEADER),
    # what a reader must understand
    "crit": (rightly(crit=["exp"], exp=1), Reason.IDENTITY_HEADER),
    "another type": (rightly(typ="at+jwt"), Reason.IDENTITY_HEADER),
    "an empty type": (rightly(typ=""), Reason.IDENTITY_HEADER),
    "a type that is null": (rightly(head=b'{"alg": "RS256", "kid": "one", "typ": null}'),
                            Reason.IDENTITY_HEADER),
    "crit empty": (rightly(crit=[]), Reason.IDENTITY_HEADER),
    "a payload that is not encoded": (rightly(b64=False, crit=["b64"]), Reason.IDENTITY_HEADER),
    "b64 without crit": (rightly(b64=False), Reason.IDENTITY_FORM),
    # what was changed afterwards
    "another payload": (f"{HEAD}.{segment(dict(PAYLOAD) | {'sub': 'x'})}.{SIGNATURE}",
                        Reason.IDENTITY_SIGNATURE),
    "a signature cut": (cut(), Reason.IDENTITY_SIGNATURE),
    "a signature respelled": (respelled(), Reason.IDENTITY_FORM),
    # claims
    "another issuer": (claiming(iss="https://token.example.com/other"), Reason.IDENTITY_ISSUER),
    "an issuer with a slash": (claiming(iss=ISSUER + "/"), Reason.IDENTITY_ISSUER),
    "an issuer of several": (claiming(iss=[ISSUER]), Reason.IDENTITY_ISSUER),
    "no issuer": (lacking("iss"), Reason.IDENTITY_ISSUER),
    "another audience": (claiming(aud="other.example.com"), Reason.IDENTITY_AUDIENCE),
    "other audiences": (claiming(aud=["a", "b"]), Reason.IDENTITY_AUDIENCE),
    "a part of the audience": (claiming(aud="registry"), Reason.IDENTITY_AUDIENCE),
    "an audience in an object": (claiming(aud={AUDIENCE: 1}), Reason.IDENTITY_CLAIMS),
    "an audience in a list of lists": (claiming(aud=[[AUDIENCE]]), Reason.IDENTITY_CLAIMS),
    "an audience beside a number": (claiming(aud=[AUDIENCE, 1]), Reason.IDENTITY_CLAIMS),
    "no audience": (lacking("aud"), Reason.IDENTITY_CLAIMS),
    "no audience in a list": (claiming(aud=[]), Reason.IDENTITY_CLAIMS),
    "an empty audience": (claiming(aud=""), Reason.IDENTITY_CLAIMS),
    "no subject": (lacking("sub"), Reason.IDENTITY_CLAIMS),
    "an empty subject": (claiming(sub=""), Reason.IDENTITY_CLAIMS),
    "a subject that is a list": (claiming(sub=["a"]), Reason.IDENTITY_CLAIMS),
    "a subject of two lines": (claiming(sub="a\nb"), Reason.IDENTITY_CLAIMS),
    "a subject that is cut short elsewhere": (claiming(sub="a\0b"), Reason.IDENTITY_CLAIMS),
    "a subject that is half a character": (claiming(sub="\ud800"), Reason.IDENTITY_CLAIMS),
    "a long subject": (claiming(sub="a" * 1025), Reason.IDENTITY_CLAIMS),
    # times
    "expired": (claiming(exp=AT - 31), Reason.IDENTITY_EXPIRED),
    "expired long ago": (claiming(exp=0), Reason.IDENTITY_EXPIRED),
    "no end": (lacking("exp"), Reason.IDENTITY_CLAIMS),
    "an end that is a text": (claiming(exp=str(AT + 9)), Reason.IDENTITY_CLAIMS),
    "an end that is true": (claiming(exp=True), Reason.IDENTITY_CLAIMS),
    "an end without end": (rightly(TEXT.replace(b'"exp": ', b'"exp": 1e999, "x": ')),
                           Reason.IDENTITY_CLAIMS),
    "an end that is Infinity": (rightly(TEXT.replace(b'"exp": ', b'"exp": Infinity, "x": ')),
                                Reason.IDENTITY_FORM),
    "an end that is NaN": (claiming(exp=float("nan")), Reason.IDENTITY_FORM),
    "an end of many digits": (rightly(TEXT.replace(b'"exp": ', b'"exp": ' + b"9" * 4900)),
                              Reason.IDENTITY_FORM),
    "an end beyond floats": (claiming(exp=10**400), Reason.IDENTITY_CLAIMS),
    "not valid yet": (claiming(nbf=AT + 31), Reason.IDENTITY_EARLY),
    "a beginning that is a text": (claiming(nbf="0"), Reason.IDENTITY_CLAIMS),
    "a beginning that is null": (claiming(nbf=None), Reason.IDENTITY_CLAIMS),
    "issued in the future": (claiming(iat=AT + 60), Reason.IDENTITY_EARLY),
    "never issued": (lacking("iat"), Reason.IDENTITY_CLAIMS),
    "issued before time": (claiming(iat=-1), Reason.IDENTITY_CLAIMS),
    # what is read in two ways
    "a subject twice": (rightly(TEXT[:-1] + b', "sub": "x"}'), Reason.IDENTITY_FORM),
    "a kid twice": (rightly(head=b'{"alg": "RS256", "kid": "two", "kid": "one"}'),
                    Reason.IDENTITY_FORM),
    "alg twice": (rightly(head=b'{"alg": "none", "kid": "one", "alg": "RS256"}'),
                  Reason.IDENTITY_FORM),
    "a list": (rightly(b"[]"), Reason.IDENTITY_FORM),
    "no JSON": (rightly(b"iss"), Reason.IDENTITY_FORM),
    "UTF-16": (rightly(TEXT.decode().encode("utf-16")), Reason.IDENTITY_FORM),
    "no UTF-8": (rightly(b'{"sub": "\xff"}'), Reason.IDENTITY_FORM),
    "a deep header": (rightly(head=b"[" * 1500), Reason.IDENTITY_FORM),
    "a deep payload": (rightly(b"[" * 5000), Reason.IDENTITY_FORM),
    # forms
    "nothing": ("", Reason.IDENTITY_FORM),
    "dots": ("..", Reason.IDENTITY_FORM),
    "spaces": (f" {GOOD}", Reason.IDENTITY_FORM),
    "a line": (f"{GOOD}\n", Reason.IDENTITY_FORM),
    "padding": (f"{GOOD}=", Reason.IDENTITY_FORM),
    "plus and slash": (f"{HEAD}.{BODY}.a+/a", Reason.IDENTITY_FORM),
    "another alphabet": (f"{HEAD}.{BODY}.\u0430\u0431", Reason.IDENTITY_FORM),
    "a letter too many": (f"{HEAD}A.{BODY}.{SIGNATURE}", Reason.IDENTITY_FORM),
    "a long header": (rightly(pad="x" * 2000), Reason.IDENTITY_FORM),
    "too long": (rightly(json.dumps({**PAYLOAD, "pad": "x" * 7000}).encode()),
                 Reason.IDENTITY_LENGTH),
    "far too long": ("a" * 10_000_000, Reason.IDENTITY_LENGTH),
}
# fmt: on


def verified(text: str) -> object:
    """Verify a token as one of our issuer for our audience."""
    return verify(text, ISSUER, [AUDIENCE], FixedKeySets({ISSUER: KEYS}), NOW)


def test_the_good_ones_are_good() -> None:
    """What the forged tokens differ from is accepted: nothing else is wrong with them."""
    for text in (GOOD, rightly(), claiming(), token(ec_key(), "ES256", "two")):
        assert verified(text)


@pytest.mark.parametrize("trick", FORGED)
def test_forged_tokens(trick: str) -> None:
    """A forged token is refused, for what is wrong with it, and nothing of it is told."""
    text, reason = FORGED[trick]
    with pytest.raises(AuthenticationError) as refused:
        verified(text)
    assert refused.value.reason == reason
    # What the library says may quote the token: neither caller nor log is to see that.
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    shown = f"{refused.value!r} {refused.value} {refused.value.reason}"
    assert not any(part in shown for part in text.split(".") if len(part) > 5)


def test_another_issuers_key() -> None:
    """A token of one issuer is not verified by the keys of another, whatever the ids."""
    other = "https://other.example.com"
    theirs = parse_key_set(key_set(jwk(STRANGER, kid="one")))
    keys = FixedKeySets({ISSUER: KEYS, other: theirs})
    with pytest.raises(AuthenticationError) as refused:
        verify(by_stranger(), ISSUER, [AUDIENCE], keys, NOW)
    assert refused.value.reason == Reason.IDENTITY_SIGNATURE
    with pytest.raises(AuthenticationError) as refused:
        verify(by_stranger(), other, [AUDIENCE], keys, NOW)
    assert refused.value.reason == Reason.IDENTITY_ISSUER


def test_no_audience_at_all() -> None:
    """Where nobody is waited for, no token is let in."""
    with pytest.raises(AuthenticationError) as refused:
        verify(GOOD, ISSUER, [], FixedKeySets({ISSUER: KEYS}), NOW)
    assert refused.value.reason == Reason.IDENTITY_AUDIENCE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x", Reason.IDENTITY_FORM),
        (lacking("iss"), Reason.IDENTITY_CLAIMS),
        (claiming(iss=[ISSUER]), Reason.IDENTITY_CLAIMS),
        (rightly(TEXT[:-1] + b', "iss": "x"}'), Reason.IDENTITY_FORM),
        ("a" * (MAX_LENGTH + 1), Reason.IDENTITY_LENGTH),
    ],
    ids=range(5),
)
def test_claimed_issuer(text: str, reason: Reason) -> None:
    """A token that names no issuer, or two, is refused before anybody is asked for keys."""
    with pytest.raises(AuthenticationError) as refused:
        claimed_issuer(text)
    assert refused.value.reason == reason


def test_nothing_is_asked_for_what_is_no_token() -> None:
    """The keys are not read for a token that is refused by its form or its header."""
    keys = FixedKeySets({})
    for text in ("x", rightly(crit=["exp"]), rightly(kid=1), rightly(typ="at+jwt")):
        with pytest.raises(AuthenticationError):
            verify(text, ISSUER, [AUDIENCE], keys, NOW)
    assert keys.asked == []
