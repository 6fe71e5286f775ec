"""The metadata store on DynamoDB: its parts for blobs and manifests, and the lists.

A page of a list is a range of sort keys after the last one that the client saw, read in one
request. This module must never need that last one to exist.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from chalicelib.page import Page
from chalicelib.registry.model import InUse, Manifest, Referrer, TagChange, TagRow
from chalicelib.stores.dynamodb.client import Dynamo
from chalicelib.stores.dynamodb.collection import CollectedItems
from chalicelib.stores.dynamodb.expressions import Put
from chalicelib.stores.dynamodb.items import CHANGE, IN_USE, MANIFEST, REFERRER, TAG
from chalicelib.stores.dynamodb.keys import (
    KeyRange,
    catalog_key,
    history_after,
    in_use_of,
    manifests_after,
    referrers_after,
    repositories_after,
    tags_after,
)
from chalicelib.stores.dynamodb.manifests import WITHOUT_BODY
from chalicelib.stores.dynamodb.retention import RetentionItems

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient


class DynamoMetadataStore(CollectedItems, RetentionItems):
    """`MetadataStore` over the table `registry`; publishing also writes to `uploads`."""

    def __init__(
        self,
        client: "DynamoDBClient",
        registry_table: str,
        uploads_table: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._dynamo = Dynamo(client, sleep)
        self._registry = registry_table
        self._uploads = uploads_table
        self._new_id = new_id

    def list_tags(self, repository: str, after: str | None, limit: int) -> Page[str]:
        return self._names(tags_after(repository, after), limit)

    def list_tag_rows(
        self, repository: str, after: str | None, limit: int
    ) -> Page[tuple[str, TagRow]]:
        span = tags_after(repository, after)
        items, more = self._dynamo.query_page(self._registry, span, limit)
        rows = [(item["sk"]["S"].removeprefix(span.prefix), TAG.decode(item)) for item in items]
        return Page(rows, more)

    def list_manifests(self, repository: str, after: Digest | None, limit: int) -> Page[Manifest]:
        span = manifests_after(repository, after)
        items, more = self._dynamo.query_page(self._registry, span, limit, WITHOUT_BODY)
        return Page([MANIFEST.decode(item) for item in items], more)

    def list_referrers(
        self, repository: str, subject: Digest, after: Digest | None, limit: int
    ) -> Page[Referrer]:
        span = referrers_after(repository, subject, after)
        items, more = self._dynamo.query_page(self._registry, span, limit)
        return Page([REFERRER.decode(item) for item in items], more)

    def list_history(
        self, repository: str, name: str | None, after: str | None, limit: int
    ) -> Page[TagChange]:
        span = history_after(repository, name, after)
        items, more = self._dynamo.query_page(self._registry, span, limit)
        return Page([CHANGE.decode(item) for item in items], more)

    def list_repositories(self, after: str | None, limit: int, prefix: str = "") -> Page[str]:
        return self._names(repositories_after(after, prefix), limit)

    def has_repository(self, repository: str) -> bool:
        key = catalog_key(repository)
        return any(
            self._dynamo.get(self._registry, key, consistent=consistent) is not None
            for consistent in (False, True)
        )

    def add_repository(self, repository: str) -> None:
        self._dynamo.write(Put(self._registry, catalog_key(repository), {}))

    def in_use(self, repository: str) -> Sequence[InUse]:
        found = self._dynamo.query(self._registry, in_use_of(repository))
        return [IN_USE.decode(item) for item in found]

    def _names(self, span: KeyRange, limit: int) -> Page[str]:
        items, more = self._dynamo.query_page(self._registry, span, limit)
        return Page([item["sk"]["S"].removeprefix(span.prefix) for item in items], more)
