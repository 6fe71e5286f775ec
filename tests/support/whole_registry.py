"""A registry in memory with all that moving images needs, and faults to order in both directions.

It must never be kinder than real ones: it checks digests, asks for logins, refuses what is missing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from aiohttp import web

from chalicelib.digest import Digest
from tests.support.fake_direct import DISCOVER
from tests.support.fake_registry import FakeRegistry, read_body, run_handler

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "correct horse"  # noqa: S105 - made up
_BLOB = re.compile(r"/v2/(.+)/blobs/([a-z0-9]+:[0-9a-f]+)")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")
_REFERRERS = re.compile(r"/v2/(.+)/referrers/([^/]+)")
_STORED = re.compile(r"/storage/([a-z0-9]+:[0-9a-f]+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class ReadFault(Enum):
    """What goes wrong with the answer to a blob's GET."""

    BREAK = auto()
    """Half of the bytes come, then the connection breaks."""
    ERROR = auto()
    """500."""
    BUSY = auto()
    """503 with Retry-After."""


@dataclass
class WholeRegistry(FakeRegistry):
    """See FakeRegistry; blobs are of all repositories, `homes` says which name has which."""

    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    """Type and bytes by repository and tag or digest."""
    homes: set[tuple[str, str]] = field(default_factory=set)
    read_faults: list[ReadFault | None] = field(default_factory=list)
    ranges: bool = True
    redirects_to: str = ""
    """Where blobs are got, if not here."""
    referrers_api: bool = True
    takes_whole: bool = True
    """Whether a blob may come with the POST."""
    mounts: bool = True
    least_chunk: int = 0
    scopes: list[str] | None = None
    """Those that tokens were asked for; None lets everybody in."""
    token_seconds: int = 300
    tokens: set[str] = field(default_factory=set)
    log: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    states: bool = False
    """Whether a Location holds the offset, and is refused at any other one."""
    expire_after: int | None = None
    """How many times the storage gives bytes before its addresses end."""
    addresses: int = 0
    """Addresses of the storage that have another number have ended."""
    range_shift: int = 0
    """How many bytes too late a range begins."""
    pause: float = 0
    """Seconds that each chunk, and each piece of a blob, takes."""

    async def answer(  # noqa: PLR0911 - a kind of resource is a line
        self, request: web.BaseRequest
    ) -> web.StreamResponse:
        """Answer one request."""
        body = await read_body(request)
        self.log.append((request.method, request.path))
        self.requests.append((request.method, len(body)))
        self.authorizations.add(request.headers.get("Authorization", ""))
        if request.path == "/token":
            return self._token(request)
        if self.direct is not None and self.direct.is_storage(request.path):
            await asyncio.sleep(self.pause)
            return self.direct.answer(request, body, self.blobs, self.url)
        if _STORED.fullmatch(request.path):
            return await self._stored(request)
        if self.scopes is not None and not self._is_let_in(request):
            challenge = f'Bearer realm="{self.url}/token",service="fake"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        if request.path == "/v2/":
            return web.Response()
        if answer := self._direct(request, body):
            return answer
        if "/blobs/uploads/" in request.path:
            await asyncio.sleep(self.pause)
            return self._upload(request, body)
        if _BLOB.fullmatch(request.path):
            return await self._get_blob(request)
        if found := _REFERRERS.fullmatch(request.path):
            return self._referrers(*found.groups())
        return self._manifest(request, body)

    def _direct(self, request: web.BaseRequest, body: bytes) -> web.Response | None:
        if self.direct is None or not self.direct.takes(request.path):
            return web.Response(status=404) if request.path == DISCOVER else None
        answer = self.direct.answer(request, body, self.blobs, self.url)
        name = request.path.removeprefix("/v2/").partition("/_moorage/")[0]
        self.homes |= {
            (name, session.digest)
            for session in self.direct.sessions.values()
            if session.state == "committed" and session.name == name and session.digest
        }
        return answer

    def _is_let_in(self, request: web.BaseRequest) -> bool:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return token in self.tokens

    def _token(self, request: web.BaseRequest) -> web.Response:
        expected = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            return web.Response(status=401, text='{"errors":[{"message":"who is that?"}]}')
        assert self.scopes is not None
        self.scopes += request.query.getall("scope", [])
        token = f"token-{len(self.scopes)}-{len(self.log)}"
        self.tokens = {token}
        return web.json_response({"token": token, "expires_in": self.token_seconds})

    def _upload(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        if request.method in {"PATCH", "PUT"}:
            self.chunks.append(len(body))
        name = request.path.removeprefix("/v2/").partition("/blobs/")[0]
        wanted = request.query.get("mount", "")
        if wanted and self.mounts and (request.query.get("from", ""), wanted) in self.homes:
            self.homes.add((name, wanted))
            return web.Response(status=201)
        whole = request.method == "POST" and body and self.takes_whole
        if whole and str(Digest.of(body)) != request.query["digest"]:
            return web.Response(status=400, text='{"errors":[{"code":"DIGEST_INVALID"}]}')
        response = (
            self._start(request, body if whole else b"")
            if request.method == "POST"
            else self._session(request, body)
        )
        if response.status == 201:
            self.homes.add((name, request.query["digest"]))
        if response.status == 202 and self.least_chunk:
            response.headers["OCI-Chunk-Min-Length"] = str(self.least_chunk)
        return response

    def _told(self, status: int, path: str, **headers: str) -> web.Response:
        response = super()._told(status, path, **headers)
        if self.states:
            response.headers["Location"] += f"&state={len(self.sessions[path])}"
        return response

    def _session(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        kept = str(len(self.sessions.get(request.path, b"")))
        if self.states and request.query.get("state") != kept:
            return web.Response(status=404)
        return super()._session(request, body)

    async def _get_blob(self, request: web.BaseRequest) -> web.StreamResponse:
        found = _BLOB.fullmatch(request.path)
        assert found is not None
        name, digest = found.groups()
        if digest not in self.blobs or (name, digest) not in self.homes:
            return web.Response(status=404, text='{"errors":[{"code":"BLOB_UNKNOWN"}]}')
        if request.method == "HEAD":
            return web.Response()
        if self.redirects_to:
            place = f"{self.redirects_to}/storage/{digest}?number={self.addresses}"
            return web.Response(status=307, headers={"Location": place})
        return await self._bytes(request, self.blobs[digest])

    async def _stored(self, request: web.BaseRequest) -> web.StreamResponse:
        found = _STORED.fullmatch(request.path)
        assert found is not None
        if self.expire_after is not None:
            self.expire_after -= 1
            self.addresses += self.expire_after == -1
        if request.query.get("number") != str(self.addresses):
            return web.Response(status=403, text="the address has ended")
        return await self._bytes(request, self.blobs[found[1]])

    async def _bytes(self, request: web.BaseRequest, content: bytes) -> web.StreamResponse:
        fault = self.read_faults.pop(0) if self.read_faults else None
        if fault is ReadFault.ERROR:
            return web.Response(status=500)
        if fault is ReadFault.BUSY:
            return web.Response(status=503, headers={"Retry-After": "0"})
        wanted = _RANGE.fullmatch(request.headers.get("Range", ""))
        response = web.StreamResponse()
        part = content
        await asyncio.sleep(self.pause)
        if wanted and self.ranges:
            first, last = int(wanted[1]) + self.range_shift, int(wanted[2])
            part = content[first : last + 1]
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        response.content_length = len(part)
        await response.prepare(request)
        if fault is ReadFault.BREAK:
            await response.write(part[: len(part) // 2])
            self._break(request)
            return response
        await response.write(part)
        return response

    def _manifest(self, request: web.BaseRequest, body: bytes) -> web.Response:
        found = _MANIFEST.fullmatch(request.path)
        assert found is not None, request.path
        name, reference = found.groups()
        if request.method != "PUT":
            media_type, stored = self.manifests.get((name, reference), ("", b""))
            if not stored:
                return web.Response(status=404, text='{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
            return web.Response(body=stored, content_type=media_type)
        missing = self._missing(name, json.loads(body))
        if missing:
            return web.Response(status=400, text=json.dumps({"errors": [{"message": missing}]}))
        digest = str(Digest.of(body))
        for each in {reference, digest}:
            self.manifests[name, each] = (request.content_type, body)
        subject = json.loads(body).get("subject")
        told = {"OCI-Subject": subject["digest"]} if subject and self.referrers_api else {}
        return web.Response(status=201, headers={"Docker-Content-Digest": digest, **told})

    def _missing(self, name: str, manifest: dict[str, Any]) -> str:
        """Say what a manifest names that is not there."""
        blobs = [*filter(None, [manifest.get("config")]), *manifest.get("layers", [])]
        gone = [each["digest"] for each in blobs if (name, each["digest"]) not in self.homes]
        manifests = [each["digest"] for each in manifest.get("manifests", [])]
        gone += [each for each in manifests if (name, each) not in self.manifests]
        return f"there is no {gone[0]}" if gone else ""

    def _referrers(self, name: str, digest: str) -> web.Response:
        if not self.referrers_api:
            return web.Response(status=404)
        found = {
            str(Digest.of(body)): (media_type, body)
            for (home, _), (media_type, body) in self.manifests.items()
            if home == name and (json.loads(body).get("subject") or {}).get("digest") == digest
        }
        entries = [
            {"mediaType": media_type, "digest": key, "size": len(body)}
            for key, (media_type, body) in found.items()
        ]
        return web.json_response({"schemaVersion": 2, "manifests": entries})


@contextmanager
def run_whole_registry() -> Iterator[WholeRegistry]:
    """Serve one on a free port of loopback."""
    registry = WholeRegistry()
    with run_handler(registry.answer) as registry.url:
        yield registry
