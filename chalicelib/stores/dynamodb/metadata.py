"""The metadata store on DynamoDB, put together from its parts.

This module must never hold anything of its own.
"""

from chalicelib.stores.dynamodb.lists import Lists
from chalicelib.stores.dynamodb.manifests import Manifests
from chalicelib.stores.dynamodb.publications import Publications
from chalicelib.stores.dynamodb.tags import Tags


class DynamoMetadataStore(Publications, Manifests, Tags, Lists):
    """`MetadataStore` over the table `registry`; publishing also writes to `uploads`."""
