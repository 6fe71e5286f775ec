"""An edge before a gateway and MiniStack, for a module's tests that change nothing about it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from moorage.edge.origins import ApiOrigin, BucketOrigin, Origin
from moorage.edge.server import Edge, EdgeOptions
from tests.support.edge import DISTRIBUTION, function_with, store_of
from tests.support.servers import Recorder, run_gateway, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moorage.edge.distribution import Distribution
    from moorage.edge.runtime import EdgeFunction
    from tests.emulators.backends import Backend


@dataclass(frozen=True)
class PlayedEdge:
    """An edge's `url`, the function behind the gateway, and the bucket."""

    url: str
    api: Recorder
    backend: Backend

    def stored(self) -> dict[str, bytes]:
        """Return every object of the bucket."""
        s3 = self.backend.s3()
        listed = s3.list_objects_v2(Bucket=self.backend.bucket).get("Contents", [])
        bucket = self.backend.bucket
        return {
            each["Key"]: s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
            for each in listed
        }


@contextlib.contextmanager
def run_edge(
    backend: Backend,
    function: EdgeFunction | None = None,
    distribution: Distribution = DISTRIBUTION,
    kind: type[Edge] = Edge,
) -> Iterator[PlayedEdge]:
    """Run an edge over a new bucket until the block ends."""
    fresh, api = backend.fresh(), Recorder()
    with run_gateway(api) as gateway:
        origins: dict[str, Origin] = {
            "api": ApiOrigin(gateway),
            "bucket": BucketOrigin.at(fresh.environment),
        }
        running = function or function_with(store_of())
        with run_server(kind(EdgeOptions(port=0), distribution, running, origins)) as url:
            yield PlayedEdge(url, api, fresh)


@pytest.fixture(scope="module")
def shared_edge(ministack: Backend) -> Iterator[PlayedEdge]:
    """The deployed function, over one bucket."""
    with run_edge(ministack) as edge:
        yield edge


@pytest.fixture
def edge(shared_edge: PlayedEdge) -> PlayedEdge:
    """The same, with an empty bucket and an API that nobody has asked."""
    s3, bucket = shared_edge.backend.s3(), shared_edge.backend.bucket
    for key in shared_edge.stored():
        s3.delete_object(Bucket=bucket, Key=key)
    shared_edge.api.events.clear()
    shared_edge.api.answer = {"statusCode": 200}
    return shared_edge
