"""Doubles for `moorage login`: a registry that asks for tokens, and client programs that log in.

The registry runs on loopback in a thread; the programs are scripts. Both keep what they get.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ISSUED = "issued.token.of-the-registry"
"""The bearer token that the registry issues for any proof."""

PROOF = "proof.of.somebody"

_SCRIPT = """#!{python}
import json, sys
from pathlib import Path
given = {{"argv": sys.argv[1:], "stdin": sys.stdin.read()}}
Path(__file__ + ".given").write_text(json.dumps(given))
sys.exit({status})
"""


@dataclass
class LoginRegistry:
    """A registry with answers to choose; it keeps the requests to its token endpoint."""

    url: str = ""
    service: str | None = None
    """The service that it names; None: its host."""
    challenge: str | None = None
    """The whole WWW-Authenticate header, if not the usual one."""
    ping: int = 401
    status: int = 200
    answer: dict[str, Any] = field(
        default_factory=lambda: {"access_token": ISSUED, "expires_in": 3600, "scope": ""}
    )
    headers: dict[str, str] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)
    identities: list[tuple[str, str | None]] = field(default_factory=list)
    """The requested identity tokens: audiences and Authorization headers."""

    @property
    def host(self) -> str:
        """Its host and port."""
        return urlsplit(self.url).netloc

    def challenged(self) -> str:
        """Return the WWW-Authenticate header."""
        usual = f'Bearer realm="{self.url}/v2/_token",service="{self.service or self.host}"'
        return self.challenge if self.challenge is not None else usual


def _handler(registry: LoginRegistry) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/identity":
                audience = parse_qs(parts.query)["audience"][0]
                registry.identities.append((audience, self.headers["Authorization"]))
                self._answer(200, {"value": f"identity.for.{audience}"}, {})
            elif parts.path == "/v2/":
                headers = {"WWW-Authenticate": registry.challenged()}
                self._answer(registry.ping, {}, headers | registry.headers)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            registry.forms.append({name: one for name, (one,) in parse_qs(body).items()})
            self._answer(registry.status, registry.answer, registry.headers)

        def _answer(self, status: int, content: object, headers: Mapping[str, str]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    return Handler


@contextmanager
def run_login_registry() -> Iterator[LoginRegistry]:
    """Run a registry until the block ends. `/identity` is GitHub's door, for its jobs."""
    registry = LoginRegistry()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(registry)) as server:
        registry.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, name="fake-registry")
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Tools:
    """Client programs in a folder that is all of PATH."""

    folder: Path

    def add(self, name: str, status: int = 0) -> None:
        """Install a program that ends with a status."""
        path = self.folder / name
        path.write_text(_SCRIPT.format(python=sys.executable, status=status), encoding="utf-8")
        path.chmod(0o755)

    def given(self, name: str) -> tuple[list[str], str] | None:
        """Return the words and the stdin that a program got; None if it was not run."""
        path = self.folder / f"{name}.given"
        if not path.exists():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["argv"], content["stdin"]
