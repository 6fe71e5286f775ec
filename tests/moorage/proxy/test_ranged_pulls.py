"""Large blobs through the proxy: they come from the storage in ranges, and are whole or cut off."""

from __future__ import annotations

import asyncio
import http.client
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from chalicelib.digest import Digest
from moorage.common.storage import Storage
from moorage.proxy.ranged_pulls import PullPlan, RangedPulls
from tests.support.fake_registry import run_handler
from tests.support.servers import request, run_proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1000
STREAMS = 3
LARGE = 10 * PIECE + 7
PLAN = PullPlan(least=5 * PIECE, piece=PIECE, blobs=2, pause=0.0)
PATH = "/v2/x/blobs/sha256:0"
SECRET = {"Authorization": "Bearer secret"}
FAR = "https://bucket.example.com/blob"
FAULTS = ("cut", "early", "500", "503", "429")
"""What passes: connections that break at once or in a body, and answers that say to come again."""
LIES = ("200", "206 of another range", "206 and too much")
"""What would be other bytes."""


@dataclass
class BlobInStorage:
    """A registry that redirects to its storage, and that storage, which reads ranges of a blob."""

    blob: bytes = field(default_factory=lambda: os.urandom(LARGE))
    url: str = ""
    location: str | None = None
    says_size: bool = True
    version: int = 1
    """Only the URL of this version is good."""
    given: int = 1
    """The version whose URL the registry gives."""
    faults: dict[int, list[str]] = field(default_factory=dict)
    """By where a range begins, what goes wrong with the requests for it, in turn."""
    always: dict[int, str] = field(default_factory=dict)
    """Likewise, with every request."""
    gate: threading.Event = field(default_factory=threading.Event)
    """The storage sends nothing before this is set."""
    asked: list[tuple[int, int]] = field(default_factory=list)
    """The ranges: first, and first after the last."""
    logins: list[str] = field(default_factory=list)
    """What the registry was sent."""
    leaked: list[str] = field(default_factory=list)
    """What the storage was sent, which is to be nothing."""
    under_way: int = 0
    most_under_way: int = 0

    def __post_init__(self) -> None:
        """Let everything pass."""
        self.gate.set()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer as the registry, or as the storage."""
        if request.path.startswith("/v2/"):
            return self._redirect(request)
        self.leaked += [name for name in ("Authorization", "Cookie") if name in request.headers]
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.to_thread(self.gate.wait)
            return await self._range(request)
        finally:
            self.under_way -= 1

    def _redirect(self, request: web.BaseRequest) -> web.Response:
        self.logins.append(request.headers.get("Authorization", ""))
        headers = {
            "Location": self.location or f"{self.url}/s3/blob?version={self.given}",
            "Docker-Content-Digest": str(Digest.of(self.blob)),
            "Content-Type": "application/octet-stream",
            "Cache-Control": "no-store",
        }
        if self.says_size:
            headers["Moorage-Blob-Size"] = str(len(self.blob))
        return web.Response(status=307, headers=headers)

    async def _range(self, request: web.BaseRequest) -> web.StreamResponse:
        first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
        self.asked.append((first, last + 1))
        if request.query_string != f"version={self.version}":
            return web.Response(status=403)
        fault = self.always.get(first // PIECE * PIECE, "")
        if waiting := self.faults.get(first // PIECE * PIECE):
            fault = waiting.pop(0)
        if fault.isdecimal() and fault != "200":
            return web.Response(status=int(fault))
        return await self._sent(request, fault, first, last)

    async def _sent(
        self, request: web.BaseRequest, fault: str, first: int, last: int
    ) -> web.StreamResponse:
        body, status = self.blob[first : last + 1], 206
        if fault == "200":
            body, status = self.blob, 200
        if fault == "206 and too much":
            body += b"more"
        told = (first + 1, last + 1) if fault == "206 of another range" else (first, last)
        span = f"bytes {told[0]}-{told[1]}/{len(self.blob)}"
        headers = {"Content-Range": span, "Content-Length": str(len(body))}
        response = web.StreamResponse(status=status, headers=headers)
        if fault == "cut":
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.prepare(request)
        if fault == "early":
            await response.write(body[: len(body) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(body)
        return response


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[BlobInStorage, str]]:
    """One registry with its storage, and a proxy before it, for all tests of this module."""
    there = BlobInStorage()
    with (
        run_handler(there.answer) as there.url,
        run_proxy(there.url, pull_plan=PLAN, pull_streams=STREAMS) as url,
    ):
        yield there, url


@pytest.fixture
def there(running: tuple[BlobInStorage, str]) -> BlobInStorage:
    """The registry, as if it were new."""
    there, _ = running
    until(lambda: not there.under_way, "the storage is idle")
    vars(there).update(vars(BlobInStorage(url=there.url)))
    return there


@pytest.fixture
def proxy(running: tuple[BlobInStorage, str], there: BlobInStorage) -> str:
    """The proxy's URL."""
    assert there.asked == []
    return running[1]


