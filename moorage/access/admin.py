"""Manages access over its store, for the registry's owner: tokens, grants, trusts, public names.

Everybody whom AWS lets use the table may do all of this, and nobody else. This module must never
keep or show a secret, nor show a hash.
"""

import enum
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from chalicelib.access.credentials import Credential, hash_of
from chalicelib.access.grants import Grant, Grants, Right
from chalicelib.access.ports import (
    AccessStore,
    CredentialExistsError,
    CredentialMissingError,
    CredentialMovedError,
    TooManyTrustsError,
)
from chalicelib.access.trusts import MAX_TRUSTS, Trust
from chalicelib.page import Page
from chalicelib.pattern import Pattern
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from moorage.common.errors import CommandError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

ADMIN_NAME = "admin"
"""The name of a registry's first API token."""

T = TypeVar("T")

_PAGE = 100


class AdminError(CommandError):
    """Access can't be changed so."""


class CredentialState(enum.StrEnum):
    """Whether an API token can be used."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


def open_store(client: "DynamoDBClient", table: str) -> AccessStore:
    """Return the store that a registry's functions use."""
    return DynamoAccessStore(client, table)


# API tokens


def credential_of(  # noqa: PLR0913 - what a credential has
    token: str,
    name: str,
    owner: str,
    grants: Grants,
    *,
    now: float,
    expires_at: float | None = None,
) -> Credential:
    """Return what is to be kept of a new API token: see `register`. Times in seconds."""
    return Credential(
        id=uuid.uuid4().hex,
        name=name,
        owner=owner,
        created_at=now,
        grants=grants,
        secret_hash=hash_of(token),
        expires_at=expires_at,
    )


def require_free(store: AccessStore, name: str, now: float) -> None:
    """Return if no live API token has this name; raises AdminError.

    The store takes any number of one name, so two owners at the same moment may pass together:
    the ids of their tokens are then the only difference.
    """
    for credential in credentials(store):
        if credential.name == name and state_of(credential, now) is CredentialState.LIVE:
            raise AdminError(
                f"there is a live API token {name!r} already (id {credential.id}): replace its"
                f" secret by `moorage token rotate {name}`, end it by `moorage token revoke"
                f" {name}`, or choose another name"
            )


def register(store: AccessStore, credential: Credential) -> None:
    """Store a new API token: from now on it can be used. Raises AdminError."""
    try:
        store.create(credential)
    except CredentialExistsError:
        raise AdminError("an API token of this id is there already: try again") from None


def create_admin(store: AccessStore, token: str, owner: str, now: float) -> None:
    """Store an API token that may do everything, whose secret is `token`; raises AdminError."""
    register(store, credential_of(token, ADMIN_NAME, owner, Grants(admin=True), now=now))


def credentials(store: AccessStore) -> list[Credential]:
    """Return what is kept of all API tokens, by name, the oldest of one name first."""
    found = _pages(store.list_credentials, lambda credential: credential.id)
    return sorted(found, key=lambda credential: (credential.name, credential.created_at))


def state_of(credential: Credential, now: float) -> CredentialState:
    """Return whether an API token can be used at `now`, and if not, why."""
    if credential.revoked:
        return CredentialState.REVOKED
    expired = credential.expires_at is not None and now >= credential.expires_at
    return CredentialState.EXPIRED if expired else CredentialState.LIVE


def find(store: AccessStore, wanted: str, now: float) -> Credential:
    """Return the API token of an id or a name; raises AdminError.

    Of several of one name the live one is meant, if there is just one.
    """
    by_id = store.get(wanted)
    if by_id is not None:
        return by_id
    named = [credential for credential in credentials(store) if credential.name == wanted]
    live = [credential for credential in named if state_of(credential, now) is CredentialState.LIVE]
    meant = live or named
    if not meant:
        raise AdminError(
            f"there is no API token {wanted!r}: `moorage token list` shows names and ids"
        )
    if len(meant) > 1:
        listed = ", ".join(f"{credential.id} ({state_of(credential, now)})" for credential in meant)
        raise AdminError(f"{wanted!r} names {len(meant)} API tokens: say which id: {listed}")
    return meant[0]


def revoke(store: AccessStore, credential: Credential) -> None:
    """End an API token for good; raises AdminError."""
    try:
        store.revoke(credential.id)
    except CredentialMissingError:
        raise _gone(credential) from None


