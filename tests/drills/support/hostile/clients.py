"""Clients as they should not be: they stop, trickle, lie about lengths, pipeline, or never read.

Each behaviour plays on one raw connection until it is done or told that it is over. It must never
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


@dataclass(frozen=True)
class Target:
    """What to be hostile to: an address, an upload session at offset 0, and its content.

    `large` is a path whose answer is large.
    """

    address: tuple[str, int]
    location: str
    content: bytes
    large: str

    def connect(self) -> socket.socket:
        """Open a connection that gives up when nothing moves for long."""
        return socket.create_connection(self.address, timeout=_WAIT)

    def head(self, *headers: str, method: str = "PATCH", path: str = "") -> bytes:
        """Write a request's head."""
        lines = [f"{method} {path or self.location} HTTP/1.1", "Host: h", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def sized(self, more: int = 0) -> bytes:
        """Write the head of a PATCH that announces the content and `more`."""
        return self.head(f"Content-Length: {len(self.content) + more}")

    def part(self, chance: random.Random) -> bytes:
        """Cut a beginning off the content, never all of it."""
        return self.content[: chance.randrange(len(self.content))]


Behaviour = Callable[[Target, "random.Random", "threading.Event"], None]
CHUNKED: Final = "Transfer-Encoding: chunked"


def _leave_by_reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def says_nothing(target: Target, _: random.Random, over: threading.Event) -> None:
    """Connect and wait."""
    with target.connect():
        over.wait()


def stops_in_headers(target: Target, chance: random.Random, over: threading.Event) -> None:
    """Send part of a head and wait."""
    head = target.sized()
    with target.connect() as connection:
        connection.sendall(head[: chance.randrange(1, len(head))])
        over.wait()


def trickles_headers(target: Target, _: random.Random, over: threading.Event) -> None:
    """Send one header after another, without end."""
    with target.connect() as connection:
        connection.sendall(target.sized()[:-2])
        number = 0
        while not over.wait(_STEP):
            number += 1
            connection.sendall(f"X-{number}: slow\r\n".encode())


def sends_huge_headers(target: Target, _: random.Random, over: threading.Event) -> None:
    """Send headers until refused."""
    with target.connect() as connection:
        connection.sendall(target.sized()[:-2])
        while not over.is_set():
            connection.sendall(b"X-Huge: " + b"x" * 65536)


def stops_in_body(target: Target, chance: random.Random, over: threading.Event) -> None:
    """Send part of a body and wait."""
    with target.connect() as connection:
        connection.sendall(target.sized() + target.part(chance))
        over.wait()


def leaves_in_body(target: Target, chance: random.Random, _: threading.Event) -> None:
    """Send part of a body and close."""
    with target.connect() as connection:
        connection.sendall(target.sized() + target.part(chance))


def resets_in_body(target: Target, chance: random.Random, _: threading.Event) -> None:
    """Send part of a body and reset the connection."""
    with target.connect() as connection:
        connection.sendall(target.sized() + target.part(chance))
        _leave_by_reset(connection)


def half_closes_in_body(target: Target, chance: random.Random, over: threading.Event) -> None:
    """Send part of a body, say that this was all, and listen."""
    with target.connect() as connection:
        connection.sendall(target.sized() + target.part(chance))
        connection.shutdown(socket.SHUT_WR)
        _listen(connection, over)


def trickles_body(target: Target, _: random.Random, over: threading.Event) -> None:
    """Send a body a byte at a time."""
    with target.connect() as connection:
        connection.sendall(target.sized())
        sent = 0
        while not over.wait(_STEP):
            connection.sendall(target.content[sent : sent + 1])
            sent += 1


def announces_more(target: Target, chance: random.Random, over: threading.Event) -> None:
    """Send all of the content, having announced more of it."""
    with target.connect() as connection:
        connection.sendall(target.sized(chance.randrange(1, 1000)) + target.content)
        over.wait()


def sends_more(target: Target, chance: random.Random, over: threading.Event) -> None:
    """Announce less than follows: what follows is no request."""
    part = chance.randrange(1, len(target.content))
    with target.connect() as connection:
        connection.sendall(target.head(f"Content-Length: {part}") + target.content)
        _listen(connection, over)


def breaks_framing(target: Target, chance: random.Random, over: threading.Event) -> None:
    """Send a chunk, and then something that is none."""
    part = target.part(chance)
    junk = chance.choice(
        [b"xyz\r\n", b"-5\r\n", b"\r\n\r\n", b"ffffffffffffffffff\r\n", b"5 5\r\n"]
    )
    with target.connect() as connection:
        connection.sendall(target.head(CHUNKED) + b"%x\r\n%b\r\n" % (len(part), part))
        over.wait(0.1)
        connection.sendall(junk)
        _listen(connection, over)


def leaves_without_last_chunk(target: Target, chance: random.Random, _: threading.Event) -> None:
    """Send chunks and close before the one that ends them."""
    part = target.part(chance)
    with target.connect() as connection:
        connection.sendall(target.head(CHUNKED) + b"%x\r\n%b\r\n" % (len(part), part))


def gives_two_lengths(target: Target, _: random.Random, over: threading.Event) -> None:
    """Say the length in two ways, as smugglers do."""
    with target.connect() as connection:
        head = target.head(CHUNKED, f"Content-Length: {len(target.content)}")
        connection.sendall(head + b"0\r\n\r\n")
        _listen(connection, over)


def never_sends_what_it_asked_for(target: Target, _: random.Random, over: threading.Event) -> None:
    """Ask whether the body is welcome, and send none."""
    with target.connect() as connection:
        connection.sendall(
            target.head("Expect: 100-continue", f"Content-Length: {len(target.content)}")
        )
        over.wait()


def pipelines(target: Target, _: random.Random, over: threading.Event) -> None:
    """Send many requests at once and read the answers late."""
    with target.connect() as connection:
        connection.sendall(target.head(method="GET", path="/v2/") * _PIPELINED)
        over.wait(1)
        _listen(connection, over)


def never_reads(target: Target, _: random.Random, over: threading.Event) -> None:
    """Ask for something large, again and again, and read nothing."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(_WAIT)
        connection.connect(target.address)
        connection.sendall(target.head(method="GET", path=target.large) * _PIPELINED)
        over.wait()


def leaves_before_the_answer(target: Target, _: random.Random, __: threading.Event) -> None:
    """Send a whole request and close: its function runs with nobody to hear."""
    with target.connect() as connection:
        connection.sendall(target.sized() + target.content)


def resets_before_the_answer(target: Target, chance: random.Random, over: threading.Event) -> None:
    """Send a whole request, and reset the connection while its function runs."""
    with target.connect() as connection:
        connection.sendall(target.sized() + target.content)
        over.wait(chance.uniform(0, 0.2))
        _leave_by_reset(connection)


BEHAVIOURS: Final[tuple[Behaviour, ...]] = (
    says_nothing,
    stops_in_headers,
    trickles_headers,
    sends_huge_headers,
    stops_in_body,
    leaves_in_body,
    resets_in_body,
    half_closes_in_body,
    trickles_body,
    announces_more,
    sends_more,
    breaks_framing,
    leaves_without_last_chunk,
    gives_two_lengths,
    never_sends_what_it_asked_for,
    pipelines,
    never_reads,
    leaves_before_the_answer,
    resets_before_the_answer,
)
"""Every behaviour; what a table of tests runs through."""


def play(
    behaviour: Behaviour, target: Target, chance: random.Random, over: threading.Event
) -> None:
    """Behave; a server that has had enough of it and closes is within its rights."""
    with contextlib.suppress(OSError):
        behaviour(target, chance, over)


def _listen(connection: socket.socket, over: threading.Event) -> None:
    """Read until the server closes or it is over."""
    connection.settimeout(0.2)
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            if not connection.recv(65536):
                return
