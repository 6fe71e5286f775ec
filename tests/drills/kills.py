"""Gateway, proxy and client are killed in the middle of pushes, again and again: nothing is lost.

Docker pushes through the proxy, `moorage push` to the gateway: neither must see that the gateway is
killed. `moorage push` is killed itself, too, and started again. What was said to be kept must not
be sent again. After a kill of the proxy its client pushes the blob anew. moto runs on, as AWS does.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chalicelib.limits import MIB
from tests.drills.support.hostile.stack import RegistryProcesses, ask, pull, running
from tests.drills.support.hostile.tap import Watch, watching
from tests.moorage.transfer.images import Content
from tests.support.registries import registry_over
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.emulators.backends import Backend

    Way = Callable[["KilledPush", list["Moment"], int, int], tuple[str, int]]

KILLS_A_PUSH = 5
IN_FLIGHT = 16 * MIB
"""What a client may have on its way to S3: less than by default, so that there is more to keep."""
CHUNK = 4 * MIB
_BLOCK = MIB
_PATIENCE = 600
_DAY = 24 * 3600.0
# `moorage push`, which puts no layer at once.
_COMMAND = f"""
import sys
from moorage.cli.main import main
from moorage.transfer import direct_sender
direct_sender.LARGEST_WHOLE, direct_sender._MEMORY = 1, {IN_FLIGHT}
sys.exit(main(sys.argv[1:]))
"""


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


def run(rounds: int, seed: int, way: str, size: int = 300_000_000) -> int:
    """Kill `rounds` times at moments drawn from `seed`, in pushes of `size` bytes; see WAYS.

    Returns how many kills were survived: all. Raises AssertionError on any loss.
    """
    chance = random.Random(seed)  # noqa: S311 - a drill that can be repeated, not a secret
    survived = 0
    while survived < rounds:
        kills = min(KILLS_A_PUSH, rounds - survived)
        survived += push(WAYS[way], moments(kills, size, chance), size, chance.randrange(1 << 32))
        print(f"{way}: {survived} of {rounds} survived", flush=True)
    return survived


@dataclass(frozen=True)
class KilledPush:
    """The processes, what passes between them, and whether the push is over."""

    stack: RegistryProcesses
    watch: Watch
    over: Event

    def reached(self, moment: Moment, before: int = 0) -> bool:
        """Wait for a moment, whose bytes come after those `before`; False if the push is over."""
        watch = self.watch
        while (
            not watch.closing.is_set()
            if moment.after is None
            else watch.sent - before < moment.after
        ):
            if self.over.wait(0.005):
                return False
        return not self.over.wait(moment.later)


def push(way: Way, plan: list[Moment], size: int, seed: int) -> int:
    """Push one blob while somebody is killed as planned, and pull it back.

    Returns how many kills there were: a push can be over before the last moment has come.
    """
    watch = Watch()
    between = partial(watching, watch)
    # Long enough for moto to commit, and no longer. A killed request's lease ends 5 seconds after
    # its deadline: with the 29 seconds of AWS each kill would cost 34.
    timeout = 3.0 + size / 60_000_000
    # Without memory for a stream the proxy sends chunks.
    proxy_options = ("--memory", "1") if way is _docker_in_chunks else ()
    with running(("--timeout", str(timeout)), proxy_options, between) as stack:
        digest, kills = way(KilledPush(stack, watch, Event()), plan, size, seed)
        assert not watch.again, watch.again
        again = watch.sent - size
        print(f"kills: {kills} in a push of {size:,} bytes, {again:,} bytes sent again", flush=True)
        content = pull(urlsplit(stack.upstream).netloc, f"/v2/drill/blobs/{digest}")
        assert (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") == (size, digest)
        _sweep(stack.backend, digest)
        return kills


def _sweep(backend: Backend, digest: str) -> None:
    """Let ten days pass, and sweep: of all that was begun only the blob and small ones are left."""
    swept = registry_over(backend)
    for _ in range(2):
        swept.clock.offset += 5 * _DAY
        swept.registry.sweeper.sweep(swept.clock.now() + 60)
    sizes = [swept.s3.head_object(Bucket=swept.bucket, Key=key) for key in swept.stored()]
    large = [size["ContentLength"] for size in sizes if size["ContentLength"] > CHUNK]
    assert len(large) == 1, (digest, swept.stored())
    uploads = swept.s3.list_multipart_uploads(Bucket=swept.bucket).get("Uploads", [])
    assert not uploads, uploads


def _docker(world: KilledPush, plan: list[Moment], size: int, seed: int) -> tuple[str, int]:
    """Push as docker does, through the proxy, while the gateway is killed."""
    with ThreadPoolExecutor(1) as killer:
        killing = killer.submit(_kill_gateway, world, plan)
        try:
            digest = _push(world.stack.proxy.url, size, seed)
        finally:
            world.over.set()
    assert digest is not None, "the proxy has forgotten the upload"
    again, kills = world.watch.sent - size, killing.result()
    # Parts go on to S3 meanwhile. The chunk that was on its way to the gateway: once to be refused
    # while the dead request's lease lives, once to be taken.
    assert 0 <= again <= 2 * kills * CHUNK, f"{again:,} bytes were sent again"
    return digest, kills


def _docker_in_chunks(
    world: KilledPush, plan: list[Moment], size: int, seed: int
) -> tuple[str, int]:
    """Do the same where the proxy sends chunks."""
    return _docker(world, plan, size, seed)


def _killed_proxy(world: KilledPush, plan: list[Moment], size: int, seed: int) -> tuple[str, int]:
    """Push as docker does while the proxy is killed, anew after each kill: no other push fails."""
    kills, host = 0, urlsplit(world.stack.proxy.url).netloc
    for moment in [*plan, None]:
        before = world.watch.sent
        world.watch.closing.clear()
        world.over.clear()
        with ThreadPoolExecutor(1) as client:
            pushing = client.submit(_broken_push, world, size, seed)
            if moment is not None and world.reached(moment, before):
                world.stack.proxy.kill()
                kills += 1
                print(f"kills: {moment}: SIGKILL, {world.watch.sent:,} bytes sent", flush=True)
                world.stack.proxy.wait()
            digest = pushing.result()
        if digest is not None:
            return digest, kills
        assert moment is not None, "a push failed that nobody broke"
        until(partial(_answers, host), "the proxy is back", _PATIENCE)
    raise AssertionError


def _broken_push(world: KilledPush, size: int, seed: int) -> str | None:
    """Push, and return the digest; None where the connection breaks, or the session is lost."""
    try:
        return _push(world.stack.proxy.url, size, seed)
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        world.over.set()


def _answers(host: str) -> bool:
    try:
        return ask(host, "GET", "/v2/")[0] == HTTPStatus.OK
    except (ConnectionError, http.client.HTTPException):
        return False


def _command(world: KilledPush, plan: list[Moment], size: int, seed: int) -> tuple[str, int]:
    """Push by `moorage push`, while the gateway is killed: nothing is sent again."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as killer:
        digest, small = _layout(Path(folder), size, seed)
        killing = killer.submit(_kill_gateway, world, plan)
        try:
            _finished(_start(world, Path(folder)))
        finally:
            world.over.set()
        world.watch.sent -= small
        assert world.watch.sent == size, f"{world.watch.sent - size:,} bytes were sent again"
        return digest, killing.result()


