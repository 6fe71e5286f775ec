"""The metadata store on DynamoDB, put together from its parts.

This module must never hold anything of its own.
"""

from chalicelib.stores.dynamodb.lists import ListQueries
from chalicelib.stores.dynamodb.manifests import ManifestItems
from chalicelib.stores.dynamodb.publications import PublicationItems
from chalicelib.stores.dynamodb.tags import TagItems


class DynamoMetadataStore(PublicationItems, ManifestItems, TagItems, ListQueries):
    """`MetadataStore` over the table `registry`; publishing also writes to `uploads`."""
