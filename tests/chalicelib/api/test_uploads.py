"""Uploads over the API: every way to push a blob, every refusal, and what a request takes."""

from __future__ import annotations

import base64
import os
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.api.messages import current, to_chalice
from chalicelib.digest import Algorithm, Digest
from tests.chalicelib.api.pushing import blob, code, hold
from tests.chalicelib.api.test_messages import event, serving
from tests.emulators.backends import moto_backend
from tests.support.calls import record_calls
from tests.support.registries import RegistryUnderTest, registry_over

if TYPE_CHECKING:
    from chalicelib.api.messages import Response


MIB = 1024 * 1024


def location(response: Response) -> str:
    """Return an answer's Location."""
    return str(response.headers["Location"])


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


def test_a_ticket_is_valid_only_for_its_own_upload(shared: RegistryUnderTest) -> None:
    """Forged, cut, of another repository, or its id alone: 404, and no session begins."""
    at, digest = start(shared).partition("?")[0], Digest.of(b"hello")
    session = at.rpartition("/")[2]
    fields = session.split("~")
    assert (len(fields), fields[2]) == (5, "sha256")
    later = "~".join([fields[0], str(int(fields[1]) + 9), *fields[2:]])
    longer = "~".join([*fields[:2], "sha512", *fields[3:]])
    asks = {"GET": "", "PATCH": "", "PUT": f"&digest={digest}", "DELETE": ""}
    for name, named in (
        *(("team/app", text) for text in (fields[0], session[:-1], f"{session}~", later, longer)),
        ("team/other", session),
    ):
        target = f"{name}/blobs/uploads/{named}?at=0"
        for method, query in asks.items():
            refused = shared.ask(method, target + query, b"hello")
            assert (refused.status, code(refused)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert shared.ask("PUT", f"{at}?digest={digest}", b"hello").status == 201


def test_a_ticket_can_be_written_in_other_ways(shared: RegistryUnderTest) -> None:
    """Clients may encode the path, and sort the query anew."""
    at, digest = start(shared).partition("?")[0].replace("~", "%7E"), Digest.of(b"hello")
    assert shared.ask("PUT", f"{at}?digest={digest}&at=0", b"hello").status == 201


def test_a_ticket_still_names_the_session_that_it_began(registry: RegistryUnderTest) -> None:
    """A client that keeps its first Location can continue, also an hour later."""
    at, digest = start(registry).partition("?")[0], Digest.of(b"hello")
    assert registry.ask("PATCH", f"{at}?at=0", b"hel").status == 202
    again = registry.ask("PATCH", f"{at}?at=0", b"hel")
    assert (again.status, again.headers["Range"]) == (416, "0-2")
    assert "~" not in location(again)
    registry.clock.offset += 2 * 3600
    assert registry.ask("GET", at).headers["Range"] == "0-2"
    assert registry.ask("PUT", f"{at}?at=3&digest={digest}", b"lo").status == 201
    assert registry.ask("PUT", f"{at}?digest={digest}").status == 201
    assert pull(registry, digest) == b"hello"


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_a_session_without_a_byte_is_404_after_an_hour(
    registry: RegistryUnderTest, method: str
) -> None:
    """Nothing is lost: the client has sent nothing."""
    at = start(registry)
    registry.clock.offset += 3600
    asked = registry.ask(method, f"{at}&digest={Digest.of(b'x')}", b"x")
    assert (asked.status, code(asked)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_whole_put_with_a_wrong_digest_keeps_the_ticket(shared: RegistryUnderTest) -> None:
    """400, with the Location at which the right bytes may follow; nothing was stored."""
    at, data = start(shared), os.urandom(20)
    before = shared.stored()
    refused = shared.ask("PUT", f"{at}&digest={Digest.of(b'other')}", data)
    assert (refused.status, code(refused)) == (400, "DIGEST_INVALID")
    assert (location(refused), refused.headers["Range"]) == (at, "0-0")
    assert shared.stored() == before
    assert shared.ask("PUT", f"{at}&digest={Digest.of(data)}", data).status == 201


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * 100])
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_post_with_the_whole_blob_commits_it(
    shared: RegistryUnderTest, data: bytes, algorithm: Algorithm
) -> None:
    """Under its own algorithm; an empty blob too."""
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
    """The blob has exactly their bytes, and no leftovers remain."""
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
    closed = shared.ask("PUT", f"{at}&digest={digest}", last)
    assert (closed.status, location(closed)) == (201, f"/v2/team/app/blobs/{digest}")
    assert pull(shared, digest) == first + last


