"""What a HEAD is answered, by strategy and by what is asked for: the whole table.

Source: docs/clients.md, "HEAD"; RFC 9110, 8.6.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chalicelib.digest import Digest
from chalicelib.settings import HeadStrategy
from moorage.common.data import REGION
from tests.chalicelib.api.pushing import IMAGE, INDEX, NAME, blob, image, put
from tests.support.registries import RegistryUnderTest, registry_over

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from tests.emulators.backends import Backend

INLINE_LIMIT = 100
SMALL, LARGE = b"a layer", b"a layer of more bytes than the inline limit " * 9
# Above this size a manifest's bytes are a blob in S3.
PADDING = "x" * 120_000
BODY, REDIRECT = HeadStrategy.BODY, HeadStrategy.REDIRECT

# How they name themselves and what they accept, as they were heard to.
DOCKER = {"user_agent": "docker/20.10.24+dfsg1 go/go1.19.8", "accept": INDEX}
CRANE = {"user_agent": "crane/v0.22.1 go-containerregistry/v0.22.1", "accept": f"{IMAGE},{INDEX}"}
RESOLVER = {"user_agent": "containerd/1.6.20~ds1", "accept": f"{IMAGE}, {INDEX}, */*"}
PUSHER = {"user_agent": "containerd/1.6.20~ds1", "accept": f"{IMAGE}, */*"}
ORAS = {"user_agent": "oras/1.3.6", "accept": f"{IMAGE}, {INDEX}"}
CURL = {"user_agent": "curl/7.88.1", "accept": "*/*"}
NOBODY: dict[str, str] = {}


@dataclass(frozen=True)
class Row:
    """What is asked, and the answer: its status, whether it names the digest, whose length it has.

    `length` is of the body, which the gateway counts and drops; None is a redirect, which has it
    at S3.
    """

    strategy: HeadStrategy
    target: str
    status: int
    digest: bool
    length: str | None
    asking: dict[str, str]


def rows() -> list[Row]:
    """Give the table."""
    table = [
        Row(BODY, "small", 200, digest=True, length="whole", asking=CURL),
        Row(BODY, "large", 307, digest=True, length=None, asking=CURL),
        Row(REDIRECT, "small", 307, digest=True, length=None, asking=CURL),
        Row(REDIRECT, "large", 307, digest=True, length=None, asking=CURL),
    ]
    for target in ("tag", "manifest", "tag in S3", "manifest in S3"):
        table += [
            Row(BODY, target, 200, digest=True, length="whole", asking=asking)
            for asking in (DOCKER, CRANE, RESOLVER, PUSHER, ORAS, CURL, NOBODY)
        ]
        # Only go-containerregistry learns a digest: it makes nothing of the length beside it.
        table.append(Row(REDIRECT, target, 200, digest=True, length="whole", asking=CRANE))
        table += [
            Row(REDIRECT, target, 200, digest=False, length="whole", asking=asking)
            for asking in (DOCKER, PUSHER, ORAS, CURL, NOBODY)
        ]
        # Only containerd's resolver hears of no length, where it names the digest itself.
        table.append(
            Row(REDIRECT, target, 204, digest=True, length="none", asking=RESOLVER)
            if target.startswith("manifest")
            else Row(REDIRECT, target, 200, digest=False, length="whole", asking=RESOLVER)
        )
    return table


@dataclass(frozen=True)
class Stored:
    """A registry for each strategy, and what both hold: the bytes and the path of each target."""

    registries: dict[HeadStrategy, RegistryUnderTest]
    contents: dict[str, bytes]
    paths: dict[str, str]

    def head(self, row: Row) -> Response:
        """Ask for what a row asks."""
        return self.registries[row.strategy].ask("HEAD", self.paths[row.target], b"", **row.asking)


@pytest.fixture(scope="module")
def stored(strict_moto: Backend) -> Stored:
    """Give registries that hold a small and a large blob, a small and a large manifest."""
    registries = {
        strategy: registry_over(strict_moto.fresh(), head=strategy, inline_limit=INLINE_LIMIT)
        for strategy in HeadStrategy
    }
    for registry in registries.values():
        blob(registry, LARGE)
        manifest = image(registry, SMALL)
        padded = image(registry, SMALL, annotations={"padding": PADDING})
        assert put(registry, "v1", manifest).status == put(registry, "v2", padded).status == 201
    paths = {
        "small": f"{NAME}/blobs/{Digest.of(SMALL)}",
        "large": f"{NAME}/blobs/{Digest.of(LARGE)}",
        "tag": f"{NAME}/manifests/v1",
        "manifest": f"{NAME}/manifests/{Digest.of(manifest)}",
        "tag in S3": f"{NAME}/manifests/v2",
        "manifest in S3": f"{NAME}/manifests/{Digest.of(padded)}",
    }
    contents = {"small": SMALL, "large": LARGE, "tag": manifest, "manifest": manifest}
    contents |= {"tag in S3": padded, "manifest in S3": padded}
    return Stored(registries, contents, paths)


def named(row: Row) -> str:
    """Name a row in pytest's output."""
    return f"{row.strategy} {row.target} {row.asking.get('user_agent', 'nobody').split('/')[0]}"