def _killed_command(world: KilledPush, plan: list[Moment], size: int, seed: int) -> tuple[str, int]:
    """Push by `moorage push`, which is killed and started again: only what was on its way comes."""
    kills = 0
    with tempfile.TemporaryDirectory() as folder:
        digest, small = _layout(Path(folder), size, seed)
        for moment in plan:
            client = _start(world, Path(folder))
            world.over.clear()
            with ThreadPoolExecutor(1) as waiter:
                waiter.submit(_wait_for, client, world.over)
                if world.reached(moment):
                    client.kill()
                    kills += 1
                    print(f"kills: {moment}: SIGKILL, {world.watch.sent:,} bytes sent", flush=True)
        before = world.watch.sent
        told = _finished(_start(world, Path(folder)))
        print(f"kills: {told['kept']:,} bytes were kept", flush=True)
        now = world.watch.sent - before
        assert now in {told["bytes"], told["bytes"] - small}, (now, told)
        world.watch.sent -= small
        again = world.watch.sent - size
        assert 0 <= again <= kills * IN_FLIGHT, f"{again:,} bytes were sent again"
    return digest, kills


WAYS: dict[str, Way] = {
    "gateway killed, docker pushes": _docker,
    "gateway killed, docker pushes in chunks": _docker_in_chunks,
    "proxy killed, docker pushes again": _killed_proxy,
    "gateway killed, moorage push": _command,
    "moorage push killed": _killed_command,
}
"""Who is killed, and who pushes."""


