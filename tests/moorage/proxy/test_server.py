"""The push proxy: bodies of any size become chunks, and what breaks upstream is resumed."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.moorage.proxy.proxies import CHUNK, run_proxy
from tests.support.fake_registry import FakeRegistry, UploadFault, run_fake_registry
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


def start(proxy: str) -> str:
    """Open a session."""
    return ask(proxy, "POST", "/v2/x/blobs/uploads/").headers["Location"]


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
    patched = ask(proxy, "PATCH", start(proxy), body, Authorization="Bearer secret")
    assert patched.status == 202
    assert patched.headers["Range"] == f"0-{size - 1}"
    put = ask(proxy, "PUT", f"{patched.headers['Location']}&digest={digest_of(data)}")
    assert put.status == 201
    assert fake.blobs == {digest_of(data): data}
    assert max(length for _, length in fake.requests) <= CHUNK
    assert fake.authorizations == {"", "Bearer secret"}


@pytest.mark.parametrize("size", [0, 5, 2 * CHUNK, 3 * CHUNK + 1])
def test_a_put_of_any_size_commits(proxy: str, fake: FakeRegistry, size: int) -> None:
    """A monolithic PUT of any size becomes chunks and a closing PUT."""
    data = os.urandom(size)
    put = ask(proxy, "PUT", f"{start(proxy)}&digest={digest_of(data)}", data)
    assert put.status == 201
    assert fake.blobs == {digest_of(data): data}


@pytest.mark.parametrize("size", [5, CHUNK, 3 * CHUNK + 1])
def test_a_post_of_any_size_commits(proxy: str, fake: FakeRegistry, size: int) -> None:
    """POST ?digest= passes through when small and becomes a session when large."""
    data = os.urandom(size)
    post = ask(proxy, "POST", f"/v2/x/blobs/uploads/?digest={digest_of(data)}", data)
    assert post.status == 201
    assert fake.blobs == {digest_of(data): data}
    assert len(fake.sessions) == (1 if size > CHUNK else 0)


@pytest.mark.parametrize("fault", list(UploadFault))
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("where", [0, 1, 3])
def test_a_failure_upstream_is_resumed(
    proxy: str, fake: FakeRegistry, fault: UploadFault, method: str, where: int
) -> None:
    """Whichever fault at whichever chunk, twice in a row: the blob is whole."""
    data = os.urandom(3 * CHUNK + 11)
    fake.faults = [None] * where + [fault, fault]
    at = start(proxy)
    if method == "PATCH":
        patched = ask(proxy, "PATCH", at, data)
        assert (patched.status, patched.headers["Range"]) == (202, f"0-{len(data) - 1}")
        at, data_now = patched.headers["Location"], b""
    else:
        data_now = data
    assert ask(proxy, "PUT", f"{at}&digest={digest_of(data)}", data_now).status == 201
    assert fake.blobs == {digest_of(data): data}


def test_patience_ends(proxy: str, fake: FakeRegistry) -> None:
    """An upstream that never takes a chunk is 503 with Retry-After; its session stays."""
    fake.faults = [None, *[UploadFault.BUSY] * 10_000]
    began = time.monotonic()
    at = start(proxy)
    answer = ask(proxy, "PATCH", at, os.urandom(3 * CHUNK))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert time.monotonic() - began < 30
    fake.faults = []
    assert ask(proxy, "GET", at).headers["Range"] == f"0-{CHUNK - 1}"


def test_a_refusal_reaches_the_client(proxy: str, fake: FakeRegistry) -> None:
    """A wrong digest, a chunk out of place and an unknown session pass as they are."""
    data = os.urandom(2 * CHUNK)
    at = start(proxy)
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
    at = start(proxy)
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
    at = start(proxy)
    assert ask(proxy, "PATCH", at, b"1234567", Content_Range=announced).status == 400
    assert next(iter(fake.sessions.values())) == b""


def test_a_client_that_breaks_off_leaves_whole_chunks(
    proxy: str, fake: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The session has the beginning of the bytes, and nothing else."""
    caplog.set_level(logging.INFO, "moorage.proxy")
    data, at = os.urandom(2 * CHUNK + 100), start(proxy)
    with socket.create_connection(tuple(proxy.split(":"))) as raw:  # type: ignore[arg-type]
        head = f"PATCH {at} HTTP/1.1\r\nHost: h\r\nContent-Length: {10 * CHUNK}\r\n\r\n"
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


def test_an_absent_upstream_is_502() -> None:
    """The message says what to look at."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with run_proxy(f"http://127.0.0.1:{closed.getsockname()[1]}") as url:
            assert ask(urlsplit(url).netloc, "GET", "/v2/").status == 502
