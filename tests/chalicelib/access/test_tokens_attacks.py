"""Forged tokens: a table of tricks, each with the reason for which it is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.signing_keys import SigningKey
from tests.chalicelib.access.values import NOW, RING, TOKENS, check_tells_only_why

KEY = RING.signing
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


def part(value: object) -> str:
    """Return a value as a segment of a token: JSON, unless it is bytes."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def made(header: object, payload: object, key: bytes = KEY.secret, hashed: str = "sha256") -> str:
    """Return a token with any header, any payload and a signature by HMAC."""
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(hmac.new(key, signed.encode(), hashed).digest())}"


def with_header(**changes: object) -> str:
    """Return a token, rightly signed, whose header differs; None leaves a member out."""
    header = HEADER | changes
    return made({name: value for name, value in header.items() if value is not None}, PAYLOAD)


def with_claims(**changes: object) -> str:
    """Return a token, rightly signed, whose claims differ; None leaves one out."""
    payload = PAYLOAD | changes
    return made(HEADER, {name: value for name, value in payload.items() if value is not None})


GOOD = made(HEADER, PAYLOAD)
HEAD, BODY, SIGNATURE = GOOD.split(".")


def widened() -> str:
    """Return a good token whose scope was widened afterwards."""
    return f"{HEAD}.{part(PAYLOAD | {'scope': 'repository:team/app:pull,push'})}.{SIGNATURE}"