@pytest.mark.parametrize(
    ("algorithm", "size", "body"),
    [
        *((Algorithm.SHA256, size, body) for size in (3, 6 * MIB) for body in (b"", b"tail")),
        *((Algorithm.SHA512, size, b"") for size in (3, 11 * MIB)),
    ],
)
def test_a_wrong_digest_keeps_the_session(
    shared: RegistryUnderTest, algorithm: Algorithm, size: int, body: bytes
) -> None:
    """The session stays as it was, and the right digest commits it.

    A sha512 that comes last is computed from the stored bytes.
    """
    data = os.urandom(size)
    at = sent(shared, data)
    wrong, right = Digest.of(b"something else", algorithm), Digest.of(data + body, algorithm)
    refused = shared.ask("PUT", f"{at}&digest={wrong}", body)
    assert (refused.status, code(refused)) == (400, "DIGEST_INVALID")
    assert shared.ask("HEAD", f"team/app/blobs/{wrong}").status == 404
    status = shared.ask("GET", at)
    assert (status.status, status.headers["Range"]) == (204, f"0-{size - 1}")
    assert shared.ask("PUT", f"{at}&digest={right}", body).status == 201
    assert pull(shared, right) == data + body


def test_a_post_with_a_digest_and_no_body_opens_a_session(shared: RegistryUnderTest) -> None:
    """The digest is of bytes that are still to come, and nothing is committed."""
    digest = Digest.of(b"later")
    opened = shared.ask("POST", f"a/b/blobs/uploads?digest={digest}")
    assert (opened.status, opened.headers["Range"]) == (202, "0-0")
    assert shared.ask("HEAD", f"a/b/blobs/{digest}").status == 404
    assert shared.ask("PUT", f"{location(opened)}&digest={digest}", b"later").status == 201


@pytest.mark.parametrize(
    "query",
    ["digest={0}", "mount={0}&from=no/where", "digest-algorithm=sha512", "digest-algorithm=sha256"],
)
def test_a_post_that_names_the_algorithm_avoids_reading_back(
    registry: RegistryUnderTest, query: str
) -> None:
    """By a digest, a mount that finds nothing, or the specification's parameter."""
    data = FIRST + LAST
    digest = Digest.of(data, Algorithm.SHA512)
    at = location(registry.ask("POST", f"a/b/blobs/uploads?{query.format(digest)}"))
    named = "" if "sha256" not in query else "&digest-algorithm=sha512"
    with record_calls(registry.s3) as calls:
        at = location(registry.ask("PATCH", f"{at}{named}", FIRST))
        at = location(registry.ask("PATCH", at, LAST))
        assert registry.ask("PUT", f"{at}&digest={digest}").status == 201
    read = [str(call.params["Key"]) for call in calls.of("s3", "GetObject")]
    assert all("/tail-" in key for key in read)


def test_a_closing_put_is_404_once_its_blob_was_deleted(registry: RegistryUnderTest) -> None:
    """Its client then pushes the blob anew, as it does when an upload is unknown."""
    at, digest = start(registry), Digest.of(LAST)
    assert registry.ask("PUT", f"{at}&digest={digest}", LAST).status == 201
    assert registry.ask("DELETE", f"team/app/blobs/{digest}").status == 202
    for body in (LAST, b""):
        refused = registry.ask("PUT", f"{at}&digest={digest}", body)
        assert (refused.status, code(refused)) == (404, "BLOB_UPLOAD_UNKNOWN")


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
    for name in ("one/app", "two/app"):
        blob(registry, b"small", name)
    assert len(registry.stored()) == 2


def test_a_saved_state_that_is_corrupt_is_read_again(registry: RegistryUnderTest) -> None:
    """An upload whose hash state can't be used is verified from its bytes and succeeds."""
    data = os.urandom(6 * MIB)
    at = sent(registry, data)
    session = registry.ports.sessions.get(at.partition("?")[0].rpartition("/")[2])
    assert session is not None
    registry.ports.sessions.write(session, replace(session, hash_state=b"sha\x03garbage"))
    assert registry.ask("PUT", f"{at}&digest={Digest.of(b'wrong')}").status == 400
    assert registry.ask("PUT", f"{at}&digest={Digest.of(data)}").status == 201
    assert pull(registry, Digest.of(data)) == data


