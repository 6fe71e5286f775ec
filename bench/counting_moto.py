"""moto's server with a counter before it: ``python -m bench.counting_moto --port N``.

Counting here, inside the backend's own process, costs both registries the same next to nothing;
it changes no request and no answer. ``GET /moorage-bench/counts`` reads the counters.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING

from moorage.local import moto_server

if TYPE_CHECKING:
    from collections.abc import Iterable

COUNTS_PATH = "/moorage-bench/counts"


class Counting:
    """Counts requests by service and passes every one on."""

    def __init__(self, application: moto_server.Application) -> None:
        """Stand before ``application``."""
        self._application = application
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def __call__(
        self, environ: moto_server.Environ, start_response: moto_server.StartResponse
    ) -> Iterable[bytes]:
        """Answer with the counts, or count one request and pass it on (PEP 3333)."""
        if environ["PATH_INFO"] == COUNTS_PATH:
            start_response("200 OK", [("Content-Type", "application/json")])
            with self._lock:
                return [json.dumps(self._counts).encode()]
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        with self._lock:
            self._counts["dynamodb" if target.startswith("DynamoDB_") else "s3"] += 1
        return self._application(environ, start_response)


if __name__ == "__main__":
    sys.exit(moto_server.main(wrap=Counting))
