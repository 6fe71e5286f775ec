"""A request on its way, and what spoils one: its path, query, headers, method or body.

It must never know what state a request meets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fuzz import junk

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


@dataclass
class FuzzRequest:
    """A request on its way: `path` and the pairs of `query` are as they go over the wire."""

    method: bytes
    path: bytes
    query: list[tuple[bytes, bytes]] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    busy: bool = False
    """Whether a 503 is a right answer: the session is held by another request."""
    wire: bytes | None = None
    """What is sent instead of all this: something that may not be HTTP."""

    def raw(self) -> bytes:
        """Write the request; its length is said unless a header says something of it."""
        if self.wire is not None:
            return self.wire
        query = b"&".join(name + b"=" + value for name, value in self.query)
        target = self.path + (b"?" + query if self.query else b"")
        headers = [(b"Host", b"registry.test"), *self.headers]
        if self.body or self.method in {b"POST", b"PUT", b"PATCH"}:
            headers.append((b"Content-Length", b"%d" % len(self.body)))
        lines = [b"%s %s HTTP/1.1" % (self.method, target)]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", self.body])


def spoil(rng: Random, asked: FuzzRequest) -> None:
    """Spoil one thing of a request."""
    rng.choices(list(_SPOILERS), weights=list(_SPOILERS.values()))[0](rng, asked)


def _bad_path(rng: Random, asked: FuzzRequest) -> None:
    parts = asked.path.split(b"/")
    # Above the stage's name nothing reaches the registry.
    at = rng.randrange(min(2, len(parts) - 1) if rng.random() < 0.9 else 0, len(parts))
    piece = junk.escaped(rng, junk.text(rng))
    match rng.randrange(7):
        case 0:
            parts[at] = piece
        case 1:
            parts.insert(at, piece)
        case 2:
            parts.insert(at, rng.choice((b"", b".", b"..", b"%2e%2e", b"a" * 300, b"a/" * 200)))
        case 3:
            parts[at] = parts[at].upper()
        case 4:
            parts[at] += piece
        case 5:
            del parts[at]
        case _:
            parts[at] = b"".join(b"%%%02X" % byte for byte in parts[at])
    asked.path = b"/".join(parts)


def _bad_query(rng: Random, asked: FuzzRequest) -> None:
    names = (b"n", b"last", b"digest", b"mount", b"from", b"at", b"tag", b"artifactType")
    name = rng.choice((*names, b"digest-algorithm", b"_state", b"", b"%00", b"a" * 500))
    at = rng.randrange(len(asked.query) + 1)
    if asked.query and rng.random() < 0.3:
        del asked.query[rng.randrange(len(asked.query))]
    else:
        asked.query.insert(at, (name, junk.escaped(rng, junk.text(rng))))


def _bad_header(rng: Random, asked: FuzzRequest) -> None:
    name = rng.choice(junk.HEADER_NAMES).encode()
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 30))):
        asked.headers.append((rng.choice((name, name.lower())), junk.header_value(rng)))


def _bad_method(rng: Random, asked: FuzzRequest) -> None:
    asked.method = junk.method(rng)


def _bad_body(rng: Random, asked: FuzzRequest) -> None:
    asked.body = junk.spoilt(rng, asked.body)


_SPOILERS: dict[Callable[[Random, FuzzRequest], None], int] = {
    _bad_path: 8,
    _bad_query: 6,
    _bad_header: 5,
    _bad_method: 3,
    _bad_body: 3,
}