def require_usable(credential: Credential, now: float) -> None:
    """Return if an API token can still be used, and so changed; raises AdminError."""
    state = state_of(credential, now)
    if state is not CredentialState.LIVE:
        raise AdminError(
            f"the API token {credential.name!r} (id {credential.id}) is {state} and stays so:"
            f" make another by `moorage token create`"
        )


def rotate(
    store: AccessStore, before: Credential, token: str, *, now: float, grace: float
) -> Credential:
    """Replace the secret of an API token by `token`, a new one; raises AdminError.

    The old one works for `grace` seconds more; with 0, no longer at all. One that had been
    replaced earlier ends now.
    """
    require_usable(before, now)
    try:
        return store.rotate(before, hash_of(token), now + grace if grace else None)
    except CredentialMovedError:
        raise AdminError(
            f"the API token {before.name!r} (id {before.id}) was rotated or revoked at this"
            " moment by somebody else: see `moorage token list`, and try again"
        ) from None


# grants


def regrant(store: AccessStore, before: Credential, grants: Grants) -> None:
    """Replace all grants of an API token; raises AdminError.

    Unconditional: of two owners at the same moment, the later one's grants stand.
    """
    try:
        store.regrant(before.id, grants)
    except CredentialMissingError:
        raise _gone(before) from None


def with_more(grants: Grants, more: Grants) -> Grants:
    """Return grants and some more, one row for each pattern; raises GrantError for too many."""
    rights = _by_pattern(grants)
    for pattern, added in _by_pattern(more).items():
        rights[pattern] = rights.get(pattern, frozenset()) | added
    return _as_grants(rights, admin=grants.admin or more.admin)


def with_less(grants: Grants, less: Grants) -> Grants:
    """Return grants without some rights under the same patterns; raises AdminError if not there.

    What another pattern allows stays allowed.
    """
    rights = _by_pattern(grants)
    missing = ["admin"] if less.admin and not grants.admin else []
    for pattern, removed in _by_pattern(less).items():
        if not removed <= rights.get(pattern, frozenset()):
            missing.append(str(Grant(Pattern(pattern), removed)))
        rights[pattern] = rights.get(pattern, frozenset()) - removed
    if missing:
        raise AdminError(
            f"not granted, so not to be removed: {' '.join(missing)}; granted are:"
            f" {' '.join(grants.texts()) or 'none'}"
        )
    return _as_grants(rights, admin=grants.admin and not less.admin)


# public repositories


def public(store: AccessStore) -> list[str]:
    """Return the repositories that anybody may pull from, by name."""
    return list(_pages(store.list_public, str))


# trusts


def add_trust(store: AccessStore, trust: Trust, *, replacing: bool) -> None:
    """Put a trust; raises AdminError, also for one that is there, unless it is to be replaced."""
    if not replacing and store.get_trust(trust.name) is not None:
        raise AdminError(
            f"there is a trust {trust.name!r} already: give --replace to put this one in its place"
        )
    try:
        store.put_trust(trust)
    except TooManyTrustsError:
        raise AdminError(
            f"there are {MAX_TRUSTS} trusts, and no more are taken: remove one by"
            " `moorage trust remove NAME`"
        ) from None


def remove_trust(store: AccessStore, name: str) -> None:
    """Delete a trust; raises AdminError if there is none of this name."""
    if store.get_trust(name) is None:
        raise AdminError(f"there is no trust {name!r}: `moorage trust list` shows them")
    store.delete_trust(name)


def _gone(credential: Credential) -> AdminError:
    return AdminError(f"the API token {credential.id} is gone: see `moorage token list`")


def _pages(read: Callable[[str | None, int], Page[T]], name_of: Callable[[T], str]) -> Iterator[T]:
    after = None
    more = True
    while more:
        page = read(after, _PAGE)
        yield from page.items
        # A page without items would be asked for again for ever.
        more = page.more and bool(page.items)
        after = name_of(page.items[-1]) if page.items else after


def _by_pattern(grants: Grants) -> dict[str, frozenset[Right]]:
    rights: dict[str, frozenset[Right]] = {}
    for row in grants.rows:
        pattern = row.repositories.text
        rights[pattern] = rights.get(pattern, frozenset()) | row.rights
    return rights


def _as_grants(rights: dict[str, frozenset[Right]], *, admin: bool) -> Grants:
    rows = tuple(Grant(Pattern(pattern), held) for pattern, held in rights.items() if held)
    # Read again: only that way are they counted.
    return replace(Grants.parse(map(str, rows)), admin=admin)
