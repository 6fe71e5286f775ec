"""Direct uploads in memory: a registry's sessions for them and the storage their URLs lead to.

It must never be kinder than the real ones: the storage takes nothing but what was signed, and the
registry nothing but bytes whose hash goes through all the words that were reported.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import uuid
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from aiohttp import web

from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAGIC = 4
_SESSIONS = re.compile(r"/v2/(.+)/_moorage/uploads/([^/]*)(/parts)?")
DISCOVER = "/v2/_oci/ext/discover"
"""Where a client asks whether there are any."""
_URL = "/s3/"


class PutFault(Enum):
    """What goes wrong with a PUT to a URL."""

    LOST_BEFORE = auto()
    """The connection breaks within the bytes, and nothing was kept."""
    LOST_AFTER = auto()
    """All was kept, but the answer is lost."""
    ERROR = auto()
    """500."""
    BUSY = auto()
    """503."""
    CONFLICT = auto()
    """409: another PUT to the key is under way."""
    SLOW = auto()
    """400 RequestTimeout: the storage has waited for bytes."""
    EXPIRED = auto()
    """403: the URL has ended."""
    EXPIRED_TOKEN = auto()
    """400 ExpiredToken: what signed the URL has ended."""
    REFUSED = auto()
    """400 with a code of no known kind."""


_ANSWERS = {
    PutFault.ERROR: (500, "InternalError"),
    PutFault.BUSY: (503, "SlowDown"),
    PutFault.CONFLICT: (409, "ConditionalRequestConflict"),
    PutFault.SLOW: (400, "RequestTimeout"),
    PutFault.EXPIRED: (403, "AccessDenied"),
    PutFault.EXPIRED_TOKEN: (400, "ExpiredToken"),
    PutFault.REFUSED: (400, "InvalidRequest"),
}


@dataclass
class FakeSession:
    """A direct session: for a digest, or for parts; `whole` and `parts` are what was put."""

    name: str
    algorithm: Algorithm
    digest: str | None = None
    size: int = 0
    whole: bytes | None = None
    parts: dict[int, bytes] = field(default_factory=dict)
    state: str = "direct"
    runs: int = 0
    """How many more times the commit is said to be running."""


@dataclass
class FakeDirect:
    """Sessions by id; `put_faults` are used up, one for each PUT to the storage."""

    sessions: dict[str, FakeSession] = field(default_factory=dict)
    put_faults: list[PutFault | None] = field(default_factory=list)
    refuses: dict[str, int] = field(default_factory=dict)
    """Statuses of refusals: by `whole`, `parts` for opening, `commit`."""
    answers_lost: int = 0
    """How many answers to commits are lost."""
    runs: int = 0
    """How often a commit is said to be running before it is done."""
    minimum: int = 5 * MIB
    count: int = 10_000
    batch: int = 100
    expires_in: float = 900.0
    url: str = ""
    """Where the storage's URLs lead, if not here."""
    puts: list[tuple[str, int, int]] = field(default_factory=list)
    """Session, part (0 is the whole), bytes of each PUT that came to its end."""
    batches: list[int] = field(default_factory=list)
    """How many URLs each request asked for."""
    told: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """What each URL is for: session, part, size. Each is used once."""
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def takes(self, path: str) -> bool:
        """Whether a request is for this."""
        return path == DISCOVER or path.startswith(_URL) or bool(_SESSIONS.fullmatch(path))

    @staticmethod
    def is_storage(path: str) -> bool:
        """Whether a request is for the storage, which must see no login."""
        return path.startswith(_URL)

    def answer(  # noqa: PLR0911 - a kind of request is a line
        self, request: web.BaseRequest, body: bytes, blobs: dict[str, bytes], url: str
    ) -> web.Response:
        """Answer one request; a blob that is committed is among `blobs`."""
        if request.path == DISCOVER:
            return web.json_response({"extensions": [{"name": "_oci"}, {"name": "_moorage"}]})
        if request.path.startswith(_URL):
            return self._put(request, body)
        found = _SESSIONS.fullmatch(request.path)
        assert found is not None
        name, session_id, of_parts = found.groups()
        at = self.url or url
        if not session_id:
            return self._open(request, name, at)
        session = self.sessions.get(session_id)
        if session is None or session.name != name:
            return web.json_response({"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}, status=404)
        if of_parts:
            return self._urls(session_id, session, json.loads(body)["parts"], at)
        if request.method == "DELETE":
            del self.sessions[session_id]
            return web.Response(status=204)
        if request.method == "GET":
            return self._described(200, session_id, at)
        return self._commit(request, session, body, blobs)

    def _open(self, request: web.BaseRequest, name: str, at: str) -> web.Response:
        by_parts = request.query.get("parts") == "true"
        status = self.refuses.get("parts" if by_parts else "whole")
        if status is not None:
            return web.json_response({"errors": [{"message": "not so"}]}, status=status)
        if by_parts:
            session = FakeSession(name, Algorithm(request.query.get("algorithm", "sha256")))
        else:
            digest = Digest.parse(request.query["digest"])
            if digest.algorithm is not Algorithm.SHA256:
                return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)
            size = int(request.query["size"])
            session = FakeSession(name, digest.algorithm, str(digest), size)
        session_id = f"direct-{next(self.numbers)}"
        self.sessions[session_id] = session
        return self._described(201, session_id, at)

    def _described(self, status: int, session_id: str, at: str) -> web.Response:
        session = self.sessions[session_id]
        document: dict[str, Any] = {"session": session_id, "state": session.state}
        document |= {"algorithm": session.algorithm.value, "digest": session.digest}
        if session.digest is None:
            document["parts"] = {
                "minimum": self.minimum,
                "maximum": 5 * 1024 * MIB,
                "count": self.count,
                "multiple": 64 if session.algorithm is Algorithm.SHA256 else 128,
                "batch": self.batch,
            }
            if status == 200:
                stored = [
                    {"number": number, "size": len(data)}
                    for number, data in sorted(session.parts.items())
                ]
                document["parts"]["stored"] = stored
        elif session.state == "direct":
            document["put"] = self._presigned(session_id, 0, session.size, at)
        location = f"/v2/{session.name}/_moorage/uploads/{session_id}"
        return web.json_response(document, status=status, headers={"Location": location})

    def _urls(
        self, session_id: str, session: FakeSession, wanted: list[dict[str, int]], at: str
    ) -> web.Response:
        if session.state != "direct" or not 1 <= len(wanted) <= self.batch:
            return web.json_response({"errors": [{"code": "REQUEST_INVALID"}]}, status=400)
        self.batches.append(len(wanted))
        given = [
            {"number": each["number"]}
            | self._presigned(session_id, each["number"], each["size"], at)
            for each in wanted
        ]
        return web.json_response({"parts": given})

    def _presigned(self, session_id: str, number: int, size: int, at: str) -> dict[str, Any]:
        # Nobody's but this one's: the PUT of another test's client may still be on its way here.
        place = f"{_URL}{uuid.uuid4()}"
        self.told[place] = (session_id, number, size)
        headers = {"Content-Length": str(size)}
        if not number:
            digest = Digest.parse(self.sessions[session_id].digest or "")
            checksum = base64.b64encode(bytes.fromhex(digest.hex)).decode()
            headers |= {
                "Content-Type": "application/octet-stream",
                "If-None-Match": "*",
                "x-amz-checksum-sha256": checksum,
            }
        return {"url": f"{at}{place}", "headers": headers, "expires_in": self.expires_in}

    def _put(  # noqa: PLR0911 - a refusal is a line
        self, request: web.BaseRequest, body: bytes
    ) -> web.Response:
        if request.path not in self.told:
            return _refused(403, "SignatureDoesNotMatch")
        session_id, number, size = self.told[request.path]
        fault = self.put_faults.pop(0) if self.put_faults else None
        if fault in _ANSWERS:
            status, code = _ANSWERS[fault]
            return _refused(status, code)
        if fault is PutFault.LOST_BEFORE:
            return _broken(request)
        session = self.sessions.get(session_id)
        if session is None:
            return _refused(404, "NoSuchUpload")
        if request.method != "PUT" or "Authorization" in request.headers or len(body) != size:
            return _refused(403, "SignatureDoesNotMatch")
        if "Transfer-Encoding" in request.headers:
            return _refused(501, "NotImplemented")
        if number:
            session.parts[number] = body
        elif refusal := self._put_whole(session, request.headers, body):
            return refusal
        self.puts.append((session_id, number, size))
        return _broken(request) if fault is PutFault.LOST_AFTER else web.Response()

    def _put_whole(
        self, session: FakeSession, headers: Mapping[str, str], body: bytes
    ) -> web.Response | None:
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if (headers.get("If-None-Match"), headers.get("Content-Type")) != (
            "*",
            "application/octet-stream",
        ):
            return _refused(403, "SignatureDoesNotMatch")
        if headers.get("x-amz-checksum-sha256") != checksum:
            return _refused(400, "BadDigest")
        if session.whole is not None:
            return _refused(412, "PreconditionFailed")
        session.whole = body
        return None

    def _commit(
        self, request: web.BaseRequest, session: FakeSession, body: bytes, blobs: dict[str, bytes]
    ) -> web.Response:
        if "commit" in self.refuses:
            error = {"code": "BLOB_UPLOAD_INVALID", "message": "not these bytes"}
            return web.json_response({"errors": [error]}, status=self.refuses["commit"])
        if session.state == "direct":
            digest = session.digest or request.query["digest"]
            problem = _problem(session, Digest.parse(digest), json.loads(body or b"{}"))
            if problem:
                error = {"code": "DIGEST_INVALID", "message": problem}
                return web.json_response({"errors": [error]}, status=400)
            session.digest = digest
            session.state, session.runs = "sealed", self.runs
        if session.runs:
            session.runs -= 1
            headers = {"Retry-After": "0", "Moorage-Commit": "running"}
            return web.Response(status=503, headers=headers)
        session.state = "committed"
        assert session.digest is not None
        blobs[session.digest] = (
            session.whole
            if session.whole is not None
            else b"".join(data for _, data in sorted(session.parts.items()))
        )
        if self.answers_lost:
            self.answers_lost -= 1
            return _broken(request)
        return web.Response(status=201, headers={"Docker-Content-Digest": session.digest})


def words_after(algorithm: Algorithm, data: bytes) -> bytes:
    """Return the words of a hash after bytes, which are whole blocks."""
    hasher = Hasher(algorithm)
    hasher.update(data)
    return hasher.state()[_MAGIC:][: 32 if algorithm is Algorithm.SHA256 else 64]


def _problem(session: FakeSession, digest: Digest, report: Mapping[str, Any]) -> str:
    """Say what is wrong with what was put, or with the report of it."""
    if session.digest is not None:
        return "" if session.whole is not None else "PUT them to the URL first"
    if report.get("parts") is None:
        return "there is no report"
    stored = sorted(session.parts.items())
    told = [(part["number"], part["size"]) for part in report["parts"]]
    if told != [(number, len(data)) for number, data in stored]:
        return "the report is of other parts"
    before = b""
    for part, (_, data) in zip(report["parts"], stored, strict=True):
        before += data
        last = part is report["parts"][-1]
        state = None if last else words_after(session.algorithm, before).hex()
        if part.get("state") != state:
            return f"part {part['number']} has other words"
    return "" if Digest.of(before, digest.algorithm) == digest else "the digest is another one"


def _refused(status: int, code: str) -> web.Response:
    text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")


def _broken(request: web.BaseRequest) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
