"""What the API can't answer: the spec's status and code for each kind of bad input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chalicelib.api.pushing import code, put

if TYPE_CHECKING:
    from tests.support.registries import RegistryUnderTest


@pytest.mark.parametrize(
    ("method", "target", "status", "expected"),
    [
        ("GET", "nothing", 404, "UNSUPPORTED"),
        ("GET", "a/b/c", 404, "UNSUPPORTED"),
        ("PUT", "_catalog", 405, "UNSUPPORTED"),
        ("PATCH", "a/manifests/v1", 405, "UNSUPPORTED"),
        ("GET", "UPPER/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a/../b/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a%2Fb/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a%00b/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a%ff/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a\ud800/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a//b/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a/%2e%2e/b/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a/manifests/%2e%2e", 400, "NAME_INVALID"),
        ("GET", "a/manifests/v1%2Fx", 400, "NAME_INVALID"),
        ("GET", "a/blobs/uploads/%00", 400, "NAME_INVALID"),
        ("GET", "a/blobs/uploads/..", 400, "NAME_INVALID"),
        ("PATCH", "a/blobs/uploads/x%2Fy", 400, "NAME_INVALID"),
        ("GET", f"{'a' * 256}/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a/manifests/-bad", 404, "MANIFEST_UNKNOWN"),
        ("HEAD", f"a/manifests/{'t' * 129}", 404, "MANIFEST_UNKNOWN"),
        ("PUT", f"a/manifests/{'t' * 129}", 400, "TAG_INVALID"),
        ("DELETE", "a/manifests/-bad", 400, "TAG_INVALID"),
        ("GET", "a/manifests/sha256:bad", 400, "DIGEST_INVALID"),
        ("GET", "a/manifests/v1", 404, "MANIFEST_UNKNOWN"),
        ("GET", "a/blobs/sha256:baddigest", 400, "DIGEST_INVALID"),
        ("GET", f"a/blobs/sha256:{'0' * 64}", 404, "BLOB_UNKNOWN"),
        ("DELETE", f"a/blobs/sha256:{'0' * 64}", 404, "BLOB_UNKNOWN"),
        ("GET", "a/blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", "a/blobs/uploads/none", 400, "DIGEST_INVALID"),
        ("POST", "a/blobs/uploads?digest-algorithm=md5", 400, "DIGEST_INVALID"),
        ("POST", "a/blobs/uploads?digest=md5:00", 400, "DIGEST_INVALID"),
        ("POST", "a/blobs/uploads?mount=sha256:bad", 400, "DIGEST_INVALID"),
        ("GET", "a/referrers/sha256:bad", 400, "DIGEST_INVALID"),
    ],
)
def test_what_can_not_be_answered(
    registry: RegistryUnderTest, method: str, target: str, status: int, expected: str
) -> None:
    """Bad input is told the spec's code and status, and why."""
    response = registry.ask(method, target)
    assert (response.status, code(response)) == (status, expected)
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_a_manifest_above_the_limit_is_413(registry: RegistryUnderTest) -> None:
    """A manifest that is too large is told so."""
    response = put(registry, "v1", b" " * 4_500_001)
    assert (response.status, code(response)) == (413, "SIZE_INVALID")
