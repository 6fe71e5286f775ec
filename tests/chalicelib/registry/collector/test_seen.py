"""What a walk looks at on which day."""

from __future__ import annotations

import itertools

from chalicelib.digest import Digest
from chalicelib.registry.collector.seen import is_its_turn
from tests.chalicelib.registry.collector.pushing import (
    DAY,
    HOUR,
)


def test_each_digest_is_checked_on_one_day_of_thirty() -> None:
    """The time of the day makes no difference."""
    digest = Digest.of(b"any")
    turns = [day for day in range(300) if is_its_turn(digest, day * DAY + 5 * HOUR)]
    assert len(turns) == 10
    assert {later - earlier for earlier, later in itertools.pairwise(turns)} == {30}
