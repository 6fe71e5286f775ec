"""Junk for every place of a request: text, bytes of a path, headers, JSON.

All of it comes from the generator that is handed in, so that a number makes the same junk again.
It must never make what no client could put on the wire, save where a function says so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

ZEROS = "0" * 64

TEXTS = (
    *("", " ", "0", "00", "1", "7", "-1", "+1", "1.0", "1e9", "0x10", "1_0", "NaN", "null", "true"),
    *("9" * 19, "9" * 20, "9" * 400, "9" * 5000, "0" * 5000 + "1", "a" * 129, "a" * 256),
    *("\u0661", "\u00b2", "\uff11", "\u00e9", "\U0001f600", "\u202e", "\ufeff", "\u0130"),
    *("\0", "a\0b", "\x7f", "\x1f", "\x85", "a\tb", "a\r\nb: c", "\n"),
    *("..", ".", "../..", "a/../b", "//", "/", "a//b", "a/b/c", "%2e%2e", "\\", "~", "*", "?", "#"),
    *("A", "Team/App", "-a", "a-", "a__b", "a___b", "a..b", "a_-b", "_", "latest", "uploads"),
    *("sha256:", "sha256", ":", "a:b:c", f"sha256:{ZEROS}", f"sha256:{ZEROS}0", f"SHA256:{ZEROS}"),
    *(f"sha256:{'g' * 64}", f"sha256:{'A' * 64}", f"sha512:{ZEROS}", f"sha512:{ZEROS * 2}"),
    *(f"md5:{'0' * 32}", f"sha256+b64:{ZEROS}", f" sha256:{ZEROS}", f"sha256:{ZEROS}\n"),
    *("[]", "{}", '"', "'", "' OR 1=1 --", "<script>", "${jndi:x}", "{{7*7}}", "$(id)", "%s%n"),
)

RANGES = (
    *("", "-", "0", "0-", "-0", "-1", "0-0", "0-1", "0-2", "1-0", "2-5", "3-5", "0-99", "5-99"),
    *("00-02", "+0-2", "0--1", "0 - 2", "0-2-4", "0-2,4-5", "a-b", "0x0-0x2", "\u0661-\u0662"),
    *("9999999999999999999-", "0-9999999999999999999", "0-99999999999999999999", "1e1-2e1"),
    *(f"0-{'9' * 5000}", f"{'9' * 5000}-", f"-{'9' * 5000}", "0-2/3", "0-2/*", "0-2/x", "*/3"),
)
UNITS = ("", "bytes ", "bytes=", "bytes:", "Bytes=", "lines=", "bytes = ", "=")

MEDIA_TYPES = (
    *("", "*/*", "text/plain", "application/json", "application/octet-stream", "garbage", "/", ";"),
    *("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"),
    "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
    "APPLICATION/VND.OCI.IMAGE.MANIFEST.V1+JSON",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    *("multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "a" * 3000),
)

HEADER_NAMES = (
    *("Content-Range", "Range", "Content-Type", "Accept", "Authorization", "Content-Encoding"),
    *("Content-MD5", "Cookie", "Host", "If-Match", "If-None-Match", "If-Range", "Origin", "Expect"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-HTTP-Method-Override", "X-Amz-Date", "TE", "Via"),
    *("OCI-Subject", "Docker-Upload-UUID", "Accept-Encoding", "Referer", "User-Agent", "a" * 200),
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
NO_METHODS = (
    *("OPTIONS", "TRACE", "PROPFIND", "SEARCH", "MKCOL", "LOCK", "PURGE", "CONNECT", "M-SEARCH"),
    *("get", "Get", "GETX", "G", "A" * 300, "GE\0T", "P\xdcT"),
)


def text(rng: Random) -> str:
    """Return a text that is probably wrong wherever it is put."""
    if rng.random() < 0.8:
        return rng.choice(TEXTS)
    return "".join(
        chr(rng.choice((rng.randrange(128), rng.randrange(0x800), rng.randrange(0xD800))))
        for _ in range(rng.randrange(12))
    )


def method(rng: Random) -> bytes:
    """Return a method that the registry has, or now and then one that nobody has."""
    return rng.choice(METHODS if rng.random() < 0.8 else NO_METHODS).encode("latin-1")


def escaped(rng: Random, value: str) -> bytes:
    """Write a text for a path or a query: escaped well, twice, badly, or seldom not at all."""
    raw = value.encode("utf-8", "surrogatepass")
    chance = rng.random()
    if chance < 0.03:
        return raw.translate(None, _CONTROLS + b" ?#")
    if chance < 0.1:
        return b"".join(b"%%%02x" % byte for byte in raw)
    if chance < 0.15:
        return quote(quote(value, safe="")).encode()
    if chance < 0.3:
        return quote(value).encode() + rng.choice(_BAD_ESCAPES)
    return quote(raw, safe="/:").encode()


_BAD_ESCAPES = (b"%", b"%2", b"%zz", b"%00", b"%2F", b"%c0%af", b"%ff", b"%ed%a0%80", b"%2e%2e")


def header_value(rng: Random) -> bytes:
    """Return a header's value, seldom with what only a refused request can hold."""
    match rng.randrange(6):
        case 0:
            value = rng.randbytes(rng.randrange(40))
        case 1:
            value = rng.choice(MEDIA_TYPES).encode()
        case 2:
            value = (rng.choice(UNITS) + rng.choice(RANGES)).encode()
        case _:
            value = text(rng).encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:
        return value
    return value.translate(None, _CONTROLS)


