"""Lambda's API as functions call it: asynchronous Invoke, and nothing else.

Source: AWS Lambda API Reference, "Invoke". It must never wait for the function that it invokes, nor
accept what Lambda would refuse.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.infra.runtime import Call, Function

_INVOCATIONS: Final = re.compile("/2015-03-31/functions/([^/?]+)/invocations")


@dataclass
class Lambda:
    """The functions that can be invoked, by their names, and their invocations."""

    functions: dict[str, Function] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, kind: str, body: bytes) -> tuple[int, str]:
        """Invoke a function; return the status, and the error's type."""
        found = _INVOCATIONS.fullmatch(path)
        function = self.functions.get(unquote(found[1])) if found else None
        if function is None:
            return 404, "ResourceNotFoundException"
        if kind != "Event":
            return 400, "InvalidParameterValueException"
        self.calls.append(function.begin(json.loads(body)))
        return 202, ""


@contextmanager
def serving() -> Iterator[Lambda]:
    """Listen on loopback until the block ends."""
    served = Lambda()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(served))
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answering(served: Lambda) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("X-Amz-Invocation-Type", "RequestResponse")
            status, error = served.answer(self.path, kind, body)
            content = json.dumps({"Message": error}).encode() if error else b""
            self.send_response(status)
            if error:
                self.send_header("X-Amzn-ErrorType", error)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    return Handler
