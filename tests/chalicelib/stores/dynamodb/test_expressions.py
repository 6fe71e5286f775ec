"""Writes as values: what can't be one expression is refused when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.stores.dynamodb.expressions import Clause, Put, Update

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = {"pk": "p", "sk": "s"}
ONE = Clause("#a = :x", {"x": {"N": "1"}})
TWO = Clause("#b = :x", {"x": {"N": "2"}})


OLD = Clause("#a = :set_a", {"set_a": {"S": "old"}})
FIRST = Clause("#a = :add_a", {"add_a": {"N": "1"}})


@pytest.mark.parametrize(
    "make",
    [
        lambda: ONE & TWO,
        lambda: ONE | TWO,
        lambda: ONE & Clause("#c = :y", {"y": {"N": "1"}}) & TWO,
        lambda: Update("t", KEY, OLD, {"a": {"S": "new"}}).request(),
        lambda: Update("t", KEY, FIRST, add={"a": 2}).request(),
    ],
)
def test_one_name_for_two_values_is_refused(make: Callable[[], object]) -> None:
    """Otherwise one of them would silently replace the other."""
    with pytest.raises(ValueError, match=r"two values (x|:set_a|:add_a)"):
        make()


def test_equal_values_may_share_a_name() -> None:
    """Two clauses on one value are one expression, and different names stand beside each other."""
    both = ONE & Clause("#b <> :x", {"x": {"N": "1"}}) & Clause("#c = :y", {"y": {"N": "1"}})
    assert Put("t", KEY, {}, both).request()["ExpressionAttributeValues"] == {
        ":x": {"N": "1"},
        ":y": {"N": "1"},
    }
