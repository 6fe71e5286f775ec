"""One visit of `moorage doctor` to a registry: its login, what it pushed, and what it saw.

This module must never send a token to another server than the registry's, nor lose track of what it
pushed: all of that is deleted at the end.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from chalicelib.descriptor import MediaType
from chalicelib.digest import Digest
from moorage.common.http import HttpResponse, clean, is_loopback, origin, whole_number
from moorage.doctor.answers import KEEP_LOCATION, at_s3, require, require_stored
from moorage.doctor.findings import FailedError
from moorage.doctor.wire import BROKEN, Body, Wire, wire_of

IMAGE, INDEX = MediaType.OCI_MANIFEST.value, MediaType.OCI_INDEX.value
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
BYTES: Mapping[str, str] = {"Content-Type": "application/octet-stream"}

_REMAPPED = "x-amzn-remapped-"
_AGAIN = frozenset({429, 503})
_TRIES = 5
_LONGEST_WAIT = 5.0
_REDIRECTS = frozenset({302, 307, 308})


@dataclass(frozen=True, slots=True)
class UserPassword:
    """A user name and a password; an API token is a password for any user name."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes and their digest."""

    data: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """The digest, as URLs and manifests have it."""
        return digest_of(self.data)

    def descriptor(self, media_type: str = _LAYER) -> dict[str, Any]:
        """Return the descriptor by which a manifest names the blob."""
        return {"mediaType": media_type, "digest": self.digest, "size": len(self.data)}


