"""The registry's rules on DynamoDB: the document in force, and every one that was before.

This module must never replace a document that its writer has not seen.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import Dynamo, TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import Clause, Put
from chalicelib.stores.dynamodb.items import STORED_RULES
from chalicelib.stores.dynamodb.keys import repositories_after, rules_key, rules_version, tags_after

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

ABSENT = Clause("attribute_not_exists(#pk)")


class RulesMovedError(Exception):
    """Somebody else has set other rules since they were read."""


class DynamoRulesStore:
    """The rules of a registry, in its table `registry`."""

    def __init__(
        self, client: "DynamoDBClient", table: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._dynamo = Dynamo(client, sleep)
        self._table = table

    def current(self) -> StoredRules | None:
        """Read the rules in force; None if none were ever set."""
        return STORED_RULES.decode_found(self._dynamo.get(self._table, rules_key()))

    def replace(self, before: StoredRules | None, after: StoredRules) -> None:
        """Put rules in force in place of `before`; raises RulesMovedError."""
        unmoved = ABSENT
        if before is not None:
            unmoved = Clause("#version = :before", {"before": codec.WHOLE.encode(before.version)})
        item = STORED_RULES.encode(after)
        kept = Put(self._table, rules_version(after.version), item, ABSENT)
        try:
            self._dynamo.transact([Put(self._table, rules_key(), item, unmoved), kept])
        except TransactionRefusedError as refused:
            if self.current() != after:
                raise RulesMovedError from refused

    def repositories(self) -> Sequence[str]:
        """Return the names of all repositories of the catalog."""
        span = repositories_after(None)
        return [item["sk"]["S"] for item in self._dynamo.query(self._table, span)]

    def tags(self, repository: str) -> Sequence[str]:
        """Return all tags of a repository."""
        span = tags_after(repository, None)
        rows = self._dynamo.query(self._table, span)
        return [item["sk"]["S"].removeprefix(span.prefix) for item in rows]
