"""The registry's rules, a document of its owner: which tags may not move, which images go, quotas.

    {"immutable": [...], "retention": {"rules": [...]}, "quotas": [...]}

Each section has a module, which says what it holds.

This module must never accept a document that it does not fully understand: the rules of a misspelt
section would have no effect.
"""

import functools
from collections.abc import Collection, Sequence
from typing import NamedTuple

from chalicelib.dataclass import dataclass
from chalicelib.errors import UnavailableError
from chalicelib.rules import reading
from chalicelib.rules.immutable import ImmutableTags, read_immutable
from chalicelib.rules.quotas import Allowance, Quota, allowance, read_quotas
from chalicelib.rules.reading import RulesInvalidError
from chalicelib.rules.retention import RetentionRule, read_retention
from chalicelib.strict_json import JsonInvalidError, read_object

LONGEST = 32_000
"""Most bytes of the document: a push by tag reads it, at a read unit for each 4 KB."""

_SECTIONS = frozenset({"immutable", "quotas", "retention"})


@dataclass(frozen=True)
class Rules:
    """All rules of a registry."""

    immutable: tuple[ImmutableTags, ...] = ()
    retention: tuple[RetentionRule, ...] = ()
    quotas: tuple[Quota, ...] = ()

    def holding(self, repository: str, tag: str) -> str | None:
        """Return the name of the rule by which a tag may not move; None if there is none."""
        holding = (
            each.name for each in self.immutable if each.is_for(repository) and each.covers(tag)
        )
        return next(holding, None)

    def of(self, repository: str) -> "Rules":
        """Return the rules of a repository alone, but for its quotas."""
        return Rules(
            tuple(rule for rule in self.immutable if rule.is_for(repository)),
            tuple(rule for rule in self.retention if rule.is_for(repository)),
        )

    def keeping(self, tags: Collection[str]) -> Sequence["KeepingRule"]:
        """Return what keeps an image with these tags, of the rules of its repository alone."""
        holding = [
            KeepingRule(rule.name, "immutable")
            for rule in self.immutable
            if any(map(rule.covers, tags))
        ]
        return holding + [
            KeepingRule(rule.name, "always" if rule.keep_always else "last", rule.keep_last)
            for rule in self.retention
            if rule.keeps and any(map(rule.covers, tags))
        ]

    def allowance(self, repository: str) -> Allowance | None:
        """Return what a repository may hold at most; None if no quota covers it."""
        return allowance(self.quotas, repository)


class KeepingRule(NamedTuple):
    """A rule that keeps an image for one of its tags.

    `kind` is `immutable` (the tag may not move), `always`, or `last`: it is kept for as long as it
    is among the `last` so many images of the rule.
    """

    name: str
    kind: str
    last: int | None = None


@dataclass(frozen=True)
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
    sections = reading.members(document, _SECTIONS, "the document")
    return Rules(
        immutable=read_immutable(sections.get("immutable", [])),
        retention=read_retention(sections["retention"]) if "retention" in sections else (),
        quotas=read_quotas(sections.get("quotas", [])),
    )


def rules_in_force(text: str) -> Rules:
    """Read the document that is set; raises UnavailableError for one of a later version."""
    try:
        return parse_rules(text)
    except RulesInvalidError as error:
        raise UnavailableError(f"the registry's rules are of another version: {error}") from None
