"""Uploads over the API: every way to push a blob, every refusal, and what a request takes."""

from __future__ import annotations

import base64
import os
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from chalicelib.api.messages import current, to_chalice
from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.session import Owner
from tests.chalicelib.api.test_messages import event, serving

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from tests.support.registries import RegistryUnderTest


MIB = 1024 * 1024


def location(response: Response) -> str:
    """The one Location of an answer."""
    value = response.headers["Location"]
    assert isinstance(value, str)
    return value


def start(registry: RegistryUnderTest, name: str = "team/app") -> str:
    """Open a session and return its Location."""
    response = registry.ask("POST", f"{name}/blobs/uploads")
    assert response.status == 202
    assert response.headers["Range"] == "0-0"
    assert str(response.headers["Docker-Upload-UUID"]) in location(response)
    return location(response)


def sent(registry: RegistryUnderTest, data: bytes, name: str = "team/app") -> str:
    """Open a session, append bytes, and return where it goes on."""
    return location(registry.ask("PATCH", start(registry, name), data))


def pull(registry: RegistryUnderTest, digest: Digest, name: str = "team/app") -> bytes | None:
    """Read a blob through the registry; None if it has none."""
    link = registry.ports.metadata.get_link(name, digest)
    return None if link is None else registry.registry.blobs.read(link)


def test_post_then_put_with_the_whole_body(shared: RegistryUnderTest) -> None:
    """A blob in one PUT is committed and can be pulled and headed."""
    data, digest = b"hello", Digest.of(b"hello")
    response = shared.ask("PUT", f"{start(shared)}&digest={digest}", data)
    assert response.status == 201
    assert response.headers["Location"] == f"/v2/team/app/blobs/{digest}"
    got = shared.ask("GET", f"team/app/blobs/{digest}")
    assert (got.status, got.body) == (200, data)
    assert got.headers["Docker-Content-Digest"] == str(digest)
    head = shared.ask("HEAD", f"team/app/blobs/{digest}")
    assert (head.status, len(head.body)) == (200, len(data))


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * 100])
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_post_with_digest(shared: RegistryUnderTest, data: bytes, algorithm: Algorithm) -> None:
    """A blob in one POST is committed under its own algorithm, also an empty one."""
    digest = Digest.of(data, algorithm)
    response = shared.ask("POST", f"team/app/blobs/uploads?digest={digest}", data)
    assert response.status == 201
    assert pull(shared, digest) == data


@pytest.mark.parametrize(
    "sizes",
    [[], [1, 1, 1], [1024, 4 * MIB, 5 * MIB - 1, 7], [4 * MIB] * 3, [5 * MIB], [0, 3, 0]],
    ids=str,
)
def test_chunks_of_any_size_make_the_blob(registry: RegistryUnderTest, sizes: list[int]) -> None:
    """Chunks of every size end as exactly their bytes, and nothing of the upload is left."""
    at, offset, whole = start(registry), 0, b""
    for size in sizes:
        chunk = os.urandom(size)
        headers = {"content_range": f"{offset}-{offset + size - 1}"} if size else {}
        response = registry.ask("PATCH", at, chunk, **headers)
        whole, offset, at = whole + chunk, offset + size, location(response)
        assert response.status == 202
        assert response.headers["Range"] == f"0-{max(offset - 1, 0)}"
    digest = Digest.of(whole)
    assert registry.ask("PUT", f"{at}&digest={digest}").status == 201
    assert pull(registry, digest) == whole
    assert [key for key in registry.stored() if key.startswith("uploads/")] == []


@pytest.mark.parametrize("before", [0, 3, 6 * MIB])
def test_the_last_chunk_may_come_with_the_put(shared: RegistryUnderTest, before: int) -> None:
    """A closing PUT appends its body, whatever came before."""
    at, first, last = start(shared), os.urandom(before), b"the end"
    if first:
        at = location(shared.ask("PATCH", at, first))
    digest = Digest.of(first + last)
    assert shared.ask("PUT", f"{at}&digest={digest}", last).status == 201
    assert pull(shared, digest) == first + last


