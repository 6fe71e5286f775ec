"""Clients that PUT a blob whole push and pull through the edge, with nothing installed.

The edge runs the deployed function, before a registry over MiniStack, which compares checksums.
Taps before S3 and DynamoDB and before the gateway count what each got.
"""

from __future__ import annotations

import base64
import json
import random
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from moorage.common.data import SIGNING_KEY, DataNames
from moorage.edge.run import edge_of
from moorage.edge.server import EdgeOptions
from tests.clients import daemons
from tests.clients.contents import read_layout
from tests.clients.flows.builds import BuildKit
from tests.clients.flows.charts import push_and_pull_a_chart
from tests.clients.flows.place import USER, Place
from tests.clients.tap import Tap, tap
from tests.clients.tools import ClientError
from tests.emulators.backends import ministack_backend
from tests.support.servers import request, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clients.workshop import Workshop

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

LARGE = 4_700_000
WRITES = ("PutItem", "UpdateItem", "TransactWriteItems", "DeleteItem", "BatchWriteItem")
CLIENTS = (
    *("ctr2", "oras", "regctl", "oras-py"),
    *(pytest.param(name, marks=pytest.mark.nightly) for name in ("docker29", "nerdctl")),
)


@dataclass(frozen=True)
class EdgeWorld:
    """An edge's URL; what went to the gateway, and to S3 and DynamoDB; an admin's API token."""

    url: str
    gateway: Tap
    aws: Tap
    token: str | None

    @property
    def host(self) -> str:
        """``host:port``, as it stands in a reference."""
        return urlsplit(self.url).netloc

    def forget(self) -> None:
        """Count from here on."""
        self.gateway.exchanges.clear()
        self.aws.exchanges.clear()

    def s3_of(self, digest: str) -> list[str]:
        """Return the requests about a blob's object: those on its permanent key."""
        name = digest.partition(":")[2]
        return [
            f"{seen.method} {seen.status}"
            for seen in self.aws.exchanges
            if not seen.target and "/direct/" in seen.path and name in seen.path
        ]

    def writes(self) -> int:
        """Return how many writes DynamoDB got."""
        return sum(seen.target.rpartition(".")[2] in WRITES for seen in self.aws.exchanges)


@contextmanager
def edge_world(folder: Path, *, auth: bool) -> Iterator[EdgeWorld]:
    """Run an edge before a registry over MiniStack until the block ends."""
    with ExitStack() as stack:
        backend = stack.enter_context(ministack_backend("ssm", "sts"))
        aws = stack.enter_context(tap(backend.endpoint_url))
        endpoint = f"http://{aws.host}"
        file = folder / "token"
        words = ("--auth", "--admin-token-file", str(file)) if auth else ()
        registry = stack.enter_context(daemons.start_moorage("--aws-endpoint", endpoint, *words))
        gateway = stack.enter_context(tap(registry.gateway))
        environment = {
            **backend.environment,
            **DataNames().variables(),
            "AWS_ENDPOINT_URL": endpoint,
            "MOORAGE_AUTH": "on" if auth else "off",
            "MOORAGE_SIGNING_KEY": SIGNING_KEY,
        }
        edge = edge_of(EdgeOptions(port=0), f"http://{gateway.host}", environment)
        url = stack.enter_context(run_server(edge))
        token = file.read_text(encoding="utf-8").strip() if auth else None
        yield EdgeWorld(url, gateway, aws, token)


@pytest.fixture(scope="module", params=[False, True], ids=["open", "auth"])
def edged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EdgeWorld]:
    """An edge before an open registry, and before one that asks for a login."""
    with edge_world(tmp_path_factory.mktemp("edge"), auth=request.param) as world:
        yield world


@pytest.mark.parametrize("name", CLIENTS)
def test_a_layer_of_300_mb_goes_past_the_gateway(
    name: str, edged: EdgeWorld, workshop: Workshop
) -> None:
    """All of it in one PUT to S3, and back from S3; few requests and writes for each blob."""
    layout = workshop.image("one-big")
    sent = read_layout(layout)
    client = workshop.client(name)
    if edged.token is not None:
        client.log_in(edged.host, USER, edged.token)
    reference = f"{edged.host}/{workshop.repository}:latest"
    edged.forget()

    client.push(layout, reference)

    blobs = [blob for image in sent.images for blob in (image.config, *image.layers)]
    (large,) = [layer for image in sent.images for layer in image.layers]
    figures = (edged.gateway.blob_bytes, edged.s3_of(large), edged.writes())
    print(f"{name}: %d bytes of blobs by the gateway, S3 of the layer %s, writes %d" % figures)
    assert edged.gateway.blob_bytes < LARGE
    assert len(edged.s3_of(large)) <= 3, edged.s3_of(large)
    assert edged.s3_of(large)[0] == "PUT 200"
    # One more for each manifest: pending, live, its tag and the catalog.
    assert edged.writes() <= 3 * len(blobs) + 4

    edged.forget()
    pulled = client.pull(reference)
    assert pulled.unpacked() == sent.unpacked()
    if client.keeps_digests:
        assert pulled == sent
    got = [seen for seen in edged.aws.exchanges if seen.method == "GET" and "/direct/" in seen.path]
    assert got


