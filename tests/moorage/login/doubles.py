"""Doubles for `moorage login`: a registry that asks for tokens, and client programs that log in.

The registry runs on loopback in a thread; the programs are scripts. Both keep what they get.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from tests.support.fake_registry import run_handler

if TYPE_CHECKING:
    from collections.abc import Iterator
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

    async def respond(self, request: web.BaseRequest) -> web.Response:
        """Answer one request. `/identity` is GitHub's door, for its jobs."""
        if request.path == "/identity":
            audience = request.query["audience"]
            self.identities.append((audience, request.headers.get("Authorization")))
            return web.json_response({"value": f"identity.for.{audience}"})
        if request.method == "POST":
            body = (await request.read()).decode()
            self.forms.append({name: one for name, (one,) in parse_qs(body).items()})
            return web.json_response(self.answer, status=self.status, headers=self.headers)
        headers = {"WWW-Authenticate": self.challenged()} | self.headers
        return web.json_response({}, status=self.ping, headers=headers)


@contextmanager
def run_login_registry() -> Iterator[LoginRegistry]:
    """Run a registry until the block ends."""
    registry = LoginRegistry()
    with run_handler(registry.respond) as registry.url:
        yield registry


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
