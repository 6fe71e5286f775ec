"""The registry's tokens: what was issued is read back, and nothing else is accepted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.grants import Right
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import (
    MAX_SCOPES,
    Scopes,
    ScopesTooLongError,
    on_repository,
    parse_scopes,
)
from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.access.tokens import EARLY, LIFE, MAX_LENGTH, Claims, TokenUse
from chalicelib.errors import ErrorCode
from tests.chalicelib.access.values import NOW, TOKENS, check_tells_only_why, scopes

AT = int(NOW)


def refusal(token: str, now: float = NOW, use: TokenUse = TokenUse.BEARER) -> Reason:
    """Return why a token is refused; the error says nothing of it."""
    with pytest.raises(AuthenticationError) as caught:
        TOKENS.verify(token, now, use)
    error = caught.value
    assert error.code is ErrorCode.UNAUTHORIZED
    check_tells_only_why(error)
    return error.reason


@pytest.mark.parametrize("use", TokenUse)
@given(value=scopes, now=st.floats(min_value=0, max_value=4e9))
def test_what_was_issued_is_read_back(use: TokenUse, value: Scopes, now: float) -> None:
    """With the claims that it was issued for."""
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


def test_an_anonymous_token_has_no_credential() -> None:
    """Neither a source nor a version."""
    claims = TOKENS.verify(TOKENS.issue("anonymous", (), NOW, jti="t"), NOW)
    assert (claims.source, claims.version, claims.scopes) == (None, 0, ())


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
    """If that is before the end of its own life."""
    token = TOKENS.issue("a", (), NOW, jti="t", until=NOW + 90.5)
    assert TOKENS.verify(token, NOW).expires_at == int(NOW + 90.5)
    longer = TOKENS.issue("a", (), NOW, jti="t", until=NOW + 10**6)
    assert TOKENS.verify(longer, NOW).expires_at == int(NOW) + LIFE[TokenUse.BEARER]


def test_the_largest_token_fits_a_header() -> None:
    """With as many scopes as a client can request."""
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
    TOKENS.verify(TOKENS.issue("a", many[1:], NOW, jti="t"), NOW)
    with pytest.raises(ScopesTooLongError):
        TOKENS.issue("a", many, NOW, jti="t")


@given(st.text(max_size=200), st.integers(min_value=0), st.characters(codec="utf-8"))
def test_any_other_text_is_refused(text: str, at: int, character: str) -> None:
    """Also a token with one character changed."""
    refusal(text)
    token = TOKENS.issue("a", (), NOW, jti="t")
    where = at % len(token)
    changed = token[:where] + character + token[where + 1 :]
    if changed != token:
        refusal(changed)


def test_an_unknown_key_is_a_reason_of_its_own() -> None:
    """For the keys may have to be read again."""
    stranger = SigningKey.generate()
    tokens = replace(TOKENS, keys=SigningKeySet(stranger))
    assert refusal(tokens.issue("a", (), NOW, jti="t")) is Reason.JWT_KEY
