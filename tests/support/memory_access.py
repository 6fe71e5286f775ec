"""The access store over a table in this process, and what stands in that table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from chalicelib.stores.dynamodb.access import CREDENTIAL, TRUST, DynamoAccessStore
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.keys import (
    credential_key,
    listed_credential,
    listed_public,
    listed_trust,
    secret_key,
)
from tests.emulators.dynamodb import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.access.credentials import Credential
    from chalicelib.access.trusts import Trust
    from chalicelib.stores.dynamodb.keys import Key

_TABLE: Final = "access"


def put_as_version_0_1(
    store: DynamoAccessStore,
    credential: Credential | None = None,
    trust: Trust | None = None,
    public: str | None = None,
) -> None:
    """Put items where version 0.1 had them: in the lists, with ids and names in the keys alone."""
    items: list[tuple[Key, dict[str, Any]]] = []
    if credential is not None:
        kept = CREDENTIAL.encode(credential)
        del kept["id"]
        items.append((listed_credential(credential.id), kept))
        secret = {"credential": {"S": credential.id}}
        items.append((secret_key(credential.secret_hash), secret))
    if trust is not None:
        named = TRUST.encode(trust)
        del named["name"]
        items.append((listed_trust(trust.name), named))
    if public is not None:
        items.append((listed_public(public), {}))
    client, table = store._dynamo._client, store._table  # noqa: SLF001 - behind its back
    for key, item in items:
        client.put_item(TableName=table, Item={**item, **key_attributes(key)})


class MemoryAccessStore(DynamoAccessStore):
    """An empty access store."""

    def __init__(self) -> None:
        self.tables = MemoryTables()
        super().__init__(self.tables, _TABLE, sleep=lambda _: None)  # type: ignore[arg-type]

    @property
    def credentials(self) -> Mapping[str, Credential]:
        """Every credential by its id."""
        stored = self.list_credentials(None, 1000).items
        return {credential.id: credential for credential in stored}

    def replace(self, credential: Credential) -> None:
        """Replace a credential behind the store's back."""
        item = {**CREDENTIAL.encode(credential), **key_attributes(credential_key(credential.id))}
        self.tables.put_item(TableName=_TABLE, Item=item)

    def forget(self) -> None:
        """Forget everything."""
        self.tables.clear()
