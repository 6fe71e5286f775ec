"""Values for the tests of access control: names, patterns, grants, scopes, credentials, tokens.

Nothing here may repeat an id or a secret, so that tests can share tables.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from chalicelib.access.credentials import Credential, generate, hash_of
from chalicelib.access.grants import Grant, Grants, Pattern, Right
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import CATALOG, merged, on_repository
from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.access.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NOW = 1_764_000_000.123456

KEYS = SigningKeySet(SigningKey(bytes(range(32))))
TOKENS = Tokens(KEYS, "https://registry.example.com", "registry.example.com")

# Few letters, so that patterns and names meet.
_PARTS = st.sampled_from(["a", "b", "ab", "a-b", "a.b", "b__a"])
names = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)
patterns = st.lists(
    st.one_of(_PARTS, st.sampled_from(["*", "**", "a*", "*b", "*-*", "a*b"])),
    min_size=1,
    max_size=4,
).map("/".join)
rights = st.frozensets(st.sampled_from(list(Right)), min_size=1)
grants = st.builds(
    lambda rows, admin: Grants(tuple(dict.fromkeys(rows)), admin=admin),
    st.lists(st.builds(Grant, st.builds(Pattern, patterns), rights), max_size=4),
    st.booleans(),
)
classes = st.sampled_from(["", "plugin", "image"])
scopes = st.lists(
    st.one_of(
        st.just(CATALOG),
        st.builds(
            lambda name, actions, named: replace(
                on_repository(name, *actions), resource_class=named
            ),
            names,
            rights,
            classes,
        ),
    ),
    max_size=6,
).map(merged)


def forgeries(
    made: Callable[[dict[str, Any]], str], changes: Mapping[Reason, Sequence[dict[str, Any]]]
) -> dict[str, tuple[str, Reason]]:
    """Return tokens made by changes, each with the reason of its refusal, by an ASCII name."""
    return {
        f"{made.__name__} {change!a}"[:80]: (made(change), reason)
        for reason, listed in changes.items()
        for change in listed
    }


def check_tells_only_why(error: AuthenticationError) -> None:
    """Fail if a refusal says or holds more than its reason: anything of what was presented."""
    alone = AuthenticationError(error.reason)
    assert (repr(error), str(error), vars(error)) == (repr(alone), str(alone), vars(alone))
    assert error.__cause__ is None


def a_credential(**changes: Any) -> Credential:  # noqa: ANN401 - any field of a credential
    """Return a credential with a secret that nobody knows, with `changes`."""
    credential = Credential(
        id=uuid.uuid4().hex,
        name="ci",
        owner="ops@example.com",
        created_at=NOW,
        grants=Grants.parse(["team/**:pull,push", "admin", "**:delete"]),
        secret_hash=hash_of(generate()),
    )
    return replace(credential, **changes)


def a_full_credential() -> Credential:
    """Return a credential in which every field has a value, none of them the default."""
    return a_credential(
        version=7,
        expires_at=NOW + 0.000001,
        last_used_day="2026-11-24",
        revoked=True,
        previous_hash=hash_of(generate()),
        previous_until=NOW + 3600.5,
    )
