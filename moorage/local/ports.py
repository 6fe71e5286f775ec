"""TCP ports on loopback: whether one can be listened on, and a free one.

This module must never take a port away from a server that has it.
"""

import errno
import secrets
import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"

# Below the ports that systems give to outgoing connections (Linux: from 32768, macOS: from 49152):
# a port that is found free here stays free until its server is up.
_FIRST, _LAST = 15_000, 32_000
_TRIES = 200


def problem(port: int) -> str | None:
    """Return why no new server can listen on 127.0.0.1:`port`; None when one can.

    A server that answers on localhost, also by IPv6, counts: a system may give its port to a second
    server where the first one listens on all addresses, and clients could reach either.
    """
    if any(_answers(address, port) for address in (LOOPBACK, "::1")):
        return "is already in use"
    with socket.socket() as probe:
        # As servers do it: closed connections don't hold a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is already in use"
            return f"can't be listened on ({error.strerror})"
    return None


def free_port(but: Collection[int] = ()) -> int:
    """Return a port that nothing listens on, and none of `but`. Raises OSError if none is found."""
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port not in but and problem(port) is None:
            return port
    raise OSError(errno.EADDRINUSE, f"no free port found between {_FIRST} and {_LAST}")


def _answers(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.settimeout(1)
            return probe.connect_ex((address, port)) == 0
    except OSError:  # no IPv6 on this machine
        return False
