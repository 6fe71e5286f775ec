"""Small blobs are held until their digest is named: one request upstream, and nothing is lost."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from moorage.proxy import held_sessions, push_rights
from tests.moorage.proxy.test_push_rights import bearer
from tests.support.fake_registry import FakeRegistry, UploadFault, run_fake_registry
from tests.support.servers import CHUNK, connect, request, run_proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UPLOADS = "/v2/x/blobs/uploads/"
HELD = 3 * CHUNK
UNKNOWN = b"BLOB_UPLOAD_UNKNOWN"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A registry."""
    with run_fake_registry() as registry:
        yield registry


@pytest.fixture
def proxy(fake: FakeRegistry) -> Iterator[str]:
    """The URL of a proxy that holds three chunks at most."""
    with run_proxy(fake.url, memory_bytes=HELD) as url:
        yield url


def digest_of(data: bytes) -> str:
    """Return a digest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def start(url: str, headers: Mapping[str, str] | None = None, query: str = "") -> str:
    """Open a session; return its Location."""
    status, answered, _ = request(url, "POST", UPLOADS + query, b"", headers)
    assert (status, answered["Range"]) == (202, "0-0")
    return str(answered["Location"])


def close(url: str, at: str, data: bytes, body: bytes = b"") -> int:
    """Close a session; return the status."""
    return request(url, "PUT", f"{at}&digest={digest_of(data)}", body)[0]


def patch(url: str, at: str, *pieces: bytes) -> str:
    """Append bytes and return the Location; if they are in pieces, their length is not said."""
    body = pieces[0] if len(pieces) == 1 else iter(pieces)
    status, answered, _ = request(url, "PATCH", at, body)
    assert status == 202
    return str(answered["Location"])


def sent(fake: FakeRegistry) -> list[tuple[str, int]]:
    """Return the requests that carried bytes."""
    return [(method, size) for method, size in fake.requests if size]


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK])
@pytest.mark.parametrize("parts", ["P", "PP", "pP", "p", ""])
def test_a_blob_that_fits_a_chunk_is_one_request(
    proxy: str, fake: FakeRegistry, parts: str, size: int
) -> None:
    """By PATCHes with a length (P) or without (p), and what is left in the PUT: one POST."""
    data, at, kept = os.urandom(size), start(proxy), 0
    for number, part in enumerate(parts, 1):
        chunk = data[kept : size * number // (len(parts) + (size > 2))]
        if chunk:
            at = patch(proxy, at, *([chunk] if part == "P" else [chunk[:1], chunk[1:]]))
        kept += len(chunk)
        status, answered, _ = request(proxy, "GET", at)
        assert (status, answered["Location"]) == (204, at)
        assert at.endswith(f"?at={kept}")
    assert close(proxy, at, data, data[kept:]) == 201
    assert fake.blobs == {digest_of(data): data}
    assert sent(fake) == [("POST", size)]
    assert fake.sessions == {}


@pytest.mark.parametrize("end", ["PATCH", "PUT", "PUT without a length"])
def test_a_blob_larger_than_a_chunk_continues_upstream(
    proxy: str, fake: FakeRegistry, end: str
) -> None:
    """With the bytes that were held; the first Location stays valid."""
    data, at = os.urandom(2 * CHUNK), start(proxy)
    held = patch(proxy, at, data[:100])
    assert fake.sessions == {}
    if end == "PATCH":
        patched = patch(proxy, held, data[100:])
        assert patched == f"{UPLOADS}0?at={len(data)}"
        assert request(proxy, "GET", at)[1]["Range"] == f"0-{len(data) - 1}"
        assert close(proxy, f"{at.partition('?')[0]}?at={len(data)}", data) == 201
    else:
        rest = [data[100:]] if end == "PUT" else [data[100:500], data[500:]]
        body = rest[0] if end == "PUT" else iter(rest)
        assert request(proxy, "PUT", f"{held}&digest={digest_of(data)}", body)[0] == 201
    assert fake.blobs == {digest_of(data): data}
    assert max(size for _, size in fake.requests) <= CHUNK
    # What was committed upstream is closed there once more.
    assert close(proxy, at, data) == 201


def test_a_session_that_went_on_upstream_is_cancelled_there(proxy: str, fake: FakeRegistry) -> None:
    """By the Location that the client got first."""
    at = start(proxy)
    patch(proxy, at, os.urandom(CHUNK + 1))
    assert request(proxy, "DELETE", at)[0] == 204
    assert fake.sessions == {}
    assert request(proxy, "GET", at)[0] == 404


@pytest.mark.parametrize("in_put", [False, True])
def test_a_wrong_digest_is_400_and_keeps_the_session(
    proxy: str, fake: FakeRegistry, *, in_put: bool
) -> None:
    """What came with the PUT is not kept, what was kept before it is; the right one is 201."""
    data, at = os.urandom(100), start(proxy)
    kept, rest = (data[:60], data[60:]) if in_put else (data, b"")
    at = patch(proxy, at, kept)
    status, answered, body = request(proxy, "PUT", f"{at}&digest={digest_of(b'x')}", rest)
    assert (status, answered["Location"], answered["Range"]) == (400, at, f"0-{len(kept) - 1}")
    assert b"DIGEST_INVALID" in body
    assert fake.blobs == {}
    assert close(proxy, at, data, rest) == 201
    assert fake.blobs == {digest_of(data): data}


@pytest.mark.parametrize("fault", list(UploadFault))
def test_a_failure_of_the_one_request_is_tried_again(
    proxy: str, fake: FakeRegistry, fault: UploadFault
) -> None:
    """Whether the registry had stored the blob or not."""
    data = os.urandom(1000)
    at = patch(proxy, start(proxy), data)
    fake.post_faults = [fault, fault]
    assert close(proxy, at, data) == 201
    assert fake.blobs == {digest_of(data): data}


@pytest.mark.parametrize("fault", [UploadFault.ERROR, UploadFault.BUSY, UploadFault.LOST_BEFORE])
def test_a_failing_registry_is_reported_and_the_bytes_stay(
    fake: FakeRegistry, fault: UploadFault
) -> None:
    """The client gets the registry's last answer, and may close the session later."""
    data = os.urandom(1000)
    with run_proxy(fake.url, patience=0.5) as proxy:
        at = patch(proxy, start(proxy), data)
        fake.post_faults = [fault] * 1000
        status = close(proxy, at, data)
        assert status == {UploadFault.ERROR: 500, UploadFault.BUSY: 429}.get(fault, 502)
        fake.post_faults = []
        assert close(proxy, at, data) == 201