def pull(proxy: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """GET the blob."""
    return request(proxy, "GET", PATH, headers={**SECRET, **headers})


def begun(proxy: str) -> http.client.HTTPResponse:
    """Ask for the blob, and read nothing but the headers."""
    connection = http.client.HTTPConnection(urlsplit(proxy).netloc, timeout=20)
    connection.request("GET", PATH, headers=SECRET)
    return connection.getresponse()


def cut_off(proxy: str) -> bytes:
    """GET the blob, which is to break off, and return what came."""
    with pytest.raises(http.client.IncompleteRead) as broken:
        begun(proxy).read()
    return broken.value.partial


@pytest.mark.parametrize("size", [5 * PIECE, 5 * PIECE + 1, 6 * PIECE - 1, LARGE, 40 * PIECE])
def test_a_large_blob_comes_whole_in_ranges(proxy: str, there: BlobInStorage, size: int) -> None:
    """In order, each byte once, with the headers of a blob; the storage gets no login."""
    there.blob = os.urandom(size)
    status, headers, body = pull(proxy)
    assert (status, body) == (200, there.blob)
    assert headers["Docker-Content-Digest"] == str(Digest.of(there.blob))
    assert (headers["Content-Length"], headers["Accept-Ranges"]) == (str(size), "bytes")
    assert headers["Content-Type"] == "application/octet-stream"
    assert not {"Location", "Moorage-Blob-Size", "Cache-Control"} & set(headers)
    starts = range(0, size, PIECE)
    assert sorted(there.asked) == [(at, min(at + PIECE, size)) for at in starts]
    assert there.logins == [SECRET["Authorization"]]
    assert there.leaked == []


def test_so_many_ranges_come_at_once_and_no_more_are_held(there: BlobInStorage) -> None:
    """As many as there are streams, also where the client reads nothing."""
    there.blob = os.urandom(40_000_000)
    there.gate.clear()
    plan = PullPlan(piece=1_000_000)
    with (
        run_proxy(there.url, pull_plan=plan, pull_streams=STREAMS) as url,
        ThreadPoolExecutor() as pool,
    ):
        answer = pool.submit(begun, url)
        until(lambda: there.under_way == STREAMS, "all ranges are asked for")
        there.gate.set()
        response = answer.result()
        # The sockets' buffers take some MB; then nothing moves.
        before = -1
        while before != (before := len(there.asked)):
            threading.Event().wait(0.3)
        assert before < len(there.blob) // plan.piece
        assert there.most_under_way == STREAMS
        assert response.read() == there.blob


@pytest.mark.parametrize(
    "change",
    [
        {"blob": b"x" * (PLAN.least - 1)},
        {"says_size": False},
        {"location": "http://bucket.example.com/blob"},
        {"location": "https://login@bucket.example.com/blob"},
        {"location": "/s3/blob"},
    ],
    ids=["small", "no size", "no TLS", "login in the URL", "at the registry itself"],
)
def test_another_redirect_is_the_clients(
    proxy: str, there: BlobInStorage, change: dict[str, object]
) -> None:
    """Small blobs, and those at a URL that the proxy would not use: nothing is fetched."""
    vars(there).update(change)
    status, headers, _ = pull(proxy)
    assert (status, there.asked) == (307, [])
    assert headers["Location"] == (there.location or "/s3/blob?version=1")


def test_a_client_that_wants_a_range_fetches_it_itself(proxy: str, there: BlobInStorage) -> None:
    """As it does when it resumes."""
    assert pull(proxy, Range="bytes=5000-")[0] == 307
    assert there.asked == []


def test_with_one_stream_clients_follow_the_redirect(there: BlobInStorage) -> None:
    """The option turns it off."""
    with run_proxy(there.url, pull_plan=PLAN, pull_streams=1) as url:
        assert pull(url)[0] == 307
    assert there.asked == []


def test_a_proxy_before_a_far_registry_reads_nothing_of_this_machine() -> None:
    """A redirect to loopback from elsewhere is passed on, never followed."""
    pulls = []
    for local in (False, True):
        storage = Storage(None, local=local)  # type: ignore[arg-type]
        taking = RangedPulls(storage, PLAN, STREAMS, 1.0)
        pulls.append([taking.takes(url, LARGE) for url in ("http://127.0.0.1:1/x", FAR)])
    assert pulls == [[False, True], [True, True]]


def test_further_blobs_at_the_same_time_are_the_clients(proxy: str, there: BlobInStorage) -> None:
    """Two are pulled at once; when one is done, another one may be."""
    there.gate.clear()
    with ThreadPoolExecutor() as pool:
        pulled = [pool.submit(pull, proxy) for _ in range(PLAN.blobs)]
        until(lambda: there.under_way == PLAN.blobs * STREAMS, "both blobs are begun")
        assert pull(proxy)[0] == 307
        there.gate.set()
        assert [each.result()[2] for each in pulled] == [there.blob] * PLAN.blobs
    assert pull(proxy)[2] == there.blob


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("start", [0, 4 * PIECE, LARGE // PIECE * PIECE])
def test_a_failure_that_passes_is_not_seen(
    proxy: str, there: BlobInStorage, fault: str, start: int
) -> None:
    """Twice in a row, at any range: only what is lacking is asked for again."""
    there.faults = {start: [fault, fault]}
    status, _, body = pull(proxy)
    assert (status, body) == (200, there.blob)
    again = [span for span in there.asked if span[0] // PIECE * PIECE == start]
    assert len(again) == 3
    assert {end for _, end in again} == {min(start + PIECE, LARGE)}
    halves = fault == "early"
    assert [first > start for first, _ in again] == [False, halves, halves]


def test_an_url_that_ends_midway_is_replaced(proxy: str, there: BlobInStorage) -> None:
    """The registry is asked once more, with the client's login, however many ranges failed."""
    there.gate.clear()
    with ThreadPoolExecutor() as pool:
        pulled = pool.submit(pull, proxy)
        until(lambda: there.under_way == STREAMS, "all ranges are asked for")
        there.version = there.given = 2
        there.gate.set()
        assert pulled.result()[2] == there.blob
    assert there.logins == [SECRET["Authorization"]] * 2
    assert Counter(there.asked)[0, PIECE] == 2


def test_urls_may_end_again_and_again_as_long_as_bytes_come(
    proxy: str, there: BlobInStorage
) -> None:
    """A slow pull outlives many of them."""
    there.faults = {4 * PIECE: ["403", "early"] * 4}
    assert pull(proxy)[2] == there.blob
    assert len(there.logins) == 1 + 4


def test_what_fails_after_a_refusal_is_tried_for_the_patience(there: BlobInStorage) -> None:
    """With waits, and no further question to the registry."""
    there.faults, there.always = {4 * PIECE: ["403"]}, {4 * PIECE: "cut"}
    with run_proxy(there.url, patience=0.3, pull_plan=PLAN, pull_streams=STREAMS) as url:
        assert there.blob.startswith(cut_off(url))
    assert len(there.logins) == 2
    assert 2 <= Counter(there.asked)[4 * PIECE, 5 * PIECE] < 10


@pytest.mark.parametrize("fault", ["403", "404", *LIES[:2]])
def test_a_storage_that_refuses_from_the_beginning_is_the_clients(
    proxy: str, there: BlobInStorage, fault: str
) -> None:
    """It gets the redirect, as if the proxy had not tried; no byte of another answer."""
    there.always = {0: fault}
    status, headers, body = pull(proxy)
    assert (status, body) == (307, b"")
    assert headers["Location"].endswith("/s3/blob?version=1")


@pytest.mark.parametrize("pause", [0.0, 60.0])
def test_where_the_proxy_can_not_reach_the_storage_clients_may(
    there: BlobInStorage, pause: float
) -> None:
    """No byte in time: the client is redirected, and further ones at once, until the pause ends."""
    there.always = {0: "503"}
    plan = replace(PLAN, first=0.2, pause=pause)
    with run_proxy(there.url, patience=60, pull_plan=plan, pull_streams=STREAMS) as url:
        assert pull(url)[0] == 307
        there.always, asked = {}, len(there.asked)
        assert pull(url)[0] == (307 if pause else 200)
    assert (len(there.asked) > asked) is (pause == 0)


@pytest.mark.parametrize("fault", ["403", "cut", "500", *LIES])
def test_what_can_not_be_had_midway_breaks_the_connection(there: BlobInStorage, fault: str) -> None:
    """The client has the bytes before it, and sees that they are not all."""
    there.always = {4 * PIECE: fault}
    with run_proxy(there.url, patience=0.2, pull_plan=PLAN, pull_streams=STREAMS) as url:
        came = cut_off(url)
    assert there.blob.startswith(came)
    assert len(came) <= 5 * PIECE


def test_a_registry_that_gives_no_other_url_ends_the_pull(proxy: str, there: BlobInStorage) -> None:
    """A login that has ended meanwhile, or a blob that was deleted."""
    there.always = {4 * PIECE: "403"}
    answer = begun(proxy)
    there.location = "/login"
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_a_client_that_leaves_ends_its_ranges(proxy: str, there: BlobInStorage) -> None:
    """And frees its place for another."""
    there.gate.clear()
    left = [http.client.HTTPConnection(urlsplit(proxy).netloc) for _ in range(PLAN.blobs)]
    for connection in left:
        connection.request("GET", PATH)
    until(lambda: there.under_way == PLAN.blobs * STREAMS, "both blobs are begun")
    for connection in left:
        connection.close()
    there.gate.set()
    until(lambda: not there.under_way, "the storage is idle")
    until(lambda: pull(proxy)[2] == there.blob, "there is a place for another")
