"""Clients that stop, trickle, lie, pipeline or never read harm no server and no upload.

Dozens of them at once, while other clients push; afterwards each upload is resumed. Nothing is
judged by anything but the answers that a client gets and the blobs that it pulls.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from moorage.common.chunked_upload import offset_of
from tests.drills.support.hostile.clients import BEHAVIOURS, Behaviour, Target, play
from tests.drills.support.hostile.stack import Usage, ask, pull, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIB = 1 << 20
CHUNK = MIB // 4
SIZE = 350_000
SECONDS = float(os.environ.get("MOORAGE_ATTACK_SECONDS", "2"))
"""How long the attack lasts; `make drills` attacks for 5 seconds."""
GROWTH = 150 * MIB
"""How much an attack may cost a server: some chunks of each client, or one large answer."""
THREADS = 16
"""Two for each of eight calls at once: one that is ending when the next has its place."""
IDLE = 200
ROUNDS = 2
_PUSHERS = 3
_JUDGES = 4
_PUSHED = 500_000
_LARGE = 1_000_000
_SETTLE = 30.0
POOLED = 16
"""Connections that a server keeps for its own next request: to AWS, or upstream."""
_TRIES = 60


@dataclass(frozen=True)
class Server:
    """A server under attack: its name, `host:port` and process."""

    name: str
    host: str
    pid: int


@dataclass(frozen=True)
class Upload:
    """An upload session at a server, for a hostile client to misuse."""

    server: Server
    behaviour: Behaviour
    target: Target

    @property
    def name(self) -> str:
        """The client's behaviour, and where."""
        return f"{self.behaviour.name} at the {self.server.name}"


@dataclass
class Watched:
    """What a server used before and at most, and how many pushes succeeded meanwhile."""

    server: Server
    before: Usage
    worst: Usage
    pushes: int = 0

    def settled(self) -> Usage:
        """Wait until the server has closed its clients' connections; return what it uses then."""
        until = time.monotonic() + _SETTLE
        while True:
            usage = Usage.of(self.server.pid)
            if usage.files <= self.before.files + POOLED or time.monotonic() > until:
                return usage
            time.sleep(0.2)


def attack(
    servers: Sequence[Server], size: int, seconds: float, seed: int
) -> tuple[list[Watched], list[Upload]]:
    """Run every hostile client twice against each server, beside idle connections and pushes.

    `size` is how many bytes each has to upload. Returns when all have gone. Watches the memory,
    threads and files of the servers meanwhile.
    """
    chance = random.Random(seed)  # noqa: S311 - an attack that can be repeated, not a secret
    uploads = [
        _upload(server, behaviour, size, large, chance)
        for server in servers
        for large in [f"/v2/attack/blobs/{push(server.host, chance.randbytes(_LARGE))}"]
        for behaviour in BEHAVIOURS * ROUNDS
    ]
    watched = [Watched(server, Usage.of(server.pid), Usage.of(server.pid)) for server in servers]
    over = threading.Event()
    crowd = len(uploads) + _PUSHERS * len(servers)
    with ThreadPoolExecutor(crowd) as clients, _idle(servers):
        for upload in uploads:
            own = random.Random(chance.random())  # noqa: S311 - likewise
            clients.submit(play, upload.behaviour, upload.target, own, over)
        pushers = [
            (seen, clients.submit(_push_until, seen.server.host, number, over))
            for seen in watched
            for number in range(_PUSHERS)
        ]
        _watch(watched, seconds)
        over.set()
        for seen, pusher in pushers:
            seen.pushes += pusher.result()
    return watched, uploads


