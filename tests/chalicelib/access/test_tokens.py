"""The registry's tokens: what was issued is read back, what was forged is refused."""

from __future__ import annotations

import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.grants import Right
from chalicelib.access.refusals import Reason
from chalicelib.access.scopes import (
    MAX_SCOPES,
    Scopes,
    ScopesTooLongError,
    on_repository,
    parse_scopes,
)
from chalicelib.access.signing_keys import SigningKey
from chalicelib.access.tokens import EARLY, LIFE, MAX_LENGTH, Claims, TokenUse
from tests.chalicelib.access.values import (
    KEYS,
    NOW,
    TOKENS,
    forgeries,
    misshapen,
    reason_of,
    scopes,
)
from tests.support.issuer import ec_key, pem, respelled, rsa_key, segment

AT = int(NOW)


def refusal(token: str, now: float = NOW, use: TokenUse = TokenUse.BEARER) -> Reason:
    """Return why a token is refused."""
    return reason_of(TOKENS.verify, token, now, use)


@pytest.mark.parametrize("use", TokenUse)
@given(value=scopes, now=st.floats(min_value=0, max_value=4e9))
def test_an_issued_token_is_read_back(use: TokenUse, value: Scopes, now: float) -> None:
    """It has the claims that it was issued for."""
    token = TOKENS.issue("credential:1", value, now, jti="t", use=use, source="1", version=3)
    at = int(now)
    assert TOKENS.verify(token, now, use) == Claims(
        use=use,
        subject="credential:1",
        scopes=value,
        issued_at=at,
        not_before=at - EARLY,
        expires_at=at + LIFE[use],
        jti="t",
        source="1",
        version=3,
    )


@pytest.mark.parametrize("use", TokenUse)
def test_a_token_is_valid_for_the_life_of_its_use(use: TokenUse) -> None:
    """From ten seconds before its issue to just before its end."""
    token = TOKENS.issue("a", (), NOW, jti="t", use=use)
    end = AT + LIFE[use]
    assert LIFE[use] >= 60  # clients rely on a minute
    assert refusal(token, AT - EARLY - 0.001, use) is Reason.JWT_EARLY
    TOKENS.verify(token, AT - EARLY, use)
    TOKENS.verify(token, end - 0.001, use)
    assert refusal(token, end, use) is Reason.JWT_EXPIRED


def test_no_token_passes_for_another_use() -> None:
    """Each use has an audience of its own."""
    for use in TokenUse:
        token = TOKENS.issue("a", (), NOW, jti="t", use=use)
        for other in set(TokenUse) - {use}:
            assert refusal(token, use=other) is Reason.JWT_AUDIENCE


def test_a_token_expires_with_the_login_that_it_is_issued_for() -> None:
    """That may be before the end of its own life."""
    token = TOKENS.issue("a", (), NOW, jti="t", until=NOW + 90.5)
    assert TOKENS.verify(token, NOW).expires_at == int(NOW + 90.5)
    longer = TOKENS.issue("a", (), NOW, jti="t", until=NOW + 10**6)
    assert TOKENS.verify(longer, NOW).expires_at == int(NOW) + LIFE[TokenUse.BEARER]


def test_the_largest_token_fits_a_header() -> None:
    """It has as many scopes as a client can request."""
    name = "a" * 200
    asked = parse_scopes([f"repository:{name}{number}:*" for number in range(16)])
    token = TOKENS.issue("credential:" + "1" * 36, asked, NOW, jti="t" * 36)
    assert len(token) <= MAX_LENGTH
    assert TOKENS.verify(token, NOW).scopes == asked


def test_a_token_above_the_limits_is_not_issued() -> None:
    """It is refused when it is made, not when it is used."""
    with pytest.raises(ScopesTooLongError):
        TOKENS.issue("a" * MAX_LENGTH, (), NOW, jti="t")
    many = tuple(on_repository(f"a{number}", Right.PULL) for number in range(MAX_SCOPES + 1))
    claims = TOKENS.verify(TOKENS.issue("a", many[1:], NOW, jti="t"), NOW)
    assert (claims.source, claims.version, claims.scopes) == (None, 0, many[1:])
    with pytest.raises(ScopesTooLongError):
        TOKENS.issue("a", many, NOW, jti="t")


@given(st.text(max_size=200), st.integers(min_value=0), st.characters(codec="utf-8"))
def test_a_text_that_is_no_token_is_refused(text: str, at: int, character: str) -> None:
    """A token with one changed character is refused too."""
    refusal(text)
    token = TOKENS.issue("a", (), NOW, jti="t")
    where = at % len(token)
    changed = token[:where] + character + token[where + 1 :]
    if changed != token:
        refusal(changed)


KEY = KEYS.signing
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
        "RS256": asymmetric("RS256", rsa_key()),
        "ES256": asymmetric("ES256", ec_key()),
        "EdDSA": asymmetric("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        "RS256 signed by HMAC": made(HEADER | {"alg": "RS256"}, key=pem(rsa_key())),
    },
    Reason.JWT_SIGNATURE: {
        "HS384 said to be HS256": made(hashed="sha384"),
        "HS256 with a public key": made(key=pem(rsa_key())),
        "no key": made(key=b""),
        "the key's id as the key": made(key=KEY.id.encode()),
        "the key's text as the key": made(key=KEY.text().encode()),
        "another key under our id": made(key=SigningKey.generate().secret),
        "scope widened": f"{HEAD}.{segment(PAYLOAD | {'scope': 'repository:a:push'})}.{SIGNATURE}",
        "signature of another token": f"{HEAD}.{BODY}.{made(HEADER, {}).split('.')[2]}",
        "signature cut": GOOD[:-11],
    },
    Reason.JWT_FORM: {
        **misshapen(GOOD),
        "signature respelled": respelled(GOOD),
        "claims a list": made(HEADER, [PAYLOAD]),
        "claims a text": made(HEADER, "x"),
        "claims null": made(HEADER, b"null"),
        "claims no JSON": made(HEADER, b"{"),
        "claims no UTF-8": made(HEADER, b"\xff\xfe"),
        "a token in a token": made(HEADER, GOOD.encode()),
        "alg twice": made(json.dumps(HEADER).encode()[:-1] + b', "alg": "none"}'),
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


@pytest.mark.parametrize(
    ("token", "reason"), forgeries(OTHERS, (with_header, HEADERS), (with_claims, CLAIMS))
)
def test_a_forged_token_is_refused_for_its_reason(token: str, reason: Reason) -> None:
    """Those that they were made from are accepted, so each is refused for its own change."""
    assert TOKENS.verify(GOOD, NOW) == TOKENS.verify(with_claims({}), NOW)
    assert token != GOOD
    assert refusal(token) is reason
