"""A large blob goes to S3 in parts: nothing of it is lost, and clients see no change."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from chalicelib.digest import Algorithm, Digest
from moorage.proxy import held_sessions
from moorage.proxy.direct_stream import PartPlan
from tests.moorage.proxy.test_push_rights import bearer
from tests.support.fake_direct import FakeDirect, PutFault
from tests.support.fake_registry import FakeRegistry, UploadFault, run_handler
from tests.support.servers import CHUNK, connect, request, run_proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiohttp import web

UPLOADS = "/v2/x/blobs/uploads/"
PART = 4 * CHUNK
WHOLE = PART + 2 * CHUNK
PLAN = PartPlan(whole=WHOLE, first=PART, minimum=CHUNK, parallel=3)
UNKNOWN = b"BLOB_UPLOAD_UNKNOWN"


@dataclass
class DirectRegistry(FakeRegistry):
    """See FakeRegistry. `storage_pause` is how many seconds the storage takes for a PUT."""

    storage_pause: float = 0
    most_puts: int = 0
    """How many PUTs were at the storage at once."""
    most_bytes: int = 0
    """How many bytes these had together."""
    now: list[int] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if not request.path.startswith("/s3/"):
            return await super().answer(request)
        self.now.append(request.content_length or 0)
        self.most_puts = max(self.most_puts, len(self.now))
        self.most_bytes = max(self.most_bytes, sum(self.now))
        try:
            await asyncio.sleep(self.storage_pause)
            return await super().answer(request)
        finally:
            self.now.remove(request.content_length or 0)

    @property
    def sent(self) -> FakeDirect:
        """The direct uploads."""
        assert self.direct is not None
        return self.direct

    @property
    def put_sizes(self) -> list[int]:
        """The bytes of each PUT that the storage took, by parts' numbers; the whole blob's is 0."""
        return [size for _, _, size in sorted(self.sent.puts, key=lambda put: put[1])]


@pytest.fixture
def fake() -> Iterator[DirectRegistry]:
    """A registry that has direct uploads."""
    registry = DirectRegistry(direct=FakeDirect(minimum=CHUNK))
    with run_handler(registry.answer) as registry.url:
        yield registry


@pytest.fixture
def proxy(fake: DirectRegistry) -> Iterator[str]:
    """The URL of a proxy."""
    with run_proxy(fake.url, plan=PLAN) as url:
        yield url


def digest_of(data: bytes) -> str:
    """Return a digest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def start(url: str, headers: Mapping[str, str] | None = None) -> str:
    """Open a session; return its Location."""
    status, answered, _ = request(url, "POST", UPLOADS, b"", headers)
    assert status == 202
    return str(answered["Location"])


def close(url: str, at: str, data: bytes, body: bytes = b"") -> int:
    """Close a session; return the status."""
    return request(url, "PUT", f"{at}&digest={digest_of(data)}", body)[0]


def patch(url: str, at: str, data: bytes, headers: Mapping[str, str] | None = None) -> str:
    """Append bytes without saying their length, and return the Location."""
    status, answered, _ = request(url, "PATCH", at, iter([data[:9], data[9:]]), headers)
    assert status == 202
    return str(answered["Location"])


def push(url: str, data: bytes) -> int:
    """Push a blob as docker does; return the status of the PUT."""
    return close(url, patch(url, start(url), data), data)


def in_chunks(fake: DirectRegistry) -> bool:
    """Whether bytes came to the registry itself, in sessions of its own."""
    return bool(fake.sessions)


