"""DynamoDB's client, one for a process, and one call at a time where an emulator needs that.

This module must never be told what is stored.
"""

import threading
from functools import lru_cache
from typing import Any

import boto3

from chalicelib.stores.dynamodb import dynamodb_config


class SerialClient:
    """A boto3 client that makes one call at a time.

    moto answers a failing transaction by restoring its tables as they were when it began, which
    erases what other requests wrote meanwhile. With one call at a time there is no meanwhile.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - boto3's clients are made at run time
        self._client = client
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - likewise
        attribute = getattr(self._client, name)
        if not callable(attribute) or name in {"exceptions", "get_paginator", "get_waiter"}:
            return attribute

        def call(*args: object, **kwargs: object) -> object:
            with self._lock:
                return attribute(*args, **kwargs)

        return call


@lru_cache(maxsize=2)
def dynamodb_client(*, serial: bool) -> Any:  # noqa: ANN401 - likewise
    """Return this process's client; `serial`: one that makes one call at a time."""
    client: Any = boto3.client("dynamodb", config=dynamodb_config())
    return SerialClient(client) if serial else client
