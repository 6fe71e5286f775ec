"""Proxies for tests, each in a thread's own event loop."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from moorage.proxy.server import Proxy, ProxyOptions
from tests.support.servers import run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moorage.common.http_server import Pace

CHUNK = 64 * 1024


@contextmanager
def run_proxy(
    upstream: str, pace: Pace | None = None, uploads: int = 64, patience: float = 2.0
) -> Iterator[str]:
    """Run a proxy before a registry; give its URL."""
    options = ProxyOptions(
        upstream, port=0, chunk_size=CHUNK, patience_seconds=patience, uploads=uploads
    )
    with run_server(Proxy(options if pace is None else replace(options, pace=pace))) as url:
        yield url