@pytest.mark.parametrize(
    "size", [CHUNK + 1, PART, PART + 1, WHOLE, WHOLE + CHUNK + 1, 3 * PART, 9 * PART + 4711]
)
@pytest.mark.parametrize("way", ["PATCH", "PATCHes", "PUT", "PATCH and PUT", "POST"])
def test_a_blob_of_any_size_arrives_in_parts(
    proxy: str, fake: DirectRegistry, size: int, way: str
) -> None:
    """A shorter one is one PUT. None of its bytes pass the registry."""
    data = os.urandom(size)
    if way == "POST":
        assert request(proxy, "POST", f"{UPLOADS}?digest={digest_of(data)}", data)[0] == 201
    elif way == "PATCHes":
        at = start(proxy)
        for begin, end in ((0, 100), (100, CHUNK - 7), (CHUNK - 7, size)):
            at = patch(proxy, at, data[begin:end])
            assert at.endswith(f"?at={end}")
            assert request(proxy, "GET", at)[1]["Range"] == f"0-{end - 1}"
        assert close(proxy, at, data) == 201
    else:
        kept = {"PATCH": size, "PUT": 0}.get(way, size // 2)
        at = patch(proxy, start(proxy), data[:kept]) if kept else start(proxy)
        assert close(proxy, at, data, data[kept:]) == 201
    assert fake.blobs == {digest_of(data): data}
    assert not in_chunks(fake)
    parts, rest = divmod(size, PART)
    in_parts = [PART] * parts + [rest] * (rest > 0)
    assert fake.put_sizes == ([size] if size <= WHOLE else in_parts)
    assert fake.most_puts <= PLAN.parallel


@pytest.mark.parametrize("fault", [fault for fault in PutFault if fault is not PutFault.REFUSED])
@pytest.mark.parametrize("where", [0, 1, 3])
def test_a_part_that_fails_is_sent_again_by_itself(
    proxy: str, fake: DirectRegistry, fault: PutFault, where: int
) -> None:
    """Its client hears nothing of it, and no other part is sent twice."""
    data = os.urandom(3 * PART + 11)
    fake.sent.put_faults = [None] * where + [fault]
    assert push(proxy, data) == 201
    assert fake.blobs == {digest_of(data): data}
    assert not in_chunks(fake)
    assert len(fake.put_sizes) == 4 + (fault is PutFault.LOST_AFTER)


@pytest.mark.parametrize("size", [2 * CHUNK, 3 * PART])
def test_what_the_storage_refuses_from_the_beginning_goes_in_chunks(
    proxy: str, fake: DirectRegistry, size: int
) -> None:
    """All bytes are still here. The next blob is not tried directly at all."""
    for expected in (1, 0):
        data = os.urandom(size)
        fake.sent.put_faults = [PutFault.REFUSED] * 9
        before = len(fake.sent.put_faults)
        assert push(proxy, data) == 201
        assert fake.blobs[digest_of(data)] == data
        assert (len(fake.sent.put_faults) < before) is bool(expected)
        assert fake.sent.sessions == {}
    assert fake.put_sizes == []


@pytest.mark.parametrize("refused", [{"parts": 404, "whole": 404}, {"parts": 400, "whole": 413}])
@pytest.mark.parametrize("size", [2 * CHUNK, 3 * PART])
def test_a_registry_that_takes_no_parts_gets_chunks(
    proxy: str, fake: DirectRegistry, refused: dict[str, int], size: int
) -> None:
    """It may have direct uploads of another kind."""
    fake.sent.refuses = refused
    data = os.urandom(size)
    assert push(proxy, data) == 201
    assert (fake.blobs, in_chunks(fake)) == ({digest_of(data): data}, True)


def test_a_registry_that_needs_larger_parts_gets_chunks(fake: DirectRegistry) -> None:
    """The registry gives the smallest size of a part."""
    fake.sent.minimum = 2 * CHUNK
    data = os.urandom(3 * PART)
    with run_proxy(fake.url, plan=PLAN) as proxy:
        assert push(proxy, data) == 201
    assert (fake.blobs, in_chunks(fake)) == ({digest_of(data): data}, True)
    assert fake.sent.sessions == {}


@pytest.mark.parametrize("kept", [0, 1])
def test_a_failing_storage_is_reported_and_the_bytes_stay(fake: DirectRegistry, kept: int) -> None:
    """If it took a part before, the client may continue; otherwise chunks are sent."""
    data = os.urandom(3 * PART)
    with run_proxy(fake.url, plan=PLAN, patience=0.3) as proxy:
        at = patch(proxy, start(proxy), data[: WHOLE + 1])
        until(lambda: len(fake.put_sizes) == 1, "a part is stored")
        fake.sent.put_faults = [PutFault.ERROR] * 1000
        if not kept:
            fake.sent.sessions.clear()
        at = patch(proxy, at, data[WHOLE + 1 :])
        status, answered, _ = request(proxy, "PUT", f"{at}&digest={digest_of(data)}")
        if not kept:
            assert status == 404
            assert request(proxy, "GET", at)[0] == 404
            return
        assert (status, answered["Retry-After"]) == (503, "5")
        assert request(proxy, "PATCH", f"{at}&x=y", b"more")[0] == 404, "it is being committed"
        assert request(proxy, "GET", at)[1]["Range"] == f"0-{len(data) - 1}"
        fake.sent.put_faults = []
        assert close(proxy, at, data) == 201
    assert (fake.blobs, in_chunks(fake)) == ({digest_of(data): data}, False)


@pytest.mark.parametrize("size", [2 * CHUNK, 2 * PART + 1])
@pytest.mark.parametrize("in_put", [False, True])
def test_a_wrong_digest_is_400_and_keeps_the_session(
    proxy: str, fake: DirectRegistry, size: int, *, in_put: bool
) -> None:
    """What came last with the PUT is not kept, what was kept before it is; the right one is 201."""
    data = os.urandom(size)
    kept = size - 100 if in_put else size
    at = patch(proxy, start(proxy), data[:kept])
    for wrong in (digest_of(b"x"), "sha256:x", "md5:00", f"sha512:{'0' * 128}"):
        status, answered, body = request(proxy, "PUT", f"{at}&digest={wrong}", data[kept:])
        assert (status, answered["Location"], answered["Range"]) == (400, at, f"0-{kept - 1}")
        assert b"DIGEST_INVALID" in body
    assert close(proxy, at, data, data[kept:]) == 201
    assert fake.blobs == {digest_of(data): data}


@pytest.mark.parametrize(
    ("before", "size"),
    [
        (0, 2 * CHUNK + 5),
        (0, WHOLE + PART + 5),
        (0, 3 * PART),
        (100, 2 * CHUNK),
        (CHUNK, 2 * CHUNK + 5),
        (PART + 9, WHOLE),
    ],
)
def test_a_put_with_a_wrong_digest_leaves_the_session_as_it_was(
    proxy: str, fake: DirectRegistry, before: int, size: int
) -> None:
    """However much it brings: the same PUT with the right digest is 201."""
    data, at = os.urandom(size), start(proxy)
    at = patch(proxy, at, data[:before]) if before else at
    for wrong in (digest_of(b"x"), f"sha512:{'0' * 128}"):
        status, answered, _ = request(proxy, "PUT", f"{at}&digest={wrong}", data[before:])
        assert (status, answered["Location"]) == (400, at)
        assert answered["Range"] == f"0-{max(before - 1, 0)}"
    assert fake.blobs == {}
    assert close(proxy, at, data, data[before:]) == 201
    assert fake.blobs == {digest_of(data): data}
    left = [each for each in fake.sent.sessions.values() if each.parts or each.whole]
    assert len(left) <= 1, "bytes that were given up are left in S3"


def test_what_a_put_with_a_wrong_digest_leaves_beside_bytes_at_s3_is_said(
    proxy: str, fake: DirectRegistry
) -> None:
    """Where S3 alone has what came before, what the PUT brought stays, but for its last chunk."""
    data, before = os.urandom(WHOLE + 3 * CHUNK), WHOLE + 1
    at = patch(proxy, start(proxy), data[:before])
    until(lambda: len(fake.put_sizes) == 1, "a part is stored")
    status, answered, _ = request(proxy, "PUT", f"{at}&digest={digest_of(b'x')}", data[before:])
    kept = before + 2 * CHUNK
    assert (status, answered["Range"]) == (400, f"0-{kept - 1}")
    assert request(proxy, "PUT", f"{at}&digest={digest_of(data)}", data[before:])[0] == 416
    assert close(proxy, str(answered["Location"]), data, data[kept:]) == 201
    assert fake.blobs == {digest_of(data): data}


@pytest.mark.parametrize("query", ["", "&digest=a&digest=b"])
def test_a_put_without_one_digest_is_400(proxy: str, fake: DirectRegistry, query: str) -> None:
    """The session stays."""
    data = os.urandom(2 * PART)
    at = patch(proxy, start(proxy), data)
    assert request(proxy, "PUT", at + query)[0] == 400
    assert close(proxy, at, data) == 201
    assert not in_chunks(fake)


@pytest.mark.parametrize(
    ("method", "at", "headers"),
    [
        ("PATCH", 0, {}),
        ("PATCH", PART, {}),
        ("PATCH", 2 * PART, {"Content-Range": f"0-{2 * PART - 1}"}),
        ("PATCH", 3 * PART, {}),
        ("PUT", 0, {}),
    ],
)
def test_bytes_out_of_place_are_416(
    proxy: str, fake: DirectRegistry, method: str, at: int, headers: dict[str, str]
) -> None:
    """A chunk that a client repeats is one of them; it hears where to go on."""
    data = os.urandom(2 * PART)
    location = patch(proxy, start(proxy), data)
    path = f"{location.partition('?')[0]}?at={at}&digest={digest_of(data)}"
    status, answered, _ = request(proxy, method, path, data, headers)
    assert (status, answered["Location"]) == (416, location)
    assert answered["Range"] == f"0-{len(data) - 1}"
    assert close(proxy, location, data) == 201
    assert fake.blobs == {digest_of(data): data}


def test_of_two_clients_at_one_offset_one_is_refused(proxy: str, fake: DirectRegistry) -> None:
    """Their bytes are never mixed."""
    bodies = [os.urandom(3 * PART) for _ in range(4)]
    at = start(proxy)
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda data: request(proxy, "PATCH", at, data)[0], bodies))
    assert sorted(answers) == [202, 416, 416, 416]
    data = bodies[answers.index(202)]
    assert close(proxy, f"{at.partition('?')[0]}?at={len(data)}", data) == 201
    assert fake.blobs == {digest_of(data): data}


