"""Scopes: how a client's are read, which are granted, and which a request requires."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.grants import NOTHING, Grants, Right, allowed
from chalicelib.access.scopes import (
    CATALOG,
    MAX_SCOPES,
    ResourceType,
    Scope,
    Scopes,
    ScopesTooLongError,
    covers,
    granted,
    on_repository,
    parse_scopes,
    required_scopes,
    text_of,
)
from chalicelib.errors import NameInvalidError
from tests.chalicelib.access.values import grants, names, scopes

# fmt: off
READ = [
    # what was requested, in one parameter or several; what was understood
    (["repository:team/app:pull,push"], "repository:team/app:pull,push"),
    (["repository:team/app:push,pull"], "repository:team/app:pull,push"),
    (["repository:a:pull repository:b:push"], "repository:a:pull repository:b:push"),
    (["repository:a:pull", "repository:b:push"], "repository:a:pull repository:b:push"),
    (["repository:a:pull", "repository:a:push"], "repository:a:pull,push"),
    (["  repository:a:pull   repository:a:pull "], "repository:a:pull"),
    (["repository:a:*"], "repository:a:pull,push,delete"),
    (["repository:a:delete"], "repository:a:delete"),
    (["repository:a:pull,reboot,,PULL"], "repository:a:pull"),
    (["repository(plugin):team/x:pull"], "repository(plugin):team/x:pull"),
    (["repository(plugin):x:pull repository:x:push"],
     "repository(plugin):x:pull repository:x:push"),
    (["registry:catalog:*"], "registry:catalog:*"),
    (["repository:a:pull registry:catalog:*"], "repository:a:pull registry:catalog:*"),
]

NOT_UNDERSTOOD = [
    "", " ", ":", "::", ":::", "repository", "repository:", "repository:a", "repository:a:",
    "repository:a:,", "repository::pull", "repository:a:reboot", "artifact:a:pull",
    "Repository:a:pull", "registry:catalog:pull", "registry:catalog:", "registry:other:*",
    "registry(x):catalog:*", "registry:catalog:*,pull", "repository():a:pull",
    "repository(:a:pull", "repository(a)b:a:pull", "repository(a)(b):a:pull",
    "repository:host.example:5000/a:pull", "repository:a:b:pull",
    # names that are none
    "repository:../a:pull", "repository:a/../b:pull", "repository:a/./b:pull",
    "repository:a//b:pull", "repository:/a:pull", "repository:a/:pull", "repository:a%2fb:pull",
    "repository:%2e%2e/a:pull", "repository:a\0:pull", "repository:a\n:pull",
    "repository:A:pull", "repository:é:pull", "repository:\uff41:pull", "repository:a\u200b:pull",
    "repository:a\\b:pull", "repository:*:pull", "repository:**:pull", "repository:team/*:pull",
    f"repository:{'a' * 256}:pull", "repository:a\tb:pull", "repository:a:pull\trepository:b:pull",
    "repository:a:pull\0", "repository:a:\uff50ull", "registry:catalog:\uff0a",
    "repository" * 150,
]
# fmt: on


@pytest.mark.parametrize(("texts", "expected"), READ)
def test_each_resource_of_a_scope_is_read_once(texts: list[str], expected: str) -> None:
    """Scopes may be in one parameter or several; actions keep their order."""
    assert text_of(parse_scopes(texts)) == expected


@pytest.mark.parametrize("text", NOT_UNDERSTOOD)
def test_a_scope_that_is_not_understood_is_left_out(text: str) -> None:
    """The scope beside it is read."""
    assert parse_scopes([text]) == ()
    assert text_of(parse_scopes([f"repository:b:pull {text}", text])) == "repository:b:pull"


TOO_MANY = [
    [f"repository:a{number}:pull" for number in range(MAX_SCOPES + 1)],
    ["repository:a:pull " * 500],
    ["x" * 5000],
    [""] * 5000,
    # short enough as it was written, and not as it is read
    [f"repository:{'a' * 120}{number}:*" for number in range(28)],
]


@pytest.mark.parametrize("texts", TOO_MANY)
def test_more_scopes_than_fit_a_token_are_refused(texts: list[str]) -> None:
    """No token is issued for some of them."""
    with pytest.raises(ScopesTooLongError):
        parse_scopes(texts)


def test_the_most_scopes_that_fit_are_read_again() -> None:
    """They are read completely, to the last character."""
    rest = "repository:b:pull"
    name = "a" * ((4096 - len(rest)) // 16 - len("repository:00:pull,push,delete") - 1)
    asked = [f"repository:{name}{number:02}:*" for number in range(16)]
    read = parse_scopes([rest, *asked])
    assert 4000 < len(text_of(read)) <= 4096
    assert parse_scopes([text_of(read)]) == read


@given(scopes)
def test_scopes_are_read_as_they_were_written(value: Scopes) -> None:
    """In one parameter or in several, writing and reading gives the same scopes."""
    assert parse_scopes([text_of(value)]) == value
    assert parse_scopes(map(str, value)) == value


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_text_is_read_without_an_error(texts: list[str]) -> None:
    """The scopes that it gives can be written and read again."""
    read = parse_scopes(texts)
    assert parse_scopes([text_of(read)]) == read


@given(scopes, grants, st.frozensets(names, max_size=3))
def test_a_granted_action_was_requested_and_is_allowed(
    requested: Scopes, held: Grants, public: frozenset[str]
) -> None:
    """Every action that was requested and is allowed is granted, and no other."""
    given_scopes = {scope.key: scope for scope in granted(requested, held, public)}
    assert set(given_scopes) <= {scope.key for scope in requested}
    for scope in requested:
        got = given_scopes[scope.key].actions if scope.key in given_scopes else frozenset()
        if scope == CATALOG:
            assert got == (CATALOG.actions if held else frozenset())
            continue
        is_public = scope.name in public
        assert got == {
            right
            for right in scope.actions
            if allowed(held, right, scope.name) or (is_public and right == "pull")
        }


@given(scopes, grants)
def test_granting_again_changes_nothing(requested: Scopes, held: Grants) -> None:
    """Without grants there are no scopes."""
    once = granted(requested, held)
    assert granted(once, held) == once
    assert granted(once, NOTHING) == ()


def test_a_repository_named_catalog_is_not_the_catalog() -> None:
    """A scope of that repository does not allow the catalog."""
    odd = Scope(ResourceType.REPOSITORY, "catalog", frozenset({"*", "pull"}))
    assert covers((CATALOG,), "*", None)
    assert not covers((odd,), "*", None)
    assert not covers((replace(CATALOG, actions=odd.actions),), "pull", "catalog")
    assert granted((replace(CATALOG, resource_class="x"),), Grants(admin=True)) == ()


# fmt: off
MOUNT = {"mount": ["sha256:x"], "from": ["b"]}
NO_SOURCES: list[dict[str, list[str]]] = [
    {"mount": ["sha256:x"]}, {"from": ["b"]}, {"mount": [], "from": []}, MOUNT | {"from": ["a"]},
    MOUNT | {"from": ["../b"]}, MOUNT | {"from": ['b" repository:c:push']},
]
PULL_PUSH = "repository:a:pull,push"
REQUIRED: list[tuple[Any, str, str]] = [
    # action, repository, method and query; what is required, what a challenge names
    (("ping", None, "GET", {}), "", ""),
    (("catalog", None, "GET", {}), "registry:catalog:*", "registry:catalog:*"),
    (("pull", "a/b", "GET", {}), "repository:a/b:pull", "repository:a/b:pull"),
    (("push", "a/b", "PUT", {}), "repository:a/b:push", "repository:a/b:pull,push"),
    (("delete", "a/b", "DELETE", {}), "repository:a/b:delete", "repository:a/b:delete"),
    (("push", "a", "POST", MOUNT), "repository:a:push", f"{PULL_PUSH} repository:b:pull"),
    (("push", "a", "POST", MOUNT | {"from": ["z", "b"]}),
     "repository:a:push", f"{PULL_PUSH} repository:b:pull"),
    *((("push", "a", "POST", query), "repository:a:push", PULL_PUSH) for query in NO_SOURCES),
    # only the start of an upload mounts
    (("push", "a", "PATCH", MOUNT), "repository:a:push", PULL_PUSH),
    (("pull", "a", "GET", MOUNT), "repository:a:pull", "repository:a:pull"),
]
# fmt: on


@pytest.mark.parametrize(("request_", "required", "challenge"), REQUIRED)
def test_a_request_requires_the_scope_of_its_action(
    request_: tuple[str, str | None, str, dict[str, list[str]]], required: str, challenge: str
) -> None:
    """A challenge names the optional scopes, too: a pull before a push, and a mount's source."""
    found = required_scopes(*request_)
    assert text_of(found.required) == required
    assert found.challenge() == challenge


@pytest.mark.parametrize(("action", "name"), [("reboot", "a"), ("pull", None), ("", "a")])
def test_an_unknown_action_is_a_fault(action: str, name: str | None) -> None:
    """So is an action without its repository: neither is allowed."""
    with pytest.raises(ValueError, match=r"action|Right"):
        required_scopes(action, name, "GET", {})


def test_a_scope_needs_a_valid_name() -> None:
    """A scope with another name can't be made."""
    with pytest.raises(NameInvalidError):
        on_repository("a/../b", Right.PULL)
