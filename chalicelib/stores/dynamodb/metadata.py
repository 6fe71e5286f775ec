"""The metadata store on DynamoDB: its parts for blobs and manifests, and the lists.

A page of a list is a range of sort keys after the last one that the client saw, read in one
request. This module must never need that last one to exist.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from chalicelib.page import Page
from chalicelib.registry.model import (
    CatalogFacts,
    CatalogRow,
    InUse,
    Link,
    Manifest,
    Referrer,
    TagChange,
    TagRow,
)
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import ConditionFailedError, Dynamo
from chalicelib.stores.dynamodb.collection import CollectedItems
from chalicelib.stores.dynamodb.expressions import Clause, Put, Update
from chalicelib.stores.dynamodb.items import (
    CATALOG_FACTS,
    CHANGE,
    IN_USE,
    LINK,
    MANIFEST,
    REFERRER,
    TAG,
    catalog_row,
)
from chalicelib.stores.dynamodb.keys import (
    KeyRange,
    catalog_key,
    history_after,
    in_use_of,
    links_after,
    manifests_after,
    referrers_after,
    repositories_after,
    tags_after,
)
from chalicelib.stores.dynamodb.manifests import WITHOUT_BODY
from chalicelib.stores.dynamodb.retention import RetentionItems

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

    from chalicelib.stores.dynamodb.codec import Item

ABSENT = Clause("attribute_not_exists(#pk)")
"""The catalog does not name the repository yet."""

LISTED = Clause("attribute_exists(#pk)")
"""The catalog still names the repository."""


def noted_before(at: float) -> Clause:
    """No facts are noted there that were seen as late as that."""
    older = Clause("#noted_at < :at", {"at": codec.TIME.encode(at)})
    return Clause("attribute_not_exists(#noted_at)") | older


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
        self, repository: str, after: str | None, limit: int, prefix: str = ""
    ) -> Page[tuple[str, TagRow]]:
        span = tags_after(repository, after, prefix)
        items, more = self._dynamo.query_page(self._registry, span, limit)
        rows = [(item["sk"]["S"].removeprefix(span.prefix), TAG.decode(item)) for item in items]
        return Page(rows, more)

    def list_links(self, repository: str, after: Digest | None, limit: int) -> Page[Link]:
        span = links_after(repository, after)
        items, more = self._dynamo.query_page(self._registry, span, limit)
        return Page([LINK.decode(item) for item in items], more)

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

    def list_repositories(
        self, after: str | None, limit: int, prefix: str = ""
    ) -> Page[CatalogRow]:
        span = repositories_after(after, prefix)
        items, more = self._dynamo.query_page(self._registry, span, limit)
        return Page([*map(catalog_row, items)], more)

    def has_repository(self, repository: str) -> bool:
        return self._listed(repository) is not None

    def get_repository(self, repository: str) -> CatalogRow | None:
        item = self._listed(repository)
        return None if item is None else catalog_row(item)

    def add_repository(self, repository: str) -> None:
        with suppress(ConditionFailedError):
            self._dynamo.write(Put(self._registry, catalog_key(repository), {}, ABSENT))

    def note_facts(self, repository: str, facts: CatalogFacts) -> None:
        attributes = CATALOG_FACTS.encode(facts)
        gone = [each.stored_as for each in CATALOG_FACTS.fields if each.stored_as not in attributes]
        key, is_news = catalog_key(repository), LISTED & noted_before(facts.noted_at)
        with suppress(ConditionFailedError):
            self._dynamo.write(
                Update(
                    self._registry, key, is_news, set=attributes, remove=tuple(gone), silent=True
                )
            )

    def in_use(self, repository: str) -> Sequence[InUse]:
        found = self._dynamo.query(self._registry, in_use_of(repository))
        return [IN_USE.decode(item) for item in found]

    def _listed(self, repository: str) -> "Item | None":
        key = catalog_key(repository)
        for consistent in (False, True):
            item = self._dynamo.get(self._registry, key, consistent=consistent)
            if item is not None:
                return item
        return None

    def _names(self, span: KeyRange, limit: int) -> Page[str]:
        items, more = self._dynamo.query_page(self._registry, span, limit)
        return Page([item["sk"]["S"].removeprefix(span.prefix) for item in items], more)
