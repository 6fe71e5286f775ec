"""The access store on DynamoDB: credentials, trusts, public repositories and failed logins.

Each operation is one conditional write, or one transaction, that knows its own repeat. This module
must never hold or log a secret: only hashes come here.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from chalicelib.access.credentials import Credential
from chalicelib.access.grants import Grants
from chalicelib.access.ports import (
    CredentialExistsError,
    CredentialMissingError,
    CredentialMovedError,
    Listed,
    TooManyTrustsError,
)
from chalicelib.access.trusts import MAX_TRUSTS, Trust, is_trust_name
from chalicelib.errors import UnavailableError
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.access_items import CREDENTIAL, GRANTS, TRUST
from chalicelib.stores.dynamodb.client import ConditionFailedError, Dynamo, TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import Change, Clause, Delete, Put, Update
from chalicelib.stores.dynamodb.keys import (
    all_trusts,
    credential_key,
    credentials_after,
    failures_key,
    public_after,
    public_key,
    secret_key,
    trust_key,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

    from chalicelib.stores.dynamodb.codec import Item

ABSENT = Clause("attribute_not_exists(#pk)")
"""There is no such item: this very write has not taken effect before."""

PRESENT = Clause("attribute_exists(#pk)")
"""There is such an item: nothing is made by changing it."""

_TURNS = 3
"""How often a counter is tried: it is there, or it is not, or it came in between."""


def with_secret_number(version: int) -> Clause:
    """The credential can be used, and its secret was not replaced since it was read."""
    return Clause(
        "#version = :version AND #revoked = :no",
        {"version": codec.WHOLE.encode(version), "no": codec.FLAG.encode(False)},  # noqa: FBT003 - the value itself
    )


def not_used_since(day: str) -> Clause:
    """Nobody has noted this day, or a later one."""
    return Clause(
        "attribute_not_exists(#last_used_day) OR #last_used_day < :day",
        {"day": codec.TEXT.encode(day)},
    )


def points_to(credential_id: str) -> Clause:
    """The way from the secret leads to this credential, and is no other one's."""
    return Clause("#credential = :id", {"id": codec.TEXT.encode(credential_id)})


def not_counted(attempt: str) -> Clause:
    """The counter is there, and this attempt was not the last that it counted."""
    return PRESENT & Clause("#attempt <> :attempt", {"attempt": codec.TEXT.encode(attempt)})


