"""HEAD through the proxy: length and digest are those of a GET, whatever the gateway says."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from multidict import CIMultiDict

from chalicelib.digest import Digest
from moorage.common.patience import UpstreamResponse
from moorage.gateway.response import HeadMode
from moorage.gateway.server import GatewayOptions
from moorage.proxy import heads
from moorage.proxy.heads import AbsentBlobs
from tests.support.fake_registry import run_fake_registry
from tests.support.servers import push_blob, request, run_gateway, run_proxy

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Iterator

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = f"sha256:{'0' * 64}"
FAR = "https://bucket.s3.amazonaws.com/blobs/x?X-Amz-Signature=0"
TYPE = "application/vnd.oci.image.manifest.v1+json"


def answer_of(status: int, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """Return what a Lambda function returns."""
    text = base64.b64encode(body).decode()
    return {"statusCode": status, "headers": headers, "body": text, "isBase64Encoded": True}


@dataclass
class HeadFunction:
    """Answers as the registry does, whose body on HEAD is to be counted; keeps what it is asked."""

    blob: bytes = b"a blob"
    redirects: bool = False
    says_size: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, event: dict[str, Any], _: object) -> object:
        """Answer one request."""
        method, path = event["httpMethod"], event["path"]
        headers = {name.lower(): value for name, value in event["headers"].items()}
        self.asked.append((method, path))
        self.headers.append(headers)
        if path.endswith(("/none", "f" * 64)):
            return answer_of(404, b'{"errors": []}', {"Content-Type": "application/json"})
        if "/manifests/" in path:
            return self._manifest(method, headers)
        return self._blob(method, headers.get("range"))

    def _manifest(self, method: str, headers: dict[str, str]) -> object:
        told = {"Content-Type": TYPE, "Docker-Content-Digest": DIGEST, "ETag": f'"{DIGEST}"'}
        if headers.get("if-none-match") == told["ETag"]:
            return answer_of(304, b"", told)
        if method == "HEAD":
            # As the strategy `redirect` has it for most clients.
            del told["Docker-Content-Digest"]
        if headers.get("range") or headers.get("accept-encoding"):
            return answer_of(206, MANIFEST[:1], told)
        return answer_of(200, MANIFEST, told)

    def _blob(self, method: str, span: str | None) -> object:
        told = {"Docker-Content-Digest": DIGEST, "Content-Type": "application/octet-stream"}
        if self.says_size and method == "HEAD":
            told["Moorage-Blob-Size"] = str(len(self.blob))
        if self.redirects:
            return answer_of(307, b"", {**told, "Location": f"{FAR}&method={method}"})
        if method == "GET":
            assert span == "bytes=0-0"
            size = len(self.blob)
            told["Content-Range"] = f"bytes {'0-0' if size else '*'}/{size}"
            return answer_of(206 if size else 416, self.blob[:1], told)
        return answer_of(200, self.blob, {**told, "Accept-Ranges": "bytes"})


@pytest.fixture
def function() -> HeadFunction:
    """The registry, which has got no request."""
    return HeadFunction()


@pytest.fixture(params=[HeadMode.ZERO, HeadMode.BODY], ids=str)
def proxy(request: pytest.FixtureRequest, function: HeadFunction) -> Iterator[str]:
    """A proxy before a gateway that says 0, and one before a gateway that counts."""
    options = GatewayOptions(port=0, head_mode=request.param)
    with run_gateway(function, options) as upstream, run_proxy(upstream) as url:
        yield url


def head(
    proxy: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage]:
    """Ask by HEAD."""
    status, told, body = request(proxy, "HEAD", path, headers=headers)
    assert body == b""
    return status, told


@pytest.mark.parametrize("name", ["a", "manifests", "a/manifests/b", "a/blobs/uploads", "a%2Db"])
@pytest.mark.parametrize("reference", ["latest", DIGEST, "latest/"])
def test_a_manifest_has_its_length_and_digest(
    proxy: str, function: HeadFunction, name: str, reference: str
) -> None:
    """By tag and by digest; the registry is asked by GET, with what the client accepts."""
    sent = {"Accept": f"{TYPE}, */*;q=0.1", "Authorization": "Bearer secret", "User-Agent": "ua"}
    status, told = head(proxy, f"/v2/{name}/manifests/{reference}?ns=docker.io", sent)
    assert (status, told["Content-Length"]) == (200, str(len(MANIFEST)))
    assert (told["Docker-Content-Digest"], told["Content-Type"]) == (DIGEST, TYPE)
    assert told["ETag"] == f'"{DIGEST}"'
    assert function.asked == [("GET", f"/{name}/manifests/{reference}")]
    [asked] = function.headers
    assert {name: asked.get(name.lower()) for name in sent} == sent


def test_a_range_plays_no_part_in_a_head(proxy: str) -> None:
    """Nor does a compression: the length is that of the manifest as it is stored."""
    sent = {"Range": "bytes=0-0", "If-Range": '"x"', "Accept-Encoding": "gzip"}
    status, told = head(proxy, "/v2/a/manifests/latest", sent)
    assert (status, told["Content-Length"]) == (200, str(len(MANIFEST)))


def test_a_manifest_that_has_not_changed_is_304(proxy: str) -> None:
    """The condition reaches the registry."""
    status, told = head(proxy, "/v2/a/manifests/latest", {"If-None-Match": f'"{DIGEST}"'})
    assert (status, told["ETag"]) == (304, f'"{DIGEST}"')
    assert told["Content-Length"] in {None, "0"}


@pytest.mark.parametrize("path", ["manifests/none", f"manifests/sha256:{'f' * 64}"])
def test_a_manifest_that_is_missing_is_404(proxy: str, path: str) -> None:
    """With the headers of the error and no body: the connection carries the next request."""
    status, told = head(proxy, f"/v2/a/{path}")
    assert (status, told["Content-Type"]) == (404, "application/json")
    assert told["Docker-Content-Digest"] is None


@pytest.mark.parametrize("blob", [b"", b"x", b"x" * 70_000])
@pytest.mark.parametrize("sent", [{}, {"Range": "bytes=1-2", "If-Range": '"x"'}], ids=str)
def test_a_blob_has_its_size(
    proxy: str, function: HeadFunction, blob: bytes, sent: dict[str, str]
) -> None:
    """Where the gateway says 0, its first byte is asked for: the bytes are not fetched."""
    function.blob = blob
    status, told = head(proxy, f"/v2/a/blobs/{DIGEST}", sent)
    assert (status, told["Content-Length"]) == (200, str(len(blob)))
    assert (told["Docker-Content-Digest"], told["Accept-Ranges"]) == (DIGEST, "bytes")
    assert told["Content-Range"] is None
    assert [method for method, _ in function.asked][:1] == ["HEAD"]
    assert len(function.asked) <= 2


def test_a_blob_in_s3_is_a_redirect_for_head(proxy: str, function: HeadFunction) -> None:
    """S3 sends the true length, for the method that the URL is signed for."""
    function.redirects = True
    status, told = head(proxy, f"/v2/a/blobs/{DIGEST}")
    assert (status, told["Location"]) == (307, f"{FAR}&method=HEAD")
    assert function.asked == [("HEAD", f"/a/blobs/{DIGEST}")]


def test_a_redirect_that_says_the_size_is_answered_here(proxy: str, function: HeadFunction) -> None:
    """The client has no request to S3 to make."""
    function.redirects = function.says_size = True
    status, told = head(proxy, f"/v2/a/blobs/{DIGEST}")
    assert (status, told["Content-Length"], told["Docker-Content-Digest"]) == (200, "6", DIGEST)
    assert told["Location"] is None


def test_a_blob_that_is_missing_is_404(proxy: str, function: HeadFunction) -> None:
    """It is asked for once."""
    assert head(proxy, f"/v2/a/blobs/sha256:{'f' * 64}")[0] == 404
    assert len(function.asked) == 1


def test_a_blob_that_was_missing_a_moment_ago_is_asked_for_every_other_time(
    proxy: str, function: HeadFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they push, skopeo and podman ask twice in a row. Another login's answer is its own."""
    path = f"/v2/a/blobs/sha256:{'f' * 64}"
    for asked in (1, 1, 2, 2):
        assert head(proxy, path)[0] == 404
        assert len(function.asked) == asked
    head(proxy, path)
    head(proxy, path, {"Authorization": "Basic x"})
    head(proxy, path.replace("/a/", "/b/"))
    assert len(function.asked) == 5
    monkeypatch.setattr(heads, "_ABSENT_SECONDS", 0.0)
    for asked in (6, 7):
        head(proxy, f"{path[:-1]}e{'f' * 64}")
        assert len(function.asked) == asked


