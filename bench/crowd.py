"""Many clients at once, and many tags of one image: what one client at a time doesn't show.

S3 and DynamoDB take the time of bench/cloud.py, and the registries take turns, as in measure.py.
"""

from __future__ import annotations

import http.client
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.backends import BACKENDS, relay
from bench.measure import PULL, PUSH, Run, in_turns
from bench.registries import moorage, peer
from bench.workload import MB, WARM_UP, Image, by_skopeo, pull_by_skopeo
from chalicelib.digest import Digest
from tests.clients import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bench.registries import RunningRegistry
    from bench.workload import Copy, Layouts

IMAGE = Image("4 x 5 MB", 4, 5 * MB)
PUSHERS, PULLERS, TAGS, CONNECTIONS = 8, 16, 200, 8
PUSHING, PULLING = f"{PUSHERS} at once, {IMAGE.name}", f"{PULLERS} at once, {IMAGE.name}"
TAGGING = f"{TAGS} tags of one image"
SLOWED = True


def measure(layouts: Layouts, backend: str, repeats: int) -> Iterator[Run]:
    """Run each kind of work `repeats` times with each registry."""
    with (
        BACKENDS[backend]() as behind,
        relay(behind, slowed=True) as aws,
        moorage(aws.url) as ours,
        peer(aws.url) as theirs,
    ):
        for registry in (ours, theirs):
            by_skopeo(registry, layouts.copy(WARM_UP))
        works: dict[tuple[str, str], Callable[[RunningRegistry], float]] = {}
        for repeat in range(repeats):
            copies = [layouts.copy(IMAGE) for _ in range(PUSHERS)]
            works = {
                (PUSHING, PUSH): partial(_together, by_skopeo, copies),
                (PULLING, PULL): partial(_together, pull_by_skopeo, copies * 2),
                (TAGGING, PUSH): partial(_tag, copies[0]),
            }
            for registry in in_turns(repeat, ours, theirs):
                for (scenario, step), act in works.items():
                    of = (scenario, step, registry.name, repeat)
                    yield Run(backend, SLOWED, *of, act(registry))


def _together(
    act: Callable[[RunningRegistry, Copy], float], copies: Sequence[Copy], registry: RunningRegistry
) -> float:
    """Have one client for each copy, all at once; returns the seconds till the last is done."""
    return _timed(partial(act, registry), copies, len(copies))


def _tag(copy: Copy, registry: RunningRegistry) -> float:
    """Put the manifest of a copy that is there under many tags, by some connections."""
    manifest = images.blob_path(copy.path, images.root_of(copy.path)["digest"]).read_bytes()

    def put(tags: Iterable[str]) -> None:
        connection = http.client.HTTPConnection(registry.host, timeout=60)
        for tag in tags:
            target = f"/v2/bench/{copy.name}/manifests/{tag}"
            connection.request("PUT", target, manifest, {"Content-Type": images.MANIFEST})
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.client.CREATED:
                raise RuntimeError(f"PUT of {target} was answered {answer.status}")
        connection.close()

    names = [f"tag-{number}" for number in range(TAGS)]
    return _timed(put, [names[first::CONNECTIONS] for first in range(CONNECTIONS)], CONNECTIONS)


def upload_at_once(number: int, registry: RunningRegistry) -> float:
    """Upload so many blobs of 1 MB at once, each in a session of its own, in one PATCH."""

    def upload(blob: bytes) -> None:
        connection = http.client.HTTPConnection(registry.gateway_host or registry.host, timeout=60)
        headers, target = (
            {"Content-Type": "application/octet-stream"},
            "/v2/bench/uploads/blobs/uploads/",
        )
        for method, body in (("POST", b""), ("PATCH", blob), ("PUT", b"")):
            if method == "PUT":
                target += f"{'&' if '?' in target else '?'}digest={Digest.of(blob)}"
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status >= http.client.BAD_REQUEST:
                raise RuntimeError(f"{method} of {target} was answered {answer.status}")
            location = urlsplit(answer.headers["Location"])
            target = f"{location.path}?{location.query}" if location.query else location.path
        connection.close()

    return _timed(upload, [os.urandom(MB) for _ in range(number)], number)


def _timed(act: Callable[[Any], object], what: Sequence[Any], threads: int) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(act, what))
    return time.perf_counter() - began
