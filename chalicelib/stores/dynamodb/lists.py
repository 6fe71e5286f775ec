"""Lists on DynamoDB: tags, referrers, the catalog, page by page.

A page is a range of sort keys after the last one that the client saw, read in one request. This
module must never need that last one to exist.
"""

from chalicelib.digest import Digest
from chalicelib.registry.model import Page, Referrer
from chalicelib.stores.dynamodb.expressions import Put
from chalicelib.stores.dynamodb.items import REFERRER
from chalicelib.stores.dynamodb.keys import (
    Span,
    catalog_key,
    referrers_after,
    repositories_after,
    tags_after,
)
from chalicelib.stores.dynamodb.parts import MetadataPart


class ListQueries(MetadataPart):
    """The part of `MetadataStore` that lists."""

    def list_tags(self, repository: str, after: str | None, limit: int) -> Page[str]:
        """Tags in byte order after `after` (exclusive; it need not exist), at most `limit` >= 1."""
        return self._names(tags_after(repository, after), limit)

    def list_referrers(
        self, repository: str, subject: Digest, after: Digest | None, limit: int
    ) -> Page[Referrer]:
        """Referrers of a subject by digest, after `after`, at most `limit` >= 1."""
        span = referrers_after(repository, subject, after)
        items, more = self._dynamo.query_page(self._registry, span, limit)
        return Page([REFERRER.decode(item) for item in items], more)

    def list_repositories(self, after: str | None, limit: int) -> Page[str]:
        """Repositories by name in byte order after `after`, at most `limit` >= 1."""
        return self._names(repositories_after(after), limit)

    def has_repository(self, repository: str) -> bool:
        """Whether the catalog names it: asked eventually consistent, then strongly if absent."""
        key = catalog_key(repository)
        return any(
            self._dynamo.get(self._registry, key, consistent=consistent) is not None
            for consistent in (False, True)
        )

    def add_repository(self, repository: str) -> None:
        """Name a repository in the catalog; idempotent."""
        self._dynamo.write(Put(self._registry, catalog_key(repository), {}))

    def _names(self, span: Span, limit: int) -> Page[str]:
        items, more = self._dynamo.query_page(self._registry, span, limit)
        return Page([item["sk"]["S"].removeprefix(span.prefix) for item in items], more)
