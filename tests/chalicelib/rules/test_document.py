"""The document of rules: what it says, and what is refused so that no rule is silently none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.rules.document import LONGEST, parse_rules
from chalicelib.rules.reading import RulesInvalidError


def immutable(**changes: object) -> dict[str, Any]:
    """Return a rule that could be set, with changes; None leaves a member out."""
    rule = {"name": "releases", "repositories": ["team/**"], "tags": ["v*"], "except": ["*-dev"]}
    return {name: value for name, value in {**rule, **changes}.items() if value is not None}


def document(*rules: object) -> str:
    """Write a document."""
    return json.dumps({"immutable": rules})


@pytest.mark.parametrize(
    ("repository", "tag", "holds"),
    [
        ("team/app", "v1", True),
        ("team/app/base", "v", True),
        ("team/app", "v1.0-dev", False),
        ("team/app", "latest", False),
        ("team/app", "V1", False),
        ("team/app", "1v", False),
        ("team", "v1", False),
        ("other/app", "v1", False),
        ("other/app", "2026.11", True),
        ("other/app", "2026x11", False),
    ],
)
def test_a_rule_covers_tags_by_patterns(repository: str, tag: str, *, holds: bool) -> None:
    """`*` is any characters of a tag; `except` excludes tags."""
    other = immutable(name="dates", repositories=["other/*"], tags=["2026.*"], **{"except": None})
    rules = parse_rules(document(immutable(), other))
    assert (rules.holding(repository, tag) is not None) is holds


def test_without_a_document_there_are_no_rules() -> None:
    """An empty section is like a missing one."""
    for text in ("", "{}", document()):
        assert parse_rules(text).holding("team/app", "v1") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "can't be read as JSON"),
        ("[]", "not a JSON object"),
        ('{"immutable": [], "immutable": []}', "can't be read"),
        ('{"imutable": []}', "'imutable', which is none of immutable, quotas, retention"),
        ('{"immutable": {}}', "must be a list"),
        (document(1), "is no object"),
        (document(immutable(tag=["v*"])), "'tag', which is none of"),
        (document(immutable(name=None)), "needs a name"),
        (document(immutable(name="")), "needs a name"),
        (document(immutable(name="a\nb")), "needs a name"),
        (document(immutable(), immutable()), "two rules have the name"),
        (document(immutable(repositories=None)), "must be a list"),
        (document(immutable(repositories=[])), "needs repositories and tags"),
        (document(immutable(tags=[])), "needs repositories and tags"),
        (document(immutable(tags="v*")), "must be a list"),
        (document(immutable(tags=["v?"])), "is no pattern of tags"),
        (document(immutable(tags=["[a-z]"])), "is no pattern of tags"),
        (document(immutable(tags=[1])), "is no pattern of tags"),
        (document(immutable(**{"except": [""]})), "is no pattern of tags"),
        (document(immutable(repositories=["TEAM/*"])), "is no pattern of repository names"),
        (document(*[immutable(name=f"r{n}") for n in range(101)]), "of 100 at most"),
        (document(immutable(name="x" * LONGEST)), "longer than"),
    ],
)
def test_a_wrong_document_is_refused(text: str, said: str) -> None:
    """Completely, and the message says where: a misspelt rule would have no effect."""
    with pytest.raises(RulesInvalidError, match=said):
        parse_rules(text)


def test_a_hostile_pattern_takes_milliseconds() -> None:
    """Many stars are matched as quickly as one."""
    rules = parse_rules(document(immutable(tags=["*a" * 60 + "b"])))
    assert rules.holding("team/app", "a" * 128) is None
