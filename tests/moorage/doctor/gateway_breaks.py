"""What a broken gateway breaks: small changes of requests and answers, to be put together.

Each says what some program before a registry does that it should not do.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.moorage.doctor.broken_gateway import STORE, Break, Reply, SentRequest

if TYPE_CHECKING:
    from collections.abc import Callable


def on(test: Callable[[SentRequest], bool], change: Callable[[Reply], None]) -> Break:
    """Change the answers to some requests."""

    def tell(sent: SentRequest, reply: Reply) -> None:
        if test(sent):
            change(reply)

    return Break(on_reply=tell)


def cut(test: Callable[[SentRequest], bool]) -> Break:
    """Close the connection of some requests without an answer."""

    def ask(sent: SentRequest) -> None:
        if test(sent):
            raise ConnectionAbortedError

    return Break(on_request=ask)


def method(*methods: str, has: str = "") -> Callable[[SentRequest], bool]:
    """Choose requests by their method, and by what is in their target."""
    return lambda sent: sent.method in methods and has in sent.target


def header(name: str, value: str | None) -> Callable[[Reply], None]:
    """Set a header where there is one; None takes it away."""

    def change(reply: Reply) -> None:
        there = reply.headers.popall(name, [])
        if there and value is not None:
            reply.headers[name] = value

    return change


def instead(status: int, content: bytes = b"{}", **headers: str) -> Callable[[Reply], None]:
    """Put another answer in the place of the registry's."""

    def change(reply: Reply) -> None:
        reply.status, reply.body, reply.length = status, content, None
        reply.headers = Reply.of(status, content, **headers).headers

    return change


def body(edit: Callable[[bytes], bytes]) -> Callable[[Reply], None]:
    """Change what a good answer carries."""

    def change(reply: Reply) -> None:
        if reply.status in {200, 206}:
            reply.body = edit(reply.body)

    return change


def fields(**changes: Any) -> Callable[[Reply], None]:  # noqa: ANN401 - JSON
    """Change fields of a JSON object."""
    return body(lambda text: json.dumps({**json.loads(text), **changes}).encode())


def length(value: str) -> Callable[[Reply], None]:
    """Tell another length on a good HEAD."""

    def change(reply: Reply) -> None:
        if reply.status == 200:
            reply.length = value

    return change


def asking(
    test: Callable[[SentRequest], bool], change: Callable[[SentRequest], Reply | None]
) -> Break:
    """Change some requests, or answer them oneself."""
    return Break(on_request=lambda sent: change(sent) if test(sent) else None)


def without(name: str) -> Callable[[SentRequest], None]:
    """Lose a header of a request."""

    def change(sent: SentRequest) -> None:
        sent.headers.popall(name, None)

    return change


def refuse(status: int) -> Callable[[SentRequest], Reply]:
    """Answer with a status, as some firewall does."""
    return lambda _: Reply.of(status, b"<html>no</html>", Content_Type="text/html")


def lose_query(sent: SentRequest) -> None:
    """Lose what follows the question mark."""
    sent.target = sent.path


def take_again(sent: SentRequest) -> Reply | None:
    """Take a chunk for new whenever it comes, but for the first time."""
    seen, sent.state["seen"] = sent.state.get("seen", False), True
    return Reply.of(202, Range="0-270000", Location=sent.target) if seen else None


def decode(sent: SentRequest) -> Reply | None:
    """Refuse what is encoded, as gateways do that look for attacks."""
    return Reply.of(403) if unquote(sent.path) != sent.path else None


def everybody(sent: SentRequest) -> Reply | None:
    """Issue a token for any password."""
    return Reply.of(200, b'{"token": "t"}') if b"not-a-password" in sent.body else None


def corrupt(data: bytes) -> bytes:
    """Change one byte."""
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data


def indented(data: bytes) -> bytes:
    """Write JSON anew."""
    return json.dumps(json.loads(data), indent=1).encode()


def gunzip(data: bytes) -> bytes:
    """Unpack what is packed."""
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def elsewhere(reply: Reply) -> None:
    """Lead to another host."""
    location = reply.headers.get("Location", "")
    if location.startswith("/"):
        reply.headers["Location"] = f"http://registry.invalid{location}"


def absolute_without_tls(reply: Reply) -> None:
    """Name the host, and another port of it."""
    if "Location" in reply.headers:
        reply.headers["Location"] = f"http://localhost:1{reply.headers['Location']}"


def off_by_one(reply: Reply) -> None:
    """Tell one byte more than is kept."""
    if reply.status == 202 and "Range" in reply.headers:
        reply.headers["Range"] = f"0-{int(reply.headers['Range'][2:]) + 1}"


def boast(sent: SentRequest, reply: Reply) -> None:
    """Say that a chunk whose connection broke is kept."""
    if sent.method == "GET" and sent.state.get("cut") == sent.path:
        reply.headers["Range"] = "0-99999"


def capped(limit: int) -> Break:
    """Take no more than `limit` bytes."""
    return asking(lambda sent: len(sent.body) > limit, refuse(413))


def zero_everywhere(sent: SentRequest, reply: Reply) -> None:
    """Say length 0 to every HEAD, as a gateway does that doesn't count, but for S3's."""
    if sent.method == "HEAD" and not sent.path.startswith(STORE):
        length("0")(reply)


def as_text(sent: SentRequest, reply: Reply) -> None:
    """Take an answer for text where JSON is sent for first, as API Gateway can."""
    if sent.headers.get("Accept", "").startswith("application/json") and "/blobs/" in sent.target:
        reply.body = base64.b64encode(reply.body)


def follow_redirects(sent: SentRequest, reply: Reply) -> None:
    """Answer with what is behind a redirect, as far as this can be made up."""
    del sent
    if reply.status == 307:
        instead(200, b"x" * 64)(reply)


def zipped(reply: Reply) -> None:
    """Compress an answer, as a CDN does."""
    if reply.status == 200:
        reply.body = zlib.compress(reply.body)
        reply.headers["Content-Encoding"] = "deflate"


def length_of_204(sent: SentRequest, reply: Reply) -> None:
    """Tell length 0 with a 204."""
    if sent.method == "HEAD" and reply.status == 204:
        reply.length = "0"