@pytest.mark.parametrize("row", rows(), ids=named)
def test_a_head_is_answered_as_the_table_says(row: Row, stored: Stored) -> None:
    """Status, digest and length are the row's, and the type is the content's own."""
    response = stored.head(row)
    content = stored.contents[row.target]
    digest = str(Digest.of(content))
    assert response.status == row.status
    assert response.headers.get("Docker-Content-Digest") == (digest if row.digest else None)
    assert len(response.body) == (len(content) if row.length == "whole" else 0)
    assert ("Location" in response.headers) == (row.length is None)
    kind = IMAGE if "manifests" in stored.paths[row.target] else "application/octet-stream"
    assert response.headers["Content-Type"] == kind


@pytest.mark.parametrize("strategy", HeadStrategy)
@pytest.mark.parametrize("path", ["blobs/sha256:" + "0" * 64, "manifests/v9"])
def test_what_is_not_there_is_404_under_each_strategy(
    strategy: HeadStrategy, path: str, stored: Stored
) -> None:
    """No strategy hides that a blob or a manifest is missing."""
    assert stored.registries[strategy].ask("HEAD", f"{NAME}/{path}").status == 404


@pytest.mark.parametrize(
    ("strategy", "target"), [(REDIRECT, "small"), (REDIRECT, "large"), (BODY, "large")]
)
def test_a_redirected_head_finds_the_true_length(
    strategy: HeadStrategy, target: str, stored: Stored
) -> None:
    """S3 answers a HEAD of the URL with the blob's length, and the URL may not be kept."""
    response = stored.registries[strategy].ask("HEAD", stored.paths[target])
    assert response.headers["Cache-Control"] == "no-store"
    url = urlsplit(str(response.headers["Location"]))
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    try:
        connection.request("HEAD", f"{url.path}?{url.query}")
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    assert answer.status == 200
    assert answer.headers["Content-Length"] == str(len(stored.contents[target]))


def signature(url: str, method: str) -> str:
    """Sign a presigned URL anew for a method, with the key that every test registry has."""
    plain, _, _ = url.partition("&X-Amz-Signature=")
    request = AWSRequest(method=method, url=plain)
    query = parse_qs(urlsplit(url).query)
    request.context["timestamp"] = query["X-Amz-Date"][0]
    signer = S3SigV4QueryAuth(Credentials("local", "local"), "s3", REGION)
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    signed: str = signer.signature(to_sign, request)
    return signed


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_url_is_signed_for_the_method_that_asked(method: str, stored: Stored) -> None:
    """The URL that a HEAD is given is signed for HEAD and no other method, as S3 would check."""
    path = stored.paths["large"]
    url = str(stored.registries[REDIRECT].ask(method, path).headers["Location"])
    (given,) = parse_qs(urlsplit(url).query)["X-Amz-Signature"]
    right = {other for other in ("HEAD", "GET", "PUT") if signature(url, other) == given}
    assert right == {method}
