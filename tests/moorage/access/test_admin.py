"""What the owner of a registry can do about access, over a store in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.access.credentials import generate, hash_of, is_api_token, verify
from chalicelib.access.grants import Grants
from chalicelib.access.refusals import AuthenticationError
from chalicelib.access.trusts import MAX_TRUSTS, Trust
from moorage.access import admin, texts
from moorage.access.admin import AdminError, CredentialState
from tests.chalicelib.access.values import NOW, a_credential
from tests.support.memory_access import MemoryAccessStore

if TYPE_CHECKING:
    from chalicelib.access.credentials import Credential

DAY = 86400.0
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


def a_trust(name: str = "ci", grants: tuple[str, ...] = ("team/**:push",)) -> Trust:
    """Return a trust in one repository's jobs."""
    return Trust.parse(
        name,
        issuer="https://token.actions.githubusercontent.com",
        audience="registry.example.com",
        subject="repo:org/app:*",
        grants=grants,
    )


# making


def test_a_token_that_was_made_opens_its_credential(store: MemoryAccessStore) -> None:
    """The token is found by its hash, has the grants asked for, and is kept nowhere."""
    made = admin.make("ci", "ops", PULL, now=NOW, expires_at=NOW + DAY)
    admin.register(store, made.credential)
    found = store.find(hash_of(made.token))
    assert is_api_token(made.token)
    assert found == made.credential
    assert verify(made.token, found, NOW) == 1
    assert (found.name, found.owner, found.grants) == ("ci", "ops", PULL)
    assert (found.created_at, found.expires_at) == (NOW, NOW + DAY)
    assert made.token not in repr(made)
    assert made.token not in repr(store.credentials)


def test_no_two_made_tokens_are_alike() -> None:
    """Each has an id and a secret of its own."""
    made = [admin.make("ci", "ops", PULL, now=NOW) for _ in range(20)]
    assert len({one.token for one in made}) == 20
    assert len({one.credential.id for one in made}) == 20


def test_the_name_of_a_live_token_is_taken(store: MemoryAccessStore) -> None:
    """The refusal names its id and the three ways out."""
    there = registered(store, name="ci")
    with pytest.raises(AdminError) as refused:
        admin.require_free(store, "ci", NOW)
    for told in (there.id, "moorage token rotate ci", "moorage token revoke ci", "another name"):
        assert told in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [{"revoked": True}, {"expires_at": NOW}, {"name": "other"}],
    ids=["revoked", "expired", "other"],
)
def test_the_name_of_no_live_token_is_free(
    store: MemoryAccessStore, changes: dict[str, object]
) -> None:
    """Neither a revoked or expired one nor another name stands in the way."""
    registered(store, **changes)
    admin.require_free(store, "ci", NOW)


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
def test_states(changes: dict[str, object], state: CredentialState) -> None:
    """A credential is live until, exclusive, it expires, and revoked whatever else it is."""
    assert admin.state_of(a_credential(**changes), NOW) is state


def test_all_pages_are_listed_by_name_and_age(store: MemoryAccessStore) -> None:
    """Credentials come by name, the oldest of one name first, however many pages they fill."""
    for number in range(250):
        registered(store, name=f"n{number % 7}", created_at=NOW - number)
    listed = admin.credentials(store)
    assert len(listed) == 250
    assert listed == sorted(listed, key=lambda one: (one.name, one.created_at))


def test_a_token_is_found_by_id_and_by_name(store: MemoryAccessStore) -> None:
    """Either names it."""
    there = registered(store, name="ci")
    registered(store, name="other")
    assert admin.find(store, there.id, NOW) == there
    assert admin.find(store, "ci", NOW) == there


def test_a_name_means_the_live_one(store: MemoryAccessStore) -> None:
    """Revoked and expired ones of the same name don't make it ambiguous."""
    registered(store, revoked=True)
    registered(store, expires_at=NOW - 1)
    live = registered(store)
    assert admin.find(store, "ci", NOW) == live


def test_an_id_wins_over_a_name(store: MemoryAccessStore) -> None:
    """A token that is called as another one's id doesn't hide that one."""
    there = registered(store)
    registered(store, name=there.id)
    assert admin.find(store, there.id, NOW) == there


@pytest.mark.parametrize("changes", [{}, {"revoked": True}], ids=["live", "revoked"])
def test_an_ambiguous_name_lists_the_ids(
    store: MemoryAccessStore, changes: dict[str, object]
) -> None:
    """Of several that are live, or of several that are not, none is guessed."""
    several = [registered(store, **changes) for _ in range(3)]
    with pytest.raises(AdminError) as refused:
        admin.find(store, "ci", NOW)
    assert all(one.id in str(refused.value) for one in several)


