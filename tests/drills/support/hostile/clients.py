"""Clients as they should not be: they stop, trickle, lie about lengths, pipeline, or never read.

Each uses one raw connection until it is done or the attack is over. It must never send a byte of a
body that is not the content's at that place: what is kept can then be judged.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import random
    import threading
    from collections.abc import Callable

_RESET: Final = struct.pack("ii", 1, 0)
_WAIT: Final = 30.0
_STEP: Final = 0.02
_PIPELINED: Final = 200
_CHUNKED: Final = "Transfer-Encoding: chunked"
_JUNK: Final = (b"xyz\r\n", b"-5\r\n", b"\r\n\r\n", b"ffffffffffffffffff\r\n", b"5 5\r\n")


@dataclass(frozen=True)
class Target:
    """What to be hostile to: an address, an upload session at offset 0, and its content.

    `large` is a path whose answer is large.
    """

    address: tuple[str, int]
    location: str
    content: bytes
    large: str


@dataclass(frozen=True)
class HostileClient:
    """A raw connection to a target, a source of random choices, and the end of the attack."""

    target: Target
    connection: socket.socket
    chance: random.Random
    over: threading.Event

    @property
    def body(self) -> bytes:
        """The content to upload."""
        return self.target.content

    def head(self, *headers: str, method: str = "PATCH", path: str = "") -> bytes:
        """Write a request's head."""
        lines = [
            f"{method} {path or self.target.location} HTTP/1.1",
            "Host: [::1]",
            *headers,
            "",
            "",
        ]
        return "\r\n".join(lines).encode()

    def sized(self, more: int = 0, *headers: str) -> bytes:
        """Write the head of a PATCH that announces the content and `more`."""
        return self.head(*headers, f"Content-Length: {len(self.body) + more}")

    def cut(self, data: bytes) -> bytes:
        """Cut off a beginning, never all of it."""
        return data[: self.chance.randrange(len(data))]

    def chunk(self) -> bytes:
        """Write the head of a chunked PATCH, and one chunk with a beginning of the content."""
        part = self.cut(self.body)
        return self.head(_CHUNKED) + b"%x\r\n%b\r\n" % (len(part), part)

    def wait(self) -> None:
        """Do nothing more."""
        self.over.wait()

    def leave(self) -> None:
        """Close."""

    def reset(self) -> None:
        """Close by a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def reset_later(self) -> None:
        """Close by a reset while the function runs."""
        self.over.wait(self.chance.uniform(0, 0.2))
        self.reset()

    def listen(self) -> None:
        """Read until the server closes or the attack is over."""
        self.connection.settimeout(0.2)
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(65536):
                    return

    def listen_late(self) -> None:
        """Read the answers after a while."""
        self.over.wait(1)
        self.listen()

    def half_close(self) -> None:
        """End the sending side, and listen."""
        self.connection.shutdown(socket.SHUT_WR)
        self.listen()

    def break_framing(self) -> None:
        """Send something that is no chunk, and listen."""
        self.over.wait(0.1)
        self.connection.sendall(self.chance.choice(_JUNK))
        self.listen()

    def trickle(self, piece: Callable[[int], bytes]) -> None:
        """Send one numbered piece after another, slowly."""
        for number in itertools.count():
            if self.over.wait(_STEP):
                return
            self.connection.sendall(piece(number))

    def trickle_headers(self) -> None:
        """Send one header after another, without end."""
        self.trickle(lambda number: f"X-{number}: slow\r\n".encode())

    def trickle_body(self) -> None:
        """Send the content a byte at a time."""
        self.trickle(lambda number: self.body[number : number + 1])

    def send_huge_headers(self) -> None:
        """Send headers until refused."""
        while not self.over.is_set():
            self.connection.sendall(b"X-Huge: " + b"x" * 65536)


class Behaviour(NamedTuple):
    """What a hostile client sends first, and what it does then."""

    name: str
    first: Callable[[HostileClient], bytes]
    then: Callable[[HostileClient], None]


def _pipelined(path: Callable[[Target], str]) -> Callable[[HostileClient], bytes]:
    return lambda c: c.head(method="GET", path=path(c.target)) * _PIPELINED


_C = HostileClient
NEVER_READS = Behaviour("never reads", _pipelined(lambda target: target.large), _C.wait)
BEHAVIOURS = [
    NEVER_READS,
    Behaviour("pipelines", _pipelined(lambda _: "/v2/"), _C.listen_late),
    Behaviour("says nothing", lambda _: b"", _C.wait),
    Behaviour("stops in headers", lambda c: c.cut(c.sized()), _C.wait),
    Behaviour("trickles headers", lambda c: c.sized()[:-2], _C.trickle_headers),
    Behaviour("sends huge headers", lambda c: c.sized()[:-2], _C.send_huge_headers),
    Behaviour("stops in the body", lambda c: c.sized() + c.cut(c.body), _C.wait),
    Behaviour("leaves in the body", lambda c: c.sized() + c.cut(c.body), _C.leave),
    Behaviour("resets in the body", lambda c: c.sized() + c.cut(c.body), _C.reset),
    Behaviour("half closes in the body", lambda c: c.sized() + c.cut(c.body), _C.half_close),
    Behaviour("trickles the body", _C.sized, _C.trickle_body),
    Behaviour("announces more", lambda c: c.sized(c.chance.randrange(1, 1000)) + c.body, _C.wait),
    Behaviour("sends more", lambda c: c.sized(-len(c.cut(c.body)) or -1) + c.body, _C.listen),
    Behaviour("breaks the framing", _C.chunk, _C.break_framing),
    Behaviour("leaves without a last chunk", _C.chunk, _C.leave),
    Behaviour("gives two lengths", lambda c: c.sized(0, _CHUNKED) + b"0\r\n\r\n", _C.listen),
    Behaviour("asks, and never sends", lambda c: c.sized(0, "Expect: 100-continue"), _C.wait),
    Behaviour("leaves before the answer", lambda c: c.sized() + c.body, _C.leave),
    Behaviour("resets before the answer", lambda c: c.sized() + c.body, _C.reset_later),
]


def play(
    behaviour: Behaviour, target: Target, chance: random.Random, over: threading.Event
) -> None:
    """Behave; a server that has had enough of it and closes is within its rights."""
    with contextlib.suppress(OSError), socket.socket() as connection:
        if behaviour is NEVER_READS:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(_WAIT)
        connection.connect(target.address)
        client = HostileClient(target, connection, chance, over)
        connection.sendall(behaviour.first(client))
        behaviour.then(client)
