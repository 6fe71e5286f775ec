"""MiniStack as a child process that ends with its parent; configured by its environment.

It must never be run without BIND_HOST=127.0.0.1: see tests.emulators.backends. It never deletes
what has outlived its time: DynamoDB promises that only within days, and the tests' clock stands.
It refuses headers that a URL's signature leaves out, as S3 does.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any, Final
from unittest import mock

from moorage.local.children import exit_with_parent
from tests.emulators.signed_headers import SignedHeadersOnly

TABLES: Final = "ministack.services.dynamodb"
REAPER: Final = "dynamodb-ttl-reaper"
"""The thread that the module starts when it is imported, and that deletes once in a minute."""


def import_without(module: str, thread: str) -> None:
    """Import a module and let it start all its threads but one.

    Raises RuntimeError when it started no such thread: whatever it does instead goes on.
    """
    start = threading.Thread.start
    withheld = []

    def start_others(starting: threading.Thread) -> None:
        if starting.name == thread:
            withheld.append(starting)
        else:
            start(starting)

    with mock.patch.object(threading.Thread, "start", start_others):
        importlib.import_module(module)
    if len(withheld) != 1:
        raise RuntimeError(f"{module} started {len(withheld)} threads {thread!r}, not one")


def application() -> Any:  # noqa: ANN401 - MiniStack has no types
    """Import MiniStack, which reads the environment, and return its ASGI application."""
    import_without(TABLES, REAPER)
    return SignedHeadersOnly(importlib.import_module("ministack.app").app)


def main() -> None:
    """Serve until the parent ends."""
    server: Any = importlib.import_module("ministack.app")
    server.app = application()
    server.main()


if __name__ == "__main__":
    exit_with_parent()
    main()
