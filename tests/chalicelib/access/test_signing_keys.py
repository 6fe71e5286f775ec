"""Signing keys: two at most, replaced step by step, and never shown."""

from __future__ import annotations

from itertools import pairwise

import pytest

from chalicelib.access.refusals import Reason
from chalicelib.access.signing_keys import SigningKey, SigningKeySet, SigningKeySetError
from chalicelib.access.tokens import Tokens
from tests.chalicelib.access.values import NOW, reason_of


def test_keys_are_read_as_they_were_written() -> None:
    """One key or two, with any white space between them."""
    one, two = SigningKey.generate(), SigningKey.generate()
    assert SigningKeySet.parse(one.text()) == SigningKeySet(one)
    assert SigningKeySet.parse(f"  {one.text()}\n{two.text()}\n") == SigningKeySet(one, two)
    assert one != two


# fmt: off
BAD = [
    "", " ", "x", "é" * 43, "A" * 42, "A" * 44, "A" * 42 + "*", "A" * 22, "A" * 86,
    "A" * 43 + "=", f"{'A' * 43} {'A' * 43}", f"{'A' * 43} {'B' * 42}E {'C' * 42}E",
]
# fmt: on


@pytest.mark.parametrize("text", BAD)
def test_an_unreadable_signing_key_is_refused_and_not_quoted(text: str) -> None:
    """A text that is not one or two different 32-byte keys is refused."""
    with pytest.raises(SigningKeySetError) as caught:
        SigningKeySet.parse(text)
    assert len(text) < 5 or text not in str(caught.value)


def test_a_key_is_not_shown() -> None:
    """Neither a key's repr nor its id shows the key."""
    key = SigningKey.generate()
    keys = SigningKeySet(key, SigningKey.generate())
    for shown in (repr(keys), str(keys), key.id):
        assert key.text() not in shown
        assert repr(key.secret) not in shown
        assert key.secret.hex()[:16] not in shown


def test_replacing_a_key_logs_nobody_out() -> None:
    """Processes of one step accept tokens of the next and the last one.

    The steps: `old`, `old new`, `new old`, `new`, the last after the old key's tokens expired.
    """
    old, new = SigningKey.generate(), SigningKey.generate()
    rings = ((old,), (old, new), (new, old), (new,))
    steps = [Tokens(SigningKeySet(*ring), "issuer", "service") for ring in rings]
    for earlier, later in pairwise(steps):
        earlier.verify(later.issue("a", (), NOW, jti="1"), NOW)
    for earlier, later in pairwise(steps[:3]):
        later.verify(earlier.issue("a", (), NOW, jti="1"), NOW)
    reason = reason_of(steps[3].verify, steps[0].issue("a", (), NOW, jti="1"), NOW)
    assert reason is Reason.JWT_KEY
