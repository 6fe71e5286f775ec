"""Sealed names: opened by their own keys alone, and of one length."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from chalicelib.access.seals import Seals
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


def test_a_sealed_name_says_nothing_and_is_opened_by_its_keys() -> None:
    """Seals of one name differ, and those of any two names have one length."""
    seals = Seals(RotatedKeys(SigningKeySet(OLD)))
    sealed = [seals.seal(name) for name in NAMES]
    assert [seals.open(each) for each in sealed] == NAMES
    assert len({len(each) for each in sealed}) == 1
    assert seals.seal("a") != sealed[0]


def test_a_seal_outlives_the_steps_in_which_its_key_is_replaced() -> None:
    """A process that has older keys reads them again; a key that is gone opens nothing."""
    sealed = {key: Seals(RotatedKeys(SigningKeySet(key))).seal("team/app") for key in (OLD, NEW)}
    both = Seals(RotatedKeys(SigningKeySet(NEW, OLD)))
    assert [both.open(each) for each in sealed.values()] == ["team/app"] * 2
    behind = Seals(RotatedKeys(SigningKeySet(OLD), [SigningKeySet(OLD, NEW)]))
    assert behind.open(sealed[NEW]) == "team/app"
    assert Seals(RotatedKeys(SigningKeySet(NEW))).open(sealed[OLD]) is None


@pytest.mark.parametrize("change", ["", "A", "~", "\u00e9", "="])
def test_another_text_is_no_seal(change: str) -> None:
    """Whatever it is like."""
    seals = Seals(RotatedKeys(SigningKeySet(OLD)))
    sealed = seals.seal("a")
    assert seals.open(change) is None
    assert seals.open(f"{sealed[:40]}{change}{sealed[42:]}") is None
