"""The access store on DynamoDB: credentials, trusts, public repositories and failed logins.

Each operation is one conditional write, or one transaction, that knows its own repeat. This module
must never hold or log a secret: only hashes come here.
"""

# ruff: noqa: D102 - access.ports says what each method of the store does

import functools
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
from chalicelib.stores.dynamodb.expressions import (
    Change,
    Clause,
    ConditionCheck,
    Delete,
    Put,
    Update,
)
from chalicelib.stores.dynamodb.keys import (
    all_trusts,
    credential_key,
    credentials_after,
    failures_key,
    listed_credential,
    listed_public,
    listed_trust,
    public_after,
    public_between,
    public_key,
    secret_key,
    trust_key,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

    from chalicelib.stores.dynamodb.codec import Item
    from chalicelib.stores.dynamodb.keys import Key, KeyRange

GRANTS: AttributeKind[Grants] = AttributeKind(
    "L",
    lambda grants: [codec.TEXT.encode(text) for text in grants.texts()],
    lambda attributes: Grants.parse(codec.TEXT.decode(attribute) for attribute in attributes),
)

CREDENTIAL = Schema(
    Credential,
    (
        Field("id", codec.TEXT),
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
        Field("name", codec.TEXT),
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

WHOLE = Clause("attribute_exists(#secret_hash)")
"""There is a credential, and not only its row in the list: an update must not make one."""

_KEYS = frozenset({"pk", "sk"})
_TRIES = 3
"""How often a write is tried: another one may make, drop or move its item in between."""


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


def unchanged(item: "Item") -> Clause:
    """Nobody has changed an item since it was read."""
    parts = [
        Clause(f"#{name} = :{name}", {name: value}) for name, value in _attributes(item).items()
    ]
    return functools.reduce(Clause.__and__, parts, PRESENT)


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
            Put(self._table, listed_credential(credential.id), {}, ABSENT),
            self._secret_put(credential.secret_hash, credential.id),
        ]
        try:
            self._dynamo.transact(changes)
        except TransactionRefusedError as refused:
            if not self._is_of(credential.id, credential.secret_hash):
                raise CredentialExistsError from refused

    def get(self, credential_id: str) -> Credential | None:
        return self._standing(credential_id)[1] if credential_id else None

    def find(self, secret_hash: str) -> Credential | None:
        item = self._dynamo.get(self._table, secret_key(secret_hash))
        if item is None:
            return None
        credential = self.get(codec.TEXT.decode(item["credential"]))
        # A replacement may have come between the two reads.
        hashes = () if credential is None else (credential.secret_hash, credential.previous_hash)
        return credential if secret_hash in hashes else None

    def list_credentials(self, after: str | None, limit: int) -> Page[Credential]:
        rows, more = self._dynamo.query_page(self._table, credentials_after(after), limit)
        keys = [credential_key(row["sk"]["S"]) for row in rows if not _is_credential(row)]
        items = [_named_by_key(row, "id") for row in rows if _is_credential(row)]
        found = map(CREDENTIAL.decode, [*items, *self._dynamo.get_many(self._table, keys)])
        return Page(sorted(found, key=lambda credential: credential.id), more)

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
        item = TRUST.encode(trust)
        keys = (trust_key(trust.name), listed_trust(trust.name))
        self._dynamo.transact([Put(self._table, key, item) for key in keys])

    def get_trust(self, name: str) -> Trust | None:
        if not is_credential_name(name):
            return None
        item = self._dynamo.get(self._table, trust_key(name))
        if item is None:
            row = self._dynamo.get(self._table, listed_trust(name))
            item = None if row is None else _named_by_key(row, "name")
        return TRUST.decode_found(item)

    def list_trusts(self) -> Sequence[Trust]:
        rows = self._dynamo.query(self._table, all_trusts())
        return [TRUST.decode(_named_by_key(row, "name")) for row in rows]

    def delete_trust(self, name: str) -> None:
        if is_credential_name(name):
            keys = (trust_key(name), listed_trust(name))
            self._dynamo.transact([Delete(self._table, key) for key in keys])

    def set_public(self, repository: str, *, public: bool) -> None:
        keys = (public_key(repository), listed_public(repository))
        self._dynamo.transact(
            [Put(self._table, key, {}) if public else Delete(self._table, key) for key in keys]
        )

    def public_among(self, repositories: Collection[str]) -> frozenset[str]:
        # Those that version 0.1 opened stand in the list alone.
        left, found = set(repositories), set[str]()
        for key_of in (public_key, listed_public):
            names = {tuple(key_of(name).values()): name for name in left}
            items = self._dynamo.get_many(self._table, map(key_of, left))
            found |= {names[item["pk"]["S"], item["sk"]["S"]] for item in items}
            left -= found
        return frozenset(found)

    def public_between(self, first: str, last: str) -> frozenset[str]:
        rows = self._dynamo.query(self._table, public_between(first, last))
        return frozenset(str(row["sk"]["S"]) for row in rows)

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

    def move(self) -> int:
        moves: list[Sequence[Change | ConditionCheck]] = []
        for row in self._dynamo.query(self._table, credentials_after(None)):
            if _is_credential(row):
                own, listed = credential_key(row["sk"]["S"]), listed_credential(row["sk"]["S"])
                put = Put(self._table, own, _attributes(_named_by_key(row, "id")), ABSENT)
                moves.append([put, Put(self._table, listed, {}, unchanged(row))])
        for row in self._listed_alone(all_trusts(), trust_key):
            name, whole = row["sk"]["S"], _attributes(_named_by_key(row, "name"))
            put = Put(self._table, trust_key(name), whole, ABSENT)
            moves.append([put, ConditionCheck(self._table, listed_trust(name), unchanged(row))])
        for row in self._listed_alone(public_after(None), public_key):
            put = Put(self._table, public_key(row["sk"]["S"]), {}, ABSENT)
            check = ConditionCheck(self._table, listed_public(row["sk"]["S"]), PRESENT)
            moves.append([put, check])
        return sum(map(self._moved, moves))

    def _listed_alone(self, span: "KeyRange", key_of: "Callable[[str], Key]") -> "list[Item]":
        """Return the rows of a list for which there is no item of its own."""
        rows = self._dynamo.query(self._table, span)
        keys = [key_of(row["sk"]["S"]) for row in rows]
        found = {item["pk"]["S"] for item in self._dynamo.get_many(self._table, keys, ["pk"])}
        return [row for row, key in zip(rows, keys, strict=True) if key["pk"] not in found]

    def _moved(self, changes: Sequence[Change | ConditionCheck]) -> bool:
        try:
            self._dynamo.transact(changes)
        except TransactionRefusedError:
            return False
        return True

    def _standing(self, credential_id: str) -> "tuple[Key, Credential | None]":
        """Return a credential, if there is one, and where it stands.

        Version 0.1 had it in the list; it may be moved from there while it is looked for.
        """
        own, listed = credential_key(credential_id), listed_credential(credential_id)
        for key in (own, listed, own):
            item = self._dynamo.get(self._table, key)
            if item is not None and _is_credential(item):
                return key, CREDENTIAL.decode(_named_by_key(item, "id") if key is listed else item)
            if item is None and key is listed:
                break
        return own, None

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
            self._standing(before.id)[0],
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
        for _ in range(_TRIES):
            key, credential = self._standing(credential_id)
            if credential is None:
                break
            try:
                self._dynamo.write(Update(self._table, key, WHOLE, set=attributes))
            except ConditionFailedError:
                continue  # it was moved in between
            return
        raise CredentialMissingError


def _is_credential(item: "Item") -> bool:
    return "secret_hash" in item


def _named_by_key(row: "Item", name: str) -> "Item":
    """Return a row of a list with the name that version 0.1 had in its key alone."""
    return {**row, name: row["sk"]}


def _attributes(item: "Item") -> "Item":
    return {name: value for name, value in item.items() if name not in _KEYS}


def _count(item: "Item | None") -> int:
    return codec.WHOLE.decode(item["count"]) if item else 0
