"""The registry's rules, a document of its owner: which tags may not move.

    {"immutable": [{"name": "releases", "repositories": ["team/**"], "tags": ["v*"],
                    "except": ["*-dev"]}]}

This module must never take a document that it does not understand in whole: a member that is
misspelt would be a rule that nobody keeps.
"""

import fnmatch
import functools
import re
from dataclasses import dataclass
from typing import Any

from chalicelib.pattern import Pattern, PatternError
from chalicelib.strict_json import JsonInvalidError, read_object

LONGEST = 32_000
"""Most bytes of the document: a push by tag reads it, at a read unit for each 4 KB."""

_SECTIONS = frozenset({"immutable"})
_MEMBERS = frozenset({"name", "repositories", "tags", "except"})
_MOST = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_TAGS = re.compile(r"[A-Za-z0-9_.*-]{1,128}")


class RulesInvalidError(ValueError):
    """A document that is no rules; the message says where, and what would be right."""


@dataclass(frozen=True, slots=True)
class ImmutableTags:
    """Tags that keep the manifest that they name, by patterns of repositories and of tags."""

    name: str
    repositories: tuple[Pattern, ...]
    tags: tuple[str, ...]
    exceptions: tuple[str, ...]

    def covers(self, repository: str, tag: str) -> bool:
        """Whether this tag of this repository may not move."""
        return (
            _any_of(self.tags, tag)
            and not _any_of(self.exceptions, tag)
            and any(pattern.matches(repository) for pattern in self.repositories)
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a registry."""

    immutable: tuple[ImmutableTags, ...] = ()

    def holding(self, repository: str, tag: str) -> str | None:
        """Return the name of the rule by which a tag may not move; None if there is none."""
        return next((each.name for each in self.immutable if each.covers(repository, tag)), None)


@dataclass(frozen=True, slots=True)
class StoredRules:
    """A version of the registry's rules: the document, since when, and who set it."""

    version: int
    text: str
    set_at: float
    set_by: str


@functools.lru_cache(maxsize=2)
def parse_rules(text: str) -> Rules:
    """Read a document; raises RulesInvalidError. An empty text is a registry without rules."""
    if not text:
        return Rules()
    if len(text.encode()) > LONGEST:
        raise RulesInvalidError(f"the rules are longer than {LONGEST} bytes")
    try:
        document = read_object(text.encode())
    except JsonInvalidError as error:
        raise RulesInvalidError(f"the rules can't be read as JSON: {error}") from None
    _require_known(document, _SECTIONS, "the document")
    items = _list(document.get("immutable", []), "immutable")
    rules = tuple(_immutable(item, f"immutable[{at}]") for at, item in enumerate(items))
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RulesInvalidError(f"two rules have the name {twice!r}: errors name the rule")
    return Rules(rules)


def _immutable(item: object, where: str) -> ImmutableTags:
    if not isinstance(item, dict):
        raise RulesInvalidError(f"{where} is no object")
    _require_known(item, _MEMBERS, where)
    name = item.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RulesInvalidError(f"{where} needs a name: up to 64 letters, digits, spaces, `._-`")
    repositories = _list(item.get("repositories"), f"{where}.repositories")
    tags, exceptions = (
        _list(item.get(member, default), f"{where}.{member}")
        for member, default in (("tags", None), ("except", []))
    )
    if not repositories or not tags:
        raise RulesInvalidError(f"{where} needs repositories and tags, or it holds nothing")
    for glob in (*tags, *exceptions):
        if not isinstance(glob, str) or not _TAGS.fullmatch(glob):
            raise RulesInvalidError(
                f"{where}: {str(glob)[:100]!r} is no pattern of tags: a tag in which `*` stands for"
                " any characters"
            )
    try:
        patterns = tuple(Pattern.parse(str(each)) for each in repositories)
    except PatternError as error:
        raise RulesInvalidError(f"{where}: {error}") from None
    return ImmutableTags(name, patterns, tuple(tags), tuple(exceptions))


def _require_known(item: dict[str, Any], known: frozenset[str], where: str) -> None:
    unknown = sorted(item.keys() - known)
    if unknown:
        raise RulesInvalidError(
            f"{where} has {unknown[0][:100]!r}, which is none of {', '.join(sorted(known))}"
        )


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST:
        raise RulesInvalidError(f"{where} must be a list, of {_MOST} at most")
    return value


def _any_of(globs: tuple[str, ...], tag: str) -> bool:
    return any(fnmatch.fnmatchcase(tag, glob) for glob in globs)
