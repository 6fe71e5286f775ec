"""API tokens: made at random, recognized by their form, kept as a hash."""

from __future__ import annotations

import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.credentials import (
    CredentialNameError,
    day_of,
    generate,
    hash_of,
    is_api_token,
    parse_credential_name,
    verify,
)
from chalicelib.access.refusals import Reason
from tests.chalicelib.access.values import NOW, a_credential, reason_of

OLD, NEW = generate(), generate()
GOOD = "moor_" + "0" * 43 + "3oxYb9"
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_an_api_token_is_a_prefix_256_random_bits_and_a_checksum() -> None:
    """43 characters for the bits, and 6 for the checksum."""
    made = {generate() for _ in range(200)}
    assert len(made) == 200
    for token in made:
        assert re.fullmatch(r"moor_[0-9A-Za-z]{49}", token)
        assert is_api_token(token)
    # Nothing in the random part stands still: 200 tokens have most of the letters at each place.
    for position in range(5, 48):
        assert len({token[position] for token in made}) > 40


@given(st.integers(min_value=5, max_value=52), st.sampled_from(LETTERS))
def test_a_typing_error_is_noticed(at: int, letter: str) -> None:
    """The checksum detects a wrong character, and two exchanged neighbours."""
    mistyped = NEW[:at] + letter + NEW[at + 1 :]
    swapped = NEW[:at] + NEW[at + 1] + NEW[at] + NEW[at + 2 :]
    for text in (mistyped, swapped, NEW[:53] + letter):
        assert is_api_token(text) == (text == NEW)


# fmt: off
NO_TOKENS = [
    "", "moor_", NEW[:-1], NEW + "0", NEW.upper(), " " + NEW, NEW + "\n", NEW + "\0", NEW[5:],
    "Moor_" + NEW[5:], "moor-" + NEW[5:], "moor_" + "é" * 49, "moor_" + "\u0660" * 49,
    "moor_" + "0" * 49, "moor_" * 1000, "\ud800", "ghp_" + NEW[5:], NEW.replace("_", "\uff3f"),
]
# fmt: on


@pytest.mark.parametrize("text", NO_TOKENS, ids=range(len(NO_TOKENS)))
def test_a_text_of_another_form_is_no_api_token(text: str) -> None:
    """It is refused by its form, even if a credential has its hash."""
    assert not is_api_token(text)
    assert reason_of(verify, text, a_credential(), NOW) is Reason.CREDENTIAL_FORM


ROTATED: dict[str, object] = {"version": 2, "previous_hash": hash_of(OLD)}
# fmt: off
VERIFIED: list[tuple[str, dict[str, object], int | Reason]] = [
    # presented, what the credential has, the result: the version, or the reason
    (NEW, {}, 1),
    (NEW, {"version": 5}, 5),
    (NEW, {"expires_at": NOW + 0.001}, 1),
    (NEW, {"expires_at": NOW}, Reason.CREDENTIAL_EXPIRED),
    (NEW, {"revoked": True}, Reason.CREDENTIAL_REVOKED),
    (OLD, {}, Reason.CREDENTIAL_UNKNOWN),
    (OLD, {"revoked": True}, Reason.CREDENTIAL_UNKNOWN),
    (OLD, {"previous_hash": hash_of(generate()), "previous_until": NOW + 9},
     Reason.CREDENTIAL_UNKNOWN),
    (OLD, ROTATED | {"previous_until": NOW + 0.001}, 1),
    (OLD, ROTATED | {"previous_until": NOW}, Reason.CREDENTIAL_REPLACED),
    (OLD, ROTATED, Reason.CREDENTIAL_REPLACED),
    (OLD, ROTATED | {"previous_until": NOW + 9, "revoked": True}, Reason.CREDENTIAL_REVOKED),
    (NEW, ROTATED | {"previous_until": NOW}, 2),
    # the hash is not the secret
    (hash_of(NEW), {}, Reason.CREDENTIAL_FORM),
]
# fmt: on


@pytest.mark.parametrize(("presented", "changes", "expected"), VERIFIED, ids=range(len(VERIFIED)))
def test_an_api_token_is_verified_by_its_credential(
    presented: str, changes: dict[str, object], expected: int | Reason
) -> None:
    """While that is valid; a replaced API token until the end of its grace."""
    record = a_credential(secret_hash=hash_of(NEW), **changes)
    call = verify if isinstance(expected, int) else partial(reason_of, verify)
    assert call(presented, record, NOW) == expected


# fmt: off
VERSIONS = [
    # of the credential, until when its previous secret is accepted, of the token, accepted
    (1, None, 1, True), (1, None, 0, False), (1, None, 2, False), (1, NOW + 9, 0, True),
    (3, NOW + 1, 2, True), (3, NOW, 2, False), (3, None, 2, False), (3, NOW + 1, 1, False),
    (3, NOW + 1, 4, False), (3, NOW + 1, -1, False),
]
# fmt: on


@pytest.mark.parametrize(("has", "until", "version", "expected"), VERSIONS)
def test_a_token_of_a_replaced_secret_is_valid_as_long_as_that(
    has: int, until: float | None, version: int, *, expected: bool
) -> None:
    """It is bound to the version of the secret that it was issued for."""
    record = a_credential(version=has, previous_until=until)
    assert record.takes_version(version, NOW) == expected


def test_a_credential_shows_no_hash() -> None:
    """A credential's repr has neither of its hashes: it may stand in a log."""
    record = a_credential(previous_hash="b" * 64)
    assert record.secret_hash not in repr(record)
    assert "b" * 64 not in repr(record)


def test_a_credential_has_a_name_that_fits_a_command_line() -> None:
    """A name is short, of letters, digits and a few signs; any other text is refused."""
    for name in ("a", "ci", "ops@example.com", "0-9_.x", "a" * 63):
        assert parse_credential_name(name) == name
    for name in ("", "A", "-a", "a b", "a\n", "a:b", "é", "a" * 64, "a/b", "\0"):
        with pytest.raises(CredentialNameError, match="can't name"):
            parse_credential_name(name)


def test_a_day_of_use_is_a_day_in_utc() -> None:
    """It lasts from midnight to midnight."""
    assert day_of(1_764_028_799.9) == "2025-11-24"
    assert day_of(1_764_028_800) == "2025-11-25"
    assert day_of(0) == "1970-01-01"
