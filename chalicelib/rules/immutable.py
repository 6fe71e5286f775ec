"""Rules for immutable tags: such a tag always names the first manifest that was pushed under it.

    {"name": "releases", "repositories": ["team/**"], "tags": ["v*"], "except": ["*-dev"]}

This module must never accept a rule that covers no tag.
"""

from chalicelib.dataclass import dataclass
from chalicelib.rules import reading
from chalicelib.rules.reading import RepositoryRule, RulesInvalidError

_MEMBERS = frozenset({"name", "repositories", "tags", "except"})


@dataclass(frozen=True)
class ImmutableTags(RepositoryRule):
    """Tags that keep the manifest that they name, by patterns of repositories and of tags."""

    tags: tuple[str, ...]
    exceptions: tuple[str, ...]

    def covers(self, tag: str) -> bool:
        """Whether it is a rule of this tag."""
        return reading.any_matches(self.tags, tag) and not reading.any_matches(self.exceptions, tag)


def read_immutable(value: object) -> tuple[ImmutableTags, ...]:
    """Read the section `immutable`; raises RulesInvalidError."""
    return reading.rules(value, "immutable", _read)


def _read(value: object, where: str) -> ImmutableTags:
    item = reading.members(value, _MEMBERS, where)
    rule = ImmutableTags(
        reading.named(item, where),
        reading.patterns(item.get("repositories"), f"{where}.repositories"),
        reading.globs(item.get("tags"), f"{where}.tags"),
        reading.globs(item.get("except", []), f"{where}.except"),
    )
    if not rule.repositories or not rule.tags:
        raise RulesInvalidError(f"{where} needs repositories and tags, or it holds nothing")
    return rule
