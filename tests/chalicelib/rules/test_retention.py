"""The section `retention`: what a rule says, and what is refused so that none is misread."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.rules.document import Rules, parse_rules
from chalicelib.rules.reading import RulesInvalidError
from chalicelib.rules.retention import BRAKE, RetentionRule


def rule(**changes: object) -> dict[str, Any]:
    """Return a rule that could be set, with changes; None leaves a member out."""
    whole = {
        "name": "CI",
        "repositories": ["ci/**"],
        "tags": ["*"],
        "expire": {"days_since_push": 14},
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def document(*rules: object, **section: object) -> str:
    """Write a document."""
    return json.dumps({"retention": {"rules": rules, **section}})


def only(text: str) -> RetentionRule:
    """Read a document of one rule."""
    (read,) = parse_rules(text).retention
    return read


@pytest.mark.parametrize(
    ("member", "field", "value"),
    [
        ({"expire": {"days_since_push": 14}}, "days_since_push", 14),
        ({"expire": {"days_since_pull": 36_500}}, "days_since_pull", 36_500),
        ({"expire": None, "keep": "always"}, "keep_always", True),
        ({"expire": None, "keep": {"last": 1}}, "keep_last", 1),
    ],
)
def test_a_rule_either_keeps_or_expires(member: dict[str, Any], field: str, value: object) -> None:
    """It keeps all or the last images, or expires by days since push or since pull."""
    read = only(document(rule(**member)))
    fields = ("keep_always", "keep_last", "days_since_push", "days_since_pull")
    unset: dict[str, object] = dict.fromkeys(fields) | {"keep_always": False}
    assert {name: getattr(read, name) for name in fields} == {**unset, field: value}
    assert read.keeps is ("keep" in member)


def test_a_rule_covers_repositories_and_tags_by_patterns() -> None:
    """It covers images without a tag only with `untagged`."""
    read = only(document(rule(**{"tags": ["main-*", "pr-*"], "except": ["*-keep"]})))
    assert (read.is_for("ci/app"), read.is_for("team/app")) == (True, False)
    tags = ("main-1", "pr-7", "pr-7-keep", "v1")
    assert [read.covers(tag) for tag in tags] == [True, True, False, False]
    assert not read.untagged
    assert only(document(rule(tags=None, untagged=True))).untagged


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "lets tags * go 14 days after the last push"),
        ({"expire": {"days_since_pull": 1}}, "lets tags * go 1 day after the last pull"),
        ({"expire": None, "keep": "always", "tags": ["v*", "stable"]}, "keeps tags v*, stable"),
        ({"expire": None, "keep": {"last": 3}}, "keeps the last 3 of tags *"),
        (
            {"expire": {"days_since_pull": 90}, "tags": ["*"], "except": ["v*"], "untagged": True},
            "lets tags * but not v* and images without a tag go 90 days after the last pull",
        ),
        (
            {"tags": None, "untagged": True},
            "lets images without a tag go 14 days after the last push",
        ),
    ],
)
def test_a_rule_is_said_in_words(changes: dict[str, Any], words: str) -> None:
    """The page shows these words."""
    assert only(document(rule(**changes))).words == words


def test_the_brake_is_of_the_section_or_of_a_rule() -> None:
    """It is 20 % if neither sets one."""
    assert only(document(rule())).brake == BRAKE
    assert only(document(rule(), brake=50)).brake == 50
    assert only(document(rule(brake=100), brake=50)).brake == 100


def test_a_document_without_the_section_has_no_rules() -> None:
    """Other sections may be there."""
    assert parse_rules('{"immutable": []}') == Rules()
    immutable = [{"name": "releases", "repositories": ["**"], "tags": ["v*"]}]
    text = json.dumps({"immutable": immutable, "retention": {"rules": [rule()]}})
    read = parse_rules(text)
    assert (read.holding("ci/app", "v1"), len(read.retention)) == ("releases", 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"retention": []}', "retention is no object"),
        ('{"retention": null}', "retention is no object"),
        ('{"retention": {}}', r"retention\.rules must be a list"),
        (document(), "leave `retention` out"),
        (document(rule(), brakes=5), "'brakes', which is none of brake, rules"),
        (document(rule(), brake=0), "from 1 to 100"),
        (document(rule(), brake=101), "from 1 to 100"),
        (document(rule(), brake=True), "from 1 to 100"),
        (document(rule(), brake=20.0), "from 1 to 100"),
        (document(rule(brake="20%")), r"rules\[0\] \(CI\).brake is a whole number of percent"),
        (document(1), r"retention\.rules\[0\] is no object"),
        (document(rule(tag=["*"])), "'tag', which is none of"),
        (document(rule(name=None)), "needs a name"),
        (document(rule(), rule()), "two rules have the name 'CI'"),
        (document(rule(repositories=None)), "must be a list"),
        (document(rule(repositories=[])), "the rule is of no image"),
        (document(rule(repositories=["CI/*"])), "is no pattern of repository names"),
        (document(rule(tags=None)), "it needs tags"),
        (document(rule(tags=[])), "it needs tags"),
        (document(rule(tags=None, untagged=False)), "it needs tags"),
        (document(rule(untagged="yes")), "is true or false"),
        (document(rule(tags="*")), "must be a list"),
        (document(rule(tags=["v?"])), "is no pattern of tags"),
        (document(rule(**{"tags": None, "untagged": True, "except": ["v*"]})), "no tags of which"),
        (document(rule(expire=None)), "either keep or expire"),
        (document(rule(keep="always")), "either keep or expire"),
        (document(rule(expire=None, keep="always", brake=5)), "have a brake"),
        (document(rule(expire=None, keep=True)), '"always", or'),
        (document(rule(expire=None, keep="forever")), '"always", or'),
        (document(rule(expire=None, keep={"last": 0})), '"always", or'),
        (document(rule(expire=None, keep={"last": True})), '"always", or'),
        (document(rule(expire=None, keep={"last": 5, "tags": 1})), '"always", or'),
        (document(rule(expire="14d")), "in whole days"),
        (document(rule(expire={})), "in whole days"),
        (document(rule(expire={"days": 14})), "in whole days"),
        (document(rule(expire={"days_since_push": 0})), "in whole days"),
        (document(rule(expire={"days_since_push": 1.5})), "in whole days"),
        (document(rule(expire={"days_since_push": "14"})), "in whole days"),
        (document(rule(expire={"days_since_push": 36_501})), "in whole days"),
        (document(rule(expire={"days_since_push": 9, "days_since_pull": 9})), "write two rules"),
    ],
)
def test_a_wrong_rule_is_refused(text: str, said: str) -> None:
    """The message says where the error is, and what would be right."""
    with pytest.raises(RulesInvalidError, match=said):
        parse_rules(text)
