"""Clients as they should not be: they stop, trickle, lie about lengths, pipeline, or never read.

Each behaviour uses one raw connection until it is done or the attack is over. It must never
send a byte of a body that is not the content's at that place: what is kept can then be judged.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    import threading

_RESET: Final = struct.pack("ii", 1, 0)
_WAIT: Final = 30.0
_STEP: Final = 0.02
_PIPELINED: Final = 200
_CHUNKED: Final = "Transfer-Encoding: chunked"


@dataclass(frozen=True)
class Target:
    """What to be hostile to: an address, an upload session at offset 0, and its content.

    `large` is a path whose answer is large.
    """

    address: tuple[str, int]
    location: str
    content: bytes
    large: str

    def head(self, *headers: str, method: str = "PATCH", path: str = "") -> bytes:
        """Write a request's head."""
        lines = [f"{method} {path or self.location} HTTP/1.1", "Host: h", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def sized(self, more: int = 0) -> bytes:
        """Write the head of a PATCH that announces the content and `more`."""
        return self.head(f"Content-Length: {len(self.content) + more}")


@dataclass(frozen=True)
class HostileClient:
    """A raw connection to a target, a source of random choices, and the end of the attack."""

    target: Target
    connection: socket.socket
    chance: random.Random
    over: threading.Event

    def send(self, data: bytes) -> None:
        """Send all of this."""
        self.connection.sendall(data)

    def part(self) -> bytes:
        """Cut a beginning off the content, never all of it."""
        return self.target.content[: self.chance.randrange(len(self.target.content))]

    def chunk(self) -> bytes:
        """Write the head of a chunked PATCH, and one chunk with a beginning of the content."""
        part = self.part()
        return self.target.head(_CHUNKED) + b"%x\r\n%b\r\n" % (len(part), part)

    def reset(self) -> None:
        """Close by a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def listen(self) -> None:
        """Read until the server closes or the attack is over."""
        self.connection.settimeout(0.2)
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(65536):
                    return


Behaviour = Callable[[HostileClient], None]
BEHAVIOURS: list[Behaviour] = []
"""Every behaviour: each function below."""


def play(
    behaviour: Behaviour, target: Target, chance: random.Random, over: threading.Event
) -> None:
    """Behave; a server that has had enough of it and closes is within its rights."""
    with contextlib.suppress(OSError), socket.socket() as connection:
        if behaviour is never_reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(_WAIT)
        connection.connect(target.address)
        behaviour(HostileClient(target, connection, chance, over))


def _listed(behaviour: Behaviour) -> Behaviour:
    BEHAVIOURS.append(behaviour)
    return behaviour


@_listed
def says_nothing(client: HostileClient) -> None:
    """Connect and wait."""
    client.over.wait()


@_listed
def stops_in_headers(client: HostileClient) -> None:
    """Send part of a head and wait."""
    head = client.target.sized()
    client.send(head[: client.chance.randrange(1, len(head))])
    client.over.wait()


@_listed
def trickles_headers(client: HostileClient) -> None:
    """Send one header after another, without end."""
    client.send(client.target.sized()[:-2])
    number = 0
    while not client.over.wait(_STEP):
        number += 1
        client.send(f"X-{number}: slow\r\n".encode())


@_listed
def sends_huge_headers(client: HostileClient) -> None:
    """Send headers until refused."""
    client.send(client.target.sized()[:-2])
    while not client.over.is_set():
        client.send(b"X-Huge: " + b"x" * 65536)


@_listed
def stops_in_body(client: HostileClient) -> None:
    """Send part of a body and wait."""
    client.send(client.target.sized() + client.part())
    client.over.wait()


@_listed
def leaves_in_body(client: HostileClient) -> None:
    """Send part of a body and close."""
    client.send(client.target.sized() + client.part())


@_listed
def resets_in_body(client: HostileClient) -> None:
    """Send part of a body and reset the connection."""
    client.send(client.target.sized() + client.part())
    client.reset()


@_listed
def half_closes_in_body(client: HostileClient) -> None:
    """Send part of a body, say that this was all, and listen."""
    client.send(client.target.sized() + client.part())
    client.connection.shutdown(socket.SHUT_WR)
    client.listen()


@_listed
def trickles_body(client: HostileClient) -> None:
    """Send a body a byte at a time."""
    client.send(client.target.sized())
    sent = 0
    while not client.over.wait(_STEP):
        client.send(client.target.content[sent : sent + 1])
        sent += 1


@_listed
def announces_more(client: HostileClient) -> None:
    """Send all of the content, having announced more of it."""
    client.send(client.target.sized(client.chance.randrange(1, 1000)) + client.target.content)
    client.over.wait()


@_listed
def sends_more(client: HostileClient) -> None:
    """Announce less than follows: what follows is no request."""
    part = client.chance.randrange(1, len(client.target.content))
    client.send(client.target.head(f"Content-Length: {part}") + client.target.content)
    client.listen()


@_listed
def breaks_framing(client: HostileClient) -> None:
    """Send a chunk, and then something that is none."""
    junk = [b"xyz\r\n", b"-5\r\n", b"\r\n\r\n", b"ffffffffffffffffff\r\n", b"5 5\r\n"]
    client.send(client.chunk())
    client.over.wait(0.1)
    client.send(client.chance.choice(junk))
    client.listen()


@_listed
def leaves_without_last_chunk(client: HostileClient) -> None:
    """Send chunks and close before the one that ends them."""
    client.send(client.chunk())


@_listed
def gives_two_lengths(client: HostileClient) -> None:
    """Say the length in two ways, as smugglers do."""
    length = f"Content-Length: {len(client.target.content)}"
    client.send(client.target.head(_CHUNKED, length) + b"0\r\n\r\n")
    client.listen()


@_listed
def never_sends_what_it_asked_for(client: HostileClient) -> None:
    """Ask whether the body is welcome, and send none."""
    length = f"Content-Length: {len(client.target.content)}"
    client.send(client.target.head("Expect: 100-continue", length))
    client.over.wait()


@_listed
def pipelines(client: HostileClient) -> None:
    """Send many requests at once and read the answers late."""
    client.send(client.target.head(method="GET", path="/v2/") * _PIPELINED)
    client.over.wait(1)
    client.listen()


@_listed
def never_reads(client: HostileClient) -> None:
    """Ask for something large, again and again, and read nothing."""
    client.send(client.target.head(method="GET", path=client.target.large) * _PIPELINED)
    client.over.wait()


@_listed
def leaves_before_the_answer(client: HostileClient) -> None:
    """Send a whole request and close: its function runs, and nobody reads the answer."""
    client.send(client.target.sized() + client.target.content)


@_listed
def resets_before_the_answer(client: HostileClient) -> None:
    """Send a whole request, and reset the connection while its function runs."""
    client.send(client.target.sized() + client.target.content)
    client.over.wait(client.chance.uniform(0, 0.2))
    client.reset()
