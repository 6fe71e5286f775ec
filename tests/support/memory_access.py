"""The access store over a table in this process, and what stands in that table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chalicelib.stores.dynamodb.access import CREDENTIAL, DynamoAccessStore
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.keys import credential_key
from tests.emulators.dynamodb import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.access.credentials import Credential

_TABLE: Final = "access"


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
