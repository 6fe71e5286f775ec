"""What the owner of a registry can do about access, over a store in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.access.credentials import generate, hash_of, is_api_token, verify
from chalicelib.access.grants import MAX_GRANTS, GrantError, Grants
from chalicelib.access.refusals import AuthenticationError
from chalicelib.access.trusts import MAX_TRUSTS, Trust
from moorage.access import admin, texts
from moorage.access.admin import AdminError, CredentialState
from tests.chalicelib.access.values import NOW, a_credential
from tests.support.memory_access import MemoryAccessStore

if TYPE_CHECKING:
    from chalicelib.access.credentials import Credential

DAY = 86400.0
ROLE = "arn:aws:sts::123456789012:assumed-role/ci/*"
PULL = Grants.parse(["team/**:pull"])


@pytest.fixture
def store() -> MemoryAccessStore:
    """An empty store."""
    return MemoryAccessStore()


def registered(store: MemoryAccessStore, **changes: object) -> Credential:
    """Put a credential, and return it."""
    credential = a_credential(**changes)
    admin.register(store, credential)
    return credential


def a_trust(name: str) -> Trust:
    """Return a trust in a role of AWS."""
    return Trust.parse(name, issuer="aws", audience="", subject=ROLE, grants=["a:push"])


# making


def test_a_created_token_finds_its_credential(store: MemoryAccessStore) -> None:
    """By its hash; it has the requested grants, or all, and is stored nowhere."""
    token = generate()
    made = admin.credential_of(token, "ci", "ops", PULL, now=NOW, expires_at=NOW + DAY)
    admin.register(store, made)
    found = store.find(hash_of(token))
    assert found == made
    assert verify(token, found, NOW) == 1
    assert (found.name, found.owner, found.grants) == ("ci", "ops", PULL)
    assert (found.created_at, found.expires_at) == (NOW, NOW + DAY)
    token_of_admin = generate()
    admin.create_admin(store, token_of_admin, "ann", NOW)
    every = store.find(hash_of(token_of_admin))
    assert every is not None
    assert (every.name, every.owner, every.grants) == ("admin", "ann", Grants(admin=True))
    assert (every.created_at, verify(token_of_admin, every, NOW)) == (NOW, 1)
    kept = repr(made) + repr(store.credentials)
    assert not any(secret in kept for secret in (token, token_of_admin))


def test_no_two_made_tokens_are_alike() -> None:
    """Each has an id and a secret of its own."""
    tokens = {generate() for _ in range(20)}
    made = [admin.credential_of(token, "ci", "ops", PULL, now=NOW) for token in tokens]
    assert len(tokens) == len({each.id for each in made}) == 20
    assert all(map(is_api_token, tokens))


def test_the_name_of_a_live_token_is_taken(store: MemoryAccessStore) -> None:
    """The refusal names its id and the three ways out; no other token stands in the way."""
    for changes in ({"revoked": True}, {"expires_at": NOW}, {"name": "other"}):
        registered(store, **changes)
    admin.require_free(store, "ci", NOW)
    there = registered(store, name="ci")
    with pytest.raises(AdminError) as refused:
        admin.require_free(store, "ci", NOW)
    for told in (there.id, "moorage token rotate ci", "moorage token revoke ci", "another name"):
        assert told in str(refused.value)


def test_an_id_that_is_there_is_refused(store: MemoryAccessStore) -> None:
    """A second credential of one id is an error that people can read."""
    there = registered(store)
    with pytest.raises(AdminError, match="try again"):
        admin.register(store, replace(there, secret_hash=hash_of(generate())))


# finding


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, CredentialState.LIVE),
        ({"expires_at": NOW + 0.001}, CredentialState.LIVE),
        ({"expires_at": NOW}, CredentialState.EXPIRED),
        ({"revoked": True, "expires_at": NOW - 1}, CredentialState.REVOKED),
    ],
    ids=["live", "last-moment", "expired", "revoked"],
)
def test_a_credential_is_live_expired_or_revoked(
    changes: dict[str, object], state: CredentialState
) -> None:
    """It expires at its expiry exactly; a revoked one is revoked, whatever else it is."""
    assert admin.state_of(a_credential(**changes), NOW) is state


def test_all_pages_are_listed(store: MemoryAccessStore) -> None:
    """Credentials come by name, the oldest of one name first, and repositories by name."""
    for number in range(250):
        registered(store, name=f"n{number % 7}", created_at=NOW - number)
    listed = admin.credentials(store)
    assert len(listed) == 250
    assert listed == sorted(listed, key=lambda one: (one.name, one.created_at))
    names = {f"team/app-{number}" for number in range(250)}
    for name in names:
        store.set_public(name, public=True)
    assert admin.public(store) == sorted(names)


def test_a_token_is_found_by_id_and_by_name(store: MemoryAccessStore) -> None:
    """An id wins over a name, and a live token over those of its name that are over."""
    for changes in ({"revoked": True}, {"expires_at": NOW - 1}):
        registered(store, **changes)
    live = registered(store)
    registered(store, name=live.id)
    assert admin.find(store, live.id, NOW) == live
    assert admin.find(store, "ci", NOW) == live


@pytest.mark.parametrize("changes", [{}, {"revoked": True}], ids=["live", "revoked"])
def test_an_ambiguous_name_lists_the_ids(
    store: MemoryAccessStore, changes: dict[str, object]
) -> None:
    """Of several that are live, or of several that are not, none is guessed."""
    several = [registered(store, **changes) for _ in range(3)]
    with pytest.raises(AdminError) as refused:
        admin.find(store, "ci", NOW)
    assert all(one.id in str(refused.value) for one in several)


# revoking, rotating


@pytest.mark.parametrize("grace", [0, 3600], ids=["at-once", "an-hour"])
def test_rotating_replaces_the_secret(store: MemoryAccessStore, grace: int) -> None:
    """The new secret works at once; the old one until the grace ends, exclusive."""
    old, token = generate(), generate()
    made = admin.credential_of(old, "ci", "ops", PULL, now=NOW)
    admin.register(store, made)
    after = admin.rotate(store, made, token, now=NOW, grace=grace)
    assert verify(token, after, NOW) == 2
    for moment in (NOW, NOW + 3599.9):
        if moment < NOW + grace:
            assert verify(old, after, moment) == 1
    with pytest.raises(AuthenticationError):
        verify(old, after, NOW + grace)
    assert texts.replaced_until(after, NOW) == (NOW + grace if grace else None)


@pytest.mark.parametrize("changes", [{"revoked": True}, {"expires_at": NOW}])
def test_an_expired_or_revoked_token_is_not_rotated(
    store: MemoryAccessStore, changes: dict[str, object]
) -> None:
    """No new secret is made, because it would be useless."""
    there = registered(store, **changes)
    with pytest.raises(AdminError, match="moorage token create"):
        admin.rotate(store, there, generate(), now=NOW, grace=0)
    assert store.credentials[there.id] == there


def test_the_second_of_two_rotations_at_once_is_refused(store: MemoryAccessStore) -> None:
    """The error says to look again, and nothing changes."""
    there = registered(store)
    first = admin.rotate(store, there, generate(), now=NOW, grace=60)
    with pytest.raises(AdminError, match="somebody else"):
        admin.rotate(store, there, generate(), now=NOW, grace=60)
    assert store.credentials[there.id] == first


@pytest.mark.parametrize(("act", "more"), [(admin.revoke, ()), (admin.regrant, (PULL,))])
def test_revoking_or_granting_to_a_deleted_token_is_an_error(
    store: MemoryAccessStore,
    act: Any,  # noqa: ANN401 - any act
    more: Any,  # noqa: ANN401 - its arguments
) -> None:
    """The error says that the token is gone."""
    with pytest.raises(AdminError, match="is gone"):
        act(store, a_credential(), *more)


# grants


@pytest.mark.parametrize(
    ("change", "before", "given", "after"),
    [
        (admin.with_more, "", "a:pull", "a:pull"),
        (admin.with_more, "a:pull", "a:push", "a:pull,push"),
        (admin.with_more, "a:pull", "b/*:push", "a:pull b/*:push"),
        (admin.with_more, "a:pull,push", "a:pull", "a:pull,push"),
        (admin.with_more, "a:pull", "admin", "admin a:pull"),
        (admin.with_less, "a:pull,push", "a:push", "a:pull"),
        (admin.with_less, "a:pull b:pull", "a:pull", "b:pull"),
        (admin.with_less, "a:pull", "a:pull", ""),
        (admin.with_less, "admin a:pull", "admin", "a:pull"),
        (admin.with_less, "a:pull,push,delete b:pull", "a:pull,delete b:pull", "a:push"),
    ],
)
def test_rights_are_added_to_and_removed_from_a_pattern(
    change: Any,  # noqa: ANN401 - either
    before: str,
    given: str,
    after: str,
) -> None:
    """A pattern without rights is removed too."""
    result = change(Grants.parse(before.split()), Grants.parse(given.split()))
    assert result.texts() == after.split()


@pytest.mark.parametrize("less", ["b:pull", "a:push", "a:pull,push", "admin", "**:pull"])
def test_removing_a_right_that_is_not_granted_is_an_error(less: str) -> None:
    """Patterns are compared as texts, whatever another pattern allows."""
    with pytest.raises(AdminError, match=r"not granted.*a:pull"):
        admin.with_less(Grants.parse(["a:pull"]), Grants.parse([less]))


def test_more_than_64_grants_are_refused(store: MemoryAccessStore) -> None:
    """Adding rights counts too."""
    full = Grants.parse([f"a{number}:pull" for number in range(MAX_GRANTS)])
    with pytest.raises(GrantError, match="at most"):
        admin.with_more(full, Grants.parse(["b:pull"]))
    there = registered(store)
    admin.regrant(store, there, full)
    assert store.credentials[there.id].grants == full


# trusts


def test_trusts_beyond_the_most_are_refused(store: MemoryAccessStore) -> None:
    """The refusal says what to do."""
    for number in range(MAX_TRUSTS):
        admin.add_trust(store, a_trust(f"t{number}"), replacing=False)
    with pytest.raises(AdminError, match="moorage trust remove"):
        admin.add_trust(store, a_trust("one-more"), replacing=False)