def test_a_dead_lease_is_taken_over_and_its_part_never_used(registry: RegistryUnderTest) -> None:
    """A late writer's part is left out of the blob, whatever it holds."""
    first, late, second = (os.urandom(6 * MIB) for _ in range(3))
    at = sent(registry, first)
    session_id = at.partition("?")[0].rpartition("/")[2]
    session = registry.ports.sessions.get(session_id)
    assert session is not None
    dead = hold(registry.ports.sessions, session, registry.clock.now(), 34)
    busy = registry.ask("PATCH", at, second)
    assert busy.status == 503
    assert int(str(busy.headers["Retry-After"])) >= 1
    registry.clock.offset += 40
    at = location(registry.ask("PATCH", at, second))
    assert dead.upload_id is not None
    data = f"uploads/{session_id}/data"
    registry.ports.objects.put_part(data, dead.upload_id, dead.next_part, late)
    digest = Digest.of(first + second)
    assert registry.ask("PUT", f"{at}&digest={digest}").status == 201
    assert pull(registry, digest) == first + second
    assert [key for key in registry.stored() if key.startswith("uploads/")] == []


FIRST, LAST = b"twelve bytes", b", and a few"
WRONG = b"something else"


def test_an_upload_with_a_digest_mismatch_says_its_offset(shared: RegistryUnderTest) -> None:
    """It has its last chunk already; the right digest commits without a body."""
    at, right = sent(shared, FIRST), Digest.of(FIRST + LAST, Algorithm.SHA512)
    refused = shared.ask("PUT", f"{at}&digest={Digest.of(WRONG, Algorithm.SHA512)}", LAST)
    assert (refused.status, code(refused)) == (400, "DIGEST_INVALID")
    told = shared.ask("PUT", f"{at}&digest={right}", LAST)
    assert (told.status, told.headers["Range"]) == (416, f"0-{len(FIRST + LAST) - 1}")
    more = shared.ask("PUT", f"{location(told)}&digest={right}", LAST)
    assert (more.status, b"takes no more bytes" in more.body) == (400, True)
    assert shared.ask("PUT", f"{location(told)}&digest={right}").status == 201
    assert shared.ask("GET", f"team/app/blobs/{right}").body == FIRST + LAST


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize(("first", "last"), [(FIRST, b""), (FIRST, LAST), (b"", LAST)])
def test_a_repeated_put_after_the_commit_is_answered_again(
    shared: RegistryUnderTest, algorithm: Algorithm, first: bytes, last: bytes
) -> None:
    """A wrong digest is 400, with a body or without."""
    at = sent(shared, first) if first else start(shared)
    right, wrong = Digest.of(first + last, algorithm), Digest.of(WRONG, algorithm)
    for _ in range(2):
        assert shared.ask("PUT", f"{at}&digest={right}", last).status == 201
        for body in (b"", LAST):
            refused = shared.ask("PUT", f"{at}&digest={wrong}", body)
            assert (refused.status, code(refused)) == (400, "DIGEST_INVALID")


def test_a_patch_of_4_mib_takes_less_than_32_mb() -> None:
    """Joining the tail with a chunk and storing the part stays within 32 MB at its peak."""
    # In another process moto's own memory is not counted.
    with moto_backend() as backend:
        registry = registry_over(backend)
        app = serving(lambda app: to_chalice(registry.api(current(app))))
        at = start(registry, "a/b")
        path, peaks = at.partition("?")[0].removeprefix("/v2/"), []
        for number in range(4):
            query = {"multiValueQueryStringParameters": {"at": [str(number * 4 * MIB)]}}
            body = base64.b64encode(os.urandom(4 * MIB)).decode()
            asked = event("PATCH", path, body=body, isBase64Encoded=True, **query)
            tracemalloc.start()
            answer = app(asked, None)
            peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
            tracemalloc.stop()
            assert answer["statusCode"] == 202
    print(f"peaks of 4 PATCHes: {', '.join(f'{peak:.1f} MB' for peak in peaks)}")
    assert 4 < max(peaks) < 32
