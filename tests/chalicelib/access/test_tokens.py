"""Registry tokens: what was issued is read back, and nothing else is taken."""

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
    """A token says what it was issued for, from ten seconds before its issue."""
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


def test_a_token_without_a_credential() -> None:
    """A token that was issued for no credential says so."""
    claims = TOKENS.verify(TOKENS.issue("anonymous", (), NOW, jti="t"), NOW)
    assert (claims.source, claims.version, claims.scopes) == (None, 0, ())


@pytest.mark.parametrize("use", TokenUse)
def test_a_life(use: TokenUse) -> None:
    """A token is valid from its beginning to just before its end."""
    token = TOKENS.issue("a", (), NOW, jti="t", use=use)
    end = AT + LIFE[use]
    assert refusal(token, AT - EARLY - 0.001, use) is Reason.JWT_EARLY
    TOKENS.verify(token, AT - EARLY, use)
    TOKENS.verify(token, end - 0.001, use)
    assert refusal(token, end, use) is Reason.JWT_EXPIRED


def test_no_token_passes_for_another_use() -> None:
    """A token is good for the use that it was issued for, and for no other."""
    for use in TokenUse:
        token = TOKENS.issue("a", (), NOW, jti="t", use=use)
        for other in set(TokenUse) - {use}:
            assert refusal(token, use=other) is Reason.JWT_AUDIENCE


def test_a_token_ends_with_what_it_is_issued_for() -> None:
    """A token that is given for another one lives no longer than that."""
    token = TOKENS.issue("a", (), NOW, jti="t", until=NOW + 90.5)
    assert TOKENS.verify(token, NOW).expires_at == int(NOW + 90.5)
    longer = TOKENS.issue("a", (), NOW, jti="t", until=NOW + 10**6)
    assert TOKENS.verify(longer, NOW).expires_at == int(NOW) + LIFE[TokenUse.BEARER]


def test_clients_get_at_least_a_minute() -> None:
    """Clients rely on a minute, and take more for what it says."""
    assert min(LIFE.values()) >= 60


def test_the_largest_request_fits() -> None:
    """A token for as many scopes as can be asked for fits the headers of a request."""
    name = "a" * 200
    asked = parse_scopes([f"repository:{name}{number}:*" for number in range(16)])
    token = TOKENS.issue("credential:" + "1" * 36, asked, NOW, jti="t" * 36)
    assert len(token) <= MAX_LENGTH
    assert TOKENS.verify(token, NOW).scopes == asked


def test_a_token_that_would_not_be_taken_is_not_issued() -> None:
    """A token above the limit is refused when it is made, not when it is used."""
    with pytest.raises(ScopesTooLongError):
        TOKENS.issue("a" * MAX_LENGTH, (), NOW, jti="t")
    many = tuple(on_repository(f"a{number}", Right.PULL) for number in range(MAX_SCOPES + 1))
    TOKENS.verify(TOKENS.issue("a", many[1:], NOW, jti="t"), NOW)
    with pytest.raises(ScopesTooLongError):
        TOKENS.issue("a", many, NOW, jti="t")


@given(st.text(max_size=200))
def test_any_text_is_refused(text: str) -> None:
    """No text that we did not sign is a token."""
    refusal(text)


@given(st.integers(min_value=0), st.characters(codec="utf-8"))
def test_any_change_of_a_token_is_refused(at: int, character: str) -> None:
    """A token with any one character changed is no token, whatever becomes of its bytes."""
    token = TOKENS.issue("a", (), NOW, jti="t")
    where = at % len(token)
    changed = token[:where] + character + token[where + 1 :]
    if changed != token:
        refusal(changed)


def test_a_key_out_of_the_ring_is_told_apart() -> None:
    """A token of an unknown key has a reason of its own: the ring may have to be read again."""
    stranger = SigningKey.generate()
    tokens = replace(TOKENS, keys=SigningKeySet(stranger))
    assert refusal(tokens.issue("a", (), NOW, jti="t")) is Reason.JWT_KEY
