"""Requests that go wrong, each made from its number: valid ones first, then spoilt.

What spoils one is its path, query, headers, method or body, whatever state the request meets. That
state is its own (a repository named for its number), so that any of them can be made
again alone. It must never judge an answer.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.keys import parts_key
from tests.chalicelib.api.pushing import DOCKER, IMAGE, INDEX
from tests.chalicelib.registry.sessions import named
from tests.fuzz import junk, world
from tests.support.parted import parted

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.fuzz.world import Fuzzed


@dataclass
class FuzzRequest:
    """A request on its way: `path` and the pairs of `query` are as they go over the wire."""

    method: bytes
    path: bytes
    query: list[tuple[bytes, bytes]] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    busy: bool = False
    """Whether a 503 is a right answer: the session is held by another request."""
    wire: bytes | None = None
    """What is sent instead of all this: something that may not be HTTP."""

    def raw(self) -> bytes:
        """Write the request; its length is said unless a header says something of it."""
        if self.wire is not None:
            return self.wire
        query = b"&".join(name + b"=" + value for name, value in self.query)
        target = self.path + (b"?" + query if self.query else b"")
        headers = [(b"Host", b"registry.localhost"), *self.headers]
        if self.body or self.method in {b"POST", b"PUT", b"PATCH"}:
            headers.append((b"Content-Length", b"%d" % len(self.body)))
        lines = [b"%s %s HTTP/1.1" % (self.method, target)]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", self.body])


def make(fuzzed: Fuzzed, seed: int, number: int) -> FuzzRequest:
    """Make a request and the state that it meets."""
    rng = random.Random(f"{seed}:{number}")  # noqa: S311 - repeatable, not a secret
    name = f"fuzz/n{number}"
    maker = rng.choices(list(_MAKERS), weights=list(_MAKERS.values()))[0]
    asked = maker(fuzzed, rng, name)
    for _ in range(0 if asked.wire else rng.choices((0, 1, 2, 3), weights=(1, 6, 2, 1))[0]):
        spoil(rng, asked)
    return asked


def _lists(fuzzed: Fuzzed, rng: Random, name: str) -> FuzzRequest:
    registry = ("/v2/", "/v2", "/v2/_catalog", "/v2/_moorage/repositories")
    own = ("tags", "images", "usage", "retention")
    lists = ("tags/list", *(f"_moorage/{each}" for each in own))
    target = rng.choice((*registry, *(f"/v2/{name}/{each}" for each in lists)))
    if rng.random() < 0.5:
        pushed = fuzzed.manifest(name, "v1", fuzzed.image(name), IMAGE)
        if rng.random() < 0.2:
            target = f"/v2/{name}/_moorage/images/{pushed['digest']}"
        elif rng.random() < 0.2:
            query = [(b"digest", str(pushed["digest"]).encode()), (b"alone", b"1")]
            return FuzzRequest(b"GET", f"/v2/{name}/_moorage/deletion".encode(), query)
    query = [(b"prefix", junk.escaped(rng, junk.text(rng)))] if rng.random() < 0.2 else []
    query += [(b"n", junk.escaped(rng, junk.text(rng)))] if rng.random() < 0.6 else []
    query += [(b"last", junk.escaped(rng, junk.text(rng)))] if rng.random() < 0.5 else []
    return FuzzRequest(rng.choice((b"GET", b"GET", b"HEAD")), target.encode(), query)


def _referrers(fuzzed: Fuzzed, rng: Random, name: str) -> FuzzRequest:
    subject = fuzzed.manifest(name, "v1", fuzzed.image(name), IMAGE)
    for kind in ("a/b", "c/d"):
        document = fuzzed.image(name, subject=subject, artifactType=kind, annotations={"k": kind})
        fuzzed.manifest(name, kind[0], document, IMAGE)
    query = []
    if rng.random() < 0.6:
        kind = rng.choice(("a/b", junk.text(rng)))
        query.append((b"artifactType", junk.escaped(rng, kind)))
    if rng.random() < 0.4:
        last = rng.choice((str(subject["digest"]), junk.text(rng)))
        query.append((b"last", junk.escaped(rng, last)))
    digest = rng.choice((subject["digest"], f"sha256:{junk.ZEROS}"))
    method = rng.choice((b"GET", b"GET", b"HEAD"))
    return FuzzRequest(method, f"/v2/{name}/referrers/{digest}".encode(), query)


def _blob(fuzzed: Fuzzed, rng: Random, name: str) -> FuzzRequest:
    stored = fuzzed.blob(name, rng.choice((world.SMALL, world.LARGE, b"")))
    digest = rng.choice((stored["digest"], stored["digest"], Digest.of(b"nowhere")))
    method = rng.choice((b"GET", b"HEAD", b"DELETE"))
    asked = FuzzRequest(method, f"/v2/{name}/blobs/{digest}".encode())
    if rng.random() < 0.7:
        unit = rng.choice(("bytes=", "bytes=", rng.choice(junk.UNITS)))
        asked.headers.append((b"Range", (unit + rng.choice(junk.RANGES)).encode()))
    return asked


def _start(fuzzed: Fuzzed, rng: Random, name: str) -> FuzzRequest:
    data = rng.choice((b"", b"{}", world.CHUNK))
    right = Digest.of(data, rng.choice(list(Algorithm)))
    fuzzed.blob(f"{name}/source", data)
    asked = FuzzRequest(b"POST", f"/v2/{name}/blobs/uploads/".encode(), body=data)
    choices: list[tuple[bytes, str]] = [
        (b"digest", str(right)),
        (b"digest", junk.text(rng)),
        (b"digest-algorithm", rng.choice(("sha256", "sha512", "md5", junk.text(rng)))),
        (b"mount", rng.choice((str(Digest.of(data)), junk.text(rng)))),
        (b"from", rng.choice((f"{name}/source", junk.text(rng)))),
    ]
    for key, text in rng.sample(choices, rng.randrange(4)):
        asked.query.append((key, junk.escaped(rng, text) if rng.random() < 0.3 else _quoted(text)))
    return asked


def _session(fuzzed: Fuzzed, rng: Random, name: str) -> FuzzRequest:
    state = rng.choice(list(world.SESSIONS))
    session = fuzzed.session(name, state)
    offset = session.offset
    method = rng.choice((b"PATCH", b"PATCH", b"PUT", b"PUT", b"PUT", b"GET", b"DELETE"))
    asked = FuzzRequest(method, f"/v2/{name}/blobs/uploads/{named(session)}".encode())
    asked.busy = state == world.HELD
    asked.body = rng.choice((b"", b"x", world.CHUNK, world.CHUNK * 3))
    end = offset + len(asked.body) - 1
    if rng.random() < 0.5:
        span = rng.choice((f"{offset}-{end}", f"0-{end}", rng.choice(junk.RANGES)))
        asked.headers.append((b"Content-Range", (rng.choice(junk.UNITS) + span).encode()))
    if rng.random() < 0.6:
        at = rng.choice((str(offset), str(offset), "0", junk.text(rng)))
        asked.query.append((b"at", junk.escaped(rng, at)))
    if method == b"PUT":
        kept = {0: b"", 3: b"abc"}.get(offset, world.WHOLE)
        right = Digest.of(kept + asked.body, rng.choice(list(Algorithm)))
        digest = rng.choice((str(right), str(right), str(Digest.of(kept)), junk.text(rng)))
        asked.query.append((b"digest", _quoted(digest)))
    return asked


def _direct(fuzzed: Fuzzed, rng: Random, name: str) -> FuzzRequest:
    blob = parted(world.WHOLE * 3, 64, algorithm=rng.choice(list(Algorithm)))
    session = fuzzed.registry.direct.start_parts(name, "", blob.algorithm).session
    path = f"/v2/{name}/_moorage/uploads/{session.id}"
    if rng.random() < 0.6:
        key, upload_id = parts_key(session.id), session.upload_id or ""
        for number, data in blob.parts.items():
            fuzzed.memory.objects.put_part(key, upload_id, number, data)
    document = json.loads(rng.choice((blob.report, blob.wanted)))
    asked = FuzzRequest(b"PUT", path.encode(), body=json.dumps(document).encode())
    if rng.random() < 0.5:
        asked.body = junk.spoilt(rng, json.dumps(junk.mutated(rng, document)).encode())
    if rng.random() < 0.5:
        asked.method, asked.path = b"POST", f"{path}/parts".encode()
        return asked
    right = rng.choice((str(blob.digest), str(blob.digest), junk.text(rng)))
    asked.query.append((b"digest", _quoted(right)))
    return asked


def _pull(fuzzed: Fuzzed, rng: Random, name: str) -> FuzzRequest:
    document = fuzzed.image(name, note="x" * rng.choice((0, 2000)))
    stored = fuzzed.manifest(name, "v1", document, IMAGE)
    reference = rng.choice(("v1", stored["digest"], "none", f"sha256:{junk.ZEROS}"))
    method = rng.choice((b"GET", b"HEAD", b"DELETE"))
    return FuzzRequest(method, f"/v2/{name}/manifests/{reference}".encode())


def _push(fuzzed: Fuzzed, rng: Random, name: str) -> FuzzRequest:
    """A manifest of which most often something is wrong."""
    document, media_type = _document(fuzzed, rng, name)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        document = junk.mutated(rng, document)
    if rng.random() < 0.2:
        unknown = {"mediaType": "a/b", "digest": f"sha256:{junk.ZEROS}", "size": 1}
        document[rng.choice(("layers", "Layers", "manifests", "fsLayers"))] = [unknown]
    body = json.dumps(document, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        body = body.replace(b'"size": ', b'"size": ' + b"9" * 5000, 1)
    if rng.random() < 0.2:
        body = junk.spoilt(rng, body)
    if rng.random() < 0.03:
        body += b" " * world.OPTIONS.manifest_limit
    digest = Digest.of(body, rng.choice(list(Algorithm)))
    reference = rng.choice(("v1", "v1", str(digest), str(digest), f"sha256:{junk.ZEROS}"))
    asked = FuzzRequest(b"PUT", f"/v2/{name}/manifests/{reference}".encode(), body=body)
    sent = rng.choice((media_type, media_type, media_type, "", rng.choice(junk.MEDIA_TYPES)))
    asked.headers.append((b"Content-Type", sent.encode()))
    for _ in range(rng.choice((0, 0, 1, 2, 40))):
        tag = rng.choice(("a", f"t{rng.randrange(60)}", junk.text(rng)))
        asked.query.append((b"tag", _quoted(tag)))
    return asked


def _document(fuzzed: Fuzzed, rng: Random, name: str) -> tuple[dict[str, Any], str]:
    image = fuzzed.image(name)
    if rng.random() < 0.4:
        stored = fuzzed.manifest(name, "child", image, IMAGE)
        platform = {"architecture": "arm64", "os": "linux", "variant": "v8"}
        media_type = rng.choice((INDEX, world.DOCKER_LIST))
        manifests = [{**stored, "platform": platform}]
        return {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}, media_type
    media_type = rng.choice((IMAGE, IMAGE, DOCKER))
    image |= {"mediaType": media_type, "annotations": {"a": "b"}, "artifactType": "x/y"}
    if rng.random() < 0.4:
        image["subject"] = {"mediaType": IMAGE, "digest": str(Digest.of(b"s")), "size": 1}
    if rng.random() < 0.2:
        foreign = {"mediaType": "f/f", "digest": str(Digest.of(b"f")), "size": 9, "urls": ["u:u"]}
        image["layers"].append(foreign)
    return image, media_type


def _wire(fuzzed: Fuzzed, rng: Random, name: str) -> FuzzRequest:
    """What may not be HTTP at all."""
    asked = rng.choice((_lists, _blob, _session, _push))(fuzzed, rng, name)
    raw = asked.raw()
    head, _, body = raw.partition(b"\r\n\r\n")
    line, _, headers = head.partition(b"\r\n")
    match rng.randrange(9):
        case 0:
            asked.wire = junk.spoilt(rng, raw) + b"\r\n\r\n"
        case 1:
            asked.wire = rng.randbytes(rng.randrange(1, 200)) + b"\r\n\r\n"
        case 2:
            version = rng.choice((b"", b"HTTP/9.9", b"HTTP/1.0", b"x"))
            asked.wire = line.replace(b"HTTP/1.1", version)
            asked.wire += b"\r\n" + headers + b"\r\n\r\n" + body
        case 3:
            long = b"a" * rng.choice((9_000, 11_000, 70_000))
            asked.wire = head + b"\r\nX: " + long + b"\r\n\r\n"
        case 4:
            asked.wire = line + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + rng.choice(_CHUNKED)
        case 5:
            lengths = (b"-1", b"x", b"1, 2", b"0x3", b"9" * 30, b"3\r\nContent-Length: 4")
            asked.wire = line + b"\r\nContent-Length: " + rng.choice(lengths) + b"\r\n\r\nabc"
        case 6:
            asked.wire = line + b"\r\n" + junk.header_value(rng) + b"\r\n\r\n"
        case 7:
            target = rng.choice((b"*", b"http://x/v2/", b"//v2/", b"/v2/" + b"a/" * 6000, b"v2"))
            asked.wire = b"GET " + target + b" HTTP/1.1\r\nHost: [::1]\r\n\r\n"
        case _:
            asked.wire = line.replace(b"/v2/", rng.randbytes(3) + b"/v2/") + b"\r\n\r\n"
    return asked


_CHUNKED = (
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"zz\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b"3;x=y\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
    b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
)

_MAKERS: dict[Callable[[Fuzzed, Random, str], FuzzRequest], int] = {
    _lists: 12,
    _referrers: 8,
    _blob: 14,
    _start: 12,
    _session: 24,
    _direct: 10,
    _pull: 8,
    _push: 18,
    _wire: 4,
}


def _quoted(text: str) -> bytes:
    return urlencode({"": text.encode("utf-8", "surrogatepass")})[1:].encode()


def spoil(rng: Random, asked: FuzzRequest) -> None:
    """Spoil one thing of a request."""
    rng.choices(list(_SPOILERS), weights=list(_SPOILERS.values()))[0](rng, asked)


def _bad_path(rng: Random, asked: FuzzRequest) -> None:
    parts = asked.path.split(b"/")
    # Above the stage's name nothing reaches the registry.
    at = rng.randrange(min(2, len(parts) - 1) if rng.random() < 0.9 else 0, len(parts))
    piece = junk.escaped(rng, junk.text(rng))
    match rng.randrange(7):
        case 0:
            parts[at] = piece
        case 1:
            parts.insert(at, piece)
        case 2:
            parts.insert(at, rng.choice((b"", b".", b"..", b"%2e%2e", b"a" * 300, b"a/" * 200)))
        case 3:
            parts[at] = parts[at].upper()
        case 4:
            parts[at] += piece
        case 5:
            del parts[at]
        case _:
            parts[at] = b"".join(b"%%%02X" % byte for byte in parts[at])
    asked.path = b"/".join(parts)


def _bad_query(rng: Random, asked: FuzzRequest) -> None:
    names = (b"n", b"last", b"digest", b"mount", b"from", b"at", b"tag", b"artifactType")
    name = rng.choice((*names, b"digest-algorithm", b"_state", b"", b"%00", b"a" * 500))
    at = rng.randrange(len(asked.query) + 1)
    if asked.query and rng.random() < 0.3:
        del asked.query[rng.randrange(len(asked.query))]
    else:
        asked.query.insert(at, (name, junk.escaped(rng, junk.text(rng))))


def _bad_header(rng: Random, asked: FuzzRequest) -> None:
    name = rng.choice(junk.HEADER_NAMES).encode()
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 30))):
        asked.headers.append((rng.choice((name, name.lower())), junk.header_value(rng)))


_SPOILERS: dict[Callable[[Random, FuzzRequest], None], int] = {
    _bad_path: 8,
    _bad_query: 6,
    _bad_header: 5,
    lambda rng, asked: setattr(asked, "method", junk.method(rng)): 3,
    lambda rng, asked: setattr(asked, "body", junk.spoilt(rng, asked.body)): 3,
}
