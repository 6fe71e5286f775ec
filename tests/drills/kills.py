"""The gateway is killed in the middle of pushes, again and again: nothing is lost, or sent twice.

A client pushes as docker does, through the proxy, and must never see a kill. moto and the proxy
run on, as AWS and the client's machine do.
"""

from __future__ import annotations

import functools
import hashlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.drills.support.hostile.stack import RegistryProcesses, ask, pull, running
from tests.drills.support.hostile.tap import Watch, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS_A_PUSH = 5
CHUNK = 4 * 1024 * 1024
_BLOCK = 1 << 20
_PATIENCE = 600


@dataclass(frozen=True)
class Moment:
    """When to kill: after so many bytes have gone upstream, or in the commit; then a little later.

    `after` is in bytes, or None for the closing PUT; `later` is in seconds.
    """

    after: int | None
    later: float

    def __str__(self) -> str:
        where = "in the commit" if self.after is None else f"after {self.after:,} bytes"
        return f"{where} and {self.later * 1000:.0f} ms"


def moments(kills: int, size: int, chance: random.Random) -> list[Moment]:
    """Choose moments for the kills of one push: the last of several is in the commit."""
    in_body = kills - 1 if kills > 1 else kills
    places = sorted(chance.randrange(size) for _ in range(in_body))
    chosen = [Moment(place, chance.uniform(0, 0.3)) for place in places]
    if kills > in_body:
        chosen.append(Moment(None, chance.uniform(0, size / 300_000_000)))
    return chosen


def run(rounds: int, seed: int, size: int = 300_000_000) -> int:
    """Kill the gateway `rounds` times at moments drawn from `seed`, in pushes of `size` bytes.

    Returns how many kills were survived: all. Raises AssertionError on any loss.
    """
    chance = random.Random(seed)  # noqa: S311 - a drill that can be repeated, not a secret
    survived = 0
    while survived < rounds:
        kills = min(KILLS_A_PUSH, rounds - survived)
        survived += push(moments(kills, size, chance), size, chance.randrange(1 << 32))
        print(f"kills: {survived} of {rounds} survived", flush=True)
    return survived


def push(plan: list[Moment], size: int, seed: int) -> int:
    """Push one blob while the gateway is killed as planned, and pull it back.

    Returns how many kills there were: a push can be over before the last moment has come.
    """
    watch, over = Watch(), Event()
    between = functools.partial(watching, watch)
    # Long enough for moto to commit, and no longer. A killed request's lease ends 5 seconds after
    # its deadline: with the 29 seconds of AWS each kill would cost 34.
    timeout = 3.0 + size / 60_000_000
    with running(("--timeout", str(timeout)), between=between) as stack:
        with ThreadPoolExecutor(1) as killer:
            killing = killer.submit(_kill, stack, watch, plan, over)
            try:
                digest = _push(stack.proxy, size, seed)
            finally:
                over.set()
        assert not watch.again, watch.again
        again, kills = watch.sent - size, killing.result()
        print(f"kills: {kills} in a push of {size:,} bytes, {again:,} bytes sent again", flush=True)
        # The chunk that was on its way: once to be refused while the dead request's lease lives,
        # once to be taken.
        assert 0 <= again <= 2 * kills * CHUNK, f"{again:,} bytes were sent again"
        content = pull(urlsplit(stack.proxy).netloc, f"/v2/drill/blobs/{digest}")
        assert (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") == (size, digest)
        return kills


def _kill(stack: RegistryProcesses, watch: Watch, plan: list[Moment], over: Event) -> int:
    """Kill the gateway at each moment of a plan until it is over; return how often."""
    for killed, moment in enumerate(plan):
        while not watch.closing.is_set() if moment.after is None else watch.sent < moment.after:
            if over.wait(0.005):
                return killed
        if over.wait(moment.later):
            return killed
        kept = watch.durable
        stack.gateway.kill()
        print(f"kills: {moment}: SIGKILL, {kept:,} bytes were known to be kept", flush=True)
        stack.gateway.wait()
    return len(plan)


def _push(proxy: str, size: int, seed: int) -> str:
    """Push as docker does: POST, one PATCH of unknown length, an empty PUT; return the digest."""
    host = urlsplit(proxy).netloc
    opened, headers, _ = ask(host, "POST", "/v2/drill/blobs/uploads/")
    assert opened == 202, opened
    hasher = hashlib.sha256()
    began = time.monotonic()
    content = _content(size, seed, hasher)
    patched, headers, _ = ask(host, "PATCH", headers["Location"], content)
    assert (patched, headers["Range"]) == (202, f"0-{size - 1}"), (patched, headers["Range"])
    digest, location = f"sha256:{hasher.hexdigest()}", headers["Location"]
    close = f"{location}{'&' if '?' in location else '?'}digest={digest}"
    put, _, _ = ask(host, "PUT", close)
    while put == 503 and time.monotonic() < began + _PATIENCE:
        # The proxy waits no longer on a slow machine; the session lives, and the commit goes on.
        print("kills: the PUT is repeated", flush=True)
        put, _, _ = ask(host, "PUT", close)
    assert put == 201, put
    print(f"kills: pushed in {time.monotonic() - began:.0f} s", flush=True)
    return digest


def _content(size: int, seed: int, hasher: hashlib._Hash) -> Iterator[bytes]:
    source = random.Random(seed)  # noqa: S311 - bytes that can be made again
    for begin in range(0, size, _BLOCK):
        block = source.randbytes(min(_BLOCK, size - begin))
        hasher.update(block)
        yield block
