"""Rules of retention: which images are kept, and which go when they are old.

    {"brake": 20, "rules": [
        {"name": "releases", "repositories": ["**"], "tags": ["v*"], "keep": "always"},
        {"name": "last ten", "repositories": ["team/**"], "tags": ["main-*"], "keep": {"last": 10}},
        {"name": "CI", "repositories": ["ci/**"], "tags": ["*"], "untagged": true,
         "expire": {"days_since_push": 14}}]}

This module must never accept a rule that by its form covers no image, nor an ambiguous one.
"""

from functools import partial
from typing import Any

from chalicelib.dataclass import dataclass
from chalicelib.rules import reading
from chalicelib.rules.reading import RepositoryRule, RulesInvalidError
from chalicelib.strict_json import is_whole

BRAKE = 20
"""The most percent of a repository's images that one run may remove, unless the rules say more."""

_SECTION = frozenset({"brake", "rules"})
_MEMBERS = frozenset(
    {"name", "repositories", "tags", "except", "untagged", "keep", "expire", "brake"}
)
_AGES = frozenset({"days_since_push", "days_since_pull"})
_MOST_DAYS = 36_500
_MOST_KEPT = 100_000
_WHOLE = 100


@dataclass(frozen=True)
class RetentionRule(RepositoryRule):
    """A rule that keeps or expires images; exactly one of the last four is set."""

    tags: tuple[str, ...]
    exceptions: tuple[str, ...]
    untagged: bool
    """Whether it is of images without a tag, too."""
    brake: int
    keep_always: bool = False
    keep_last: int | None = None
    """How many images are kept, those that were pushed last."""
    days_since_push: int | None = None
    days_since_pull: int | None = None

    @property
    def keeps(self) -> bool:
        """Whether it is a rule that keeps."""
        return self.keep_always or self.keep_last is not None

    @property
    def words(self) -> str:
        """The rule in words, for people."""
        tags = f"tags {', '.join(self.tags)}" if self.tags else ""
        if self.exceptions:
            tags += f" but not {', '.join(self.exceptions)}"
        of = " and ".join(filter(None, (tags, "images without a tag" if self.untagged else "")))
        if self.keep_always:
            return f"keeps {of}"
        if self.keep_last is not None:
            return f"keeps the last {self.keep_last} of {of}"
        days, last = self.days_since_push, "push"
        if days is None:
            days, last = self.days_since_pull, "pull"
        return f"lets {of} go {days} {'day' if days == 1 else 'days'} after the last {last}"

    def covers(self, tag: str) -> bool:
        """Whether it is a rule of this tag."""
        return reading.any_matches(self.tags, tag) and not reading.any_matches(self.exceptions, tag)


def read_retention(value: object) -> tuple[RetentionRule, ...]:
    """Read the section `retention`; raises RulesInvalidError."""
    section = reading.members(value, _SECTION, "retention")
    brake = _percent(section.get("brake", BRAKE), "retention.brake")
    listed = reading.items(section.get("rules"), "retention.rules")
    if not listed:
        raise RulesInvalidError("retention.rules is empty: leave `retention` out to have no rules")
    return reading.rules(listed, "retention.rules", partial(_read, brake=brake))


def _read(value: object, where: str, *, brake: int) -> RetentionRule:
    item = reading.members(value, _MEMBERS, where)
    name = reading.named(item, where)
    where = f"{where} ({name})"
    untagged = item.get("untagged", False)
    if not isinstance(untagged, bool):
        raise RulesInvalidError(f"{where}.untagged is true or false")
    if ("keep" in item) == ("expire" in item):
        raise RulesInvalidError(f"{where} needs either keep or expire")
    if "brake" in item and "keep" in item:
        raise RulesInvalidError(f"{where}.brake: only rules that expire images have a brake")
    rule = RetentionRule(
        name,
        reading.patterns(item.get("repositories"), f"{where}.repositories"),
        reading.globs(item.get("tags", []), f"{where}.tags"),
        reading.globs(item.get("except", []), f"{where}.except"),
        untagged,
        _percent(item.get("brake", brake), f"{where}.brake"),
        **(_keep(item["keep"], where) if "keep" in item else _expire(item["expire"], where)),
    )
    if not rule.repositories:
        raise RulesInvalidError(f"{where}.repositories is empty: the rule is of no image")
    if not (rule.tags or rule.untagged):
        raise RulesInvalidError(
            f'{where} is of no image: it needs tags (["*"] for all) or "untagged": true, or both'
        )
    if rule.exceptions and not rule.tags:
        raise RulesInvalidError(f"{where}.except: there are no tags of which it could be one")
    return rule


def _keep(value: object, where: str) -> dict[str, Any]:
    if value == "always":
        return {"keep_always": True}
    last = value.get("last") if isinstance(value, dict) and len(value) == 1 else None
    if not is_whole(last) or not 1 <= last <= _MOST_KEPT:
        raise RulesInvalidError(
            f'{where}.keep is "always", or {{"last": 10}} for those that were pushed last'
        )
    return {"keep_last": last}


def _expire(value: object, where: str) -> dict[str, Any]:
    if isinstance(value, dict) and len(value) == 1 and value.keys() <= _AGES:
        ((name, days),) = value.items()
        if is_whole(days) and 1 <= days <= _MOST_DAYS:
            return {name: days}
    raise RulesInvalidError(
        f'{where}.expire is {{"days_since_push": 14}} or {{"days_since_pull": 90}}, in whole days'
        f" from 1 to {_MOST_DAYS}; for both, write two rules"
    )


def _percent(value: object, where: str) -> int:
    if not is_whole(value) or not 1 <= value <= _WHOLE:
        raise RulesInvalidError(f"{where} is a whole number of percent, from 1 to {_WHOLE}")
    return value
