"""Proxies for tests, each in a thread's own event loop."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from moorage.proxy.server import Proxy, ProxyOptions
from tests.support.fake_registry import in_background

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

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
    proxy = Proxy(options if pace is None else replace(options, pace=pace))

    async def start() -> Callable[[], Awaitable[None]]:
        await proxy.start()
        return proxy.stop

    with in_background(start):
        yield proxy.url
