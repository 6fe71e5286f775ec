"""The AWS clients of a process, made when they are first called.

This module must never know what is stored.
"""

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from botocore.config import Config
from botocore.session import Session, get_session

from chalicelib.telemetry.tally import counted

_making = threading.Lock()
"""Making a client is not safe in several threads at once; calling one is."""

_calling = threading.Lock()
"""One for the process: two first requests at once may each make a SerialClient."""


class LazyClient:
    """A client that is made at its first use: a request that needs no S3 waits for none."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - clients are made at run time
        if self._client is None:
            with _making:
                if self._client is None:
                    self._client = self._make()
        return getattr(self._client, name)


class SerialClient:
    """A client that makes one call at a time.

    moto answers a failing transaction by restoring its tables as they were when it began, which
    erases what other requests wrote meanwhile. With one call at a time there is no meanwhile.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - likewise
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - likewise
        attribute = getattr(self._client, name)
        if not callable(attribute) or name in {"exceptions", "get_paginator", "get_waiter"}:
            return attribute

        def call(*args: object, **kwargs: object) -> object:
            with _calling:
                return attribute(*args, **kwargs)

        return call


@lru_cache(maxsize=1)
def session() -> Session:
    """Return the process's session: botocore's, for boto3 costs each cold start more.

    See `docs/coldstart.md`; the clients are the same.
    """
    return get_session()


def client(service: str, config: Config | None = None) -> Any:  # noqa: ANN401 - likewise
    """Return a client of a service whose calls are counted; the environment has its endpoint."""
    return LazyClient(lambda: counted(session().create_client(service, config=config)))