WAYS = ("docker 29", "buildx", "oras", "helm", "regctl", "moorage push", "moorage proxy")


@pytest.mark.parametrize(
    ("name", "image", "told"),
    [
        ("skopeo", "one-6-mb", WAYS),
        ("skopeo", "one-20-mb", WAYS),
        ("crane", "one-20-mb", WAYS),
        # They say no length: the edge can't know.
        ("podman", "one-6-mb", WAYS),
        ("podman", "one-20-mb", ("HTTP content length exceeded 10485760 bytes",)),
        ("docker", "one-20-mb", ("HTTP content length exceeded 10485760 bytes",)),
    ],
)
def test_clients_that_send_a_layer_by_patch_print_the_ways_that_work(
    name: str, image: str, told: tuple[str, ...], edged: EdgeWorld, workshop: Workshop
) -> None:
    """Their layer's body is read before the answer, or they would print a broken connection."""
    client = workshop.client(name)
    if edged.token is not None:
        client.log_in(edged.host, USER, edged.token)
    with pytest.raises(ClientError) as refused:
        client.push(workshop.image(image), f"{edged.host}/{workshop.repository}:latest")
    said = " ".join(str(refused.value).split())
    assert [way for way in told if way not in said] == [], said


@pytest.mark.parametrize("program", ["helm3", "helm4"])
def test_helm_pushes_a_large_chart(program: str, edged: EdgeWorld, workshop: Workshop) -> None:
    """48 MiB, which is half of what helm takes."""
    place = Place(workshop.workspace, edged.host, workshop.repository, edged.token)
    edged.forget()
    push_and_pull_a_chart(place, program, files=12)
    assert edged.gateway.blob_bytes < LARGE


def test_buildkit_pushes_a_large_layer_that_it_built(edged: EdgeWorld, workshop: Workshop) -> None:
    """As docker buildx does: past the gateway, and another client pulls it back."""
    place = Place(workshop.workspace, edged.host, workshop.repository, edged.token)
    edged.forget()
    BuildKit(place, workshop.daemon("buildkitd"), random.Random(9).randbytes(20_000_000)).push()  # noqa: S311 - repeatable bytes
    assert edged.gateway.blob_bytes < LARGE


def test_a_pull_is_resumed_through_the_edge(edged: EdgeWorld, workshop: Workshop) -> None:
    """By the signed path, with a range from where it broke off; HEAD has the length."""
    layout = workshop.image("one-big")
    client = workshop.client("oras")
    if edged.token is not None:
        client.log_in(edged.host, USER, edged.token)
    client.push(layout, f"{edged.host}/{workshop.repository}:latest")
    (large,) = [layer for image in read_layout(layout).images for layer in image.layers]
    content = (layout / "blobs" / "sha256" / large.partition(":")[2]).read_bytes()
    authorization = _bearer(edged, workshop.repository)
    path = f"/v2/{workshop.repository}/blobs/{large}"
    status, headers, _ = request(edged.url, "GET", path, headers=authorization)
    assert status == 307
    place = headers["Location"]
    assert place.startswith("/v2/")
    status, headers, _ = request(edged.url, "HEAD", place)
    assert (status, headers["Content-Length"]) == (200, str(len(content)))
    half = len(content) // 2
    status, headers, body = request(edged.url, "GET", place, headers={"Range": f"bytes={half}-"})
    assert (status, body == content[half:]) == (206, True)
    assert headers["Docker-Content-Digest"] == large


def _bearer(edged: EdgeWorld, repository: str) -> dict[str, str]:
    """Return the header of a bearer token that may pull; none for an open registry."""
    if edged.token is None:
        return {}
    basic = base64.b64encode(f"{USER}:{edged.token}".encode()).decode()
    target = f"/v2/_token?scope=repository:{repository}:pull"
    headers = {"Authorization": f"Basic {basic}"}
    status, _, body = request(edged.url, "GET", target, headers=headers)
    assert status == 200
    return {"Authorization": f"Bearer {json.loads(body)['token']}"}