def test_a_client_that_breaks_off_may_continue(proxy: str, fake: DirectRegistry) -> None:
    """The session has whole chunks of its bytes, and parts in progress arrive."""
    data, at = os.urandom(3 * PART), start(proxy)
    fake.storage_pause = 0.3
    kept = PART + 2 * CHUNK
    with connect(proxy) as raw:
        head = f"PATCH {at} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {9 * PART}\r\n\r\n"
        raw.sendall(head.encode() + data[: kept + 100])
        here = f"0-{kept - 1}"
        until(lambda: request(proxy, "GET", at)[1]["Range"] == here, "chunks are kept")
    status, answered, _ = request(proxy, "GET", at)
    assert (status, answered["Range"]) == (204, here)
    at = patch(proxy, answered["Location"], data[kept:])
    assert close(proxy, at, data) == 201
    assert fake.put_sizes == [PART] * 3


@pytest.mark.parametrize("size", [PART + 2 * CHUNK, WHOLE, 3 * PART])
def test_a_blob_whose_length_is_announced_is_begun_at_once(
    proxy: str, fake: DirectRegistry, size: int
) -> None:
    """No byte more than the first part is waited for. In the end it may be any other length."""
    data, at = os.urandom(size), start(proxy)
    with connect(proxy) as raw:
        head = f"PATCH {at} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {WHOLE + 1}\r\n\r\n"
        raw.sendall(head.encode() + data[: PART + CHUNK])
        until(lambda: fake.put_sizes == [PART], "the first part is stored")
    status, answered, _ = request(proxy, "GET", at)
    assert (status, answered["Range"]) == (204, f"0-{PART + CHUNK - 1}")
    at = patch(proxy, answered["Location"], data[PART + CHUNK :])
    assert close(proxy, at, data) == 201
    assert fake.blobs == {digest_of(data): data}
    assert not in_chunks(fake)


