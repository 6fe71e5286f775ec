"""Counts what one push and one pull of each kind ask of S3, DynamoDB and the gateway, on the wire.

Nothing is timed: relays stand before the backend and before Moorage's gateway, and slow nothing.
"""

from __future__ import annotations

import json
import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench import workload
from bench.backends import Counts, ministack, relay
from bench.measure import AGAIN, CLIENTS, ELSEWHERE, PULL, PUSH, SKOPEO, Scenario
from bench.registries import PEER, PEER_BUCKET, counted_moorage, dynamodb_client, peer, s3_client
from bench.workload import WARM_UP
from chalicelib.digest import Digest
from moorage.common.data import DataNames
from tests.clients import images as made
from tests.clients.tools import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from http.client import HTTPResponse

    from bench.backends import Counted
    from bench.registries import RunningRegistry
    from bench.workload import Copy, Image, Layouts

IMAGES = (workload.NO_LAYER, workload.ONE_LARGE, workload.FOUR, workload.MANY_SMALL)
LISTED, CONNECTIONS = (10, 1_000, 5_000, 10_000), 8
"""Numbers of tags of a repository, which are listed.

Only counted: how long it takes is the emulators' own work, who look at each item one by one.
"""

_BATCH = 25
"""Items that DynamoDB writes in one BatchWriteItem."""

WHOLE_PUT = "whole PUT of 1 MB"
"""What containerd, oras and helm do with each blob: POST, and one PUT with all bytes."""


@dataclass(frozen=True)
class Asked:
    """What one step asked; `gateway` and `edge` are None where nothing passes one."""

    scenario: str
    step: str
    registry: str
    aws: Counts
    gateway: Counts | None
    edge: Counts | None = None


def count(layouts: Layouts, client: str, images: Sequence[Image] = IMAGES) -> list[Asked]:
    """Count what a client asks at Moorage."""
    with _moorage() as (aws, ours):
        return list(_counted(layouts, aws, ours, images, client))


def count_more(layouts: Layouts, listed: Sequence[int] = LISTED) -> list[Asked]:
    """Count at Moorage what no client does alone: a blob in one PUT, and lists of tags."""
    with _moorage() as (aws, ours):
        whole = _asked(aws, ours, WHOLE_PUT, PUSH, partial(_put_whole, ours))
        return [whole, *_listed(layouts, aws, ours, listed)]


def count_peer(
    layouts: Layouts, images: Sequence[Image] = IMAGES, listed: Sequence[int] = LISTED
) -> list[Asked]:
    """Count what skopeo asks at the peer, and lists of tags there."""
    with ministack() as behind, relay(behind, slowed=False) as aws, peer(aws.url) as theirs:
        return [
            *_counted(layouts, aws, theirs, images, SKOPEO),
            *_listed(layouts, aws, theirs, listed),
        ]


@contextmanager
def _moorage() -> Iterator[tuple[Counted, RunningRegistry]]:
    with (
        ministack() as behind,
        relay(behind, slowed=False) as aws,
        counted_moorage(aws.url) as ours,
    ):
        # What no client has done before is done once uncounted: there is more to load then.
        _put_whole(ours)
        yield aws, ours


def _counted(
    layouts: Layouts, aws: Counted, registry: RunningRegistry, images: Sequence[Image], client: str
) -> Iterator[Asked]:
    push, pull = CLIENTS[client]
    warm_up = layouts.copy(WARM_UP)
    push(registry, warm_up)
    pull(registry, warm_up)
    for image in images:
        copy, name = layouts.copy(image), Scenario(image, client).name
        steps: dict[str, Callable[[], object]] = {
            PUSH: partial(push, registry, copy),
            AGAIN: partial(push, registry, copy),
            ELSEWHERE: partial(push, registry, copy, elsewhere=True),
            PULL: partial(pull, registry, copy),
        }
        for step, act in steps.items():
            yield _asked(aws, registry, name, step, act)


def _listed(
    layouts: Layouts, aws: Counted, registry: RunningRegistry, listed: Sequence[int]
) -> Iterator[Asked]:
    for number in listed:
        copy = layouts.copy(WARM_UP)
        CLIENTS[SKOPEO][0](registry, copy)
        _seed(registry, copy, aws.url, number)
        act = partial(_list_tags, registry, copy, number)
        yield _asked(aws, registry, f"list of {number:,} tags", "list", act)


def _asked(
    aws: Counted, registry: RunningRegistry, scenario: str, step: str, act: Callable[[], object]
) -> Asked:
    counted = (aws, registry.gateway, registry.edge)
    before = [each.counts() if each else None for each in counted]
    act()
    after = [each.counts() if each else None for each in counted]
    asked, gateway, edge = (
        now.since(then) if now and then else None for now, then in zip(after, before, strict=True)
    )
    if edge is not None and not edge.rows:
        edge = None
    return Asked(scenario, step, registry.name, asked or Counts({}), gateway, edge)


def _list_tags(registry: RunningRegistry, copy: Copy, number: int) -> None:
    """List all tags of a repository; raises RuntimeError where some are missing."""
    name = f"docker://{registry.host}/bench/{copy.name}"
    listed = json.loads(run("skopeo", "list-tags", "--tls-verify=false", name))["Tags"]
    if len(listed) != number:
        raise RuntimeError(f"{registry.name} lists {len(listed)} tags of {number}")


def _seed(registry: RunningRegistry, copy: Copy, aws: str, number: int) -> None:
    """Give a pushed image so many tags in all, behind the registry's back."""
    names = [f"seeded-{each:05}" for each in range(1, number)]
    if registry.name == PEER:
        s3 = s3_client(aws)
        tags = f"docker/registry/v2/repositories/bench/{copy.name}/_manifests/tags"
        digest = made.root_of(copy.path)["digest"]
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            put = partial(s3.put_object, Bucket=PEER_BUCKET, Body=digest.encode())
            list(threads.map(lambda name: put(Key=f"{tags}/{name}/current/link"), names))
        return
    dynamodb = dynamodb_client(aws)
    table = DataNames().registry_table
    found = dynamodb.query(
        TableName=table,
        KeyConditionExpression="pk = :repository",
        ExpressionAttributeValues={":repository": {"S": f"REPO#bench/{copy.name}"}},
    )
    items: list[Any] = [
        {"PutRequest": {"Item": {**item, "sk": {"S": row.removesuffix(made.TAG) + name}}}}
        for item in found["Items"]
        if (row := item["sk"]["S"]).endswith(f"#{made.TAG}")
        for name in names
    ]
    for first in range(0, len(items), _BATCH):
        dynamodb.batch_write_item(RequestItems={table: items[first : first + _BATCH]})


def _put_whole(registry: RunningRegistry) -> None:
    """Push one blob straight at the gateway, in one PUT."""
    base = f"http://{registry.gateway_host}"
    data = os.urandom(1_000_000)
    digest = Digest.of(data)
    with _sent("POST", f"{base}/v2/bench/whole/blobs/uploads/", b"") as opened:
        location = urlsplit(opened.headers["Location"])
    query = f"{location.query}&" if location.query else ""
    target = f"{base}{location.path}?{query}digest={digest}"
    with _sent("PUT", target, data) as closed:
        assert closed.status == 201  # noqa: PLR2004, S101 - what is counted must have worked


def _sent(method: str, url: str, data: bytes) -> HTTPResponse:
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=60)  # noqa: S310  loopback
    return answer
