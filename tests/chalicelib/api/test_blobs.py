"""Blobs over the API: pulls, ranges, redirects, mounts and deletes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.service import Limits
from chalicelib.settings import HeadStrategy
from tests.chalicelib.api.pushing import NAME, blob
from tests.support.calls import record_calls
from tests.support.registries import registry_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.api.messages import Response
    from tests.emulators.backends import Backend
    from tests.support.registries import RegistryUnderTest

LINK_GRACE = Limits().link_grace


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_small_blob_is_answered_by_the_api(shared: RegistryUnderTest, method: str) -> None:
    """Its headers give its type, that ranges are served, and that it never changes."""
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


def _patched(registry: RegistryUnderTest, data: bytes) -> Response:
    return closed(registry, [data[:3]], data)


def _put(registry: RegistryUnderTest, data: bytes) -> Response:
    return closed(registry, [], data)


def _posted(registry: RegistryUnderTest, data: bytes) -> Response:
    return registry.ask("POST", f"one/app/blobs/uploads?digest={Digest.of(data)}", data)


@pytest.mark.parametrize("push", [_patched, _put, _posted])
@pytest.mark.parametrize("size", [Limits().blob_inline, Limits().blob_inline + 1])
def test_a_blob_whose_bytes_are_in_the_record_is_read_without_s3(
    strict_moto: Backend, push: Callable[[RegistryUnderTest, bytes], Response], size: int
) -> None:
    """Whole, by range, or mounted. A blob one byte larger is read from S3."""
    registry, data = registry_over(strict_moto.fresh()), os.urandom(size)
    digest = Digest.of(data)
    assert push(registry, data).status == 201
    mounted = registry.ask("POST", f"two/app/blobs/uploads?mount={digest}&from=one/app")
    assert mounted.status == 201
    for name in ("one", "two"):
        with record_calls(registry.s3) as calls:
            assert registry.ask("GET", f"{name}/app/blobs/{digest}").body == data
            part = registry.ask("GET", f"{name}/app/blobs/{digest}", b"", Range="bytes=1-3")
        assert (part.status, part.body) == (206, data[1:4])
        expected = {"GetObject": 2} if size > Limits().blob_inline else {}
        assert calls.operations("s3") == expected


def test_a_mount_links_and_a_delete_unlinks(registry: RegistryUnderTest) -> None:
    """A mounted blob stays after its deletion in the source; an unknown one is an upload."""
    digest = blob(registry, b"shared", "one/app")["digest"]
    mounted = registry.ask("POST", f"two/app/blobs/uploads?mount={digest}&from=one/app")
    assert (mounted.status, mounted.headers["Location"]) == (201, f"/v2/two/app/blobs/{digest}")
    assert registry.ask("DELETE", f"one/app/blobs/{digest}").status == 202
    assert registry.ask("DELETE", f"one/app/blobs/{digest}").status == 404
    assert registry.ask("GET", f"one/app/blobs/{digest}").status == 404
    assert registry.ask("GET", f"two/app/blobs/{digest}").body == b"shared"


@pytest.mark.parametrize(
    "query",
    [
        "mount={digest}",
        "mount={digest}&from=",
        "mount={digest}&from=no/where",
        "mount={digest}&from=One/App",
        "mount={digest}&from=127.0.0.1:5000/one/app",
        "mount={digest}&from=one/app/",
        "mount={digest}&from=../one/app",
        "mount={digest}&from=one%2520app",
        "mount={digest}&from={long}",
        "mount=&from=one/app",
        "mount=latest&from=one/app",
        "mount=sha256:bad&from=one/app",
        "mount={upper}&from=one/app",
        "mount=sha384:{long}&from=one/app",
        "mount=md5:{long}",
    ],
)
def test_a_mount_that_is_impossible_opens_a_session(shared: RegistryUnderTest, query: str) -> None:
    """For any reason, the answer is 202, and the client uploads the blob."""
    digest = blob(shared, b"shared", "one/app")["digest"]
    asked = query.format(digest=digest, upper=digest.upper(), long="a" * 300)
    opened = shared.ask("POST", f"three/app/blobs/uploads?{asked}")
    assert opened.status == 202
    data = b"uploaded instead"
    closed = f"{opened.headers['Location']}&digest={Digest.of(data)}"
    assert shared.ask("PUT", closed, data).status == 201


PART = 6 * 1024 * 1024

PUSHES: dict[str, Callable[[RegistryUnderTest, bytes], Response]] = {
    "POST whole": lambda registry, data: registry.ask(
        "POST", f"one/app/blobs/uploads?digest={Digest.of(data)}", data
    ),
    "PUT of a tail": lambda registry, data: closed(registry, [data[:3]], data),
    "PUT of parts": lambda registry, data: closed(registry, [data[:PART], data[PART:]], data),
}


def closed(registry: RegistryUnderTest, chunks: list[bytes], data: bytes) -> Response:
    """Send the chunks, and what is left of the data with the closing PUT."""
    at = str(registry.ask("POST", "one/app/blobs/uploads").headers["Location"])
    for chunk in chunks:
        at = str(registry.ask("PATCH", at, chunk).headers["Location"])
    rest = data[sum(map(len, chunks)) :]
    return registry.ask("PUT", f"{at}&digest={Digest.of(data)}", rest)


@pytest.mark.parametrize("size", [10, PART + 10], ids=["small", "large"])
@pytest.mark.parametrize("push", PUSHES)
def test_a_push_heals_a_blob_whose_object_is_gone(
    registry: RegistryUnderTest, push: str, size: int
) -> None:
    """No mount links it, and after the push every repository has it."""
    data = os.urandom(size)
    digest = blob(registry, data, "one/app")["digest"]
    for name in ("two", "three"):
        mounted = registry.ask("POST", f"{name}/app/blobs/uploads?mount={digest}&from=one/app")
        assert mounted.status == 201
    registry.s3.delete_object(Bucket=registry.bucket, Key=registry.stored()[0])
    mounted = registry.ask("POST", f"four/app/blobs/uploads?mount={digest}&from=one/app")
    assert mounted.status == 202
    assert PUSHES[push](registry, data).status == 201
    assert len(registry.stored()) == 1
    for name in ("one", "two", "three"):
        link = registry.registry.blobs.stat(f"{name}/app", Digest.parse(digest))
        assert registry.ports.objects.get(link.key) == data
        assert registry.ask("DELETE", f"{name}/app/blobs/{digest}").status == 202
    record = registry.ports.metadata.get_record(Digest.parse(digest))
    assert record is not None
    assert record.links == 0


@pytest.mark.parametrize("head", HeadStrategy)
def test_a_head_looks_at_the_object_when_it_touches_the_link(
    strict_moto: Backend, head: HeadStrategy
) -> None:
    """So a push hears of a loss half a grace after the last touch, and at once where it asks."""
    registry = registry_over(strict_moto.fresh(), head=head)
    digest = blob(registry, b"lost", "one/app")["digest"]
    found = 200 if head is HeadStrategy.BODY else 307

    def status(**headers: str) -> int:
        return registry.ask("HEAD", f"one/app/blobs/{digest}", b"", **headers).status

    registry.clock.sleep(LINK_GRACE / 2 + 1)
    assert registry.ask("GET", f"one/app/blobs/{digest}").status == 200
    assert status() == found
    registry.s3.delete_object(Bucket=registry.bucket, Key=registry.stored()[0])
    registry.clock.sleep(LINK_GRACE / 2 - 2)
    assert status() == status(cache_control="max-age=0") == found
    assert status(cache_control="no-cache") == status(cache_control="max-age=0, No-Cache") == 404
    registry.clock.sleep(3)
    assert status() == status() == 404
    link = registry.ports.metadata.get_link("one/app", Digest.parse(digest))
    assert link is not None
    assert link.touched_at < registry.clock.now() - LINK_GRACE / 2


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
def test_a_range_is_served_refused_or_ignored_as_rfc_9110_says(
    shared: RegistryUnderTest, header: str, status: int, body: bytes | None, span: str | None
) -> None:
    """Each row is a range and its answer."""
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
def test_a_range_is_served_only_if_if_range_names_the_blob(
    shared: RegistryUnderTest, validator: str, header: str, *, resumes: bool
) -> None:
    """The ETag is compared strongly; for any other value the whole blob is sent."""
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
