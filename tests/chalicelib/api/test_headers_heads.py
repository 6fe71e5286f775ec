"""What a HEAD is answered, by strategy, by what is asked for and by who asks.

Source: docs/clients.md, "HEAD"; RFC 9110, 8.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.digest import Digest
from chalicelib.registry.service import Limits
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.chalicelib.api.pushing import IMAGE, INDEX, NAME, a_request, blob, image, put
from tests.support.registries import RegistryUnderTest, registry_in_memory, registry_over
from tests.support.servers import request

if TYPE_CHECKING:
    from tests.emulators.backends import Backend

INLINE_LIMIT = 100
SMALL, LARGE = b"a layer", b"a layer of more bytes than the inline limit " * 9
# Above this size a manifest's bytes are a blob in S3.
PADDING = "x" * 120_000
BODY, REDIRECT = HeadStrategy.BODY, HeadStrategy.REDIRECT

# How they name themselves and what they accept, as they were heard to.
CONTAINERD, GO = "containerd/1.6.20~ds1", "crane/v0.22.1 go-containerregistry/v0.22.1"
CLIENTS: dict[str, dict[str, str]] = {
    "docker": {"user_agent": "docker/20.10.24+dfsg1 go/go1.19.8", "accept": INDEX},
    "crane": {"user_agent": GO, "accept": f"{IMAGE},{INDEX}"},
    "containerd's resolver": {"user_agent": CONTAINERD, "accept": f"{IMAGE}, {INDEX}, */*"},
    "containerd's pusher": {"user_agent": CONTAINERD, "accept": f"{IMAGE}, */*"},
    "oras": {"user_agent": "oras/1.3.6", "accept": f"{IMAGE}, {INDEX}"},
    "curl": {"user_agent": "curl/7.88.1", "accept": "*/*"},
    "nobody": {},
}
TARGETS = ("small", "large", "tag", "manifest", "tag in S3", "manifest in S3")


def expected(strategy: HeadStrategy, target: str, client: str) -> tuple[int, bool, bool]:
    """Return an answer's status, whether it names the digest, and whether it has the length.

    The length is of the body, which the gateway counts and drops; a redirect has it at S3.
    """
    if target in {"small", "large"}:
        redirected = strategy is REDIRECT or target == "large"
        return (307, True, False) if redirected else (200, True, True)
    # Only go-containerregistry learns a digest: it makes nothing of the length beside it.
    if strategy is BODY or client == "crane":
        return 200, True, True
    # Only containerd's resolver hears of no length, where it names the digest itself.
    if client == "containerd's resolver" and target.startswith("manifest"):
        return 204, True, False
    return 200, False, True


@dataclass(frozen=True)
class Stored:
    """A registry for each strategy, and what both hold: the bytes and the path of each target."""

    registries: dict[HeadStrategy, RegistryUnderTest]
    contents: dict[str, bytes]
    paths: dict[str, str]


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


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("strategy", HeadStrategy)
def test_a_head_has_the_status_digest_and_length_of_its_row(
    strategy: HeadStrategy, target: str, client: str, stored: Stored
) -> None:
    """The type is the content's own."""
    path, content = stored.paths[target], stored.contents[target]
    response = stored.registries[strategy].ask("HEAD", path, b"", **CLIENTS[client])
    status, has_digest, has_length = expected(strategy, target, client)
    assert response.status == status
    digest = str(Digest.of(content)) if has_digest else None
    assert response.headers.get("Docker-Content-Digest") == digest
    assert len(response.body) == (len(content) if has_length else 0)
    assert ("Location" in response.headers) == (status == 307)
    kind = IMAGE if "manifests" in path else "application/octet-stream"
    assert response.headers["Content-Type"] == kind


@pytest.mark.parametrize("strategy", HeadStrategy)
@pytest.mark.parametrize("path", ["blobs/sha256:" + "0" * 64, "manifests/v9"])
def test_missing_content_is_404_with_each_strategy(
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
    size = str(len(stored.contents[target]))
    assert response.headers["Moorage-Blob-Size"] == size
    url = str(response.headers["Location"])
    status, headers, _ = request(url, "HEAD", url)
    assert (status, headers["Content-Length"]) == (200, size)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_url_is_signed_for_the_method_of_its_request(method: str) -> None:
    """The URL for a HEAD can't be used for a GET: see test_objects_contract.py."""
    memory = registry_in_memory(Limits())
    now, digest = memory.clock.now(), Digest.of(LARGE)
    memory.registry.uploads.put_whole(NAME, "", digest, LARGE)
    api = Api(lambda: memory.registry, ApiOptions(INLINE_LIMIT, REDIRECT, INLINE_LIMIT))
    url = str(api(a_request(method, f"{NAME}/blobs/{digest}", now)).headers["Location"])
    assert url.startswith(f"memory:{method}:")