def test_a_client_that_leaves_at_its_put_may_come_back(proxy: str, fake: DirectRegistry) -> None:
    """Its blob is committed then, if it wasn't before."""
    data = os.urandom(3 * PART)
    at = patch(proxy, start(proxy), data)
    fake.sent.runs = 1000
    with connect(proxy) as raw:
        target = f"{at}&digest={digest_of(data)}"
        raw.sendall(f"PUT {target} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 0\r\n\r\n".encode())
        until(lambda: [s.runs for s in fake.sent.sessions.values()] > [0], "it is committing")
    for session in fake.sent.sessions.values():
        session.runs = 0
    assert close(proxy, at, data) == 201


@pytest.mark.parametrize("size", [2 * CHUNK, 2 * PART])
@pytest.mark.parametrize("trouble", ["lost", "runs"])
def test_a_commit_whose_answer_is_lost_or_takes_long_is_repeated(
    proxy: str, fake: DirectRegistry, size: int, trouble: str
) -> None:
    """The client hears one 201, and the same when it repeats its PUT."""
    fake.sent.answers_lost, fake.sent.runs = (2, 0) if trouble == "lost" else (0, 3)
    data = os.urandom(size)
    at = patch(proxy, start(proxy), data)
    puts = len(fake.put_sizes)
    for _ in range(2):
        assert close(proxy, at, data) == 201
    assert len(fake.put_sizes) <= max(puts + 1, 2)
    fake.blobs.clear()
    status, _, answer = request(proxy, "PUT", f"{at}&digest={digest_of(data)}")
    assert (status, UNKNOWN in answer) == (404, True)


