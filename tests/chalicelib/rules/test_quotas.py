"""Quotas: which document is taken, and what a repository may hold by all that cover it."""

from __future__ import annotations

import json

import pytest

from chalicelib.rules.document import parse_rules
from chalicelib.rules.quotas import Allowance, Limit
from chalicelib.rules.reading import RulesInvalidError

QUOTA = {"name": "teams", "repositories": ["team/**"], "bytes": 10, "tags": 3}


def allowance(repository: str, *quotas: object) -> Allowance | None:
    """Return what a repository may hold by a document of these quotas."""
    return parse_rules(json.dumps({"quotas": quotas})).allowance(repository)


def test_the_strictest_quota_that_covers_a_repository_counts() -> None:
    """For bytes and tags separately; a repository without a quota has no limit."""
    more = QUOTA | {"name": "app", "repositories": ["team/app", "x"], "bytes": 99, "tags": 2}
    only = {"name": "tags", "repositories": ["**"], "tags": 9}
    assert allowance("other", QUOTA, more) is None
    assert allowance("team/a", QUOTA) == Allowance(Limit(10, "teams"), Limit(3, "teams"))
    assert allowance("team/app", QUOTA, more) == Allowance(Limit(10, "teams"), Limit(2, "app"))
    assert allowance("x", QUOTA, more, only) == Allowance(Limit(99, "app"), Limit(2, "app"))
    assert allowance("y", only) == Allowance(None, Limit(9, "tags"))
    assert parse_rules("").allowance("team/a") is None


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (10**15, 10**15),
        ("0 B", 0),
        ("12B", 12),
        ("1 kB", 1000),
        ("50 GB", 50 * 1000**3),
        ("50GiB", 50 * 1024**3),
        ("1 KiB", 1024),
        ("2 TiB", 2 * 1024**4),
        ("3 MB", 3_000_000),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(written: int | str, size: int) -> None:
    """GB are 10⁹ bytes, GiB 2³⁰."""
    found = allowance("team/a", QUOTA | {"bytes": written})
    assert found is not None
    assert found.bytes == Limit(size, "teams")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bytes": None, "tags": None}, "limits nothing"),
        ({"repositories": []}, "limits nothing"),
        ({"byte": 3}, "which is none of bytes, name, repositories, tags"),
        ({"name": ""}, "needs a name"),
        ({"repositories": ["**x"]}, "no pattern of repository names"),
        ({"bytes": -1}, "must be a whole number"),
        ({"bytes": True}, "must be a whole number"),
        ({"bytes": 1.5}, "must be a whole number"),
        ({"bytes": 10**15 + 1}, "must be a whole number"),
        ({"bytes": "999999 TB"}, "must be a whole number"),
        ({"bytes": "50"}, "is no size"),
        ({"bytes": "50 gb"}, "is no size"),
        ({"bytes": "50 Gi"}, "is no size"),
        ({"bytes": "50 iB"}, "is no size"),
        ({"bytes": "٣ GB"}, "is no size"),
        ({"bytes": "-1 GB"}, "is no size"),
        ({"tags": "3"}, "must be a whole number"),
    ],
)
def test_a_wrong_quota_is_refused(change: dict[str, object], said: str) -> None:
    """Otherwise it would limit nothing."""
    with pytest.raises(RulesInvalidError, match=said):
        allowance("team/a", QUOTA | change)


def test_two_quotas_with_one_name_are_refused() -> None:
    """An error names the quota."""
    with pytest.raises(RulesInvalidError, match="two rules have the name 'teams'"):
        allowance("team/a", QUOTA, QUOTA)
