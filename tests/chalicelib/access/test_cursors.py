"""Cursors: read with their own keys alone, and of one length."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from chalicelib.access.cursors import Cursors
from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.reference import MAX_NAME_LENGTH

OLD, NEW = SigningKey.generate(), SigningKey.generate()
NAMES = ["a", "team/app", "a" * MAX_NAME_LENGTH]


@dataclass
class RotatedKeys:
    """Keys that `renew` replaces by the next ones, once."""

    held: SigningKeySet
    newer: list[SigningKeySet] = field(default_factory=list)

    def current(self) -> SigningKeySet:
        """Return the keys as they were read last."""
        return self.held

    def renew(self) -> bool:
        """Read them again."""
        if not self.newer:
            return False
        self.held = self.newer.pop()
        return True


def test_a_cursor_says_nothing_and_is_read_with_its_keys() -> None:
    """Cursors of one name differ, and those of any two names have one length."""
    cursors = Cursors(RotatedKeys(SigningKeySet(OLD)))
    written = [cursors.write(name) for name in NAMES]
    assert [cursors.read(each) for each in written] == NAMES
    assert len({len(each) for each in written}) == 1
    assert cursors.write("a") != written[0]


def test_a_cursor_outlives_the_steps_in_which_its_key_is_replaced() -> None:
    """A process that has older keys reads them again; with a key that is gone nothing is read."""
    written = {
        key: Cursors(RotatedKeys(SigningKeySet(key))).write("team/app") for key in (OLD, NEW)
    }
    both = Cursors(RotatedKeys(SigningKeySet(NEW, OLD)))
    assert [both.read(each) for each in written.values()] == ["team/app"] * 2
    behind = Cursors(RotatedKeys(SigningKeySet(OLD), [SigningKeySet(OLD, NEW)]))
    assert behind.read(written[NEW]) == "team/app"
    assert Cursors(RotatedKeys(SigningKeySet(NEW))).read(written[OLD]) is None


@pytest.mark.parametrize("change", ["", "A", "~", "\u00e9", "="])
def test_a_text_of_another_form_is_no_cursor(change: str) -> None:
    """Any text but a cursor is refused."""
    cursors = Cursors(RotatedKeys(SigningKeySet(OLD)))
    written = cursors.write("a")
    assert cursors.read(change) is None
    assert cursors.read(f"{written[:40]}{change}{written[42:]}") is None
