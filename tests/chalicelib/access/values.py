"""Values for the tests of access control: names, patterns, grants, scopes, credentials, tokens.

Nothing here may repeat an id or a secret, so that tests can share tables.
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from chalicelib.access.credentials import Credential, generate, hash_of
from chalicelib.access.grants import Grant, Grants, Right
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import CATALOG, merged, on_repository
from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.access.tokens import Tokens
from chalicelib.pattern import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from _pytest.mark import ParameterSet

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


def misshapen(good: str) -> dict[str, str]:
    """Return texts that look like a good token and have not its form, by what is wrong."""
    head, body, signature = good.split(".")
    none = json.dumps({"alg": "none", "typ": "JWT"}).encode()
    return {
        "unsigned": f"{base64.urlsafe_b64encode(none).decode().rstrip('=')}.{body}.",
        "no signature": f"{head}.{body}.",
        "two segments": f"{head}.{body}",
        "four segments": f"{good}.AAAA",
        "five segments": f"{good}.{body}.{body}",
        "an empty segment before": f".{good}",
        "no claims": f"{head}..{signature}",
        "a letter too many": f"{head}A.{body}.{signature}",
        "a space before": f" {good}",
        "a line end behind": f"{good}\n",
        "padded": f"{good}=",
        "plus and slash": f"{head}.{body}.a+/a",
        "another alphabet": f"{head}.{body}.\u0430\u0431",
        "full-width dots": good.replace(".", "\uff0e"),
        "not ASCII": good.replace("e", "\u00e9", 1),
        "a lone surrogate": f"{good}\ud800",
        "empty": "",
        "dots": "..",
        "NUL": "\0",
    }


def forgeries(
    others: Mapping[Reason, Mapping[str, str]],
    *changed: tuple[Callable[[dict[str, Any]], str], Mapping[Reason, Sequence[dict[str, Any]]]],
) -> list[ParameterSet]:
    """Return forged tokens, each with its reason: `others` by name, and those made by changes."""
    return [
        *(
            pytest.param(token, reason, id=name)
            for reason, named in others.items()
            for name, token in named.items()
        ),
        *(
            pytest.param(made(change), reason, id=f"{made.__name__} {change!a}"[:80])
            for made, changes in changed
            for reason, listed in changes.items()
            for change in listed
        ),
    ]


def reason_of(call: Callable[..., object], *given: object) -> Reason:
    """Return why a call refuses; its error may say and hold nothing of what was presented."""
    with pytest.raises(AuthenticationError) as refused:
        call(*given)
    error, alone = refused.value, AuthenticationError(refused.value.reason)
    assert (repr(error), str(error), vars(error)) == (repr(alone), str(alone), vars(alone))
    # What a library's error says may quote what was presented: no traceback is to show it.
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return error.reason


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
