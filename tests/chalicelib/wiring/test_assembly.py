"""The limits of a registry, as its settings say them."""

from __future__ import annotations

import pytest

from chalicelib.registry.service import Limits
from chalicelib.settings import Settings
from chalicelib.wiring.assembly import limits_of
from moorage.common.data import DataNames

DAY = 24 * 3600.0


@pytest.mark.parametrize(
    ("told", "every", "link_grace", "record_grace"),
    [
        ("", DAY, DAY, Limits().record_grace),
        # A deployment that keeps blobs longer looks as often.
        ("GC_GRACE=72h", DAY, 3 * DAY, 3 * DAY),
        # A local registry that only looks more often deletes nothing sooner.
        ("GC_EVERY=60s", 60.0, DAY, Limits().record_grace),
        ("GC_EVERY=60s GC_GRACE=5s", 5.0, 5.0, 15.0),
        ("GC_GRACE=5s", 5.0, 5.0, 15.0),
    ],
)
def test_the_collector_begins_a_pass_and_keeps_blobs_as_the_settings_say(
    told: str, every: float, link_grace: float, record_grace: float
) -> None:
    """How often it looks, and how long a link and a record are left alone, in seconds."""
    environment = dict(f"MOORAGE_{word}".split("=") for word in told.split())
    limits = limits_of(Settings.read({**DataNames().variables(), **environment}))
    assert (limits.collect_every, limits.link_grace) == (every, link_grace)
    assert limits.record_grace == record_grace
