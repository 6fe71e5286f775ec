"""Grants: what patterns match, and that nothing is allowed which no grant names."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given

from chalicelib.access.grants import MAX_GRANTS, Grant, GrantError, Grants, Right, allowed
from chalicelib.pattern import Pattern, PatternError
from tests.chalicelib.access.values import grants, names, patterns

# fmt: off
MATCHING = [
    ("team/app", "team/app"),
    ("*", "app"), ("*", "a.b__c-d"),
    ("team/*", "team/app"),
    ("team/app*", "team/app"), ("team/app*", "team/app-1"),
    ("*-app", "my-app"), ("*-app/*", "my-app/x"),
    ("a*b*c", "abc"), ("a*b*c", "axbxbxc"), ("a*b*c", "abbcc"),
    ("**", "app"), ("**", "team/app"), ("**", "a/b/c/d/e/f"),
    ("team/**", "team/app"), ("team/**", "team/app/base/x"),
    ("**/app", "team/app"), ("**/app", "a/b/app"), ("**/app", "app/app"),
    ("a/**/z", "a/b/z"), ("a/**/z", "a/b/c/z"), ("a/**/z", "a/z/z"),
    ("**/x/**", "a/x/b"), ("**/x/**", "x/x/x"),
    ("team/**/*-dev", "team/a/b-dev"),
    ("a.b/c", "a.b/c"),
]

OTHERS = [
    ("team/app", "team/app2"), ("team/app", "team"), ("team/app", "team/app/x"),
    ("*", "team/app"),
    ("team/*", "team"), ("team/*", "team/app/base"), ("team/*", "teams/app"),
    ("team/**", "team"), ("team/**", "team2/app"), ("team/**", "a/team/app"),
    ("**/app", "app"), ("**/app", "a/app/b"), ("**/app", "a/myapp"),
    ("a/**/z", "a/z"),
    ("**/x/**", "x/x"), ("**/x/**", "a/x"),
    ("team/app*", "team/app/x"),
    ("a*b", "ab/b"), ("a*b*c", "acb"),
    ("a.b/c", "axb/c"), ("a.b", "a-b"),
]

NO_NAMES = [
    "", "/", "team/", "/team/app", "team//app", "team/../app", "..", "team/./app", "team/app/",
    "team/App", "team/app\0", "team/app\n", "team\\app", "team%2fapp", "team/%2e%2e/app",
    "team/app ", "téam/app", "team/\uff41pp", "team/app\u200b", "team/" + "a" * 251, "*", "**",
    "team/*",
]

NO_PATTERNS = [
    "", "/", "team/", "/team", "team//app", "..", "team/..", ".", "Team/app", "team/app\0", "a\nb",
    "***", "a**", "**a", "team/a**b", "team/***", "[ab]", "a?", "a|b", "(a)", "a+", ".*", "^a$",
    "a\\*", "{a,b}", "team/%2a", "é*", "-*", "*-", "_*", "*/-a", "a.-*", "*" + "a" * 255, "a" * 256,
    "a:b", "a,b", "a b", "*/" * 128 + "*",
]
# fmt: on


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [*((*row, True) for row in MATCHING), *((*row, False) for row in OTHERS)],
)
def test_a_pattern_matches_only_its_names(pattern: str, name: str, *, matches: bool) -> None:
    """It matches no longer, shorter or similar name."""
    assert Pattern.parse(pattern).matches(name) == matches


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("pattern", ["**", "team/**", "team/*", "*"])
def test_a_text_that_is_no_name_matches_no_pattern(pattern: str, name: str) -> None:
    """Nobody has a right on it."""
    assert not Pattern.parse(pattern).matches(name)
    for right in Right:
        assert not allowed(Grants.parse(["admin", f"{pattern}:{right}"]), right, name, public=True)


@pytest.mark.parametrize("text", NO_PATTERNS)
def test_a_text_that_is_no_pattern_is_refused(text: str) -> None:
    """The error gives advice; so does that for a pattern that can match nothing."""
    with pytest.raises(PatternError, match="is no pattern"):
        Pattern.parse(text)


@given(patterns, names)
def test_matching_agrees_with_a_regular_expression(pattern: str, name: str) -> None:
    """The test translates each pattern to a regular expression."""
    parts = {"**": ".+", "*": "[^/]*"}
    words = re.split(r"(\*\*|\*)", pattern)
    expression = "".join(parts.get(word, re.escape(word)) for word in words)
    assert Pattern.parse(pattern).matches(name) == bool(re.fullmatch(expression, name))


def test_a_hostile_pattern_takes_milliseconds() -> None:
    """A matcher that backtracks would run for ages."""
    hostile, name = Pattern.parse("*a" * 127), "a" * 254 + "b"
    hostile.matches(name)
    began = time.perf_counter()
    for _ in range(20):
        assert not hostile.matches(name)
    assert time.perf_counter() - began < 1


GRANTS = Grants.parse(["team/**:pull,push", "team/trash:delete", "base/*:pull"])

# fmt: off
DECIDED = [
    ("pull", "team/app", True), ("push", "team/app", True), ("delete", "team/app", False),
    ("delete", "team/trash", True), ("push", "team/trash", True),
    ("pull", "base/x", True), ("push", "base/x", False), ("pull", "base/x/y", False),
    ("pull", "other", False), ("admin", "team/app", False), ("*", "team/app", False),
    ("", "team/app", False), ("PULL", "team/app", False), ("pull,push", "team/app", False),
]
# fmt: on


@pytest.mark.parametrize(("right", "name", "expected"), DECIDED)
def test_a_right_is_allowed_if_one_grant_names_it_for_the_repository(
    right: str, name: str, *, expected: bool
) -> None:
    """And no other is; admin may use every right that exists, everywhere."""
    assert allowed(GRANTS, right, name) == expected
    assert allowed(Grants.parse(["admin"]), right, name) == (right in set(Right))


@given(grants)
def test_grants_are_read_as_they_were_written(value: Grants) -> None:
    """Writing and reading a grant gives the same grant."""
    assert Grants.parse(value.texts()) == value
    assert bool(value) == bool(value.texts())


def test_repeated_grants_count_once() -> None:
    """Two grants of one text, or with the same rights, are one."""
    grants = Grants.parse(["a:pull", "admin", "a:pull", "admin"])
    assert grants == Grants((Grant.parse("a:pull"),), admin=True)
    assert Grants.parse(["a:push,pull", "a:pull,push,push"]).texts() == ["a:pull,push"]


@pytest.mark.parametrize(
    "text", ["", "a", "a:", ":pull", "a:pull,", "a:all", "a:*", "a:admin", "Admin", "a:pull push"]
)
def test_a_text_that_is_no_grant_is_refused(text: str) -> None:
    """The error gives advice."""
    with pytest.raises(GrantError, match="is no "):
        Grants.parse([text])


def test_more_than_64_grants_are_refused() -> None:
    """So a credential's item stays small."""
    texts = [f"a{number}:pull" for number in range(MAX_GRANTS + 1)]
    assert len(Grants.parse(texts[1:]).rows) == MAX_GRANTS
    with pytest.raises(GrantError, match="at most 64"):
        Grants.parse(texts)
