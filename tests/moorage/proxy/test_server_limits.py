"""The proxy between bad clients and bad registries: what it gives up, repeats, and never mixes."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from moorage.common.http_server import Pace
from tests.moorage.proxy.proxies import CHUNK, run_proxy
from tests.support.fake_registry import run_fake_registry, run_handler
from tests.support.servers import connect, exchange, request

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSION = "/v2/x/blobs/uploads/0"
CHUNKED = f"PATCH {SESSION}?at=0 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


@dataclass
class ScriptedRegistry:
    """A registry that answers with what is next in `answers`; None breaks the connection."""

    answers: list[web.Response | None]
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        body = await request.read()
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


def test_a_session_that_is_further_on_is_no_success() -> None:
    """When somebody else has appended, the client hears 416 and not the status request's 204."""
    with scripted(None, kept(9)) as (url, _):
        status, headers, _ = request(url, "PATCH", f"{SESSION}?at=0", b"12345")
    assert (status, headers["Range"]) == (416, "0-8")


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
        raw = exchange(url, f"PATCH {SESSION}?at=0 HTTP/1.1\r\nHost: h\r\n".encode() + body)
    assert raw.startswith(b"HTTP/1.1 202")
    assert script.asked[0][2] == 3


@pytest.mark.parametrize("pace", [Pace(idle=0.8), Pace(slow=0.8)], ids=["idle", "slow"])
def test_a_body_that_stalls_is_408(pace: Pace) -> None:
    """The chunks before it are kept."""
    data = os.urandom(CHUNK + 100)
    with run_fake_registry() as fake, run_proxy(fake.url, pace) as url:
        location = request(url, "POST", "/v2/x/blobs/uploads/")[1]["Location"]
        with connect(url) as connection:
            head = f"PATCH {location} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"
            connection.sendall(head.encode() + data)
            answer = connection.recv(10_000)
        assert request(url, "GET", location)[1]["Range"] == f"0-{CHUNK - 1}"
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"Connection: close" in answer


@pytest.mark.parametrize("junk", [b"no-length\r\n", b"-5\r\n", b"5\r\nabc"])
def test_broken_framing_keeps_nothing_of_its_chunk(junk: bytes) -> None:
    """The body is 400 or 408, and nothing of it is passed on."""
    with run_fake_registry() as fake, run_proxy(fake.url, Pace(idle=0.5)) as url:
        request(url, "POST", "/v2/x/blobs/uploads/")
        with connect(url) as connection:
            connection.sendall(CHUNKED + b"3\r\nabc\r\n")
            time.sleep(0.1)
            connection.sendall(junk)
            assert connection.recv(1000)[9:12] in {b"400", b"408"}
        assert fake.sessions == {SESSION: b""}


def test_uploads_beyond_the_bound_wait() -> None:
    """The second one is read when the first has gone; closing PUTs wait for none."""
    with run_fake_registry() as fake, run_proxy(fake.url, uploads=1) as url:
        first, second = (request(url, "POST", "/v2/x/blobs/uploads/") for _ in range(2))
        with connect(url) as holder:
            path = first[1]["Location"]
            head = f"PATCH {path} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
            holder.sendall(head.encode() + b"Content-Length: 9\r\n\r\n")
            # Who hears 100 has the place: nothing else is waited for in between.
            assert holder.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            with connect(url) as waiting:
                path = second[1]["Location"]
                head = f"PATCH {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n"
                waiting.sendall(head.encode() + b"ab")
                waiting.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    waiting.recv(1)
                assert request(url, "PUT", f"{path}&digest=sha256:x")[0] == 400
                holder.sendall(b"123456789")
                waiting.settimeout(20)
                assert waiting.recv(1000).startswith(b"HTTP/1.1 202")
