"""Blobs over the API: pulls, ranges, redirects, mounts and deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chalicelib.api.pushing import NAME, blob

if TYPE_CHECKING:
    from tests.support.registries import RegistryUnderTest


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_small_blob_is_answered_here(shared: RegistryUnderTest, method: str) -> None:
    """Its headers say what it is, that ranges are served, and that it never changes."""
    digest = blob(shared, b"small")["digest"]
    got = shared.ask(method, f"{NAME}/blobs/{digest}")
    assert (got.status, len(got.body)) == (200, 5)
    assert dict(got.headers) == {
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000, immutable",
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": digest,
        "Docker-Distribution-Api-Version": "registry/2.0",
        "ETag": f'"{digest}"',
    }


def test_a_mount_links_and_a_delete_unlinks(registry: RegistryUnderTest) -> None:
    """A mounted blob outlives its deletion in the source; what is nowhere is an upload."""
    digest = blob(registry, b"shared", "one/app")["digest"]
    mounted = registry.ask("POST", f"two/app/blobs/uploads?mount={digest}&from=one/app")
    assert (mounted.status, mounted.headers["Location"]) == (201, f"/v2/two/app/blobs/{digest}")
    assert registry.ask("DELETE", f"one/app/blobs/{digest}").status == 202
    assert registry.ask("DELETE", f"one/app/blobs/{digest}").status == 404
    assert registry.ask("GET", f"one/app/blobs/{digest}").status == 404
    assert registry.ask("GET", f"two/app/blobs/{digest}").body == b"shared"
    for source in ("&from=one/app", "&from=no/where", ""):
        response = registry.ask("POST", f"three/app/blobs/uploads?mount={digest}{source}")
        assert response.status == 202


@pytest.mark.parametrize(
    ("header", "status", "body", "span"),
    [
        ("bytes=0-1", 206, b"01", "bytes 0-1/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("bytes=" + "9" * 5000 + "-", 200, b"0123456789", None),
    ],
)
def test_ranges_of_a_blob(
    shared: RegistryUnderTest, header: str, status: int, body: bytes | None, span: str | None
) -> None:
    """A range is served, said to be unsatisfiable, or ignored, as RFC 9110 says."""
    digest = blob(shared, b"0123456789")["digest"]
    got = shared.ask("GET", f"{NAME}/blobs/{digest}", range=header)
    assert (got.status, got.headers.get("Content-Range")) == (status, span)
    assert body is None or got.body == body


@pytest.mark.parametrize(
    ("validator", "resumes"),
    [
        ('"{digest}"', True),
        (' "{digest}" ', True),
        ('W/"{digest}"', False),
        ("{digest}", False),
        ('"another"', False),
        ('"{digest}", "{digest}"', False),
        ("Mon, 30 Nov 2026 09:23:19 GMT", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("header", ["bytes=2-3", "bytes=10-"])
def test_a_range_is_served_only_of_what_if_range_names(
    shared: RegistryUnderTest, validator: str, header: str, *, resumes: bool
) -> None:
    """By its ETag, compared strongly; of anything else the whole is sent, whatever the range."""
    digest = blob(shared, b"0123456789")["digest"]
    named = validator.format(digest=digest)
    got = shared.ask("GET", f"{NAME}/blobs/{digest}", range=header, if_range=named)
    if not resumes:
        assert (got.status, got.body) == (200, b"0123456789")
        assert "Content-Range" not in got.headers
    elif header == "bytes=2-3":
        assert (got.status, got.body) == (206, b"23")
    else:
        assert got.status == 416
