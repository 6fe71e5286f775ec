"""What every part of the metadata store stands on: the tables, and fresh versions.

This module must never hold a condition or a meaning.
"""

import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from chalicelib.stores.dynamodb.client import Dynamo

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient


def fresh_id() -> str:
    """Return 128 random bits in hexadecimal."""
    return uuid.uuid4().hex


class MetadataPart:
    """A part of `MetadataStore`; the parts share one client and the names of both tables."""

    def __init__(
        self,
        client: "DynamoDBClient",
        registry_table: str,
        uploads_table: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        new_id: Callable[[], str] = fresh_id,
    ) -> None:
        self._dynamo = Dynamo(client, sleep)
        self._registry = registry_table
        self._uploads = uploads_table
        self._new_id = new_id
