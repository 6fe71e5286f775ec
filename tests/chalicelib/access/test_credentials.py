"""Access tokens: made at random, known by their form, kept as a hash."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.credentials import (
    Credential,
    CredentialNameError,
    day_of,
    generate,
    hash_of,
    is_api_token,
    parse_credential_name,
    verify,
)
from chalicelib.access.refusals import AuthenticationError, Reason
from tests.chalicelib.access.values import NOW, a_credential, check_tells_only_why

OLD, NEW = generate(), generate()
GOOD = "moor_" + "0" * 43 + "3oxYb9"
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_what_is_generated() -> None:
    """An access token has the prefix, 43 characters for 256 bits, and a checksum of 6."""
    made = {generate() for _ in range(200)}
    assert len(made) == 200
    for token in made:
        assert re.fullmatch(r"moor_[0-9A-Za-z]{49}", token)
        assert is_api_token(token)
    # Nothing in the random part stands still: 200 tokens have most of the letters at each place.
    for position in range(5, 48):
        assert len({token[position] for token in made}) > 40


@given(st.integers(min_value=0, max_value=48), st.sampled_from(LETTERS))
def test_a_typing_error_is_noticed(at: int, letter: str) -> None:
    """An access token with one wrong character is none."""
    where = at + len("moor_")
    mistyped = NEW[:where] + letter + NEW[where + 1 :]
    assert is_api_token(mistyped) == (mistyped == NEW)


@given(st.integers(min_value=0, max_value=47))
def test_two_exchanged_characters_are_noticed(at: int) -> None:
    """An access token with two neighbours exchanged is none."""
    first = at + len("moor_")
    swapped = NEW[:first] + NEW[first + 1] + NEW[first] + NEW[first + 2 :]
    assert is_api_token(swapped) == (swapped == NEW)


# fmt: off
NO_TOKENS = [
    "", "moor_", NEW[:-1], NEW + "0", NEW.upper(), " " + NEW, NEW + "\n", NEW + "\0", NEW[5:],
    "Moor_" + NEW[5:], "moor-" + NEW[5:], "moor_" + "é" * 49, "moor_" + "\u0660" * 49,
    "moor_" + "0" * 49, "moor_" * 1000, "\ud800", "ghp_" + NEW[5:], NEW.replace("_", "\uff3f"),
]
# fmt: on


@pytest.mark.parametrize("text", NO_TOKENS, ids=range(len(NO_TOKENS)))
def test_what_is_no_access_token(text: str) -> None:
    """Another text is no access token, whatever record it is held against."""
    assert not is_api_token(text)
    with pytest.raises(AuthenticationError) as caught:
        verify(text, a_credential(), NOW)
    assert caught.value.reason is Reason.CREDENTIAL_FORM
    check_tells_only_why(caught.value)


# fmt: off
OPENED = [
    # presented, what the record has, how it ends: the version, or the reason
    (NEW, {}, 1),
    (NEW, {"version": 5}, 5),
    (NEW, {"expires_at": NOW + 0.001}, 1),
    (NEW, {"expires_at": NOW}, Reason.CREDENTIAL_EXPIRED),
    (NEW, {"revoked": True}, Reason.CREDENTIAL_REVOKED),
    (OLD, {}, Reason.CREDENTIAL_UNKNOWN),
    (OLD, {"revoked": True}, Reason.CREDENTIAL_UNKNOWN),
    (OLD, {"previous_hash": hash_of(generate()), "previous_until": NOW + 9},
     Reason.CREDENTIAL_UNKNOWN),
    (OLD, {"version": 2, "previous_hash": hash_of(OLD), "previous_until": NOW + 0.001}, 1),
    (OLD, {"version": 2, "previous_hash": hash_of(OLD), "previous_until": NOW},
     Reason.CREDENTIAL_REPLACED),
    (OLD, {"version": 2, "previous_hash": hash_of(OLD)}, Reason.CREDENTIAL_REPLACED),
    (OLD, {"version": 2, "previous_hash": hash_of(OLD), "previous_until": NOW + 9,
           "revoked": True}, Reason.CREDENTIAL_REVOKED),
    (NEW, {"version": 2, "previous_hash": hash_of(OLD), "previous_until": NOW}, 2),
    # the hash is not the secret
    (hash_of(NEW), {}, Reason.CREDENTIAL_FORM),
]
# fmt: on


@pytest.mark.parametrize(("presented", "changes", "expected"), OPENED, ids=range(len(OPENED)))
def test_verify(presented: str, changes: dict[str, object], expected: int | Reason) -> None:
    """An access token opens its own record while that lasts, and a replaced one until its time."""
    record = a_credential(secret_hash=hash_of(NEW), **changes)
    if isinstance(expected, int):
        assert verify(presented, record, NOW) == expected
        return
    with pytest.raises(AuthenticationError) as caught:
        verify(presented, record, NOW)
    assert caught.value.reason is expected
    check_tells_only_why(caught.value)


# fmt: off
VERSIONS = [
    # of the record, until when its previous secret is taken, of the token, taken
    (1, None, 1, True), (1, None, 0, False), (1, None, 2, False), (1, NOW + 9, 0, True),
    (3, NOW + 1, 2, True), (3, NOW, 2, False), (3, None, 2, False), (3, NOW + 1, 1, False),
    (3, NOW + 1, 4, False), (3, NOW + 1, -1, False),
]
# fmt: on


@pytest.mark.parametrize(("has", "until", "asked", "expected"), VERSIONS)
def test_versions(has: int, until: float | None, asked: int, *, expected: bool) -> None:
    """What was issued for a replaced secret counts for as long as that secret does."""
    record = a_credential(version=has, previous_until=until)
    assert record.takes_version(asked, NOW) == expected


def test_a_credential_shows_no_hash() -> None:
    """A credential's repr has neither of its hashes: it may stand in a log."""
    record = replace(a_credential(), previous_hash="b" * 64)
    assert isinstance(record, Credential)
    assert record.secret_hash not in repr(record)
    assert "b" * 64 not in repr(record)


@pytest.mark.parametrize("name", ["a", "ci", "ops@example.com", "0-9_.x", "a" * 63])
def test_names(name: str) -> None:
    """A credential is named by a short text that fits a command line."""
    assert parse_credential_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a\n", "a:b", "é", "a" * 64, "a/b", "\0"])
def test_no_names(name: str) -> None:
    """Another text names no credential."""
    with pytest.raises(CredentialNameError, match="can't name"):
        parse_credential_name(name)


def test_days() -> None:
    """A day is one of UTC."""
    assert day_of(1_764_028_799.9) == "2025-11-24"
    assert day_of(1_764_028_800) == "2025-11-25"
    assert day_of(0) == "1970-01-01"
