"""The access store on DynamoDB: credentials, trusts, public repositories and failed logins.

Each operation is one conditional write, or one transaction, that knows its own repeat. This module
must never hold or log a secret: only hashes come here.
"""

# ruff: noqa: D102 - access.ports says what each method of the store does

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from chalicelib.access.credentials import Credential, is_credential_name
from chalicelib.access.grants import Grants
from chalicelib.access.ports import (
    CredentialExistsError,
    CredentialMissingError,
    CredentialMovedError,
    TooManyTrustsError,
)
from chalicelib.access.trusts import (
    MAX_TRUSTS,
    Trust,
    parse_issuer,
    parse_subject,
)
from chalicelib.errors import UnavailableError
from chalicelib.page import Page
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import (
    ConditionFailedError,
    Dynamo,
    TransactionRefusedError,
)
from chalicelib.stores.dynamodb.codec import AttributeKind, Field, Schema
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

GRANTS: AttributeKind[Grants] = AttributeKind(
    "L",
    lambda grants: [codec.TEXT.encode(text) for text in grants.texts()],
    lambda attributes: Grants.parse(codec.TEXT.decode(attribute) for attribute in attributes),
)

CREDENTIAL = Schema(
    Credential,
    (
        Field("id", codec.TEXT, attribute="sk"),
        Field("name", codec.TEXT),
        Field("owner", codec.TEXT),
        Field("created_at", codec.TIME),
        Field("grants", GRANTS),
        Field("secret_hash", codec.TEXT),
        Field("version", codec.WHOLE),
        Field("expires_at", codec.TIME, optional=True),
        Field("last_used_day", codec.TEXT, optional=True),
        Field("revoked", codec.FLAG),
        Field("previous_hash", codec.TEXT, optional=True),
        Field("previous_until", codec.TIME, optional=True),
    ),
)

# Read as strictly as they were written: a corrupt pattern must not let anybody in.
TRUST = Schema(
    Trust,
    (
        Field("name", codec.TEXT, attribute="sk"),
        Field("issuer", AttributeKind("S", str, parse_issuer)),
        Field("audience", codec.TEXT),
        Field("subject", AttributeKind("S", str, parse_subject)),
        Field("grants", GRANTS),
    ),
)

ABSENT = Clause("attribute_not_exists(#pk)")
"""There is no such item: this very write has not taken effect before."""

PRESENT = Clause("attribute_exists(#pk)")
"""There is such an item: an update must not make one."""

_TRIES = 3
"""How often a counter is raised or made: another request may make or drop it in between."""


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
    """The item of the secret names this credential, and no other one."""
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
        changes: list[Change] = [
            Put(self._table, credential_key(credential.id), CREDENTIAL.encode(credential), ABSENT),
            self._secret_put(credential.secret_hash, credential.id),
        ]
        try:
            self._dynamo.transact(changes)
        except TransactionRefusedError as refused:
            if not self._is_of(credential.id, credential.secret_hash):
                raise CredentialExistsError from refused

    def get(self, credential_id: str) -> Credential | None:
        if not credential_id:
            return None
        return CREDENTIAL.decode_found(self._dynamo.get(self._table, credential_key(credential_id)))

    def find(self, secret_hash: str) -> Credential | None:
        item = self._dynamo.get(self._table, secret_key(secret_hash))
        if item is None:
            return None
        credential = self.get(codec.TEXT.decode(item["credential"]))
        # A replacement may have come between the two reads.
        hashes = () if credential is None else (credential.secret_hash, credential.previous_hash)
        return credential if secret_hash in hashes else None

    def list_credentials(self, after: str | None, limit: int) -> Page[Credential]:
        items, more = self._dynamo.query_page(self._table, credentials_after(after), limit)
        return Page([CREDENTIAL.decode(item) for item in items], more)

    def rotate(
        self, before: Credential, secret_hash: str, previous_until: float | None
    ) -> Credential:
        changes = [
            self._replacement(before, secret_hash, previous_until),
            self._secret_put(secret_hash, before.id),
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
        self._set(credential_id, {"revoked": codec.FLAG.encode(True)})  # noqa: FBT003 - the value itself

    def regrant(self, credential_id: str, grants: Grants) -> None:
        self._set(credential_id, {"grants": GRANTS.encode(grants)})

    def touch(self, credential_id: str, day: str) -> bool:
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
        # Counted before and not with the write: the bound spares readers, and protects nothing.
        names = {item["sk"]["S"] for item in self._dynamo.query(self._table, all_trusts())}
        if trust.name not in names and len(names) >= MAX_TRUSTS:
            raise TooManyTrustsError
        self._dynamo.write(Put(self._table, trust_key(trust.name), TRUST.encode(trust)))

    def get_trust(self, name: str) -> Trust | None:
        if not is_credential_name(name):
            return None
        return TRUST.decode_found(self._dynamo.get(self._table, trust_key(name)))

    def list_trusts(self) -> Sequence[Trust]:
        return [TRUST.decode(item) for item in self._dynamo.query(self._table, all_trusts())]

    def delete_trust(self, name: str) -> None:
        if is_credential_name(name):
            self._dynamo.write(Delete(self._table, trust_key(name)))

    def set_public(self, repository: str, *, public: bool) -> None:
        key = public_key(repository)
        self._dynamo.write(Put(self._table, key, {}) if public else Delete(self._table, key))

    def public_among(self, repositories: Collection[str]) -> frozenset[str]:
        keys = [public_key(repository) for repository in repositories]
        return frozenset(str(item["sk"]["S"]) for item in self._dynamo.get_many(self._table, keys))

    def list_public(self, after: str | None, limit: int) -> Page[str]:
        items, more = self._dynamo.query_page(self._table, public_after(after), limit)
        return Page([str(item["sk"]["S"]) for item in items], more)

    def failures(self, key: str, window: int) -> int:
        return _count(self._dynamo.get(self._table, failures_key(key, window)))

    def add_failure(self, key: str, window: int, attempt: str, drop_at: float) -> int:
        counter = failures_key(key, window)
        last = {"attempt": codec.TEXT.encode(attempt)}
        raised = Update(self._table, counter, not_counted(attempt), set=last, add={"count": 1})
        first = {"count": codec.WHOLE.encode(1), "drop_at": codec.SECONDS.encode(drop_at)}
        made = Put(self._table, counter, {**last, **first}, ABSENT)
        for _ in range(_TRIES):
            for change in (raised, made):
                try:
                    return _count(self._dynamo.write(change)) or 1
                except ConditionFailedError as failed:
                    if failed.item is not None and failed.item["attempt"] == last["attempt"]:
                        return _count(failed.item)
        raise UnavailableError("others keep making and dropping the counter of failed logins")

    def _secret_put(self, secret_hash: str, credential_id: str) -> Put:
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
        """Whether a credential has this secret: a write took effect, and its answer was lost."""
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
