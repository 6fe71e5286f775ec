"""Grants that are added to and removed from an access token's: pattern by pattern."""

from __future__ import annotations

import pytest

from chalicelib.access.grants import MAX_GRANTS, GrantError, Grants
from moorage.access import admin
from moorage.access.admin import AdminError
from tests.chalicelib.access.values import a_credential
from tests.support.memory_access import MemoryAccessStore


@pytest.mark.parametrize(
    ("before", "more", "after"),
    [
        ("", "a:pull", "a:pull"),
        ("a:pull", "a:push", "a:pull,push"),
        ("a:pull", "b/*:push", "a:pull b/*:push"),
        ("a:pull,push", "a:pull", "a:pull,push"),
        ("a:pull", "admin", "admin a:pull"),
    ],
)
def test_adding(before: str, more: str, after: str) -> None:
    """Rights join those of the same pattern, or come as a row of their own."""
    result = admin.with_more(Grants.parse(before.split()), Grants.parse(more.split()))
    assert result.texts() == after.split()


@pytest.mark.parametrize(
    ("before", "less", "after"),
    [
        ("a:pull,push", "a:push", "a:pull"),
        ("a:pull b:pull", "a:pull", "b:pull"),
        ("a:pull", "a:pull", ""),
        ("admin a:pull", "admin", "a:pull"),
        ("a:pull,push,delete b:pull", "a:pull,delete b:pull", "a:push"),
    ],
)
def test_removing(before: str, less: str, after: str) -> None:
    """Rights go from the same pattern; a row without rights goes too."""
    result = admin.with_less(Grants.parse(before.split()), Grants.parse(less.split()))
    assert result.texts() == after.split()


@pytest.mark.parametrize("less", ["b:pull", "a:push", "a:pull,push", "admin", "**:pull"])
def test_what_is_not_granted_can_not_be_removed(less: str) -> None:
    """A pattern is a text here: what another one allows is not taken for it."""
    with pytest.raises(AdminError, match=r"not granted.*a:pull"):
        admin.with_less(Grants.parse(["a:pull"]), Grants.parse([less]))


def test_no_more_grants_than_fit() -> None:
    """Adding counts as granting does."""
    full = Grants.parse([f"a{number}:pull" for number in range(MAX_GRANTS)])
    with pytest.raises(GrantError, match="at most"):
        admin.with_more(full, Grants.parse(["b:pull"]))
    store = MemoryAccessStore()
    there = a_credential()
    admin.register(store, there)
    admin.regrant(store, there, full)
    assert store.credentials[there.id].grants == full