def respelled() -> str:
    """Return a good token whose signature has another spelling of the same bytes."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return GOOD[:-1] + letters[letters.index(GOOD[-1]) ^ 1]


def asymmetric(algorithm: str, key: Any) -> str:  # noqa: ANN401 - a private key of any kind
    """Return a token that somebody signed with a private key."""
    return jwt.encode(PAYLOAD, key, algorithm, headers={"kid": KEY.id})


# fmt: off
FORGED = {
    # unsigned
    "alg none": (f"{part(HEADER | {'alg': 'none'})}.{BODY}.", Reason.JWT_FORM),
    "alg none, a signature": (with_header(alg="none"), Reason.JWT_HEADER),
    "alg None": (with_header(alg="None"), Reason.JWT_HEADER),
    "alg NONE": (with_header(alg="NONE"), Reason.JWT_HEADER),
    "alg empty": (with_header(alg=""), Reason.JWT_HEADER),
    "alg left out": (with_header(alg=None), Reason.JWT_HEADER),
    "alg a list": (with_header(alg=["HS256", "none"]), Reason.JWT_HEADER),
    "alg lower case": (with_header(alg="hs256"), Reason.JWT_HEADER),
    "signature left out": (f"{HEAD}.{BODY}.", Reason.JWT_FORM),
    "two segments": (f"{HEAD}.{BODY}", Reason.JWT_FORM),
    # another algorithm
    "HS384 with our key": (made(HEADER | {"alg": "HS384"}, PAYLOAD, hashed="sha384"),
                           Reason.JWT_HEADER),
    "HS512 with our key": (made(HEADER | {"alg": "HS512"}, PAYLOAD, hashed="sha512"),
                           Reason.JWT_HEADER),
    "HS384 said to be HS256": (made(HEADER, PAYLOAD, hashed="sha384"), Reason.JWT_SIGNATURE),
    "RS256": (asymmetric("RS256", rsa.generate_private_key(65537, 2048)), Reason.JWT_HEADER),
    "ES256": (asymmetric("ES256", ec.generate_private_key(ec.SECP256R1())), Reason.JWT_HEADER),
    "EdDSA": (asymmetric("EdDSA", ed25519.Ed25519PrivateKey.generate()), Reason.JWT_HEADER),
    "RS256 signed by HMAC": (made(HEADER | {"alg": "RS256"}, PAYLOAD, PUBLIC), Reason.JWT_HEADER),
    "HS256 with a public key": (made(HEADER, PAYLOAD, PUBLIC), Reason.JWT_SIGNATURE),
    # another key
    "no key": (made(HEADER, PAYLOAD, b""), Reason.JWT_SIGNATURE),
    "the key's id as the key": (made(HEADER, PAYLOAD, KEY.id.encode()), Reason.JWT_SIGNATURE),
    "the key's text as the key": (made(HEADER, PAYLOAD, KEY.text().encode()),
                                  Reason.JWT_SIGNATURE),
    "a stranger's key under our id": (made(HEADER, PAYLOAD, SigningKey.generate().secret),
                                      Reason.JWT_SIGNATURE),
    "our key under another id": (with_header(kid="0" * 16), Reason.JWT_KEY),
    "kid left out": (with_header(kid=None), Reason.JWT_HEADER),
    "kid empty": (with_header(kid=""), Reason.JWT_KEY),
    "kid a number": (with_header(kid=0), Reason.JWT_HEADER),
    "kid a list": (with_header(kid=[KEY.id]), Reason.JWT_HEADER),
    "kid a path": (with_header(kid="../../dev/null"), Reason.JWT_KEY),
    "kid an injection": (with_header(kid="x' OR '1'='1"), Reason.JWT_KEY),
    "kid with NUL": (with_header(kid=KEY.id + "\0"), Reason.JWT_KEY),
    "a key in the header": (with_header(jwk={"kty": "oct", "k": "AA"}), Reason.JWT_HEADER),
    "a key elsewhere": (with_header(jku="http://127.0.0.1/k"), Reason.JWT_HEADER),
    "a certificate": (with_header(x5c=["AA"]), Reason.JWT_HEADER),
    "crit": (with_header(crit=["b64"], b64=False), Reason.JWT_HEADER),
    "an encrypted kind": (with_header(typ="JWE"), Reason.JWT_HEADER),
    "typ left out": (with_header(typ=None), Reason.JWT_HEADER),
    # changed afterwards
    "scope widened": (widened(), Reason.JWT_SIGNATURE),
    "signature of another": (f"{HEAD}.{BODY}.{made(HEADER, {}).split('.')[2]}",
                             Reason.JWT_SIGNATURE),
    "signature cut": (GOOD[:-11], Reason.JWT_SIGNATURE),
    "signature respelled": (respelled(), Reason.JWT_FORM),
    "padded": (GOOD + "=", Reason.JWT_FORM),
    "white space before": (" " + GOOD, Reason.JWT_FORM),
    "a line end behind": (GOOD + "\n", Reason.JWT_FORM),
    "a fourth segment": (GOOD + ".AAAA", Reason.JWT_FORM),
    "an empty one before": ("." + GOOD, Reason.JWT_FORM),
    # meant for others
    "another audience": (with_claims(aud="other.example.com"), Reason.JWT_AUDIENCE),
    "an audience among others": (with_claims(aud=[TOKENS.service, "x"]), Reason.JWT_AUDIENCE),
    "an audience alone in a list": (with_claims(aud=[TOKENS.service]), Reason.JWT_AUDIENCE),
    "an audience in capitals": (with_claims(aud=TOKENS.service.upper()), Reason.JWT_AUDIENCE),
    "audience left out": (with_claims(aud=None), Reason.JWT_CLAIMS),
    "audience a number": (with_claims(aud=1), Reason.JWT_AUDIENCE),
    "a refresh token": (with_claims(aud=f"{TOKENS.service}#refresh"), Reason.JWT_AUDIENCE),
    "another issuer": (with_claims(iss="https://evil.example"), Reason.JWT_ISSUER),
    "an issuer with a slash": (with_claims(iss=TOKENS.issuer + "/"), Reason.JWT_ISSUER),
    "an issuer's list": (with_claims(iss=[TOKENS.issuer]), Reason.JWT_ISSUER),
    "issuer left out": (with_claims(iss=None), Reason.JWT_CLAIMS),
    # times
    "expired": (with_claims(exp=AT), Reason.JWT_EXPIRED),
    "expired long ago": (with_claims(exp=0), Reason.JWT_EXPIRED),
    "not yet valid": (with_claims(nbf=AT + 60), Reason.JWT_EARLY),
    "valid for ever": (with_claims(exp=AT + 10**9), Reason.JWT_CLAIMS),
    "an end without an end": (with_claims(exp=float("inf")), Reason.JWT_CLAIMS),
    "an end that is none": (with_claims(exp=float("nan")), Reason.JWT_CLAIMS),
    "an end in words": (with_claims(exp=str(AT + 300)), Reason.JWT_CLAIMS),
    "an end that is true": (with_claims(exp=True), Reason.JWT_CLAIMS),
    "end left out": (with_claims(exp=None), Reason.JWT_CLAIMS),
    "beginning left out": (with_claims(nbf=None), Reason.JWT_CLAIMS),
    "issue left out": (with_claims(iat=None), Reason.JWT_CLAIMS),
    "issued with a fraction": (with_claims(iat=AT + 0.5), Reason.JWT_CLAIMS),
    # claims
    "subject left out": (with_claims(sub=None), Reason.JWT_CLAIMS),
    "subject a number": (with_claims(sub=1), Reason.JWT_CLAIMS),
    "subject a map": (with_claims(sub={"$ne": ""}), Reason.JWT_CLAIMS),
    "scope left out": (with_claims(scope=None), Reason.JWT_CLAIMS),
    "scope a list": (with_claims(scope=["repository:a:pull"]), Reason.JWT_CLAIMS),
    "scope too long": (with_claims(scope="x" * 4100), Reason.JWT_CLAIMS),
    "id left out": (with_claims(jti=None), Reason.JWT_CLAIMS),
    "id a number": (with_claims(jti=7), Reason.JWT_CLAIMS),
    "credential a number": (with_claims(cid=1), Reason.JWT_CLAIMS),
    "version in words": (with_claims(ver="1"), Reason.JWT_CLAIMS),
    "version true": (with_claims(ver=True), Reason.JWT_CLAIMS),
    "claims a list": (made(HEADER, [PAYLOAD]), Reason.JWT_FORM),
    "claims a text": (made(HEADER, "x"), Reason.JWT_FORM),
    "claims null": (made(HEADER, b"null"), Reason.JWT_FORM),
    "claims no JSON": (made(HEADER, b"{"), Reason.JWT_FORM),
    "claims no UTF-8": (made(HEADER, b"\xff\xfe"), Reason.JWT_FORM),
    "claims empty": (f"{HEAD}..{SIGNATURE}", Reason.JWT_FORM),
    "a token in a token": (made(HEADER, GOOD.encode()), Reason.JWT_FORM),
    # garbage
    "empty": ("", Reason.JWT_FORM),
    "dots": ("..", Reason.JWT_FORM),
    "NUL": ("\0", Reason.JWT_FORM),
    "not ASCII": (GOOD.replace("e", "é", 1), Reason.JWT_FORM),
    "full-width dots": (GOOD.replace(".", "\uff0e"), Reason.JWT_FORM),
    "a lone surrogate": (GOOD + "\ud800", Reason.JWT_FORM),
    "huge": ("A" * 10_000_000, Reason.JWT_LENGTH),
    "just too long": (f"{HEAD}.{'A' * 8192}.{SIGNATURE}", Reason.JWT_LENGTH),
    "a long header": (made(HEADER | {"x": "y" * 200}, PAYLOAD), Reason.JWT_FORM),
    "a deep header": (f"{part(b'[' * 5000)}.AA.AA", Reason.JWT_FORM),
    "a header as deep as fits": (f"{part(b'[' * 150)}.AA.AA", Reason.JWT_FORM),
    "a header that is a list": (f"{part([HEADER])[:200]}.AA.AA", Reason.JWT_FORM),
    "a header that is null": (made(b"null", PAYLOAD), Reason.JWT_FORM),
    "a header that is no UTF-8": (made(b"\xff", PAYLOAD), Reason.JWT_FORM),
    "a header with a member twice": (
        made(json.dumps(HEADER).encode()[:-1] + b', "alg": "none"}', PAYLOAD), Reason.JWT_HEADER),
    "an access token": ("moor_" + "A" * 49, Reason.JWT_FORM),
}
# fmt: on


@pytest.mark.parametrize("name", FORGED)
def test_forged(name: str) -> None:
    """A forged token is refused for the reason that it is one, and not repeated in the error."""
    token, reason = FORGED[name]
    with pytest.raises(AuthenticationError) as caught:
        TOKENS.verify(token, NOW)
    error = caught.value
    assert error.reason is reason
    check_tells_only_why(error)


def test_the_good_one_is_taken() -> None:
    """What the forgeries were made from is taken: each is refused for its own change."""
    assert TOKENS.verify(GOOD, NOW).subject == "credential:1"
    hashed = hashlib.sha256(GOOD.encode()).hexdigest()
    assert hashed not in {hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
                          for token, _ in FORGED.values()}  # fmt: skip
