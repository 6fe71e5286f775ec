"""What tests of the command ask of a backend beside S3 and the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3

from chalicelib.stores.dynamodb.access import DynamoAccessStore

if TYPE_CHECKING:
    from tests.emulators.backends import Backend


def ssm_of(backend: Backend) -> Any:  # noqa: ANN401 - there are no stubs for SSM here
    """Return a client of SSM."""
    session = boto3.session.Session("local", "local", region_name="us-east-1")
    client: Any = session.client("ssm", endpoint_url=backend.endpoint_url)
    return client


def store_of(backend: Backend) -> DynamoAccessStore:
    """Return the access store."""
    return DynamoAccessStore(backend.dynamodb(), backend.access_table)
