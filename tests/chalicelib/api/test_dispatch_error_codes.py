"""THE table of how each error code comes about: what is stored, what is asked, what is answered.

A code without a row fails a test, so a new one needs its row here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request, UnrestrictedCaller
from chalicelib.digest import Digest
from chalicelib.errors import DeniedError, ErrorCode, TooManyRequestsError, UnauthorizedError
from chalicelib.registry.service import Limits
from chalicelib.registry.session import Owner
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.chalicelib.api.pushing import IMAGE, NAME, code
from tests.support.access import AccessWorld
from tests.support.registries import MemoryRegistry, registry_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chalicelib.api.messages import AuthorizedCaller, Response

    Refused = tuple[str, str, bytes, Mapping[str, str]]
    Prepare = Callable[["World"], Refused]

OPTIONS = ApiOptions(inline_limit=1024, head_strategy=HeadStrategy.BODY, manifest_limit=1000)
BLOB = b"a blob"
NOWHERE = Digest.of(b"nowhere")


@dataclass
class World:
    """A registry in memory with one blob, the authorizer before it, and what a row may need."""

    memory: MemoryRegistry = field(default_factory=lambda: registry_in_memory(Limits()))
    refusal: Exception | None = None

    def admit(self, request: Request, action: str, repository: str | None) -> AuthorizedCaller:
        """Let everybody do everything, as ann, unless a row said otherwise."""
        del request, action, repository
        if self.refusal is not None:
            raise self.refusal
        return UnrestrictedCaller("ann")

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Send a request; `target` is the path after /v2/ with its query."""
        path, _, query = target.removeprefix("/v2/").partition("?")
        pairs = [part.partition("=") for part in query.split("&") if part]
        tokens = AccessWorld(self.memory.clock.now).token_service
        api = Api(lambda: self.memory.registry, OPTIONS, self, tokens)
        return api(
            Request(
                method=method,
                path=path,
                query={name: [value] for name, _, value in pairs},
                headers={name.replace("_", "-"): value for name, value in headers.items()},
                body=body,
                deadline=self.memory.clock.now() + 29,
                request_id="test",
            )
        )

    def upload(self, *chunks: bytes) -> str:
        """Open a session, append chunks, and return where it goes on."""
        at = str(self.ask("POST", f"{NAME}/blobs/uploads").headers["Location"])
        for chunk in chunks:
            at = str(self.ask("PATCH", at, chunk).headers["Location"])
        return at


@dataclass(frozen=True)
class Row:
    """A request that is refused: `prepare` stores what it needs and gives the request."""

    code: ErrorCode
    prepare: Prepare
    headers: tuple[str, ...] = ()
    """Headers that the answer must have."""


def asked(method: str, target: str, body: bytes = b"", **headers: str) -> Prepare:
    """Return a request that needs nothing stored."""
    return lambda _: (method, target, body, headers)


def in_session(method: str, body: bytes, query: str = "", **headers: str) -> Prepare:
    """Return a request about a session that holds three bytes."""
    return lambda world: (method, world.upload(b"abc").partition("?")[0] + query, body, headers)


def refused_by(
    error: Exception,
) -> Prepare:
    """Return a request that the authorizer refuses."""

    def prepare(world: World) -> Refused:
        world.refusal = error
        return "GET", f"{NAME}/tags/list", b"", {}

    return prepare


def throttled(world: World) -> Refused:
    """Return a request that meets a store that is asked too much."""

    def fail(*_: object) -> NoReturn:
        raise TooManyRequestsError(retry_after=2)

    world.memory.metadata.get_link = fail  # type: ignore[method-assign, assignment]
    return "GET", f"{NAME}/blobs/{NOWHERE}", b"", {}


def leased(world: World) -> Refused:
    """Return a request about a session to which another one is appending."""
    at, now = world.upload(), world.memory.clock.now()
    session = at.partition("?")[0].rpartition("/")[2]
    world.memory.sessions.take_lease(
        session, owner=Owner(NAME, "ann"), at=0, claim=None, holder="other", now=now, until=now + 9
    )
    return "PATCH", at, b"abc", {}


