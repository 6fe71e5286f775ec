"""Quotas: rules for how much a repository may hold, in bytes of blobs and in tags.

    {"name": "teams", "repositories": ["team/**"], "bytes": "50 GiB", "tags": 1000}

Each repository that a quota covers may hold that much. This module must never accept a quota that
limits nothing.
"""

import re
from typing import NamedTuple

from chalicelib.dataclass import dataclass
from chalicelib.rules import reading
from chalicelib.rules.reading import RepositoryRule, RulesInvalidError
from chalicelib.strict_json import is_whole

_MEMBERS = frozenset({"name", "repositories", "bytes", "tags"})
_UNITS = {
    "": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate(("", "k", "M", "G", "T"))},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate(("K", "M", "G", "T"), start=1)},
}
_SIZE = re.compile(r"(\d{1,15}) ?([kKMGT]?i?B)", re.ASCII)
_MOST = 10**15
"""Most bytes, or tags: a petabyte is more than any repository."""


class Limit(NamedTuple):
    """The most of something, and the name of the quota that says so."""

    most: int
    quota: str


@dataclass(frozen=True)
class Allowance:
    """What one repository may hold at most, in bytes of blobs and in tags; None is any number."""

    bytes: Limit | None = None
    tags: Limit | None = None


@dataclass(frozen=True)
class Quota(RepositoryRule):
    """How much each of some repositories may hold; None is any number."""

    bytes: int | None
    tags: int | None


def allowance(quotas: tuple[Quota, ...], repository: str) -> Allowance | None:
    """Return what a repository may hold by all quotas that cover it; None if none does."""
    covering = [quota for quota in quotas if quota.is_for(repository)]
    if not covering:
        return None
    sizes = [Limit(each.bytes, each.name) for each in covering if each.bytes is not None]
    tags = [Limit(each.tags, each.name) for each in covering if each.tags is not None]
    return Allowance(min(sizes, default=None), min(tags, default=None))


def read_quotas(value: object) -> tuple[Quota, ...]:
    """Read the section `quotas`; raises RulesInvalidError."""
    return reading.rules(value, "quotas", _read)


def _read(value: object, where: str) -> Quota:
    item = reading.members(value, _MEMBERS, where)
    quota = Quota(
        reading.named(item, where),
        reading.patterns(item.get("repositories"), f"{where}.repositories"),
        _bytes(item.get("bytes"), f"{where}.bytes"),
        _number(item.get("tags"), f"{where}.tags"),
    )
    if not quota.repositories or (quota.bytes is None and quota.tags is None):
        raise RulesInvalidError(
            f"{where} needs repositories, and bytes or tags or both, or it limits nothing"
        )
    return quota


def _bytes(value: object, where: str) -> int | None:
    """Read a size: a whole number of bytes, or a text such as `50 GiB`."""
    if not isinstance(value, str):
        return _number(value, where)
    found = _SIZE.fullmatch(value)
    if found is None or found[2] not in _UNITS:
        raise RulesInvalidError(
            f"{where}: {value[:100]!r} is no size: write a number of bytes, or 50 GiB, or 50 GB"
        )
    return _number(int(found[1]) * _UNITS[found[2]], where)


def _number(value: object, where: str) -> int | None:
    if value is None:
        return None
    if not is_whole(value) or value > _MOST:
        raise RulesInvalidError(f"{where} must be a whole number, from 0 to {_MOST}")
    return value
