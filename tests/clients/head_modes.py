"""Runs the gateway with any head mode before a registry of any head strategy.

`moorage local` offers only the pairs that work. The others are for tests, which must see that a
wrong pair fails, and that the strategy of a deployment is right before an honest gateway too.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moorage.local import ports
from tests.clients.daemons import running
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.emulators.backends import Backend

_TIMEOUT = 60


@contextmanager
def gateway(backend: Backend, head_mode: str, strategy: str) -> Iterator[str]:
    """Run a gateway over a backend's bucket and tables until the block ends, and give its URL."""
    port = ports.free_port()
    url = f"http://{ports.LOOPBACK}:{port}"
    command = [
        *(sys.executable, "-m", "moorage", "gateway", "--stop-with-input"),
        *("--port", str(port), "--head-mode", head_mode),
    ]
    environment = {**os.environ, **backend.environment, "MOORAGE_HEAD_STRATEGY": strategy}
    with running(command, lambda: _answers(url), _TIMEOUT, env=environment):
        yield url


def _answers(url: str) -> bool:
    try:
        return request(url, "GET", "/v2/")[0] == 200
    except OSError:
        return False