@pytest.mark.parametrize("fault", list(UploadFault))
@pytest.mark.parametrize("query", ["?digest-algorithm=sha256", "?mount=sha256:x&from=y"])
def test_a_post_that_opens_a_session_upstream_is_tried_again(
    proxy: str, fake: FakeRegistry, fault: UploadFault, query: str
) -> None:
    """The registry itself answers what only it can: its session is not held."""
    fake.post_faults = [fault, fault]
    at = start(proxy, query=query)
    assert at.partition("?")[0] in fake.sessions
    data = os.urandom(10)
    assert close(proxy, at, data, data) == 201


def test_a_client_that_may_not_push_is_refused_at_the_post(proxy: str, fake: FakeRegistry) -> None:
    """And at each later request to another client's session; nothing is held for it."""
    bad, good = {"Authorization": "Basic bad"}, {"Authorization": "Basic good"}
    fake.refuses = {bad["Authorization"]}
    status, answered, _ = request(proxy, "POST", UPLOADS, b"", bad)
    assert (status, answered["WWW-Authenticate"][:6]) == (401, "Bearer")
    assert len(fake.log) == 1, "a wrong login is counted twice"
    at = start(proxy, good)
    for method, body in (("GET", b""), ("PATCH", b"x"), ("PUT", b"x"), ("DELETE", b"")):
        assert request(proxy, method, f"{at}&digest={digest_of(b'x')}", body, bad)[0] == 401
    assert request(proxy, "GET", at, b"", good)[1]["Location"] == at
    assert (fake.blobs, fake.sessions) == ({}, {})