class SlowRegistry:
    """Lacks a blob; before it says so the second time, `meanwhile` is done."""

    def __init__(self) -> None:
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def ask(self, *_: object) -> UpstreamResponse:
        """Answer."""
        self.asked += 1
        self.meanwhile()
        return UpstreamResponse(404, CIMultiDict(), b"")


@pytest.mark.parametrize("digest", [DIGEST, ""])
@pytest.mark.parametrize("colon", [":", "%3A"])
@pytest.mark.parametrize("while_asked", [False, True])
def test_a_blob_that_came_through_the_proxy_is_not_404(
    digest: str, colon: str, *, while_asked: bool
) -> None:
    """Also if it came during the request; another blob changes nothing."""
    registry, absent = SlowRegistry(), AbsentBlobs()
    upstream: Any = registry

    def ask() -> int:
        path = f"/v2/a/blobs/{DIGEST.replace(':', colon)}"
        asyncio.run(absent.head(upstream, path, CIMultiDict()))
        return registry.asked

    assert ask() == 1
    absent.came("sha256:other")
    assert ask() == 1
    if while_asked:
        registry.meanwhile = lambda: absent.came(digest)
    assert ask() == 2
    if not while_asked:
        absent.came(digest)
    assert ask() == 3


def test_a_push_is_seen_at_once() -> None:
    """A HEAD after the 201 asks the registry."""
    with run_fake_registry() as fake, run_proxy(fake.url) as url:
        path = f"/v2/a/blobs/{Digest.of(b'abc')}"
        assert head(url, path)[0] == 404
        assert push_blob(url, "a", b"abc") == 201
        assert head(url, path)[0] == 200


def test_an_unknown_size_is_not_0() -> None:
    """If the second request fails, its answer is the client's."""
    answers = iter([answer_of(200, b"", {}), answer_of(503, b"", {"Retry-After": "2"})])
    with run_gateway(lambda *_: next(answers)) as upstream, run_proxy(upstream) as url:
        status, told = head(url, f"/v2/a/blobs/{DIGEST}")
    assert (status, told["Retry-After"]) == (503, "2")


def test_every_other_head_passes_unchanged(proxy: str, function: HeadFunction) -> None:
    """As it came."""
    assert head(proxy, "/v2/a/tags/list/none")[0] == 404
    assert function.asked == [("HEAD", "/a/tags/list/none")]