@dataclass
class Visit:
    """A visit. `facts` are observations for the report that are neither right nor wrong."""

    wire: Wire
    repository: str
    credentials: UserPassword | None = None
    large: bool = False
    keep: bool = False
    edge_size: int = 0
    """Bytes of one more PUT through the edge; 0: none."""
    edge_blob: str | None = None
    """The digest of a blob that was pushed through an edge."""
    facts: dict[str, Any] = field(default_factory=dict)
    hello: HttpResponse | None = None
    """The answer of `/v2/` without a token."""
    challenge: Mapping[str, str] = field(default_factory=dict)
    """The parameters of the Bearer challenge; none where the registry is open."""
    token: str | None = field(default=None, repr=False)
    may_delete: bool = True
    pushed: list[tuple[str, str, str]] = field(default_factory=list)
    """What to delete: repository, kind (`blobs`, `manifests`), and digest or tag."""
    sessions: list[str] = field(default_factory=list)
    """Upload sessions that may be open: their targets, without the query."""
    sample: Blob = field(default_factory=lambda: Blob(bytes(range(256)) * 5 + os.urandom(32)))
    """The blob that the check `upload` pushes: all byte values, and a random part."""
    config: Blob = field(default_factory=lambda: Blob(b'{"doctor": "%d"}' % time.time_ns()))
    """The config of every image; its own for each visit, for it is deleted at the end."""

    @property
    def second(self) -> str:
        """Another repository, in whose name are several slashes and characters to encode."""
        return f"{self.repository}/second_one/deep.er"

    @property
    def here(self) -> bool:
        """Whether the registry is on this machine."""
        return is_loopback(self.wire.url)

    @property
    def authorization(self) -> Mapping[str, str]:
        """The header with the visit's token; none where the registry is open."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        *,
        who: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Send a request with the visit's Authorization, or `who`; repeat it after 429 and 503."""
        sent = {**(self.authorization if who is None else who), **(headers or {})}
        for tried in range(1, _TRIES + 1):
            answer = self.wire.ask(method, target, sent, body)
            self._note(answer.headers)
            if answer.status not in _AGAIN or tried == _TRIES:
                break
            self.facts["told_to_wait"] = self.facts.get("told_to_wait", 0) + 1
            time.sleep(_seconds(answer.headers.get("Retry-After", "")))
        return answer

    def v2(self, rest: str, repository: str | None = None) -> str:
        """Return the target of something in a repository."""
        return f"/v2/{repository or self.repository}/{rest}"

    def place(self, answer: HttpResponse, what: str) -> str:
        """Return a Location's target at this registry; raises FailedError if it leads elsewhere."""
        location = answer.headers.get("Location", "")
        fault = self.location_fault(location)
        if fault:
            raise FailedError(f"{what}: {fault}", KEEP_LOCATION)
        parts = urlsplit(location)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def location_fault(self, location: str) -> str:
        """Return what is wrong with a Location that should lead here; empty: nothing."""
        if not location:
            return "no Location"
        parts = urlsplit(location)
        if parts.netloc or parts.scheme:
            there = parts._replace(scheme=parts.scheme or self.wire.url.scheme)
            if origin(there) != origin(self.wire.url):
                return f"a Location that leads elsewhere: {parts.scheme}://{parts.netloc}"
        if not parts.path.startswith("/v2/"):
            return f"a Location that isn't below /v2/: {parts.path[:80]}"
        return ""

    def open(self, repository: str | None = None) -> str:
        """Open an upload session and return its target."""
        answer = self.ask("POST", self.v2("blobs/uploads/", repository), BYTES, b"")
        require(answer, 202, "POST to begin an upload")
        target = self.place(answer, "POST")
        self.begun(target)
        return target

    def begun(self, target: str) -> None:
        """Note that a session is open, for the cleanup."""
        self.sessions.append(target.partition("?")[0])

    def close(
        self, target: str, blob: Blob, body: bytes = b"", repository: str | None = None
    ) -> HttpResponse:
        """Send the PUT that ends an upload, and return its answer; it must be 201."""
        answer = self.ask("PUT", with_digest(target, blob.digest), BYTES, body)
        return self.closed(target, answer, blob, repository)

    def closed(
        self, target: str, answer: HttpResponse, blob: Blob, repository: str | None = None
    ) -> HttpResponse:
        """Return the answer to the PUT that ended an upload, which must be 201."""
        require(answer, 201, "the closing PUT")
        self.remember(repository or self.repository, "blobs", blob.digest)
        self.sessions = [path for path in self.sessions if path != target.partition("?")[0]]
        named = answer.headers.get("Docker-Content-Digest")
        if named != blob.digest:
            raise FailedError(f"the closing PUT names the digest {named or '(none)'}")
        return answer

    def push(self, blob: Blob, repository: str | None = None) -> Blob:
        """Push a blob by POST and PUT."""
        self.close(self.open(repository), blob, blob.data, repository)
        return blob

    def fetch(
        self, blob: Blob, headers: Mapping[str, str] | None = None, repository: str | None = None
    ) -> HttpResponse:
        """GET a blob, and follow a redirect without the token."""
        answer = self.ask("GET", self.v2(f"blobs/{blob.digest}", repository), headers)
        return self.follow(answer, "GET", headers)

    def follow(
        self, answer: HttpResponse, method: str, headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        """Follow a blob's redirect, which must work; any other answer is returned as it is."""
        if answer.status not in _REDIRECTS:
            return answer
        wire, target = self.redirected(answer)
        what = f"{method} of a blob: {answer.status}, and there "
        there = self.ask_s3(wire, method, target, headers, what=what)
        return require_stored(there, what, wire.url.netloc)

    def redirected(self, answer: HttpResponse) -> tuple[Wire, str]:
        """Return the server and the target of a redirect; raises FailedError."""
        location = answer.headers.get("Location", "")
        if location.startswith("/"):  # the edge's own address of a blob
            return self.wire, location
        return self.at_s3(location, "a redirect")

    def at_s3(self, url: str, what: str) -> tuple[Wire, str]:
        """Return the server and the target of a URL at S3; raises FailedError."""
        try:
            wire, target = wire_of(url)
        except ValueError:
            raise FailedError(f"{what} that leads to no URL", KEEP_LOCATION) from None
        if wire.url.scheme == "http" and not is_loopback(wire.url):
            raise FailedError(
                f"{what} to a URL without TLS",
                f"{KEEP_LOCATION}; the endpoint of S3 that the function has must be https",
            )
        return wire, target

    def ask_s3(  # noqa: PLR0913 - as a request has them
        self,
        wire: Wire,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        *,
        what: str,
    ) -> HttpResponse:
        """Send a request to S3, without the token; raises FailedError where nobody answers."""
        try:
            return wire.ask(method, target, headers, body)
        except BROKEN as error:
            reason = clean(str(error)) or type(error).__name__
            raise FailedError(
                f"{what}the connection failed: {reason}", at_s3(wire.url.netloc)
            ) from None

    def image(self, *layers: Blob, **more: object) -> bytes:
        """Push the config of an image, and return the image's manifest."""
        if (self.repository, "blobs", self.config.digest) not in self.pushed:
            self.push(self.config)
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.config.descriptor(_CONFIG),
            "layers": [layer.descriptor() for layer in layers],
            **more,
        }
        return json.dumps(document).encode()

    def put_manifest(self, reference: str, manifest: bytes) -> HttpResponse:
        """PUT a manifest; it must be 201."""
        answer = self.ask(
            "PUT", self.v2(f"manifests/{reference}"), {"Content-Type": IMAGE}, manifest
        )
        require(answer, 201, "PUT of a manifest")
        self.remember(self.repository, "manifests", digest_of(manifest))
        return answer

    def remember(self, *pushed: str) -> None:
        """Note what the cleanup has to delete."""
        repository, kind, name = pushed
        if (repository, kind, name) not in self.pushed:
            self.pushed.append((repository, kind, name))

    def _note(self, headers: Message) -> None:
        found = {name for name in headers if name.lower().startswith(_REMAPPED)}
        if found:
            known = set(self.facts.get("renamed_headers", ()))
            self.facts["renamed_headers"] = sorted(known | found)


def with_digest(target: str, digest: str) -> str:
    """Return an upload's target with the digest of the closing PUT."""
    return f"{target}{'&' if '?' in target else '?'}digest={digest}"


def digest_of(data: bytes) -> str:
    """Return the SHA-256 digest of some bytes, as URLs and manifests have it."""
    return str(Digest.of(data))


def _seconds(text: str) -> float:
    seconds = whole_number(text)
    return 1.0 if seconds is None else min(float(seconds), _LONGEST_WAIT)