@pytest.mark.parametrize(
    ("method", "body"), [("GET", b""), ("PATCH", b"x"), ("PUT", b""), ("DELETE", b"")]
)
def test_a_held_session_is_its_openers_alone(
    proxy: str, fake: FakeRegistry, method: str, body: bytes
) -> None:
    """Another principal who may push there hears 404, as of a session of the registry."""
    mine, renewed, other = (
        {"Authorization": bearer({"sub": sub, "exp": time.time() + life})}
        for sub, life in (("ci", 2000), ("ci", 3000), ("dev", 2000))
    )
    at, data = start(proxy, mine), os.urandom(9)
    at = request(proxy, "PATCH", at, data, mine)[1]["Location"]
    closing = f"{at}&digest={digest_of(data)}"
    target = closing if method == "PUT" else at
    for closed in (False, True):
        status, _, answer = request(proxy, method, target, body, other)
        assert (status, UNKNOWN in answer) == (404, True)
        if not closed:
            assert request(proxy, "GET", at, b"", renewed)[1]["Range"] == "0-8"
            assert request(proxy, "PUT", closing, b"", renewed)[0] == 201
    assert fake.blobs == {digest_of(data): data}


@pytest.mark.parametrize("held", [True, False])
def test_a_token_that_may_end_before_the_upload_opens_a_session_upstream(
    proxy: str, fake: FakeRegistry, *, held: bool
) -> None:
    """Only there can an upload outlive its token."""
    start(proxy, {"Authorization": bearer({"exp": time.time() + (1000 if held else 800)})})
    assert (fake.sessions == {}) is held