def _kill_gateway(world: KilledPush, plan: list[Moment]) -> int:
    """Kill the gateway at each moment of a plan until the push is over; return how often."""
    gateway = world.stack.gateway
    for killed, moment in enumerate(plan):
        if not world.reached(moment):
            return killed
        kept = world.watch.durable
        gateway.kill()
        print(f"kills: {moment}: SIGKILL, {kept:,} bytes were known to be kept", flush=True)
        gateway.wait()
    return len(plan)


def _layout(folder: Path, size: int, seed: int) -> tuple[str, int]:
    """Write the image to push; return its layer's digest, and the size of its configuration."""
    layer = b"".join(_content(size, seed, hashlib.sha256()))
    content = Content()
    content.tag(content.image(layer))
    content.folder(folder / "image")
    manifest = json.loads(content.stored[content.entries[0]["digest"]])
    return manifest["layers"][0]["digest"], manifest["config"]["size"]


def _start(world: KilledPush, folder: Path) -> subprocess.Popen[str]:
    host = urlsplit(world.stack.upstream).netloc
    program = [sys.executable, "-c", _COMMAND, "push"]
    return subprocess.Popen(
        [*program, f"oci:{folder}/image", f"{host}/drill:1", "--json"],
        env={**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(client: subprocess.Popen[str], over: Event) -> None:
    client.wait()
    over.set()


def _finished(client: subprocess.Popen[str]) -> dict[str, int]:
    """Wait for a client's good end; return the last of what it said."""
    out, said = client.communicate(timeout=_PATIENCE)
    assert client.returncode == 0, said
    told: dict[str, int] = json.loads(out.splitlines()[-1])
    return told


def _push(proxy: str, size: int, seed: int) -> str | None:
    """Push as docker does: POST, one PATCH of unknown length, an empty PUT; return the digest.

    None where the session is lost: the proxy forgets those that it has when it dies.
    """
    host = urlsplit(proxy).netloc
    opened, headers, _ = ask(host, "POST", "/v2/drill/blobs/uploads/")
    assert opened == 202, opened
    hasher = hashlib.sha256()
    began = time.monotonic()
    content = _content(size, seed, hasher)
    patched, headers, _ = ask(host, "PATCH", headers["Location"], content)
    if patched == HTTPStatus.NOT_FOUND:
        return None
    assert (patched, headers["Range"]) == (202, f"0-{size - 1}"), (patched, headers["Range"])
    digest, location = f"sha256:{hasher.hexdigest()}", headers["Location"]
    close = f"{location}{'&' if '?' in location else '?'}digest={digest}"
    put, _, _ = ask(host, "PUT", close)
    while put == 503 and time.monotonic() < began + _PATIENCE:
        # The proxy waits no longer on a slow machine; the session lives, and the commit goes on.
        print("kills: the PUT is repeated", flush=True)
        put, _, _ = ask(host, "PUT", close)
    if put == HTTPStatus.NOT_FOUND:
        return None
    assert put == 201, put
    print(f"kills: pushed in {time.monotonic() - began:.0f} s", flush=True)
    return digest


def _content(size: int, seed: int, hasher: hashlib._Hash) -> Iterator[bytes]:
    source = random.Random(seed)  # noqa: S311 - bytes that can be made again
    for begin in range(0, size, _BLOCK):
        block = source.randbytes(min(_BLOCK, size - begin))
        hasher.update(block)
        yield block
