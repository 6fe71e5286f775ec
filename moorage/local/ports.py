"""TCP ports on loopback: whether one can be listened on, and finding one that can.

It must never take a port away from a server that has it.
"""

import errno
import secrets
import socket

LOOPBACK = "127.0.0.1"

# Below the range that systems take outgoing connections' ports from (Linux: from 32768, macOS:
# from 49152): a port found free there stays free until the server that gets it is up.
_FIRST, _LAST = 15_000, 32_000
_TRIES = 200


def problem(port: int) -> str | None:
    """Say why nothing new can listen on 127.0.0.1:`port`; None when it can.

    Somebody answering on localhost counts as well, by IPv6 too: a system may let a second server
    have a port whose first server listens on all addresses, and clients could reach either.
    """
    if any(_answers(address, port) for address in (LOOPBACK, "::1")):
        return "is already in use"
    with socket.socket() as probe:
        # As servers do: what closed connections leave behind does not hold a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is already in use"
            return f"can't be listened on ({error.strerror})"
    return None


def free_port(but: int | None = None) -> int:
    """Return a port that nothing listens on, and not `but`. OSError when there seems to be none."""
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port != but and problem(port) is None:
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