@pytest.mark.parametrize("size", [3, 11 * MIB])
def test_a_digest_first_named_at_the_put_is_verified(shared: RegistryUnderTest, size: int) -> None:
    """A sha512 that comes last is computed from the stored bytes; a wrong one is refused first."""
    data = os.urandom(size)
    at = sent(shared, data)
    wrong = Digest.of(b"other", Algorithm.SHA512)
    refused = shared.ask("PUT", f"{at}&digest={wrong}")
    assert refused.status == 400
    assert pull(shared, wrong) is None
    right = Digest.of(data, Algorithm.SHA512)
    assert shared.ask("PUT", f"{at}&digest={right}").status == 201
    assert pull(shared, right) == data


@pytest.mark.parametrize("body", [b"", b"tail"])
@pytest.mark.parametrize("size", [3, 6 * MIB])
def test_a_wrong_digest_loses_nothing(shared: RegistryUnderTest, size: int, body: bytes) -> None:
    """After a wrong digest the session is as it was, and the right one commits it."""
    data = os.urandom(size)
    at = sent(shared, data)
    wrong = Digest.of(b"something else")
    refused = shared.ask("PUT", f"{at}&digest={wrong}", body)
    assert refused.status == 400
    assert b"DIGEST_INVALID" in refused.body
    assert shared.ask("HEAD", f"team/app/blobs/{wrong}").status == 404
    status = shared.ask("GET", at)
    assert (status.status, status.headers["Range"]) == (204, f"0-{size - 1}")
    right = Digest.of(data + body)
    assert shared.ask("PUT", f"{at}&digest={right}", body).status == 201
    assert pull(shared, right) == data + body


def test_a_wrong_digest_of_a_whole_blob_stores_nothing(registry: RegistryUnderTest) -> None:
    """POST with a digest that the body does not have is 400 and leaves no object."""
    response = registry.ask("POST", f"a/b/blobs/uploads?digest={Digest.of(b'x')}", b"y")
    assert response.status == 400
    assert registry.stored() == []


@pytest.mark.parametrize("first", [0, 2, 4])
def test_a_chunk_out_of_place_is_refused(shared: RegistryUnderTest, first: int) -> None:
    """A repeat, an overlap and a gap are 416 with the true Range, and the session lives."""
    at = location(shared.ask("PATCH", start(shared), b"abc", content_range="0-2"))
    plain = at.partition("?")[0]
    for method, extra in (("PATCH", ""), ("PUT", f"?digest={Digest.of(b'abcdef')}")):
        refused = shared.ask(method, plain + extra, b"def", content_range=f"{first}-{first + 2}")
        assert refused.status == 416
        assert refused.headers["Range"] == "0-2"
        assert location(refused) == at
    done = shared.ask("PUT", f"{at}&digest={Digest.of(b'abcdef')}", b"def", content_range="3-5")
    assert done.status == 201


@pytest.mark.parametrize("header", ["0-9", "0-1", "2-0", "a-b", "0"])
def test_a_range_unlike_its_body_appends_nothing(shared: RegistryUnderTest, header: str) -> None:
    """A Content-Range that is not the body's is 400 and nothing is kept."""
    at = start(shared)
    refused = shared.ask("PATCH", at, b"abc", content_range=header)
    assert refused.status == 400
    assert shared.ask("GET", at).headers["Location"] == at


@pytest.mark.parametrize("at", ["zz", "", "-1", "1.0", "\u0661", "9" * 20, "9" * 5000])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_an_offset_that_is_none_appends_nothing(
    shared: RegistryUnderTest, method: str, at: str
) -> None:
    """A Location whose offset was spoilt is 400 and says where to go on, wherever that is."""
    good = sent(shared, b"abc")
    spoilt = f"{good.partition('?')[0]}?at={at}"
    closing = f"&digest={Digest.of(b'abcdef')}" if method == "PUT" else ""
    refused = shared.ask(method, spoilt + closing, b"def")
    assert refused.status == 400
    assert b"BLOB_UPLOAD_INVALID" in refused.body
    assert (refused.headers["Location"], refused.headers["Range"]) == (good, "0-2")
    assert shared.ask("PUT", f"{good}&digest={Digest.of(b'abcdef')}", b"def").status == 201