def test_an_unknown_name_says_where_to_look(store: MemoryAccessStore) -> None:
    """Nothing is found: the list is what helps."""
    with pytest.raises(AdminError, match=r"'nobody'.*moorage token list"):
        admin.find(store, "nobody", NOW)


# revoking, rotating


def test_revoking_ends_it(store: MemoryAccessStore) -> None:
    """What is revoked opens nothing, whatever its secret."""
    made = admin.make("ci", "ops", PULL, now=NOW)
    admin.register(store, made.credential)
    admin.revoke(store, made.credential)
    with pytest.raises(AuthenticationError):
        verify(made.token, store.credentials[made.credential.id], NOW)


@pytest.mark.parametrize("grace", [0, 3600], ids=["at-once", "an-hour"])
def test_rotating_replaces_the_secret(store: MemoryAccessStore, grace: int) -> None:
    """The new secret works at once; the old one until the grace ends, exclusive."""
    made = admin.make("ci", "ops", PULL, now=NOW)
    admin.register(store, made.credential)
    token = generate()
    after = admin.rotate(store, made.credential, token, now=NOW, grace=grace)
    assert verify(token, after, NOW) == 2
    for moment in (NOW, NOW + 3599.9):
        if moment < NOW + grace:
            assert verify(made.token, after, moment) == 1
    with pytest.raises(AuthenticationError):
        verify(made.token, after, NOW + grace)
    assert texts.replaced_until(after, NOW) == (NOW + grace if grace else None)


@pytest.mark.parametrize(
    "changes", [{"revoked": True}, {"expires_at": NOW}], ids=["revoked", "expired"]
)
def test_what_is_over_is_not_rotated(store: MemoryAccessStore, changes: dict[str, object]) -> None:
    """A new secret would open nothing, so none is made."""
    there = registered(store, **changes)
    with pytest.raises(AdminError, match="moorage token create"):
        admin.rotate(store, there, generate(), now=NOW, grace=0)
    assert store.credentials[there.id] == there


def test_two_who_rotate_at_once(store: MemoryAccessStore) -> None:
    """The second, who has seen the token as it was before, is told to look and changes nothing."""
    there = registered(store)
    first = admin.rotate(store, there, generate(), now=NOW, grace=60)
    with pytest.raises(AdminError, match="somebody else"):
        admin.rotate(store, there, generate(), now=NOW, grace=60)
    assert store.credentials[there.id] == first


def test_a_token_that_is_gone_is_told(store: MemoryAccessStore) -> None:
    """Revoking or regranting what is no longer there says so."""
    gone = a_credential()
    with pytest.raises(AdminError, match="is gone"):
        admin.revoke(store, gone)
    with pytest.raises(AdminError, match="is gone"):
        admin.regrant(store, gone, PULL)


# public repositories and trusts


def test_all_public_repositories_are_listed(store: MemoryAccessStore) -> None:
    """However many pages they fill."""
    names = {f"team/app-{number}" for number in range(250)}
    store.public |= names
    assert admin.public(store) == sorted(names)


def test_a_trust_is_replaced_only_when_asked(store: MemoryAccessStore) -> None:
    """One that is there stays as it is unless it is to be replaced."""
    first, second = a_trust(), a_trust(grants=("other:pull",))
    admin.add_trust(store, first, replacing=False)
    with pytest.raises(AdminError, match="--replace"):
        admin.add_trust(store, second, replacing=False)
    assert store.list_trusts() == [first]
    admin.add_trust(store, second, replacing=True)
    assert store.list_trusts() == [second]


def test_trusts_beyond_the_most_are_refused(store: MemoryAccessStore) -> None:
    """The refusal says what to do."""
    for number in range(MAX_TRUSTS):
        admin.add_trust(store, a_trust(f"t{number}"), replacing=False)
    with pytest.raises(AdminError, match="moorage trust remove"):
        admin.add_trust(store, a_trust("one-more"), replacing=False)


def test_a_trust_is_removed_once(store: MemoryAccessStore) -> None:
    """Removing one that is not there is an error: it may have been mistyped."""
    admin.add_trust(store, a_trust(), replacing=False)
    admin.remove_trust(store, "ci")
    assert store.list_trusts() == []
    with pytest.raises(AdminError, match="moorage trust list"):
        admin.remove_trust(store, "ci")