def put(document: object, reference: str = "v1") -> Prepare:
    """Return a PUT of a manifest."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return asked("PUT", f"{NAME}/manifests/{reference}", body, content_type=IMAGE)


def image(size: int = 6, digest: Digest = NOWHERE) -> dict[str, object]:
    """Return a manifest with no layers whose config is not there."""
    config = {"mediaType": "a/b", "digest": str(digest), "size": size}
    return {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": []}


PLACE = ("Location", "Range", "Docker-Upload-UUID")
E = ErrorCode
ROWS = (
    Row(E.BLOB_UNKNOWN, asked("GET", f"{NAME}/blobs/{NOWHERE}")),
    Row(E.BLOB_UNKNOWN, asked("HEAD", f"{NAME}/blobs/{NOWHERE}")),
    Row(E.BLOB_UNKNOWN, asked("DELETE", f"{NAME}/blobs/{NOWHERE}")),
    Row(E.BLOB_UPLOAD_INVALID, in_session("PATCH", b"de", content_range="3-9"), PLACE),
    Row(E.BLOB_UPLOAD_INVALID, in_session("PATCH", b"de", "?at=x"), PLACE),
    Row(E.BLOB_UPLOAD_UNKNOWN, asked("GET", f"{NAME}/blobs/uploads/x")),
    Row(E.BLOB_UPLOAD_UNKNOWN, asked("PATCH", f"{NAME}/blobs/uploads/x", b"abc")),
    Row(E.BLOB_UPLOAD_UNKNOWN, asked("PUT", f"{NAME}/blobs/uploads/x?digest={NOWHERE}")),
    Row(E.BLOB_UPLOAD_UNKNOWN, asked("DELETE", f"{NAME}/blobs/uploads/x")),
    Row(E.DENIED, refused_by(DeniedError())),
    Row(E.DIGEST_INVALID, asked("GET", f"{NAME}/blobs/sha256:short")),
    Row(E.DIGEST_INVALID, asked("POST", f"{NAME}/blobs/uploads?digest={NOWHERE}", b"abc")),
    Row(E.DIGEST_INVALID, in_session("PUT", b"", f"?digest={NOWHERE}"), PLACE),
    Row(E.DIGEST_INVALID, put(image(size=6, digest=Digest.of(BLOB)), str(NOWHERE))),
    Row(E.MANIFEST_BLOB_UNKNOWN, put(image())),
    Row(E.MANIFEST_INVALID, put(b"{")),
    Row(E.MANIFEST_INVALID, put(image(size=7, digest=Digest.of(BLOB)))),
    Row(E.MANIFEST_UNKNOWN, asked("GET", f"{NAME}/manifests/v1")),
    Row(E.MANIFEST_UNKNOWN, asked("HEAD", f"{NAME}/manifests/{NOWHERE}")),
    Row(E.MANIFEST_UNKNOWN, asked("DELETE", f"{NAME}/manifests/v1")),
    Row(E.MANIFEST_UNKNOWN, asked("DELETE", f"{NAME}/manifests/{NOWHERE}")),
    Row(E.NAME_INVALID, asked("GET", "Team/tags/list")),
    Row(E.NAME_UNKNOWN, asked("GET", f"{NAME}/tags/list")),
    Row(E.PAGINATION_NUMBER_INVALID, asked("GET", "_catalog?n=-1")),
    Row(E.RANGE_INVALID, in_session("PATCH", b"de", content_range="9-10"), PLACE),
    Row(E.RANGE_INVALID, in_session("PUT", b"de", f"?at=1&digest={NOWHERE}"), PLACE),
    Row(
        E.RANGE_INVALID,
        asked("GET", f"{NAME}/blobs/{Digest.of(BLOB)}", range="bytes=6-"),
        ("Content-Range",),
    ),
    Row(E.REQUEST_INVALID, asked("POST", "_token", b"grant_type=password")),
    Row(E.SIZE_TOO_LARGE, put(b" " * 1001)),
    Row(E.MANIFEST_UNKNOWN, asked("GET", f"{NAME}/manifests/-x")),
    Row(E.TAG_INVALID, asked("DELETE", f"{NAME}/manifests/-x")),
    Row(E.TAG_INVALID, asked("PUT", f"{NAME}/manifests/{NOWHERE}?tag=-x", b"{}")),
    Row(E.TOOMANYREQUESTS, throttled, ("Retry-After",)),
    Row(E.UNAUTHORIZED, refused_by(UnauthorizedError())),
    Row(E.UNAVAILABLE, leased, ("Retry-After", *PLACE)),
    Row(E.UNSUPPORTED, asked("POST", f"{NAME}/tags/list"), ("Allow",)),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code.name)
def test_a_refusal_has_its_codes_status_and_headers(row: Row) -> None:
    """Each way to an error code has its status, the spec's shape of an error, and its headers."""
    world = World()
    digest = Digest.of(BLOB)
    assert world.ask("POST", f"{NAME}/blobs/uploads?digest={digest}", BLOB).status == 201
    method, target, body, headers = row.prepare(world)
    answer = world.ask(method, target, body, **headers)
    assert (answer.status, code(answer)) == (row.code.status, row.code.code)
    assert set(row.headers) <= set(answer.headers)


def test_every_code_has_a_row() -> None:
    """No code is in the table that no request is answered with."""
    assert {row.code for row in ROWS} == set(ErrorCode)


@pytest.mark.parametrize(
    ("method", "target", "status", "expected"),
    [
        ("GET", "nothing", 404, "UNSUPPORTED"),
        ("GET", "a/b/c", 404, "UNSUPPORTED"),
        ("GET", "UPPER/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a/../b/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a%2Fb/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a%00b/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a%ff/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a\ud800/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a//b/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a/%2e%2e/b/manifests/v1", 400, "NAME_INVALID"),
        ("GET", "a/manifests/%2e%2e", 400, "NAME_INVALID"),
        ("GET", "a/manifests/v1%2Fx", 400, "NAME_INVALID"),
        ("GET", "a/blobs/uploads/%00", 400, "NAME_INVALID"),
        ("GET", "a/blobs/uploads/..", 400, "NAME_INVALID"),
        ("PATCH", "a/blobs/uploads/x%2Fy", 400, "NAME_INVALID"),
        ("GET", f"{'a' * 256}/manifests/v1", 400, "NAME_INVALID"),
        ("HEAD", f"a/manifests/{'t' * 129}", 404, "MANIFEST_UNKNOWN"),
        ("PUT", f"a/manifests/{'t' * 129}", 400, "TAG_INVALID"),
        ("GET", "a/manifests/sha256:bad", 400, "DIGEST_INVALID"),
        ("PUT", "a/blobs/uploads/none", 400, "DIGEST_INVALID"),
        ("POST", "a/blobs/uploads?digest-algorithm=md5", 400, "DIGEST_INVALID"),
        ("POST", "a/blobs/uploads?digest=md5:00", 400, "DIGEST_INVALID"),
        ("POST", "a/blobs/uploads?mount=sha256:bad", 400, "DIGEST_INVALID"),
        ("GET", "a/referrers/sha256:bad", 400, "DIGEST_INVALID"),
    ],
)
def test_a_malformed_request_is_refused(
    method: str, target: str, status: int, expected: str
) -> None:
    """A bad path, name, reference, digest or id has the spec's status and code."""
    answer = World().ask(method, target)
    assert (answer.status, code(answer)) == (status, expected)
