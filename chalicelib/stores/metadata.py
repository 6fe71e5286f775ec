"""The metadata store on DynamoDB, put together from its parts.

This module must never hold anything of its own.
"""

from chalicelib.stores.lists import Lists
from chalicelib.stores.manifests import Manifests
from chalicelib.stores.publications import Publications
from chalicelib.stores.tags import Tags


class DynamoMetadataStore(Publications, Manifests, Tags, Lists):
    """`MetadataStore` over the table `registry`; publishing also writes to `uploads`."""
