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

from tests.moorage.doctor.broken_gateway import STORE, Asked, Break, Told

if TYPE_CHECKING:
    from collections.abc import Callable


def on(test: Callable[[Asked], bool], change: Callable[[Told], None]) -> Break:
    """Change the answers to some requests."""

    def tell(asked: Asked, told: Told) -> None:
        if test(asked):
            change(told)

    return Break(tell=tell)


def cut(test: Callable[[Asked], bool]) -> Break:
    """Close the connection of some requests without an answer."""

    def ask(asked: Asked) -> None:
        if test(asked):
            raise ConnectionAbortedError

    return Break(ask=ask)


def method(*methods: str, has: str = "") -> Callable[[Asked], bool]:
    """Choose requests by their method, and by what is in their target."""
    return lambda asked: asked.method in methods and has in asked.target


def header(name: str, value: str | None) -> Callable[[Told], None]:
    """Set a header where there is one; None takes it away."""

    def change(told: Told) -> None:
        there = told.headers.popall(name, [])
        if there and value is not None:
            told.headers[name] = value

    return change


def instead(status: int, content: bytes = b"{}", **headers: str) -> Callable[[Told], None]:
    """Put another answer in the place of the registry's."""

    def change(told: Told) -> None:
        told.status, told.body, told.length = status, content, None
        told.headers = Told.of(status, content, **headers).headers

    return change


def body(edit: Callable[[bytes], bytes]) -> Callable[[Told], None]:
    """Change what a good answer carries."""

    def change(told: Told) -> None:
        if told.status in {200, 206}:
            told.body = edit(told.body)

    return change


def fields(**changes: Any) -> Callable[[Told], None]:  # noqa: ANN401 - JSON
    """Change fields of a JSON object."""
    return body(lambda text: json.dumps({**json.loads(text), **changes}).encode())


def length(value: str) -> Callable[[Told], None]:
    """Tell another length on a good HEAD."""

    def change(told: Told) -> None:
        if told.status == 200:
            told.length = value

    return change


def asking(test: Callable[[Asked], bool], change: Callable[[Asked], Told | None]) -> Break:
    """Change some requests, or answer them oneself."""
    return Break(ask=lambda asked: change(asked) if test(asked) else None)


def without(name: str) -> Callable[[Asked], None]:
    """Lose a header of a request."""

    def change(asked: Asked) -> None:
        asked.headers.popall(name, None)

    return change


def refuse(status: int) -> Callable[[Asked], Told]:
    """Answer with a status, as some firewall does."""
    return lambda _: Told.of(status, b"<html>no</html>", Content_Type="text/html")


def lose_query(asked: Asked) -> None:
    """Lose what follows the question mark."""
    asked.target = asked.path


def take_again(asked: Asked) -> Told | None:
    """Take a chunk for new whenever it comes, but for the first time."""
    seen, asked.state["seen"] = asked.state.get("seen", False), True
    return Told.of(202, Range="0-270000", Location=asked.target) if seen else None


def decode(asked: Asked) -> Told | None:
    """Refuse what is encoded, as gateways do that look for attacks."""
    return Told.of(403) if unquote(asked.path) != asked.path else None


def everybody(asked: Asked) -> Told | None:
    """Give a token to whoever comes."""
    return Told.of(200, b'{"token": "t"}') if b"not-a-password" in asked.body else None


def corrupt(data: bytes) -> bytes:
    """Change one byte."""
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data


def indented(data: bytes) -> bytes:
    """Write JSON anew."""
    return json.dumps(json.loads(data), indent=1).encode()


def gunzip(data: bytes) -> bytes:
    """Unpack what is packed."""
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def elsewhere(told: Told) -> None:
    """Lead to another host."""
    location = told.headers.get("Location", "")
    if location.startswith("/"):
        told.headers["Location"] = f"http://registry.invalid{location}"


def absolute_without_tls(told: Told) -> None:
    """Name the host, and another port of it."""
    if "Location" in told.headers:
        told.headers["Location"] = f"http://localhost:1{told.headers['Location']}"


def off_by_one(told: Told) -> None:
    """Tell one byte more than is kept."""
    if told.status == 202 and "Range" in told.headers:
        told.headers["Range"] = f"0-{int(told.headers['Range'][2:]) + 1}"


def boast(asked: Asked, told: Told) -> None:
    """Say that a chunk whose connection broke is kept."""
    if asked.method == "GET" and asked.state.get("cut") == asked.path:
        told.headers["Range"] = "0-99999"


def capped(limit: int) -> Break:
    """Take no more than `limit` bytes."""
    return asking(lambda asked: len(asked.body) > limit, refuse(413))


def zero_everywhere(asked: Asked, told: Told) -> None:
    """Say length 0 to every HEAD, as a gateway does that doesn't count, but for S3's."""
    if asked.method == "HEAD" and not asked.path.startswith(STORE):
        length("0")(told)


def as_text(asked: Asked, told: Told) -> None:
    """Take an answer for text where JSON is asked for first, as API Gateway can."""
    if asked.headers.get("Accept", "").startswith("application/json") and "/blobs/" in asked.target:
        told.body = base64.b64encode(told.body)


def follow_redirects(asked: Asked, told: Told) -> None:
    """Answer with what is behind a redirect, as far as this can be made up."""
    del asked
    if told.status == 307:
        instead(200, b"x" * 64)(told)


def zipped(told: Told) -> None:
    """Pack an answer, as a CDN does for whoever accepts that."""
    if told.status == 200:
        told.body = zlib.compress(told.body)
        told.headers["Content-Encoding"] = "deflate"


def length_of_204(asked: Asked, told: Told) -> None:
    """Tell length 0 with a 204."""
    if asked.method == "HEAD" and told.status == 204:
        told.length = "0"