def test_a_chunk_without_any_offset_begins_at_0(shared: RegistryUnderTest) -> None:
    """A PATCH with neither range nor offset is a first chunk; a second such is 416."""
    plain = start(shared).partition("?")[0]
    assert shared.ask("PATCH", plain, b"abc").headers["Range"] == "0-2"
    assert shared.ask("PATCH", plain, b"abc").status == 416


def test_a_post_that_names_a_digest_and_has_no_body_is_an_upload(
    shared: RegistryUnderTest,
) -> None:
    """A digest of bytes that are still to come opens a session and commits nothing."""
    digest = Digest.of(b"later")
    opened = shared.ask("POST", f"a/b/blobs/uploads?digest={digest}")
    assert (opened.status, opened.headers["Range"]) == (202, "0-0")
    assert shared.ask("HEAD", f"a/b/blobs/{digest}").status == 404
    assert shared.ask("PUT", f"{location(opened)}&digest={digest}", b"later").status == 201


def test_a_repeated_put_is_answered_again(shared: RegistryUnderTest) -> None:
    """A committed session answers 201 to the same PUT, 400 to another digest."""
    at = sent(shared, b"abc")
    put = f"{at}&digest={Digest.of(b'abc')}"
    assert shared.ask("PUT", put).status == 201
    assert shared.ask("PUT", put).status == 201
    assert shared.ask("PUT", f"{at}&digest={Digest.of(b'x')}").status == 400
    whole = f"{start(shared)}&digest={Digest.of(b'whole')}"
    assert shared.ask("PUT", whole, b"whole").status == 201
    assert shared.ask("PUT", whole, b"whole").status == 201


def test_a_cancelled_session_is_gone(registry: RegistryUnderTest) -> None:
    """DELETE is 204, everything after it 404, and nothing of it is left in S3."""
    at = sent(registry, os.urandom(6 * MIB))
    at = location(registry.ask("PATCH", at, b"tail"))
    assert registry.ask("DELETE", at).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert registry.ask(method, at, b"x" if method == "PATCH" else b"").status == 404
    assert registry.ask("PUT", f"{at}&digest={Digest.of(b'')}").status == 404
    assert registry.stored() == []
    assert "Uploads" not in registry.s3.list_multipart_uploads(Bucket=registry.bucket)


def test_a_session_belongs_to_its_repository(shared: RegistryUnderTest) -> None:
    """Another repository's session is unknown."""
    at = start(shared).replace("team/app", "team/other")
    assert shared.ask("GET", at).status == 404
    assert shared.ask("PATCH", at, b"x").status == 404


def test_the_same_blob_twice_is_stored_once(registry: RegistryUnderTest) -> None:
    """A second push of a blob, to the same and to another repository, adds links, not objects."""
    data = os.urandom(6 * MIB)
    digest = Digest.of(data)
    for name in ("one/app", "one/app", "two/app"):
        at = sent(registry, data, name)
        assert registry.ask("PUT", f"{at}&digest={digest}").status == 201
    assert len(registry.stored()) == 1
    record = registry.ports.metadata.get_record(digest)
    assert record is not None
    assert record.links == 2
    small = b"small"
    for name in ("one/app", "two/app"):
        target = f"{name}/blobs/uploads?digest={Digest.of(small)}"
        assert registry.ask("POST", target, small).status == 201
    assert len(registry.stored()) == 2


def test_a_saved_state_that_is_corrupt_is_read_again(registry: RegistryUnderTest) -> None:
    """An upload whose hash state can't be used is verified from its bytes and succeeds."""
    data = os.urandom(6 * MIB)
    at = sent(registry, data)
    session_id = at.partition("?")[0].rpartition("/")[2]
    registry.dynamodb.update_item(
        TableName=registry.uploads_table,
        Key={"session": {"S": session_id}},
        UpdateExpression="SET hash_state = :bad",
        ExpressionAttributeValues={":bad": {"B": b"sha\x03garbage"}},
    )
    assert registry.ask("PUT", f"{at}&digest={Digest.of(b'wrong')}").status == 400
    assert registry.ask("PUT", f"{at}&digest={Digest.of(data)}").status == 201
    assert pull(registry, Digest.of(data)) == data


