"""moto with S3's own refusals: what moto lets pass and S3 does not, fails here too.

A WSGI middleware around moto's server, so that every client is judged, in whatever process it
runs. It must never refuse what S3 accepts. `python -m tests.emulators.strict_moto --port 0`.
"""

from __future__ import annotations

import argparse
import sys
import threading
from typing import TYPE_CHECKING

from moorage.local import moto_server
from tests.emulators.s3_refusals import CHECKS, COPY_LIMIT, object_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from moorage.local.moto_server import Application, Environ, StartResponse

_LOCKS = 64


class StrictMoto:
    """Judges each request for an object before moto sees it, one write of a key at a time.

    The lock makes If-Match and If-None-Match atomic, as they are on S3; in moto they race.
    """

    def __init__(self, application: Application, copy_limit: int = COPY_LIMIT) -> None:
        self._application = application
        self._copy_limit = copy_limit
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer with the first refusal, or else with moto's answer."""
        request = object_request(environ)
        if request is None or request.method == "HEAD":
            return self._application(environ, start_response)
        with self._locks[hash((request.bucket, request.key)) % _LOCKS]:
            for check in CHECKS:
                refusal = check(request, self._copy_limit)
                if refusal is not None:
                    return refusal.answer(start_response)
            return [b"".join(self._application(environ, start_response))]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; `--copy-limit BYTES` moves S3's 5 GiB, so that a test can exceed it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--copy-limit", type=int, default=COPY_LIMIT)
    options, others = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    return moto_server.main(others, wrap=lambda moto: StrictMoto(moto, options.copy_limit))


if __name__ == "__main__":
    sys.exit(main())