class DynamoAccessStore:
    """`AccessStore` over the table `access`."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamo = Dynamo(client, sleep)
        self._table = table

    def create(self, credential: Credential) -> None:
        """Put a credential and the way to it from its secret, in one transaction.

        A repeat of this very creation succeeds. Raises CredentialExistsError.
        """
        changes: list[Change] = [
            Put(self._table, credential_key(credential.id), CREDENTIAL.encode(credential), ABSENT),
            self._way(credential.secret_hash, credential.id),
        ]
        try:
            self._dynamo.transact(changes)
        except TransactionRefusedError as refused:
            if not self._is_of(credential.id, credential.secret_hash):
                raise CredentialExistsError from refused

    def get(self, credential_id: str) -> Credential | None:
        """Read a credential by its id, revoked and expired ones too."""
        if not credential_id:
            return None
        item = self._dynamo.get(self._table, credential_key(credential_id))
        return None if item is None else CREDENTIAL.decode(item)

    def find(self, secret_hash: str) -> Credential | None:
        """Read the credential that has this secret, or had it before the last replacement."""
        way = self._dynamo.get(self._table, secret_key(secret_hash))
        if way is None:
            return None
        credential = self.get(codec.TEXT.decode(way["credential"]))
        # A replacement may have come between the two reads.
        hashes = () if credential is None else (credential.secret_hash, credential.previous_hash)
        return credential if secret_hash in hashes else None

    def list_credentials(self, after: str | None, limit: int) -> Listed[Credential]:
        """Credentials by id in byte order after `after`, at most `limit` >= 1."""
        items, more = self._dynamo.query_page(self._table, credentials_after(after), limit)
        return Listed([CREDENTIAL.decode(item) for item in items], more)

    def rotate(
        self, before: Credential, secret_hash: str, previous_until: float | None
    ) -> Credential:
        """Replace the secret of a credential, in one transaction; see the port.

        Raises CredentialMovedError.
        """
        changes = [
            self._replacement(before, secret_hash, previous_until),
            self._way(secret_hash, before.id),
        ]
        if before.previous_hash is not None:
            key = secret_key(before.previous_hash)
            changes.append(Delete(self._table, key, ABSENT | points_to(before.id)))
        try:
            self._dynamo.transact(changes)
        except TransactionRefusedError as refused:
            if not self._is_of(before.id, secret_hash):
                raise CredentialMovedError from refused
        current = self.get(before.id)
        if current is None:
            raise CredentialMovedError
        return current

    def revoke(self, credential_id: str) -> None:
        """Revoke a credential for good; raises CredentialMissingError."""
        self._set(credential_id, {"revoked": codec.FLAG.encode(True)})  # noqa: FBT003 - the value itself

    def regrant(self, credential_id: str, grants: Grants) -> None:
        """Replace all grants of a credential; raises CredentialMissingError."""
        self._set(credential_id, {"grants": GRANTS.encode(grants)})

    def touch(self, credential_id: str, day: str) -> bool:
        """Note a day of use; False if the credential is gone, or that day was noted already."""
        # Functions may write this one attribute of a credential, by a request that names no other
        # one and asks for none: the statement DayOfUse of .chalice/policy-*.json.
        update = Update(
            self._table,
            credential_key(credential_id),
            PRESENT & not_used_since(day),
            set={"last_used_day": codec.TEXT.encode(day)},
            silent=True,
        )
        try:
            self._dynamo.write(update)
        except ConditionFailedError:
            return False
        return True

    def put_trust(self, trust: Trust) -> None:
        """Put a trust, or replace it whole; raises TooManyTrustsError."""
        # Counted before and not with the write: the bound spares readers, and protects nothing.
        names = {item["sk"]["S"] for item in self._dynamo.query(self._table, all_trusts())}
        if trust.name not in names and len(names) >= MAX_TRUSTS:
            raise TooManyTrustsError
        self._dynamo.write(Put(self._table, trust_key(trust.name), TRUST.encode(trust)))

    def get_trust(self, name: str) -> Trust | None:
        """Read a trust by its name."""
        if not is_trust_name(name):
            return None
        item = self._dynamo.get(self._table, trust_key(name))
        return None if item is None else TRUST.decode(item)

    def list_trusts(self) -> Sequence[Trust]:
        """Read all trusts by name, page by page."""
        return [TRUST.decode(item) for item in self._dynamo.query(self._table, all_trusts())]

    def delete_trust(self, name: str) -> None:
        """Delete a trust."""
        if is_trust_name(name):
            self._dynamo.write(Delete(self._table, trust_key(name)))

    def set_public(self, repository: str, *, public: bool) -> None:
        """Let anybody pull from a repository, or no longer."""
        key = public_key(repository)
        self._dynamo.write(Put(self._table, key, {}) if public else Delete(self._table, key))

    def public_among(self, repositories: Collection[str]) -> frozenset[str]:
        """Return those of some repositories that anybody may pull from."""
        keys = [public_key(repository) for repository in repositories]
        return frozenset(str(item["sk"]["S"]) for item in self._dynamo.get_many(self._table, keys))

    def list_public(self, after: str | None, limit: int) -> Listed[str]:
        """Public repositories in byte order after `after`, at most `limit` >= 1."""
        items, more = self._dynamo.query_page(self._table, public_after(after), limit)
        return Listed([str(item["sk"]["S"]) for item in items], more)

    def failures(self, key: str, window: int) -> int:
        """How many failures were counted under a key in a window."""
        return _count(self._dynamo.get(self._table, failures_key(key, window)))

    def add_failure(self, key: str, window: int, attempt: str, drop_at: float) -> int:
        """Count a failure, once for each `attempt`: raise the counter, or make it."""
        where = failures_key(key, window)
        told = {"attempt": codec.TEXT.encode(attempt)}
        raised = Update(self._table, where, not_counted(attempt), set=told, add={"count": 1})
        first = {"count": codec.WHOLE.encode(1), "drop_at": codec.SECONDS.encode(drop_at)}
        made = Put(self._table, where, {**told, **first}, ABSENT)
        for _ in range(_TURNS):
            for change in (raised, made):
                try:
                    return _count(self._dynamo.write(change)) or 1
                except ConditionFailedError as failed:
                    if failed.item is not None and failed.item["attempt"] == told["attempt"]:
                        return _count(failed.item)
        raise UnavailableError("a counter comes and goes")

    def _way(self, secret_hash: str, credential_id: str) -> Put:
        attributes = {"credential": codec.TEXT.encode(credential_id)}
        return Put(self._table, secret_key(secret_hash), attributes, ABSENT)

    def _replacement(
        self, before: Credential, secret_hash: str, previous_until: float | None
    ) -> Change:
        attributes: dict[str, dict[str, object]] = {
            "secret_hash": codec.TEXT.encode(secret_hash),
            "previous_hash": codec.TEXT.encode(before.secret_hash),
        }
        if previous_until is not None:
            attributes["previous_until"] = codec.TIME.encode(previous_until)
        return Update(
            self._table,
            credential_key(before.id),
            with_secret_number(before.version),
            set=attributes,
            add={"version": 1},
            remove=("previous_until",) if previous_until is None else (),
        )

    def _is_of(self, credential_id: str, secret_hash: str) -> bool:
        """Whether a credential has this secret: a write of ours took effect and was not told."""
        current = self.get(credential_id)
        return current is not None and current.secret_hash == secret_hash

    def _set(self, credential_id: str, attributes: "Item") -> None:
        update = Update(self._table, credential_key(credential_id), PRESENT, set=attributes)
        try:
            self._dynamo.write(update)
        except ConditionFailedError as failed:
            raise CredentialMissingError from failed


def _count(item: "Item | None") -> int:
    return codec.WHOLE.decode(item["count"]) if item else 0