def test_a_dead_lease_is_taken_over_and_its_part_never_used(registry: RegistryUnderTest) -> None:
    """A late writer's part is left out of the blob, whatever it holds."""
    first, late, second = (os.urandom(6 * MIB) for _ in range(3))
    at = sent(registry, first)
    session_id = at.partition("?")[0].rpartition("/")[2]
    now = registry.clock.now()
    dead = registry.ports.sessions.take_lease(
        session_id,
        owner=Owner("team/app", ""),
        at=len(first),
        claim=None,
        holder="a request that died",
        now=now,
        until=now + 34,
    )
    busy = registry.ask("PATCH", at, second)
    assert busy.status == 503
    assert int(str(busy.headers["Retry-After"])) >= 1
    registry.clock.offset += 40
    at = location(registry.ask("PATCH", at, second))
    assert dead.upload_id is not None
    registry.ports.objects.put_part(
        f"uploads/{session_id}/data", dead.upload_id, dead.next_part, late
    )
    digest = Digest.of(first + second)
    assert registry.ask("PUT", f"{at}&digest={digest}").status == 201
    assert pull(registry, digest) == first + second
    assert [key for key in registry.stored() if key.startswith("uploads/")] == []


FIRST, LAST = b"twelve bytes", b", and a few"
WRONG = b"something else"


def closed_wrongly(registry: RegistryUnderTest, algorithm: Algorithm) -> str:
    """Send a chunk, then the last one with a wrong digest; returns the chunk's Location."""
    at = sent(registry, FIRST)
    refused = registry.ask("PUT", f"{at}&digest={Digest.of(WRONG, algorithm)}", LAST)
    assert (refused.status, b"DIGEST_INVALID" in refused.body) == (400, True)
    return at


def test_an_upload_that_was_verified_in_vain_says_how_far_it_is(
    shared: RegistryUnderTest,
) -> None:
    """Its last chunk is in it already: the right digest is told so, and commits without a body."""
    at, right = closed_wrongly(shared, Algorithm.SHA512), Digest.of(FIRST + LAST, Algorithm.SHA512)
    told = shared.ask("PUT", f"{at}&digest={right}", LAST)
    assert (told.status, told.headers["Range"]) == (416, f"0-{len(FIRST + LAST) - 1}")
    here = str(told.headers["Location"])
    more = shared.ask("PUT", f"{here}&digest={right}", LAST)
    assert (more.status, b"takes no more bytes" in more.body) == (400, True)
    assert shared.ask("PUT", f"{here}&digest={right}").status == 201
    assert shared.ask("GET", f"team/app/blobs/{right}").body == FIRST + LAST


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("body", [b"", LAST])
def test_a_wrong_digest_after_the_commit(
    shared: RegistryUnderTest, algorithm: Algorithm, body: bytes
) -> None:
    """It is the digest that is wrong, with a body or without: the upload is there."""
    at = sent(shared, FIRST)
    right = Digest.of(FIRST + LAST, algorithm)
    assert shared.ask("PUT", f"{at}&digest={right}", LAST).status == 201
    refused = shared.ask("PUT", f"{at}&digest={Digest.of(WRONG, algorithm)}", body)
    assert (refused.status, b"DIGEST_INVALID" in refused.body) == (400, True)
    assert shared.ask("PUT", f"{at}&digest={right}", LAST).status == 201


def test_a_patch_of_4_mib_takes_less_than_32_mb(registry: RegistryUnderTest) -> None:
    """Joining the tail with a chunk and storing the part stays within 32 MB at its peak."""
    app = serving(lambda app: to_chalice(registry.api(current(app))))
    at = start(registry, "a/b")
    path, peaks = at.partition("?")[0].removeprefix("/v2/"), []
    for number in range(4):
        asked = event(
            "PATCH",
            path,
            multiValueQueryStringParameters={"at": [str(number * 4 * MIB)]},
            body=base64.b64encode(os.urandom(4 * MIB)).decode(),
            isBase64Encoded=True,
        )
        tracemalloc.start()
        answer = app(asked, None)
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
        assert answer["statusCode"] == 202
    print(f"peaks of 4 PATCHes: {', '.join(f'{peak:.1f} MB' for peak in peaks)}")
    assert 4 < max(peaks) < 32