def resumed(upload: Upload) -> int:
    """Ask for the status of an upload, resume, commit, and pull the blob.

    Returns how many bytes Range said were durable. Raises AssertionError if the blob is another.
    """
    host = upload.server.host
    content = upload.target.content
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    for _ in range(_TRIES):
        status, headers, _ = ask(host, "GET", upload.target.location)
        kept = offset_of(dict(headers))
        assert (status, kept is None) == (204, False), (upload.name, status)
        rest = content[kept:]
        named = {"Content-Range": f"{kept}-{len(content) - 1}"} if rest else {}
        path = f"{headers['Location']}&digest={digest}"
        put, headers, body = ask(host, "PUT", path, rest, named)
        if put == 201:
            assert pull(host, f"/v2/attack/blobs/{digest}") == content, upload.name
            return kept or 0
        # A function whose client has left may still run, or its lease still live.
        assert put in {416, 503}, (upload.name, put, body)
        time.sleep(1)
    raise AssertionError(f"{upload.name}: it could not be resumed")


def push(host: str, content: bytes) -> str:
    """Push a blob as well-behaved clients do and return its digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    opened, headers, _ = ask(host, "POST", "/v2/attack/blobs/uploads/")
    assert opened == 202, opened
    patched, headers, _ = ask(host, "PATCH", headers["Location"], content)
    assert patched == 202, patched
    put, _, _ = ask(host, "PUT", f"{headers['Location']}&digest={digest}")
    assert put == 201, put
    return digest


def _upload(
    server: Server, behaviour: Behaviour, size: int, large: str, chance: random.Random
) -> Upload:
    opened, headers, _ = ask(server.host, "POST", "/v2/attack/blobs/uploads/")
    assert opened == 202, opened
    target = Target(_address(server), headers["Location"], chance.randbytes(size), large)
    return Upload(server, behaviour, target)


def _address(server: Server) -> tuple[str, int]:
    name, _, port = server.host.partition(":")
    return name, int(port)


@contextlib.contextmanager
def _idle(servers: Sequence[Server]) -> Iterator[None]:
    """Hold many connections that say nothing."""
    with contextlib.ExitStack() as held:
        for server in servers:
            for _ in range(IDLE):
                held.enter_context(socket.create_connection(_address(server), timeout=30))
        yield


def _push_until(host: str, number: int, over: threading.Event) -> int:
    """Push one blob after another until it is over; return how many."""
    source = random.Random(number)  # noqa: S311 - bytes to push
    pushed = 0
    while not over.is_set():
        push(host, source.randbytes(_PUSHED))
        pushed += 1
    return pushed


def _watch(watched: Sequence[Watched], seconds: float) -> None:
    """Look at the servers for a while and note the worst of each."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.1)
        for seen in watched:
            now, worst = Usage.of(seen.server.pid), seen.worst
            seen.worst = Usage(
                resident=max(now.resident, worst.resident),
                threads=max(now.threads, worst.threads),
                files=max(now.files, worst.files),
            )


def test_servers_stay_bounded_and_uploads_resume_under_attack() -> None:
    """Memory, threads and files are bounded, others are served, and Range says what is kept."""
    # Small chunks, so that more uploads have one that is kept.
    with running(proxy_options=("--chunk-size", str(CHUNK))) as stack:
        gateway = Server("gateway", urlsplit(stack.gateway.url).netloc, stack.gateway.pid)
        proxy = Server("proxy", urlsplit(stack.proxy.url).netloc, stack.proxy.pid)
        watched, uploads = attack([gateway, proxy], SIZE, seconds=SECONDS, seed=29)
        with ThreadPoolExecutor(_JUDGES) as judges:
            all_kept = list(judges.map(resumed, uploads))
        for seen in watched:
            after = seen.settled()
            print(f"{seen.server.name}: {seen.before}; at worst {seen.worst}; then {after}")
            print(f"{seen.server.name}: {seen.pushes} pushes meanwhile")
            assert seen.pushes >= 3, "others were not served"
            assert seen.worst.resident - seen.before.resident < GROWTH
            assert seen.worst.threads <= seen.before.threads + THREADS
            assert after.files <= seen.before.files + POOLED
    for upload, kept in zip(uploads, all_kept, strict=True):
        whole = {0, SIZE} if upload.server is gateway else {0, CHUNK, SIZE}
        # One sends more than it announced: what it announced is a whole body, and is kept.
        assert kept in whole or upload.name.startswith("sends more"), (upload.name, kept)
