"""Authorization decisions: a table of them, and that nothing else is ever allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.decision import (
    ANONYMOUS,
    Decision,
    Principal,
    PrincipalKind,
    decide,
)
from chalicelib.access.grants import NOTHING, Grants, Right, allowed
from chalicelib.access.scopes import Scopes, covers, parse_scopes
from chalicelib.routes import Action
from tests.chalicelib.access.values import grants, names, scopes

READER = Principal(PrincipalKind.CREDENTIAL, "credential:r", Grants.parse(["team/*:pull"]))
WRITER = Principal(PrincipalKind.CREDENTIAL, "credential:w", Grants.parse(["team/*:pull,push"]))
ADMIN = Principal(PrincipalKind.CREDENTIAL, "credential:a", Grants.parse(["admin"]))
USELESS = Principal(PrincipalKind.CREDENTIAL, "credential:u", NOTHING)
NARROW = replace(ADMIN, limit=parse_scopes(["repository:team/app:pull"]))
PUSHING = replace(ADMIN, limit=parse_scopes(["repository:team/app:push"]))
LISTING = replace(READER, limit=parse_scopes(["registry:catalog:*"]))
PUBLIC_TOKEN = replace(ANONYMOUS, limit=parse_scopes(["repository:team/app:pull"]))

A, C, D = Decision.ALLOWED, Decision.CHALLENGE, Decision.DENIED
# fmt: off
DECISIONS = {
    #             ping, catalog, then on team/app: pull, push, delete, public: pull, push
    "nobody":       (ANONYMOUS,    (C, C, C, C, C, A, C)),
    "public token": (PUBLIC_TOKEN, (A, C, C, C, C, A, C)),
    "useless":      (USELESS,      (A, D, D, D, D, A, D)),
    "reader":       (READER,       (A, A, A, D, D, A, D)),
    "writer":       (WRITER,       (A, A, A, A, D, A, A)),
    "admin":        (ADMIN,        (A, A, A, A, A, A, A)),
    "narrow":       (NARROW,       (A, C, A, C, C, A, C)),
    "pushing":      (PUSHING,      (A, C, C, A, A, C, A)),
    "listing":      (LISTING,      (A, A, C, D, D, C, D)),
}
# fmt: on


@pytest.mark.parametrize("name", DECISIONS)
def test_each_principal_may_do_what_its_row_says(name: str) -> None:
    """If another login or token may be allowed it, the answer has a challenge."""
    principal, expected = DECISIONS[name]
    assert expected == (
        decide(principal, Action.PING, None),
        decide(principal, Action.CATALOG, None),
        decide(principal, Action.PULL, "team/app"),
        decide(principal, Action.PUSH, "team/app"),
        decide(principal, Action.DELETE, "team/app"),
        decide(principal, Action.PULL, "team/app", public=True),
        decide(principal, Action.PUSH, "team/app", public=True),
    )


# fmt: off
NO_ACTIONS = [
    ("pull", None), ("push", None), ("admin", "a"), ("admin", None), ("*", "a"), ("", "a"),
    ("PULL", "a"), ("reboot", "a"), ("reboot", None), ("pull", ""), ("pull", "../a"),
    ("pull", "a/../b"), ("pull", "a%2fb"), ("pull", "a\0"), ("pull", "a" * 256), ("pull", "**"),
    ("pull", "A"), ("pull", "é"), ("pull", "a/"), ("pull", "catalog:*"), ("*", None),
]
# fmt: on


@pytest.mark.parametrize(("action", "name"), NO_ACTIONS)
def test_an_unknown_action_or_name_is_allowed_to_nobody(action: str, name: str | None) -> None:
    """The admin is not allowed it either."""
    for principal in (ANONYMOUS, READER, WRITER, ADMIN, NARROW, PUBLIC_TOKEN):
        assert decide(principal, action, name, public=True) is not Decision.ALLOWED


@given(grants, st.none() | scopes, names, st.booleans())
def test_nothing_is_allowed_without_a_grant(
    held: Grants,
    limit: Scopes | None,
    name: str,
    public: bool,  # noqa: FBT001 - drawn
) -> None:
    """A grant, or a public repository, must allow it, and the token's scopes too."""
    principal = Principal(PrincipalKind.CREDENTIAL, "credential:x", held, limit)
    for right in Right:
        permitted = allowed(held, right, name) or (public and right is Right.PULL)
        named = limit is None or covers(limit, right, name)
        # A token to push is one to delete as well, for whoever may.
        named = named or (right is Right.DELETE and covers(limit or (), Right.PUSH, name))
        decision = decide(principal, right, name, public=public)
        assert (decision is Decision.ALLOWED) == (permitted and named)
        assert (decision is Decision.DENIED) == (not permitted)
