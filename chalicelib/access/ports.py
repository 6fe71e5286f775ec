"""The port of access control: its store.

Nothing here may name DynamoDB or an SDK. Every method may also raise UnavailableError or
TooManyRequestsError (nothing lost) when the world fails; a failure is never answered as "absent".
Reads are strongly consistent: what was revoked is refused at the next request.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from chalicelib.access.credentials import Credential
from chalicelib.access.grants import Grants
from chalicelib.access.trusts import Trust
from chalicelib.page import Page


class CredentialExistsError(Exception):
    """A credential of this id, or with this secret, is there already."""


class CredentialMissingError(Exception):
    """No credential has this id."""


class CredentialMovedError(Exception):
    """The credential's secret was replaced, or it was revoked, since it was read."""


class TooManyTrustsError(Exception):
    """There are MAX_TRUSTS trusts already: one has to be deleted before another is put."""


class AccessStore(Protocol):
    """Credentials, trusts, public repositories, failed logins."""

    # credentials

    def create(self, credential: Credential) -> None:
        """Put a new credential, so that it is found by its id and by its secret, or do nothing.

        A repeat of this very creation (same id and secret) succeeds. Raises CredentialExistsError.
        """

    def get(self, credential_id: str) -> Credential | None:
        """Read a credential by its id, revoked and expired ones too."""

    def find(self, secret_hash: str) -> Credential | None:
        """Read the credential that has this secret now, or had it before the last replacement.

        Whether it can still be used is decided by `credentials.verify`.
        """

    def list_credentials(self, after: str | None, limit: int) -> Page[Credential]:
        """Credentials by id in byte order after `after` (it need not exist), at most `limit` >= 1.

        Revoked and expired ones are among them.
        """

    def rotate(
        self, before: Credential, secret_hash: str, previous_until: float | None
    ) -> Credential:
        """Replace the secret of a credential and return it as it then is.

        Condition: it is not revoked and has `before`'s version. Effect: the new hash, version + 1,
        and the old hash, accepted until `previous_until` (None: no longer at all). An even older
        secret is no longer found. If the condition fails but the credential has this very secret,
        this replacement took effect earlier: success. Raises CredentialMovedError, also where the
        credential is gone or another one has this secret.
        """

    def revoke(self, credential_id: str) -> None:
        """Revoke a credential for good; one that is revoked already stays so.

        Raises CredentialMissingError.
        """

    def regrant(self, credential_id: str, grants: Grants) -> None:
        """Replace all grants of a credential; raises CredentialMissingError."""

    def touch(self, credential_id: str, day: str) -> bool:
        """Note that a credential was used on a day (`2026-11-24`), in one write.

        Condition: it is there, and no such day or a later one is noted. False, and nothing was
        written, if the condition fails: so there is one write a day, however many processes write.
        Callers that have just read the credential call this only if its day is an earlier one.
        """

    # trusts in other issuers

    def put_trust(self, trust: Trust) -> None:
        """Put a trust under its name; an existing one is replaced as a whole.

        A repeat changes nothing. Raises TooManyTrustsError for a new one beyond MAX_TRUSTS; those
        that come at the same moment may pass it together.
        """

    def get_trust(self, name: str) -> Trust | None:
        """Read a trust by its name, which may be any text."""

    def list_trusts(self) -> Sequence[Trust]:
        """Read all trusts, by name in byte order."""

    def delete_trust(self, name: str) -> None:
        """Delete a trust; one that is not there is no error."""

    # public repositories

    def set_public(self, repository: str, *, public: bool) -> None:
        """Let anybody pull from a repository, or no longer; idempotent. It need not exist."""

    def public_among(self, repositories: Collection[str]) -> frozenset[str]:
        """Return those of some repositories that anybody may pull from."""

    def public_between(self, first: str, last: str) -> frozenset[str]:
        """Return all repositories that anybody may pull from, of the names `first` to `last`.

        A page of a list is filtered by this: it reads those that there are, and no others.
        """

    def list_public(self, after: str | None, limit: int) -> Page[str]:
        """Public repositories in byte order after `after` (it need not exist), `limit` >= 1."""

    # failed logins

    def failures(self, key: str, window: int) -> int:
        """How many failures were counted under a key in a window (see throttle.py)."""

    def add_failure(self, key: str, window: int, attempt: str, drop_at: float) -> int:
        """Count a failure, once for each `attempt`, and return how many there are.

        A repeat of the last attempt counts nothing. The counter may be dropped from `drop_at`
        (seconds since the epoch) on.
        """

    # what version 0.1 stored

    def move(self) -> int:
        """Move what version 0.1 stored to where it is read first; return how many items.

        Every other method finds it before, too. Idempotent; an item that another owner changes at
        this moment is left to the next call.
        """