def test_a_registry_that_fails_refuses_nothing(
    proxy: str, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was held when it last said yes is held on, and stored when it is back."""
    monkeypatch.setattr(push_rights, "_REMEMBERED", 0.0)
    at = patch(proxy, start(proxy), b"abc")
    fake.failing = {"GET"}
    at = patch(proxy, at, b"def")
    assert request(proxy, "GET", at)[0] == 204
    assert close(proxy, at, b"abcdef") == 201
    assert sent(fake) == [("POST", 6)]
    # A new one is opened upstream.
    start(proxy)
    assert len(fake.sessions) == 1


def test_the_memory_of_held_uploads_is_bounded(proxy: str, fake: FakeRegistry) -> None:
    """More blobs go upstream as they come, until one is stored or cancelled."""
    blobs = [os.urandom(CHUNK) for _ in range(5)]
    places = [patch(proxy, start(proxy), data) for data in blobs[:4]]
    assert (len(fake.sessions), sent(fake)) == (1, [("PATCH", CHUNK)])
    assert close(proxy, places[0], blobs[0]) == 201
    assert request(proxy, "DELETE", places[1])[0] == 204
    places += [patch(proxy, start(proxy), data) for data in (blobs[4], blobs[1])]
    assert len(fake.sessions) == 1
    for at, data in zip([*places[2:4], *places[4:]], [*blobs[2:5], blobs[1]], strict=True):
        assert close(proxy, at, data) == 201
    assert fake.blobs == {digest_of(data): data for data in blobs}


def test_sessions_that_are_held_are_bounded(
    fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is opened upstream."""
    monkeypatch.setattr(held_sessions, "_MOST_HELD", 2)
    with run_proxy(fake.url) as proxy:
        for opened in (0, 0, 1, 2):
            start(proxy)
            assert len(fake.sessions) == opened


def test_an_abandoned_upload_is_forgotten(
    fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is freed; a request in progress keeps it."""
    monkeypatch.setattr(held_sessions, "HELD_SECONDS", 0.4)
    with run_proxy(fake.url, memory_bytes=CHUNK) as proxy:
        at = patch(proxy, start(proxy), os.urandom(CHUNK))

        def slowly() -> Iterator[bytes]:
            for _ in range(4):
                time.sleep(0.2)
                yield b"abc"

        slow = start(proxy)
        status, answered, _ = request(proxy, "PATCH", slow, slowly())
        assert (status, answered["Range"]) == (202, "0-11")
        assert answered["Location"].startswith(slow.partition("?")[0])
        time.sleep(2)  # to ask would be to use it
        assert [request(proxy, "GET", place)[0] for place in (at, slow)] == [404, 404]
        data = os.urandom(CHUNK)
        assert close(proxy, patch(proxy, start(proxy), data), data) == 201
        assert fake.sessions == {}


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_a_session_of_another_proxy_is_unknown(proxy: str, fake: FakeRegistry, method: str) -> None:
    """The registry says so; its client then sends the blob anew. So it is after a restart."""
    at = patch(proxy, start(proxy), b"abc")
    body = b"def" if method == "PATCH" else b""
    with run_proxy(fake.url) as other:
        target = f"{at}&digest={digest_of(b'abc')}" if method == "PUT" else at
        status, _, answer = request(other, method, target, body)
    assert (status, UNKNOWN in answer) == (404, True)


def test_a_put_that_is_repeated_is_201_while_the_blob_is_there(
    proxy: str, fake: FakeRegistry
) -> None:
    """Nothing is sent again. When the blob was deleted, clients are to push it anew."""
    data = os.urandom(100)
    at = patch(proxy, start(proxy), data)
    for _ in range(2):
        assert close(proxy, at, data) == 201
    assert sent(fake) == [("POST", 100)]
    assert request(proxy, "GET", at)[1]["Range"] == "0-99"
    for method, body in (("PATCH", b"x"), ("DELETE", b""), ("PUT", b"")):
        target = f"{at}&digest={digest_of(b'x')}"
        status, _, answer = request(proxy, method, target, body)
        assert (status, UNKNOWN in answer) == (404, True)
    fake.blobs.clear()
    status, _, answer = request(proxy, "PUT", f"{at}&digest={digest_of(data)}")
    assert (status, UNKNOWN in answer) == (404, True)


def test_two_puts_at_once_store_one_blob(proxy: str, fake: FakeRegistry) -> None:
    """The second one waits for the first."""
    data = os.urandom(CHUNK)
    at = patch(proxy, start(proxy), data)
    fake.post_faults = [UploadFault.BUSY] * 2
    with ThreadPoolExecutor(4) as clients:
        assert list(clients.map(lambda _: close(proxy, at, data), range(4))) == [201] * 4
    assert sent(fake) == [("POST", CHUNK)] * 3


def test_a_cancelled_upload_is_over(proxy: str, fake: FakeRegistry) -> None:
    """And the registry has heard nothing of it."""
    at = patch(proxy, start(proxy), b"abc")
    assert request(proxy, "DELETE", at)[0] == 204
    for method in ("GET", "DELETE"):
        assert request(proxy, method, at)[0] == 404
    assert close(proxy, at, b"abc") == 404
    assert fake.sessions == {}


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("PATCH", "?at=2", {}, 416),
        ("PATCH", "?at=3", {"Content-Range": "0-2"}, 416),
        ("PATCH", "", {}, 416),
        ("PATCH", "?at=x", {}, 400),
        ("PATCH", f"?at={'9' * 5000}", {}, 400),
        ("PATCH", "?at=3", {"Content-Range": "3-9"}, 400),
        ("PATCH", "?at=3", {"Content-Range": "x"}, 400),
        ("PUT", "?at=0", {}, 416),
        ("PUT", "?at=9", {}, 416),
    ],
)
def test_bytes_out_of_place_are_refused(  # noqa: PLR0913 - a request is all of these
    proxy: str, fake: FakeRegistry, method: str, target: str, headers: dict[str, str], status: int
) -> None:
    """Nothing of them is kept, and the client hears where to go on."""
    at = patch(proxy, start(proxy), b"abc")
    path = f"{at.partition('?')[0]}{target}"
    if method == "PUT":
        path += f"&digest={digest_of(b'abcdef')}"
    told, answered, _ = request(proxy, method, path, b"def", headers)
    assert told == status
    if status == 416:
        assert (answered["Location"], answered["Range"]) == (at, "0-2")
    assert close(proxy, at, b"abcdef", b"def") == 201
    assert fake.sessions == {}


def test_a_body_that_breaks_off_is_not_held(proxy: str, fake: FakeRegistry) -> None:
    """The session has what it had before."""
    at = patch(proxy, start(proxy), b"abc")
    with connect(proxy) as raw:
        head = f"PATCH {at} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 100\r\n\r\n"
        raw.sendall(head.encode() + b"def")
    assert request(proxy, "GET", at)[1]["Location"] == at
    assert close(proxy, at, b"abcdef", b"def") == 201
    assert sent(fake) == [("POST", 6)]


def test_a_client_that_leaves_at_its_put_may_come_back(proxy: str, fake: FakeRegistry) -> None:
    """Its bytes are there until the registry has said that it has them."""
    data = os.urandom(100)
    at = patch(proxy, start(proxy), data)
    fake.post_faults = [UploadFault.BUSY] * 4
    with connect(proxy) as raw:
        target = f"{at}&digest={digest_of(data)}"
        raw.sendall(f"PUT {target} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 0\r\n\r\n".encode())
        until(lambda: len(fake.post_faults) < 4, "the proxy is at it")
    fake.post_faults = []
    assert close(proxy, at, data) == 201


@pytest.mark.parametrize("parts", ["PATCH", "PUT"])
def test_a_registry_that_takes_no_whole_blob_gets_it_by_a_session(
    proxy: str, fake: FakeRegistry, parts: str
) -> None:
    """It answers the POST with 202, and the blob comes with a PUT."""
    fake.takes_whole = False
    data, at, body = os.urandom(100), start(proxy), b""
    if parts == "PATCH":
        at = patch(proxy, at, data)
    else:
        body = data
    assert close(proxy, at, data, body) == 201
    assert fake.blobs == {digest_of(data): data}
    assert sent(fake) == [("POST", 100), ("PUT", 100)]


@pytest.mark.parametrize("query", ["", f"&digest={digest_of(b'')}", "&digest=a&digest=b"])
def test_a_put_that_only_the_registry_can_judge_goes_upstream(
    proxy: str, fake: FakeRegistry, query: str
) -> None:
    """A PUT without bytes, without a digest, or with two."""
    status = request(proxy, "PUT", start(proxy) + query)[0]
    assert status == (201 if query == f"&digest={digest_of(b'')}" else 400)
    assert len(fake.sessions) == 1


def test_an_algorithm_that_a_chunk_names_is_passed_on(proxy: str, fake: FakeRegistry) -> None:
    """The registry has to hash with it from the first byte on, and says if it can't."""
    at = patch(proxy, start(proxy), b"abc")
    path = f"{at}&digest-algorithm=sha512%26x"
    assert request(proxy, "PATCH", path, b"def")[0] == 202
    assert ("PATCH", f"{UPLOADS}0?at=0&digest-algorithm=sha512%26x") in fake.log


def test_an_empty_chunk_keeps_the_session_as_it_is(proxy: str) -> None:
    """With and without a header that says that it is empty."""
    at = patch(proxy, start(proxy), b"abc")
    assert patch(proxy, at, b"") == at
    assert patch(proxy, at, b"", b"") == at
    assert request(proxy, "PATCH", at.replace("at=3", "at=2"), b"")[0] == 416


def test_sessions_of_other_repositories_are_unknown(proxy: str) -> None:
    """An id is good under its own name."""
    at = start(proxy)
    assert request(proxy, "GET", at.replace("/x/", "/y/"))[0] == 404


def test_a_proxy_before_a_proxy_holds_too(proxy: str, fake: FakeRegistry) -> None:
    """The outer one asks the inner one, which asks the registry."""
    data = os.urandom(100)
    with run_proxy(proxy) as outer:
        assert close(outer, patch(outer, start(outer), data), data) == 201
    assert sent(fake) == [("POST", 100)]


def test_a_client_that_stays_connected_is_answered(proxy: str) -> None:
    """All three requests on one connection, as docker sends them."""
    connection = http.client.HTTPConnection(proxy.partition("://")[2], timeout=20)
    at, statuses = UPLOADS, []
    for method, body in (("POST", b""), ("PATCH", b"abc"), ("PUT", b"")):
        target = f"{at}&digest={digest_of(b'abc')}" if method == "PUT" else at
        connection.request(method, target, body)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
        at = answer.headers.get("Location", at)
    assert statuses == [202, 202, 201]
    connection.close()