_CONTROLS = bytes((*range(0x20), 0x7F))


def value(rng: Random) -> Any:  # noqa: ANN401 - any JSON value, and some that are none
    """Return a value that may stand anywhere in a JSON document."""
    return rng.choice(_VALUES)(rng)


def nested(rng: Random, depth: int) -> Any:  # noqa: ANN401 - a JSON value
    """Return lists or maps within each other."""
    inner: Any = None
    for _ in range(depth):
        inner = [inner] if rng.random() < 0.5 else {"a": inner}
    return inner


_EMPTY: tuple[Any, ...] = (None, True, False, [], {}, [None], {"": None}, [[]], "", [{}])
_WHOLE = (0, -1, 1, 2, 3, 2**31, 2**63, 2**64, 10**40, -(10**40), 10**4000)
_BROKEN = (0.0, -0.0, 1.5, 2.0, 1e300, float("nan"), float("inf"), -1e-300)
_STRANGE = ("\ud800", "a\udfffb", "\ud83d", "\0", "\u2028", "\ufffe")
_VALUES: tuple[Callable[[Random], Any], ...] = (
    *(text, text, text),
    lambda rng: rng.choice(_EMPTY),
    lambda rng: rng.choice(_WHOLE),
    lambda rng: rng.choice(_BROKEN),
    lambda rng: rng.choice(_STRANGE),
    lambda rng: nested(rng, rng.choice((3, 30, 300, rng.randrange(850, 960)))),
    lambda rng: [text(rng) for _ in range(rng.randrange(40))],
    lambda rng: {text(rng): text(rng) for _ in range(rng.randrange(10))},
)


def spoilt(rng: Random, body: bytes) -> bytes:
    """Damage bytes: cut, flip, insert, repeat, encode otherwise, replace."""
    return rng.choice(_DAMAGES)(rng, body, rng.randrange(len(body) + 1))


_BAD_BYTES = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\0")
_OPENINGS = (b"[", b'{"a":', b"\xef\xbb\xbf", b"  ", b"")
_CODECS = ("utf-16", "utf-32", "utf-16-le", "utf-8-sig")
_DAMAGES: tuple[Callable[[Random, bytes, int], bytes], ...] = (
    lambda _, body, at: body[:at],
    lambda rng, body, at: body[:at] + rng.randbytes(rng.randrange(1, 5)) + body[at:],
    lambda rng, body, at: body[:at] + bytes((rng.randrange(256),)) + body[at + 1 :],
    lambda rng, body, at: body[:at] + rng.choice(_BAD_BYTES) + body[at:],
    lambda _, body, __: body + body,
    lambda rng, body, _: body.decode("latin-1").encode(rng.choice(_CODECS)),
    lambda rng, _, __: rng.choice(_OPENINGS) * rng.choice((1, 900, 4000)),
    lambda rng, body, _: b'{"schemaVersion":2,' * rng.choice((1, 3)) + body[1:],
    lambda _, body, __: body.replace(b'"', b"'"),
)


def mutated(rng: Random, document: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return a copy of a document with one of its nodes replaced, removed, renamed or wrapped."""
    copy = json.loads(json.dumps(document))
    holder, key = rng.choice(list(places(copy)))
    match rng.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[text(rng)] = holder.pop(key)
        case 2:
            holder[key] = [holder[key]]
        case 3:
            holder[key] = {str(key): holder[key]}
        case 4 if isinstance(holder, list):
            holder[:] = holder * rng.choice((2, 20))
        case _:
            holder[key] = value(rng)
    return copy


def places(node: Any, depth: int = 5) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - JSON
    """Give every place in a document at which a value stands: its container and its key there."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if depth and isinstance(node[key], dict | list):
            yield from places(node[key], depth - 1)