def test_a_commit_that_is_refused_ends_the_session(proxy: str, fake: DirectRegistry) -> None:
    """The registry has thrown the bytes away: its client hears why, and has to start anew."""
    fake.sent.refuses = {"commit": 400}
    data = os.urandom(2 * PART)
    at = patch(proxy, start(proxy), data)
    status, answered, body = request(proxy, "PUT", f"{at}&digest={digest_of(data)}")
    assert (status, answered["Location"]) == (400, None)
    assert b"not these bytes" in body
    until(lambda: request(proxy, "GET", at)[0] == 404, "the session is over")
    fake.sent.refuses = {}
    assert push(proxy, data) == 201


@pytest.mark.parametrize("size", [2 * CHUNK, 3 * PART])
def test_a_cancelled_upload_leaves_nothing(proxy: str, fake: DirectRegistry, size: int) -> None:
    """Neither here nor at the registry."""
    at = patch(proxy, start(proxy), os.urandom(size))
    assert request(proxy, "DELETE", at)[0] == 204
    assert fake.sent.sessions == {}
    for method in ("GET", "DELETE"):
        assert request(proxy, method, at)[0] == 404


def test_an_abandoned_upload_is_given_up(
    fake: DirectRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is freed for others."""
    monkeypatch.setattr(held_sessions, "HELD_SECONDS", 0.4)
    with run_proxy(fake.url, plan=PLAN, memory_bytes=2 * CHUNK) as proxy:
        at = patch(proxy, start(proxy), os.urandom(3 * PART))
        assert len(fake.sent.sessions) == 1
        until(lambda: fake.sent.sessions == {}, "the session is cancelled")
        assert request(proxy, "GET", at)[0] == 404
        assert push(proxy, os.urandom(2 * PART)) == 201
    assert not in_chunks(fake)


def test_a_proxy_that_ends_cancels_its_uploads(fake: DirectRegistry) -> None:
    """No other proxy could continue them; the client sends the blob again."""
    data = os.urandom(3 * PART)
    with run_proxy(fake.url, plan=PLAN) as proxy:
        at = patch(proxy, start(proxy), data)
        until(lambda: len(fake.sent.sessions) == 1, "the upload is opened")
    assert fake.sent.sessions == {}
    with run_proxy(fake.url, plan=PLAN) as other:
        status, _, answer = request(other, "PUT", f"{at}&digest={digest_of(data)}")
        assert (status, UNKNOWN in answer) == (404, True)
        assert push(other, data) == 201


def test_each_request_uses_the_login_that_came_with_it(proxy: str, fake: DirectRegistry) -> None:
    """A login that the registry refuses now loses nothing; the storage never gets one."""
    first, second = ({"Authorization": bearer({"sub": "ci", "jti": jti})} for jti in "ab")
    fake.sent.expires_in = 0  # each part asks for a URL
    data = os.urandom(3 * PART)
    at = patch(proxy, start(proxy, first), data[: WHOLE + 1], first)
    until(lambda: fake.put_sizes == [PART], "a part is stored")
    fake.refuses = {first["Authorization"]}
    status, _, _ = request(proxy, "PATCH", at, data[WHOLE + 1 :], first)
    at = f"{at.partition('?')[0]}?at={len(data)}" if status == 202 else at
    target = f"{at}&digest={digest_of(data)}"
    rest = b"" if status == 202 else data[WHOLE + 1 :]
    assert request(proxy, "PUT", target, rest, first)[0] == 401
    assert request(proxy, "PUT", target, rest, second)[0] == 201
    assert fake.blobs == {digest_of(data): data}


def test_a_token_that_may_end_soon_opens_its_session_at_once(
    proxy: str, fake: DirectRegistry
) -> None:
    """Only there can an upload outlive its token."""
    headers = {"Authorization": bearer({"sub": "ci", "exp": time.time() + 1000})}
    at = start(proxy, headers)
    soon = {"Authorization": bearer({"sub": "ci", "exp": time.time() + 100})}
    at = patch(proxy, at, os.urandom(2 * CHUNK), soon)
    assert len(fake.sent.sessions) == 1


def test_bytes_are_hashed_by_the_algorithm_that_a_chunk_names(
    proxy: str, fake: DirectRegistry
) -> None:
    """Or, before the first part, by that of the closing PUT."""
    for size, named in ((2 * CHUNK, ""), (3 * PART, "&digest-algorithm=sha512")):
        data = os.urandom(size)
        digest = str(Digest.of(data, Algorithm.SHA512))
        at = start(proxy)
        status, answered, _ = request(proxy, "PATCH", at + named, data)
        assert status == 202
        assert request(proxy, "PUT", f"{answered['Location']}&digest={digest}")[0] == 201
        assert fake.blobs.pop(digest) == data
    at = start(proxy)
    assert request(proxy, "PATCH", f"{at}&digest-algorithm=md5", data)[0] == 202
    assert in_chunks(fake)


def test_a_whole_blob_is_hashed_by_the_algorithm_of_its_digest(
    proxy: str, fake: DirectRegistry
) -> None:
    """A PUT names it before its first byte."""
    data = os.urandom(3 * PART + 1)
    digest = str(Digest.of(data, Algorithm.SHA512))
    assert request(proxy, "PUT", f"{start(proxy)}&digest={digest}", data)[0] == 201
    assert (fake.blobs, in_chunks(fake)) == ({digest: data}, False)


@pytest.mark.parametrize("room", [0, 1, 2, 4, 40])
def test_the_memory_of_all_uploads_is_bounded(fake: DirectRegistry, room: int) -> None:
    """An upload without memory for parts continues in chunks."""
    fake.storage_pause = 0.02
    blobs = [os.urandom(3 * PART + number) for number in range(8)]
    least = 2 * CHUNK
    with (
        run_proxy(fake.url, plan=PLAN, memory_bytes=room * least) as proxy,
        ThreadPoolExecutor(8) as clients,
    ):
        assert list(clients.map(lambda data: push(proxy, data), blobs)) == [201] * 8
    assert fake.blobs == {digest_of(data): data for data in blobs}
    assert in_chunks(fake) is (room < 8)
    assert bool(fake.put_sizes) is (room > 0)
    assert fake.most_bytes <= room * least


def test_the_urls_of_parts_are_asked_for_in_batches(proxy: str, fake: DirectRegistry) -> None:
    """Not one by one; the last part's size is known last."""
    assert push(proxy, os.urandom(15 * PART + 1)) == 201
    assert fake.sent.batches == [16, 1]


def test_what_the_storage_refuses_later_is_502_and_the_session_stays(
    proxy: str, fake: DirectRegistry
) -> None:
    """Some of the bytes are there: the client may go on when it takes them."""
    data = os.urandom(2 * PART)
    at = patch(proxy, start(proxy), data[: WHOLE + 1])
    until(lambda: fake.put_sizes == [PART], "a part is stored")
    fake.sent.put_faults = [PutFault.REFUSED]
    status, answered, _ = request(proxy, "PUT", f"{at}&digest={digest_of(data)}", data[WHOLE + 1 :])
    assert (status, answered["Range"]) == (502, f"0-{len(data) - 1}")
    assert close(proxy, answered["Location"], data) == 201


def test_a_registry_that_fails_while_urls_are_asked_for_is_waited_for(
    proxy: str, fake: DirectRegistry
) -> None:
    """As for chunks."""
    data = os.urandom(3 * PART)
    fake.post_faults = [UploadFault.ERROR]
    at = start(proxy)
    with ThreadPoolExecutor(1) as client:
        fake.failing = {"POST"}
        pushed = client.submit(lambda: close(proxy, patch(proxy, at, data), data))
        time.sleep(0.3)
        fake.failing = set()
        assert pushed.result() == 201
    assert not in_chunks(fake)


@pytest.mark.parametrize("sign", ["HEAD", "PUT"])
def test_a_digest_of_another_algorithm_that_comes_last_is_the_registrys_to_judge(
    proxy: str, fake: DirectRegistry, sign: str
) -> None:
    """It may read the blob back. A client's HEAD tells it in time, or else its first attempt."""
    data = os.urandom(2 * PART)
    digest = Digest.of(data, Algorithm.SHA512)
    if sign == "HEAD":
        request(proxy, "HEAD", f"/v2/x/blobs/{digest}")
    else:
        at = patch(proxy, start(proxy), data)
        status, _, body = request(proxy, "PUT", f"{at}&digest={digest}")
        assert (status, b"push this blob again" in body) == (400, True)
        assert not in_chunks(fake)
    patch(proxy, start(proxy), data)
    assert in_chunks(fake)
    fake.sessions.clear()
    # It is another matter where the algorithm is named first, and in other repositories.
    assert request(proxy, "PUT", f"{start(proxy)}&digest={digest}", data)[0] == 201
    at = str(request(proxy, "POST", "/v2/y/blobs/uploads/", b"")[1]["Location"])
    assert close(proxy, patch(proxy, at, data), data) == 201
    assert not in_chunks(fake)
