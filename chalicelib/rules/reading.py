"""Reads the members of a rule strictly; an error says where it is, and what would be right.

This module must never ignore a member that it does not know: a misspelt member would have no
effect.
"""

import fnmatch
import re
from collections.abc import Callable
from typing import Any, TypeVar

from chalicelib.dataclass import dataclass
from chalicelib.pattern import Pattern, PatternError

_MOST = 100
_NAME = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}"
_TAGS = r"[A-Za-z0-9_.*-]{1,128}"


class RulesInvalidError(ValueError):
    """A document that is no rules; the message says where, and what would be right."""


@dataclass(frozen=True)
class RepositoryRule:
    """A rule of any section: its name, and the patterns of the repositories that it covers."""

    name: str
    repositories: tuple[Pattern, ...]

    def is_for(self, repository: str) -> bool:
        """Whether the rule covers this repository."""
        return any(pattern.matches(repository) for pattern in self.repositories)


RuleType = TypeVar("RuleType", bound=RepositoryRule)


def members(item: object, known: frozenset[str], where: str) -> dict[str, Any]:
    """Return an object all of whose members are known; raises RulesInvalidError, as all here."""
    if not isinstance(item, dict):
        raise RulesInvalidError(f"{where} is no object")
    unknown = sorted(item.keys() - known)
    if unknown:
        raise RulesInvalidError(
            f"{where} has {unknown[0][:100]!r}, which is none of {', '.join(sorted(known))}"
        )
    return item


def items(value: object, where: str) -> list[Any]:
    """Return a list of at most 100 items."""
    if not isinstance(value, list) or len(value) > _MOST:
        raise RulesInvalidError(f"{where} must be a list, of {_MOST} at most")
    return value


def named(item: dict[str, Any], where: str) -> str:
    """Return a rule's name."""
    name = item.get("name")
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise RulesInvalidError(f"{where} needs a name: up to 64 letters, digits, spaces, `._-`")
    return name


def rules(
    value: object, where: str, read: Callable[[object, str], RuleType]
) -> tuple[RuleType, ...]:
    """Return a list of rules, each as `read` returns it; no two have the same name."""
    found = tuple(read(item, f"{where}[{at}]") for at, item in enumerate(items(value, where)))
    names = [rule.name for rule in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RulesInvalidError(f"two rules have the name {twice!r}: errors name the rule")
    return found


def patterns(value: object, where: str) -> tuple[Pattern, ...]:
    """Return patterns of repositories."""
    try:
        return tuple(Pattern.parse(str(each)) for each in items(value, where))
    except PatternError as error:
        raise RulesInvalidError(f"{where}: {error}") from None


def globs(value: object, where: str) -> tuple[str, ...]:
    """Return patterns of tags."""
    for glob in items(value, where):
        if not isinstance(glob, str) or not re.fullmatch(_TAGS, glob):
            raise RulesInvalidError(
                f"{where}: {str(glob)[:100]!r} is no pattern of tags: a tag in which `*` stands for"
                " any characters"
            )
    return tuple(items(value, where))


def any_matches(globs: tuple[str, ...], tag: str) -> bool:
    """Whether one of some patterns of tags matches."""
    return any(fnmatch.fnmatchcase(tag, glob) for glob in globs)
