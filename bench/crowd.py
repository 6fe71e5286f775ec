"""Many clients at once, and many tags: what one client at a time doesn't show.

S3 and DynamoDB take the time of bench/cloud.py, and the registries take turns, as in measure.py.
"""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.backends import BACKENDS, relay
from bench.measure import PULL, PUSH, Run, in_turns
from bench.registries import PEER, PEER_BUCKET, dynamodb_client, moorage, peer, s3_client
from bench.workload import MB, Image, by_skopeo, pull_by_skopeo
from moorage.common.data import DataNames
from tests.clients import images
from tests.clients.tools import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bench.registries import RunningRegistry
    from bench.workload import Copy, Layouts

IMAGE = Image("4 x 5 MB", 4, 5 * MB)
PUSHERS, PULLERS, TAGS, LISTED, CONNECTIONS = 8, 16, 200, 5_000, 8
PUSHING, PULLING = f"{PUSHERS} at once, {IMAGE.name}", f"{PULLERS} at once, {IMAGE.name}"
TAGGING, LISTING = f"{TAGS} tags of one image", f"{LISTED:,} tags"
SLOWED = True
_BATCH = 25
"""Items that DynamoDB writes in one BatchWriteItem."""


def measure(layouts: Layouts, backend: str, repeats: int) -> Iterator[Run]:
    """Run each kind of work `repeats` times with each registry."""
    with (
        BACKENDS[backend]() as behind,
        relay(behind, slowed=True) as aws,
        moorage(aws.url) as ours,
        peer(aws.url) as theirs,
    ):
        listed = layouts.copy(Image("listed", 1, 1000))
        for registry in (ours, theirs):
            by_skopeo(registry, listed)
            _seed(registry, listed, behind)
        works: dict[tuple[str, str], Callable[[RunningRegistry], float]] = {}
        for repeat in range(repeats):
            copies = [layouts.copy(IMAGE) for _ in range(PUSHERS)]
            works = {
                (PUSHING, PUSH): partial(_together, by_skopeo, copies),
                (PULLING, PULL): partial(_together, pull_by_skopeo, copies * 2),
                (TAGGING, PUSH): partial(_tag, copies[0]),
                (LISTING, "list"): partial(_list, listed),
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


def _list(copy: Copy, registry: RunningRegistry) -> float:
    """List all tags of a repository."""
    began = time.perf_counter()
    name = f"docker://{registry.host}/bench/{copy.name}"
    listed = json.loads(run("skopeo", "list-tags", "--tls-verify=false", name))["Tags"]
    took = time.perf_counter() - began
    if len(listed) != LISTED:
        raise RuntimeError(f"{registry.name} lists {len(listed)} tags of {LISTED}")
    return took


def _seed(registry: RunningRegistry, copy: Copy, behind: str) -> None:
    """Give an image as many tags as are to be listed, behind the registry's back."""
    names = [f"seeded-{number:05}" for number in range(1, LISTED)]
    if registry.name == PEER:
        s3 = s3_client(behind)
        tags = f"docker/registry/v2/repositories/bench/{copy.name}/_manifests/tags"
        digest = images.root_of(copy.path)["digest"]
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            put = partial(s3.put_object, Bucket=PEER_BUCKET, Body=digest.encode())
            list(threads.map(lambda name: put(Key=f"{tags}/{name}/current/link"), names))
        return
    dynamodb = dynamodb_client(behind)
    table = DataNames().registry_table
    items: list[Any] = [
        {"PutRequest": {"Item": {**item, "sk": {"S": row.removesuffix(images.TAG) + name}}}}
        for item in dynamodb.scan(TableName=table)["Items"]
        if copy.name in item["pk"]["S"] and (row := item["sk"]["S"]).endswith(f"#{images.TAG}")
        for name in names
    ]
    for first in range(0, len(items), _BATCH):
        dynamodb.batch_write_item(RequestItems={table: items[first : first + _BATCH]})


def _timed(act: Callable[[Any], object], what: Sequence[Any], threads: int) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(act, what))
    return time.perf_counter() - began
