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

_NAMED = Config(user_agent="moorage")
"""By default botocore builds its User-Agent twice for each call: a tenth of the call's time."""

_making = threading.Lock()
"""Making a client is not safe in several threads at once; calling one is."""


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


@lru_cache(maxsize=1)
def session() -> Session:
    """Return the process's session: botocore's, for boto3 costs each cold start more.

    See `docs/coldstart.md`; the clients are the same.
    """
    return get_session()


def client(service: str, config: Config | None = None) -> Any:  # noqa: ANN401 - likewise
    """Return a client of a service whose calls are counted; the environment has its endpoint."""
    chosen = config.merge(_NAMED) if config else _NAMED
    return LazyClient(lambda: counted(session().create_client(service, config=chosen)))
