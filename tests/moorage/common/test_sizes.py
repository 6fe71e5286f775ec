"""Sizes as people read them."""

from __future__ import annotations

import pytest

from moorage.common.sizes import dollars, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_960, "100 kB"),
        (999_600, "1.0 MB"),
        (3_210_000_000_000_000, "3.2 PB"),
    ],
)
def test_a_size_has_three_digits_at_most(size: int, text: str) -> None:
    """In powers of a thousand."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0.00"), (1e-9, "< 0.01"), (0.0099, "< 0.01"), (0.01, "0.01"), (1234.567, "1,234.57")],
)
def test_an_amount_below_a_cent_is_not_shown_as_nothing(amount: float, text: str) -> None:
    """Every other one is rounded to cents."""
    assert dollars(amount) == text
