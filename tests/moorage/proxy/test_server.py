"""The push proxy: bodies of any size become chunks, and what breaks upstream is resumed.

Between bad clients and bad registries: what it gives up, repeats, and never mixes.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from moorage.common.http_server import Pace
from tests.support.fake_registry import FakeRegistry, UploadFault, run_fake_registry, run_handler
from tests.support.servers import CHUNK, connect, exchange, request, run_proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[FakeRegistry, str]]:
    """One fake registry, and a proxy before it, for all tests of this module."""
    with run_fake_registry() as registry, run_proxy(registry.url) as url:
        yield registry, urlsplit(url).netloc


@pytest.fixture
def fake(running: tuple[FakeRegistry, str]) -> FakeRegistry:
    """The registry, as if it were new."""
    registry, _ = running
    vars(registry).update(vars(FakeRegistry(url=registry.url)))
    return registry


@pytest.fixture
def proxy(running: tuple[FakeRegistry, str], fake: FakeRegistry) -> str:
    """The proxy's host and port."""
    assert fake.requests == []
    return running[1]


def ask(
    proxy: str,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    **headers: str,
) -> http.client.HTTPResponse:
    """Send a request; an iterable body goes out chunked, without a length."""
    connection = http.client.HTTPConnection(proxy, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(
        method, path, body=body, headers=named, encode_chunked=not isinstance(body, bytes | None)
    )
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def start(fake: FakeRegistry) -> str:
    """Open a session at the registry itself: one that the proxy doesn't hold."""
    return (
        urlsplit(request(fake.url, "POST", "/v2/x/blobs/uploads/")[1]["Location"])
        ._replace(scheme="", netloc="")
        .geturl()
    )


def digest_of(data: bytes) -> str:
    """Return a digest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 10 * CHUNK + 7])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_of_any_size_arrives(
    proxy: str, fake: FakeRegistry, size: int, *, chunked: bool
) -> None:
    """PATCH then PUT make the blob, Range is exact, and no request upstream exceeds a chunk."""
    data = os.urandom(size)
    body = iter([data[:10], data[10:]]) if chunked else data
    patched = ask(proxy, "PATCH", start(fake), body, Authorization="Bearer secret")
    assert patched.status == 202
    assert patched.headers["Range"] == f"0-{size - 1}"
    put = ask(proxy, "PUT", f"{patched.headers['Location']}&digest={digest_of(data)}")
    assert put.status == 201
    assert fake.blobs == {digest_of(data): data}
    assert max(length for _, length in fake.requests) <= CHUNK
    assert fake.authorizations == {"", "Bearer secret"}


@pytest.mark.parametrize(
    ("method", "size"),
    [("PUT", 0), *product(("PUT", "POST"), (5, CHUNK, 2 * CHUNK, 3 * CHUNK + 1))],
)
def test_a_blob_of_any_size_is_committed_by_one_request(
    proxy: str, fake: FakeRegistry, method: str, size: int
) -> None:
    """A PUT becomes chunks and a closing PUT; a POST does if it is large, and passes if not."""
    data = os.urandom(size)
    place = f"{start(fake)}&" if method == "PUT" else "/v2/x/blobs/uploads/?"
    assert ask(proxy, method, f"{place}digest={digest_of(data)}", data).status == 201
    assert fake.blobs == {digest_of(data): data}
    assert len(fake.sessions) == (method == "PUT" or size > CHUNK)


@pytest.mark.parametrize("fault", list(UploadFault))
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("where", [0, 1, 3])
def test_a_failure_upstream_is_resumed(
    proxy: str, fake: FakeRegistry, fault: UploadFault, method: str, where: int
) -> None:
    """Whichever fault at whichever chunk, twice in a row: the blob is whole."""
    data = os.urandom(3 * CHUNK + 11)
    fake.faults = [None] * where + [fault, fault]
    at = start(fake)
    if method == "PATCH":
        patched = ask(proxy, "PATCH", at, data)
        assert (patched.status, patched.headers["Range"]) == (202, f"0-{len(data) - 1}")
        at, data_now = patched.headers["Location"], b""
    else:
        data_now = data
    assert ask(proxy, "PUT", f"{at}&digest={digest_of(data)}", data_now).status == 201
    assert fake.blobs == {digest_of(data): data}


def test_an_upstream_that_takes_no_chunk_is_503_after_the_patience(
    proxy: str, fake: FakeRegistry
) -> None:
    """The answer has Retry-After, and the session stays."""
    fake.faults = [None, *[UploadFault.BUSY] * 10_000]
    began = time.monotonic()
    at = start(fake)
    answer = ask(proxy, "PATCH", at, os.urandom(3 * CHUNK))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert time.monotonic() - began < 30
    fake.faults = []
    assert ask(proxy, "GET", at).headers["Range"] == f"0-{CHUNK - 1}"


def test_a_refusal_reaches_the_client(proxy: str, fake: FakeRegistry) -> None:
    """A wrong digest, a chunk out of place and an unknown session pass as they are."""
    data = os.urandom(2 * CHUNK)
    at = start(fake)
    wrong = ask(proxy, "PUT", f"{at}&digest={digest_of(b'x')}", data)
    assert (wrong.status, wrong.headers["Range"]) == (400, f"0-{len(data) - 1}")
    late = ask(proxy, "PATCH", at, data, Content_Range=f"7-{len(data) + 6}")
    assert (late.status, late.headers["Range"]) == (416, f"0-{len(data) - 1}")
    assert ask(proxy, "PATCH", "/v2/x/blobs/uploads/none?at=0", data).status == 404
    assert fake.blobs == {}


@pytest.mark.parametrize("begin", [0, CHUNK, CHUNK + 7])
def test_a_chunk_that_a_client_repeats_is_refused(
    proxy: str, fake: FakeRegistry, begin: int
) -> None:
    """Bytes that the registry has already, all or some of them, are 416, as without a proxy."""
    data = os.urandom(2 * CHUNK)
    at = start(fake)
    assert ask(proxy, "PATCH", at, data).status == 202
    span = f"{begin}-{begin + len(data) - 1}"
    again = ask(proxy, "PATCH", at, data, Content_Range=span)
    assert (again.status, again.headers["Range"]) == (416, f"0-{len(data) - 1}")
    assert bytes(next(iter(fake.sessions.values()))) == data


@pytest.mark.parametrize("announced", ["0-4", "0-99999999", "x"])
def test_a_content_range_unlike_its_body_is_400(
    proxy: str, fake: FakeRegistry, announced: str
) -> None:
    """The last chunk of such a body is not kept."""
    at = start(fake)
    assert ask(proxy, "PATCH", at, b"1234567", Content_Range=announced).status == 400
    assert next(iter(fake.sessions.values())) == b""


def test_a_client_that_breaks_off_leaves_whole_chunks(
    proxy: str, fake: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The session has the beginning of the bytes, and nothing else."""
    caplog.set_level(logging.INFO, "moorage.proxy")
    data, at = os.urandom(2 * CHUNK + 100), start(fake)
    with socket.create_connection(tuple(proxy.split(":"))) as raw:  # type: ignore[arg-type]
        head = f"PATCH {at} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {10 * CHUNK}\r\n\r\n"
        raw.sendall(head.encode() + data)
        [session] = fake.sessions.values()
        until(lambda: len(session) == 2 * CHUNK, "two chunks are kept")
    until(lambda: "PATCH /v2/x/" in caplog.text, "the proxy is done with the request")
    kept = bytes(session)
    assert kept == data[: 2 * CHUNK]
    rest = data[len(kept) :]
    assert ask(proxy, "PATCH", f"{at.partition('?')[0]}?at={len(kept)}", rest).status == 202


def test_everything_else_passes_through(proxy: str) -> None:
    """HEAD keeps its length, a redirect is not followed, a Location upstream leads here."""
    head = ask(proxy, "HEAD", "/v2/blob/plain")
    assert (head.status, head.headers["Content-Length"]) == (200, "123456")
    far = ask(proxy, "GET", "/v2/blob/far")
    assert (far.status, far.headers["Location"]) == (307, "http://127.0.0.1:1/bytes")
    assert ask(proxy, "GET", "/v2/blob/near").headers["Location"] == "/v2/here"


@pytest.mark.parametrize(
    ("path", "cut"),
    [
        ("a/blobs/uploads/s", True),
        ("a/blobs/uploads/s/", True),
        ("a%2Db/blobs/uploads/s", True),
        ("manifests/manifests/blobs/uploads/s", True),
        ("library/blobs/uploads/blobs/uploads/s", True),
        # Names that look like endpoints, and paths that are none.
        ("library/blobs/uploads/manifests/latest", False),
        ("a/blobs/uploads/tags/list", False),
        ("manifests/manifests/manifests/blobs", False),
        ("blobs/uploads/s", False),
        ("a/blobs/uploads/s/t", False),
        ("a//blobs/uploads/s", False),
        ("a/blobs%2Fuploads/s", False),
        ("a/%62lobs/uploads/s", False),
        ("A/blobs/uploads/s", False),
        ("../v2/a/blobs/uploads/s", False),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_only_an_upload_by_the_grammar_of_paths_is_cut_into_chunks(
    method: str, path: str, *, cut: bool
) -> None:
    """A body of three chunks is one request to any other path."""
    answers = [web.Response(status=202, headers={"Range": "0-0"}) for _ in range(4)]
    with scripted(*answers) as (url, script):
        raw = f"{method} /v2/{path} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {3 * CHUNK}\r\n"
        exchange(url, f"{raw}Connection: close\r\n\r\n".encode() + bytes(3 * CHUNK))
    sent = [length for _, _, length in script.asked if length]
    assert sent == ([CHUNK] * 3 if cut else [3 * CHUNK])
    assert {asked for _, asked, _ in script.asked} <= {f"/v2/{path}", f"/v2/{path}/"}


URLS = "x=http://127.0.0.1:1/&y=://&z=https://evil.example/v2/"


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", f"/v2/a/referrers/sha256:0?artifactType=https://slsa.dev/v1&{URLS}", b""),
        ("GET", "/v2/http://evil.example/tags/list", b""),
        ("GET", "//evil.example/v2/", b""),
        ("HEAD", f"/v2/a/manifests/1?{URLS}", b""),
        ("HEAD", f"/v2/a/blobs/sha256:0?{URLS}", b""),
        ("POST", f"/v2/a/blobs/uploads/?digest=sha256:0&{URLS}", b"x"),
        ("POST", f"/v2/a/blobs/uploads/?mount=sha256:0&from=http://evil.example&{URLS}", b""),
        ("PATCH", f"/v2/a/blobs/uploads/s?{URLS}", b"x"),
        ("PUT", f"/v2/a/blobs/uploads/s?at=0&{URLS}&digest=sha256:0", b"x"),
        ("DELETE", f"/v2/a/blobs/uploads/s?{URLS}", b""),
    ],
)
def test_a_url_in_a_target_is_only_text(method: str, target: str, body: bytes) -> None:
    """The request goes to the registry, whatever its path or query holds."""
    answer = web.Response(status=201, headers={"Content-Length": "1"}, body=b"x")
    with scripted(answer) as (url, script):
        head = f"{method} {target} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {len(body)}\r\n"
        told = exchange(url, f"{head}Connection: close\r\n\r\n".encode() + body)
    assert told.startswith(b"HTTP/1.1 20")
    # aiohttp writes an empty host before a path that begins like one.
    assert [asked.replace("////", "//") for _, asked, _ in script.asked] == [target]


@pytest.mark.parametrize("target", ["@127.0.0.1:1/", ".evil.example/", "v2/", "*", "localhost:80"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT"])
def test_a_target_that_is_no_path_is_refused(method: str, target: str) -> None:
    """Appended to the registry's address it would name another host."""
    with scripted() as (url, script):
        line = f"{method} {target} HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n"
        assert exchange(url, line.encode())[9:10] == b"4"
    assert script.asked == []


def test_a_whole_url_as_a_location_leads_to_the_registry(proxy: str, fake: FakeRegistry) -> None:
    """Its origin is dropped for the client, and the proxy goes on there."""
    fake.absolute = True
    data = os.urandom(3 * CHUNK)
    at = start(fake)
    assert at.startswith("/v2/")
    patched = ask(proxy, "PATCH", at, data)
    put = ask(proxy, "PUT", f"{patched.headers['Location']}&digest={digest_of(data)}")
    assert (patched.status, put.status) == (202, 201)
    posted = ask(proxy, "POST", f"/v2/x/blobs/uploads/?digest={digest_of(data)}", data)
    assert posted.status == 201


@pytest.mark.parametrize(
    "elsewhere",
    ["http://127.0.0.1:1/s", "https://evil.example/s", "s", "@s", "http://[", "\udcff"],
)
def test_an_upload_is_sent_to_no_other_server(elsewhere: str) -> None:
    """A Location that leads elsewhere, or is no URL, ends the upload.

    Whoever is there would get the login and the bytes.
    """
    answer = web.Response(status=202, headers={"Location": elsewhere})
    with scripted(answer, kept(0)) as (url, script):
        data = bytes(2 * CHUNK)
        status, _, body = request(url, "POST", "/v2/a/blobs/uploads/?digest=sha256:0", data)
    assert (status, b"another server" in body) == (502, True)
    assert len(script.asked) == 1


@pytest.mark.parametrize("elsewhere", ["http://[", "\udcff", "?at=7"])
def test_an_upload_ends_where_the_next_location_is_no_url(elsewhere: str) -> None:
    """A chunk is accepted, and where the next one goes can't be read."""
    answer = web.Response(status=202, headers={"Location": elsewhere})
    with scripted(answer) as (url, _):
        status, _, body = request(url, "PATCH", f"{SESSION}?at=0", bytes(2 * CHUNK))
    assert (status, b"another server" in body) == (502, True)


@pytest.mark.parametrize("status", [503, 204])
def test_a_failure_whose_location_is_no_url_is_waited_for(status: int) -> None:
    """The Range says where the upload goes on."""
    odd = web.Response(status=503, headers={"Location": "http://[", "Retry-After": "0"})
    asked = kept(0, status, Location="http://[" if status == 503 else f"{SESSION}?at={'9' * 5000}")
    asked.headers["Range"] = "0-0"
    with scripted(odd, asked, kept(0), kept(7, 202)) as (url, _):
        assert request(url, "PATCH", f"{SESSION}?at=0", bytes(7))[0] == 202


def test_an_absent_upstream_is_502() -> None:
    """The message says what to look at."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with run_proxy(f"http://127.0.0.1:{closed.getsockname()[1]}") as url:
            assert ask(urlsplit(url).netloc, "GET", "/v2/").status == 502


DISCOVER = "/v2/_oci/ext/discover"
SESSION = "/v2/x/blobs/uploads/0"
CHUNKED = (
    f"PATCH {SESSION}?at=0 HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
)


@dataclass
class ScriptedRegistry:
    """A registry that answers with what is next in `answers`; None breaks the connection."""

    answers: list[web.Response | None]
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        body = await request.read()
        if request.path == DISCOVER:
            return web.Response(status=404)
        self.asked.append((request.method, request.path_qs, len(body)))
        self.times.append(time.monotonic())
        answer = self.answers.pop(0)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer


@contextmanager
def scripted(*answers: web.Response | None) -> Iterator[tuple[str, ScriptedRegistry]]:
    """Run such a registry with a proxy before it; give the proxy's URL and the registry."""
    script = ScriptedRegistry(list(answers))
    with run_handler(script.answer) as upstream, run_proxy(upstream, patience=5.0) as url:
        yield url, script


def kept(offset: int, status: int = 204, **headers: str) -> web.Response:
    """Make the answer of a session that keeps so many bytes."""
    told = {"Location": f"{SESSION}?at={offset}", "Range": f"0-{max(offset - 1, 0)}"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, headers=told | named)


# aiohttp's client repeats a PUT once by itself when its connection breaks.
LOST = (None, None)


@pytest.mark.parametrize("lost", [LOST, (web.Response(status=504),), (kept(7, 503),)])
def test_a_commit_whose_answer_is_lost_is_repeated(
    lost: tuple[web.Response | None, ...],
) -> None:
    """The client gets 201 and has no reason to send the layer again."""
    answers = (*lost, kept(7), kept(7, 503), kept(7), web.Response(status=201))
    with scripted(*answers) as (url, script):
        assert request(url, "PUT", f"{SESSION}?at=7&digest=sha256:x")[0] == 201
    assert [method for method, _, _ in script.asked[-4:]] == ["GET", "PUT", "GET", "PUT"]
    assert script.asked[-1] == ("PUT", f"{SESSION}?at=7&digest=sha256:x", 0)


def test_a_commit_is_repeated_without_knowing_an_offset() -> None:
    """Also where the Locations of a registry have no offset."""
    told = web.Response(status=204, headers={"Location": "/v2/x/blobs/uploads/o", "Range": "0-6"})
    with scripted(*LOST, told, web.Response(status=201)) as (url, script):
        assert request(url, "PUT", "/v2/x/blobs/uploads/o?digest=sha256:x")[0] == 201
    assert script.asked[-1][1] == "/v2/x/blobs/uploads/o?digest=sha256:x"


@pytest.mark.parametrize("status", [400, 404])
def test_a_commit_that_is_refused_is_not_repeated(status: int) -> None:
    """A wrong digest and an unknown session reach the client at once."""
    with scripted(web.Response(status=status)) as (url, script):
        assert request(url, "PUT", f"{SESSION}?at=7&digest=sha256:x")[0] == status
    assert len(script.asked) == 1


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize(
    ("digest", "named"), [("sha512:x", "&digest-algorithm=sha512"), ("sha256:x", ""), ("x", "")]
)
def test_a_whole_blob_is_hashed_from_its_first_chunk_on_as_its_digest_says(
    method: str, digest: str, named: str
) -> None:
    """The registry hears the algorithm before it hashes a byte, and need not read the blob back."""
    opened = [kept(0, 202)] if method == "POST" else []
    place = f"{SESSION}?at=0&" if method == "PUT" else "/v2/x/blobs/uploads/?"
    answers = (*opened, kept(CHUNK, 202), web.Response(status=201))
    with scripted(*answers) as (url, script):
        assert request(url, method, f"{place}digest={digest}", b"x" * (CHUNK + 1))[0] == 201
    first, last = script.asked[-2:]
    assert first == ("PATCH", f"{SESSION}?at=0{named}", CHUNK)
    assert last == ("PUT", f"{SESSION}?at={CHUNK}&digest={digest}", 1)


def test_a_chunk_waits_as_long_as_it_is_told_to() -> None:
    """While a lease upstream lives the session is asked for, and no chunk is sent in vain."""
    answers = (kept(0, 503, Retry_After="1"), kept(0), kept(5, 202))
    with scripted(*answers) as (url, script):
        assert request(url, "PATCH", f"{SESSION}?at=0", b"12345")[0] == 202
    assert [(method, sent) for method, _, sent in script.asked] == [
        ("PATCH", 5),
        ("GET", 0),
        ("PATCH", 5),
    ]
    assert script.times[-1] - script.times[0] >= 1


def test_a_session_with_a_higher_offset_is_416() -> None:
    """Somebody else has appended, so the client does not get the status request's 204."""
    with scripted(None, kept(9)) as (url, _):
        status, headers, _ = request(url, "PATCH", f"{SESSION}?at=0", b"12345")
    assert (status, headers["Range"]) == (416, "0-8")


def test_the_second_of_two_clients_at_one_offset_gets_416() -> None:
    """The registry was busy with other bytes for this offset."""
    busy = kept(0, 503, Retry_After="0")
    with scripted(busy, kept(5), kept(5)) as (url, script):
        status, headers, _ = request(url, "PATCH", f"{SESSION}?at=0", b"12345")
    assert (status, headers["Range"], headers["Location"]) == (416, "0-4", f"{SESSION}?at=5")
    assert [method for method, _, _ in script.asked] == ["PATCH", "GET"]


def test_an_answer_that_breaks_off_upstream_breaks_off_here() -> None:
    """No bytes of the proxy's own are mixed into those of a blob."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_half() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)

        threading.Thread(target=answer_half).start()
        with run_proxy(f"http://127.0.0.1:{listener.getsockname()[1]}") as url:
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
            connection.request("GET", "/v2/x/blobs/sha256:x")
            answer = connection.getresponse()
            with pytest.raises((http.client.IncompleteRead, ConnectionError)) as broken:
                answer.read()
            connection.close()
    if isinstance(broken.value, http.client.IncompleteRead):
        assert set(broken.value.partial) <= set(b"x")


@pytest.mark.parametrize("length", [True, False])
def test_a_body_that_passes_is_never_sent_in_part(*, length: bool) -> None:
    """A request that broke after its body had gone is not repeated without it."""
    with scripted(None, web.Response(status=201)) as (url, script):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        body = b"manifest" if length else iter([b"manifest"])
        connection.request("PUT", "/v2/x/manifests/1", body, encode_chunked=not length)
        assert connection.getresponse().status == 502
        connection.close()
    assert [sent for _, _, sent in script.asked] == [8]


def test_a_body_is_not_decompressed() -> None:
    """A digest is of the bytes that were sent."""
    with scripted(kept(3, 202)) as (url, script):
        body = b"Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
        raw = exchange(url, f"PATCH {SESSION}?at=0 HTTP/1.1\r\nHost: [::1]\r\n".encode() + body)
    assert raw.startswith(b"HTTP/1.1 202")
    assert script.asked[0][2] == 3


@pytest.mark.parametrize("pace", [Pace(idle=0.8), Pace(slow=0.8)], ids=["idle", "slow"])
def test_a_body_that_stalls_is_408(pace: Pace) -> None:
    """The chunks before it are kept."""
    data = os.urandom(CHUNK + 100)
    with run_fake_registry() as fake, run_proxy(fake.url, pace) as url:
        location = start(fake)
        with connect(url) as connection:
            head = f"PATCH {location} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 1000000\r\n\r\n"
            connection.sendall(head.encode() + data)
            answer = connection.recv(10_000)
        assert request(url, "GET", location)[1]["Range"] == f"0-{CHUNK - 1}"
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"Connection: close" in answer


@pytest.mark.parametrize("junk", [b"no-length\r\n", b"-5\r\n", b"5\r\nabc"])
def test_broken_framing_keeps_nothing_of_its_chunk(junk: bytes) -> None:
    """The body is 400 or 408, and nothing of it is passed on."""
    with run_fake_registry() as fake, run_proxy(fake.url, Pace(idle=0.5)) as url:
        start(fake)
        with connect(url) as connection:
            connection.sendall(CHUNKED + b"3\r\nabc\r\n")
            time.sleep(0.1)
            connection.sendall(junk)
            assert connection.recv(1000)[9:12] in {b"400", b"408"}
        assert fake.sessions == {SESSION: b""}


def test_uploads_beyond_the_bound_wait() -> None:
    """The second one is read when the first has gone; closing PUTs wait for none."""
    with run_fake_registry() as fake, run_proxy(fake.url, uploads=1) as url:
        first, second = start(fake), start(fake)
        with connect(url) as holder:
            head = f"PATCH {first} HTTP/1.1\r\nHost: [::1]\r\nExpect: 100-continue\r\n"
            holder.sendall(head.encode() + b"Content-Length: 9\r\n\r\n")
            # Who hears 100 has the place: nothing else is waited for in between.
            assert holder.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            with connect(url) as waiting:
                head = f"PATCH {second} HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 2\r\n\r\n"
                waiting.sendall(head.encode() + b"ab")
                waiting.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    waiting.recv(1)
                assert request(url, "PUT", f"{second}&digest=sha256:x")[0] == 400
                holder.sendall(b"123456789")
                waiting.settimeout(20)
                assert waiting.recv(1000).startswith(b"HTTP/1.1 202")
