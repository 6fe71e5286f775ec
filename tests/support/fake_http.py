"""HTTP servers that stand for others: on loopback, silent, and gone after their `with` block."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FakeRequest(BaseHTTPRequestHandler):
    """A request, and the way to answer it."""

    protocol_version = "HTTP/1.1"
    pause: float = 0
    """Seconds after each byte of the answer's body; 0: the body is sent at once."""

    def respond(self) -> None:
        """Answer as the fake does."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """See respond."""
        self.respond()

    def do_HEAD(self) -> None:
        """See respond."""
        self.respond()

    def do_POST(self) -> None:
        """See respond."""
        self.respond()

    def do_PUT(self) -> None:
        """See respond."""
        self.respond()

    def body(self) -> bytes:
        """Return the request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer; a header's name has underscores for hyphens."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with suppress(ConnectionError):
            for piece in [bytes([byte]) for byte in body] if self.pause else [body]:
                self.wfile.write(piece)
                time.sleep(self.pause)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def run_fake(respond: Callable[[FakeRequest], None], port: int = 0) -> Iterator[str]:
    """Run a server until the block ends, and give its URL; `respond` answers each request."""

    class Handler(FakeRequest):
        def respond(self) -> None:
            respond(self)

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
