"""An access store in memory, told by the port's words and not by DynamoDB's.

It must behave as `AccessStore` says under any number of threads: one lock, no cleverness.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from chalicelib.access.ports import (
    CredentialExistsError,
    CredentialMissingError,
    CredentialMovedError,
    Listed,
    TooManyTrustsError,
)
from chalicelib.access.trusts import MAX_TRUSTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from chalicelib.access.credentials import Credential
    from chalicelib.access.grants import Grants
    from chalicelib.access.trusts import Trust

T = TypeVar("T")


class MemoryAccessStore:
    """`AccessStore` in dicts."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.credentials: dict[str, Credential] = {}
        self.trusts: dict[str, Trust] = {}
        self.public: set[str] = set()
        self.counters: dict[tuple[str, int], tuple[int, str]] = {}

    def create(self, credential: Credential) -> None:
        """Put a new credential; the same one again is the same creation."""
        with self.lock:
            there = self.credentials.get(credential.id) or self.find(credential.secret_hash)
            if there is None:
                self.credentials[credential.id] = credential
            elif (there.id, there.secret_hash) != (credential.id, credential.secret_hash):
                raise CredentialExistsError

    def get(self, credential_id: str) -> Credential | None:
        """Read a credential by its id."""
        with self.lock:
            return self.credentials.get(credential_id)

    def find(self, secret_hash: str) -> Credential | None:
        """Read the credential that has this secret, or had it last."""
        with self.lock:
            return next(
                (
                    credential
                    for credential in self.credentials.values()
                    if secret_hash in {credential.secret_hash, credential.previous_hash}
                ),
                None,
            )

    def list_credentials(self, after: str | None, limit: int) -> Listed[Credential]:
        """Credentials by id."""
        with self.lock:
            page = _page(self.credentials, after, limit)
            return Listed([self.credentials[name] for name in page.items], page.more)

    def rotate(
        self, before: Credential, secret_hash: str, previous_until: float | None
    ) -> Credential:
        """Replace a secret, unless that happened already."""
        with self.lock:
            current = self.credentials.get(before.id)
            if current is None:
                raise CredentialMovedError
            if current.secret_hash == secret_hash:
                return current
            is_moved = current.revoked or current.version != before.version
            if is_moved or self.find(secret_hash) is not None:
                raise CredentialMovedError
            rotated = replace(
                current,
                secret_hash=secret_hash,
                version=current.version + 1,
                previous_hash=current.secret_hash,
                previous_until=previous_until,
            )
            self.credentials[before.id] = rotated
            return rotated

    def revoke(self, credential_id: str) -> None:
        """Revoke a credential."""
        with self.lock:
            self.credentials[credential_id] = replace(self._there(credential_id), revoked=True)

    def regrant(self, credential_id: str, grants: Grants) -> None:
        """Replace a credential's grants."""
        with self.lock:
            self.credentials[credential_id] = replace(self._there(credential_id), grants=grants)

    def touch(self, credential_id: str, day: str) -> bool:
        """Note a day of use."""
        with self.lock:
            current = self.credentials.get(credential_id)
            if current is None or (current.last_used_day or "") >= day:
                return False
            self.credentials[credential_id] = replace(current, last_used_day=day)
            return True

    def put_trust(self, trust: Trust) -> None:
        """Put a trust, or replace it."""
        with self.lock:
            if trust.name not in self.trusts and len(self.trusts) >= MAX_TRUSTS:
                raise TooManyTrustsError
            self.trusts[trust.name] = trust

    def get_trust(self, name: str) -> Trust | None:
        """Read a trust by its name."""
        with self.lock:
            return self.trusts.get(name)

    def list_trusts(self) -> Sequence[Trust]:
        """All trusts by name."""
        with self.lock:
            return [self.trusts[name] for name in sorted(self.trusts)]

    def delete_trust(self, name: str) -> None:
        """Delete a trust."""
        with self.lock:
            self.trusts.pop(name, None)

    def set_public(self, repository: str, *, public: bool) -> None:
        """Open a repository to everybody, or close it."""
        with self.lock:
            (self.public.add if public else self.public.discard)(repository)

    def public_among(self, repositories: Collection[str]) -> frozenset[str]:
        """Return those that are public."""
        with self.lock:
            return frozenset(self.public.intersection(repositories))

    def list_public(self, after: str | None, limit: int) -> Listed[str]:
        """Public repositories by name."""
        with self.lock:
            return _page(self.public, after, limit)

    def failures(self, key: str, window: int) -> int:
        """How many failures were counted."""
        with self.lock:
            return self.counters.get((key, window), (0, ""))[0]

    def add_failure(self, key: str, window: int, attempt: str, drop_at: float) -> int:
        """Count a failure, once for each attempt; nothing is ever dropped."""
        del drop_at
        with self.lock:
            count, last = self.counters.get((key, window), (0, ""))
            self.counters[key, window] = (count if last == attempt else count + 1, attempt)
            return self.failures(key, window)

    def _there(self, credential_id: str) -> Credential:
        if credential_id not in self.credentials:
            raise CredentialMissingError
        return self.credentials[credential_id]


def _page(names: Iterable[str], after: str | None, limit: int) -> Listed[str]:
    rest = sorted(name for name in names if name > (after or ""))
    return Listed(rest[:limit], len(rest) > limit)
