"""The one exit of the API: who is asked, which refusal has which code, what is logged.

ROWS is THE table of how each error code comes about; a code without a row fails a test.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, cast

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request, UnrestrictedCaller
from chalicelib.digest import Digest
from chalicelib.errors import (
    CommitRunningError,
    DeniedError,
    ErrorCode,
    RegistryError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UploadBusyError,
    UploadOffsetError,
)
from chalicelib.registry.service import Limits
from chalicelib.routes import ROUTES, Action, RouteMatch, match
from chalicelib.settings import ApiOptions, HeadStrategy
from moorage.common.patience import COMMIT_RUNNING
from tests.chalicelib.api.pushing import DOCKER, IMAGE, NAME, a_request, code, described, hold
from tests.support.access import AccessWorld
from tests.support.registries import REGISTRY, MemoryRegistry, registry_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chalicelib.api.messages import AuthorizedCaller, Response
    from chalicelib.registry.registry import Registry

    Refused = tuple[str, str, bytes, Mapping[str, str]]
    Prepare = Callable[["World"], Refused]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SECRET = "hunter2"  # noqa: S105 - what must be nowhere
OPTIONS = ApiOptions(inline_limit=1024, head_strategy=HeadStrategy.BODY, manifest_limit=100_000)

PULLED = {"GET": Action.PULL, "HEAD": Action.PULL}
ENDPOINTS = {
    "": {"GET": Action.PING, "HEAD": Action.PING},
    "_catalog": dict.fromkeys(("GET", "HEAD"), Action.CATALOG),
    "_moorage": {"GET": Action.PAGE},
    "_moorage/page.js": {"GET": Action.PAGE},
    "_token": dict.fromkeys(("GET", "HEAD", "POST"), Action.TOKEN),
    "a/b/blobs/uploads": {"POST": Action.PUSH},
    "a/b/blobs/uploads/x": dict.fromkeys(("GET", "PATCH", "PUT", "DELETE"), Action.PUSH),
    f"a/b/blobs/sha256:{'0' * 64}": PULLED | {"DELETE": Action.DELETE},
    "a/b/manifests/v1": PULLED | {"PUT": Action.PUSH, "DELETE": Action.DELETE},
    "_oci/ext/discover": {"GET": Action.PING},
    "a/b/_moorage/uploads": {"POST": Action.PUSH},
    "a/b/_moorage/uploads/x": dict.fromkeys(("GET", "PUT", "DELETE"), Action.PUSH),
    "a/b/_moorage/uploads/x/parts": {"POST": Action.PUSH},
    "_moorage/repositories": {"GET": Action.CATALOG},
    "a/b/_moorage/tags": {"GET": Action.PULL},
    "a/b/_moorage/images": {"GET": Action.PULL},
    f"a/b/_moorage/images/sha256:{'0' * 64}": {"GET": Action.PULL},
    "a/b/_moorage/usage": {"GET": Action.PULL},
    "a/b/_moorage/deletion": {"GET": Action.DELETE},
    "a/b/_moorage/retention": {"GET": Action.PULL},
    "a/b/_moorage/history": {"GET": Action.PULL},
    "a/b/_moorage/restore": {"POST": Action.DELETE},
    "a/b/tags/list": PULLED,
    f"a/b/referrers/sha256:{'0' * 64}": PULLED,
}
"""What each endpoint of the spec has, and what it takes to use it: written down a second time."""

HAD = [(path, method, action) for path, has in ENDPOINTS.items() for method, action in has.items()]
LACKED = [
    (path, method) for path, has in ENDPOINTS.items() for method in METHODS if method not in has
]


class Failing:
    """A registry whose every service fails in the same way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error


class Deny:
    """Remembers what it was asked, and says no."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Action, str | None]] = []

    def admit(self, request: Request, found: RouteMatch) -> AuthorizedCaller:
        """Refuse."""
        asked = (request.method, found.route.action, found.parameters.get("name"))
        self.asked.append(asked)
        raise DeniedError


def api(error: Exception, authorizer: Deny | None = None) -> Api:
    """Return an API over a registry that fails."""
    return Api(lambda: cast("Registry", Failing(error)), OPTIONS, authorizer)


def request(method: str, path: str) -> Request:
    """Return a request of somebody with a secret in its header, query and body."""
    headers = {"authorization": f"Bearer {SECRET}"}
    return Request(method, path, {"token": [SECRET]}, headers, SECRET.encode(), 0.0, "r-1")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_says_that_this_is_a_registry(method: str) -> None:
    """GET and HEAD of /v2/ are 200 with an empty object, and use no store."""
    response = api(AssertionError())(request(method, ""))
    assert (response.status, response.body) == (200, b"{}")
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(("path", "method", "action"), HAD)
def test_no_store_is_used_before_the_request_is_allowed(
    path: str, method: str, action: Action
) -> None:
    """Every endpoint requires its action, and is 403 with no store touched."""
    deny = Deny()
    response = api(AssertionError(), deny)(request(method, path))
    assert (response.status, code(response)) == (403, "DENIED")
    assert deny.asked == [(method, action, "a/b" if path.startswith("a/b") else None)]


def test_every_route_is_of_an_endpoint_that_is_tested_here() -> None:
    """Each row of the table of routes is in ENDPOINTS, and is denied above."""
    assert {match(method, path).route for path, method, _ in HAD} == set(ROUTES)


@pytest.mark.parametrize(("path", "method"), LACKED)
def test_another_method_is_405_with_allow(path: str, method: str) -> None:
    """A method that an endpoint lacks is 405 for every caller."""
    deny = Deny()
    response = api(AssertionError(), deny)(request(method, path))
    assert (response.status, code(response)) == (405, "UNSUPPORTED")
    assert response.headers["Allow"] == ", ".join(sorted([*ENDPOINTS[path], "OPTIONS"]))
    assert deny.asked == []


@pytest.mark.parametrize("path", ENDPOINTS)
def test_options_is_204_with_allow(path: str) -> None:
    """Every caller gets the methods; without the setting there is no header of CORS."""
    deny = Deny()
    response = api(AssertionError(), deny)(request("OPTIONS", path))
    assert (response.status, response.body) == (204, b"")
    assert response.headers["Allow"] == ", ".join(sorted([*ENDPOINTS[path], "OPTIONS"]))
    assert not [name for name in response.headers if name.startswith("Access-Control")]
    assert deny.asked == []


def test_options_of_an_unknown_path_is_404() -> None:
    """Every other method is 404 there too."""
    response = api(AssertionError())(request("OPTIONS", "a/b/none"))
    assert (response.status, code(response)) == (404, "UNSUPPORTED")


@pytest.mark.parametrize(
    "name", ["blobs", "blobs/uploads/x", "manifests/a", "a/tags/list", "a/b/c"]
)
def test_a_repository_name_may_contain_the_words_of_an_endpoint(name: str) -> None:
    """The end of a path selects the endpoint; everything before it is the name."""
    for tail in ("blobs/uploads", "tags/list", "manifests/v1"):
        deny = Deny()
        method = "POST" if tail == "blobs/uploads" else "GET"
        api(AssertionError(), deny)(request(method, f"{name}/{tail}"))
        assert [asked for _, _, asked in deny.asked] == [name]


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("session", ["x" * 65, "x" * 2049, "%F0%9F%98%80" * 65])
def test_an_impossible_session_id_uses_no_store(method: str, session: str) -> None:
    """A longer id than any is unknown at once: DynamoDB takes no key above 2,048 bytes."""
    response = api(AssertionError())(request(method, f"a/b/blobs/uploads/{session}"))
    assert (response.status, code(response)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("path", ["nothing", "a/b/c", "_token"])
def test_a_path_that_is_no_endpoint_is_404(path: str) -> None:
    """An open registry has no token endpoint, so that path is 404 too."""
    response = api(AssertionError())(request("GET", path))
    assert (response.status, code(response)) == (404, "UNSUPPORTED")


def test_a_fault_is_500_without_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen exception is UNKNOWN to the client, and a traceback in the log."""
    response = api(ZeroDivisionError("table of ann"))(request("GET", "a/b/tags/list"))
    assert (response.status, code(response)) == (500, "UNKNOWN")
    assert b"ann" not in response.body
    assert "ZeroDivisionError: table of ann" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (TooManyRequestsError(retry_after=7), "7"),
        (UnavailableError(retry_after=3), "3"),
        (UploadBusyError(offset=5, retry_after=9), "9"),
        (UploadBusyError(offset=5), "1"),
        (UploadOffsetError(offset=5), None),
    ],
)
def test_a_refusal_says_when_to_try_again(error: RegistryError, seconds: str | None) -> None:
    """429 and 503 always have Retry-After; only a session has an offset to continue at."""
    response = api(error)(request("POST", "a/b/blobs/uploads"))
    assert (response.status, code(response)) == (error.code.status, error.code.code)
    assert response.headers.get("Retry-After") == seconds
    assert not {*PLACE} & {*response.headers}


@pytest.mark.parametrize("driven", [True, False])
def test_a_running_commit_says_whether_it_has_a_driver(*, driven: bool) -> None:
    """So the proxy can tell a long commit from an abandoned one."""
    running = CommitRunningError(offset=5, driven=driven)
    response = api(running)(request("POST", "a/b/blobs/uploads"))
    assert response.status == 503
    name, value = COMMIT_RUNNING
    assert response.headers.get(name) == (value if driven else None)


@pytest.mark.parametrize(("path", "status"), [("", 200), ("nothing", 404), ("a/b/tags/list", 503)])
def test_a_request_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    """Each request is logged once, with its fields, and with nothing of header, query or body."""
    caplog.set_level(logging.INFO, logger="moorage.api")
    response = api(UnavailableError())(request("GET", path))
    (record,) = [record for record in caplog.records if record.name == "moorage.api"]
    fields = vars(record)
    assert (fields["method"], fields["path"], fields["status"]) == ("GET", path, status)
    assert fields["action"] == {"": "ping", "nothing": None, "a/b/tags/list": "pull"}[path]
    assert (fields["bytes_in"], fields["bytes_out"]) == (len(SECRET), len(response.body))
    assert fields["milliseconds"] >= 0
    assert re.fullmatch(rf"r-1 GET {path} {status} \d+ ms", record.getMessage())
    assert SECRET not in str(fields)


BLOB = b"a blob"
DIGEST, NOWHERE = Digest.of(BLOB), Digest.of(b"nowhere")
WHOLE = Digest.of(b"abcdef")


@dataclass
class World:
    """A registry in memory with one blob, the authorizer before it, and what a row may need."""

    memory: MemoryRegistry = field(default_factory=lambda: registry_in_memory(Limits()))
    refusal: Exception | None = None

    def admit(self, request: Request, found: RouteMatch) -> AuthorizedCaller:
        """Let everybody do everything, as ann, unless a row said otherwise."""
        del request, found
        if self.refusal is not None:
            raise self.refusal
        return UnrestrictedCaller("ann")

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Send a request; `target` is the path after /v2/ with its query."""
        tokens = AccessWorld(self.memory.clock.now).token_service
        api = Api(lambda: self.memory.registry, OPTIONS, self, tokens)
        return api(a_request(method, target, self.memory.clock.now(), body, **headers))

    def upload(self) -> str:
        """Open a session and append three bytes, without an offset; return the session's path."""
        opened = str(self.ask("POST", f"{NAME}/blobs/uploads").headers["Location"])
        appended = self.ask("PATCH", opened.partition("?")[0], b"abc")
        return str(appended.headers["Location"]).partition("?")[0]

    def stored(self) -> object:
        """Return all that others may see: blobs, manifests, tags and names."""
        blobs = {
            key for key in self.memory.objects.objects if key.startswith(("blobs/", "direct/"))
        }
        return blobs, self.memory.tables.rows(REGISTRY)


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
    return lambda world: (method, world.upload() + query, body, headers)


def refused_by(error: Exception) -> Prepare:
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


def tagged_elsewhere(world: World) -> Refused:
    """Return a restoration of a manifest under a tag that names another one by now."""
    bodies = [json.dumps(image(annotations={"a": text})).encode() for text in "xy"]
    for body in bodies:
        answer = world.ask("PUT", f"{NAME}/manifests/v1", body, **{"content-type": IMAGE})
        assert answer.status == 201
    return "POST", f"{NAME}/_moorage/restore?digest={Digest.of(bodies[0])}&tag=v1", b"", {}


def leased(world: World) -> Refused:
    """Return a request about a session to which another one is appending."""
    path, memory = world.upload(), world.memory
    hold(memory.sessions, memory.session(path.rpartition("/")[2]), memory.clock.now(), 9)
    return "PATCH", f"{path}?at=3", b"def", {}


def put(document: object, reference: str = "v1") -> Prepare:
    """Return a PUT of a manifest."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return asked("PUT", f"{NAME}/manifests/{reference}", body, content_type=IMAGE)


def blob(digest: object = DIGEST, size: int = 6, media_type: str = "a/b") -> dict[str, object]:
    """Return a descriptor, by default of the blob that is there."""
    return {"mediaType": media_type, "digest": str(digest), "size": size}


def image(**changes: object) -> dict[str, object]:
    """Return a manifest that could be put, with `changes`."""
    return {"schemaVersion": 2, "mediaType": IMAGE, "config": blob(), "layers": [], **changes}


PLACE = ("Location", "Range", "Docker-Upload-UUID")
HALF = "\ud83d"
"""Half a surrogate pair: JSON can escape what is no text, and no store takes it."""
CLOSING = f"digest={WHOLE}"
E = ErrorCode

# fmt: off
NO_RANGES = ["3-9", "3-4", "5-3", "a-b", "3"]
NO_OFFSETS = ["zz", "", "-1", "1.0", "\u0661", "9" * 20, "9" * 5000]
NO_DIGESTS = [f"digest={NOWHERE}", "digest-algorithm=md5", "digest=md5:00"]
NOT_THERE = [
    ("GET", "v1"), ("HEAD", NOWHERE), ("DELETE", "v1"), ("DELETE", NOWHERE), ("GET", "-x"),
    ("HEAD", "t" * 129),
]
NO_NAMES = [
    "Team/tags/list", "UPPER/manifests/v1", "a/../b/manifests/v1", "a%2Fb/manifests/v1",
    "a%00b/manifests/v1", "a%ff/manifests/v1", "a\ud800/manifests/v1", "a//b/manifests/v1",
    "a/%2e%2e/b/manifests/v1", "a/manifests/%2e%2e", "a/manifests/v1%2Fx", "a/blobs/uploads/%00",
    "a/blobs/uploads/..", "a/blobs/uploads/x%2Fy", f"{'a' * 256}/manifests/v1",
]
NO_MANIFESTS: list[object] = [
    b"", b"{", b"not json", b"[]", b"\xff\xfe", b"[" * 100_000,
    image(config=blob(size=7)), image(layers=[blob(size=0)]), image(layers=[{"mediaType": "a/b"}]),
    image(layers={}), image(config=None), image(schemaVersion=1), image(mediaType=DOCKER),
    image(annotations={"a": 1}), image(subject=5), image(artifactType=HALF),
    image(config=blob(media_type=f"a/{HALF}")), image(layers=[blob(media_type=f"a/{HALF}")]),
    image(subject=described(b"", f"a/{HALF}")),
]
# fmt: on
ROWS = (
    *(Row(E.BLOB_UNKNOWN, asked(m, f"{NAME}/blobs/{NOWHERE}")) for m in ("GET", "HEAD", "DELETE")),
    *(
        Row(E.BLOB_UPLOAD_INVALID, in_session("PATCH", b"def", content_range=span), PLACE)
        for span in NO_RANGES
    ),
    *(
        Row(E.BLOB_UPLOAD_INVALID, in_session(method, b"def", f"?at={at}&{more}"), PLACE)
        for method, more in (("PATCH", ""), ("PUT", CLOSING))
        for at in NO_OFFSETS
    ),
    Row(E.BLOB_UPLOAD_UNKNOWN, asked("GET", f"{NAME}/blobs/uploads/x")),
    Row(E.BLOB_UPLOAD_UNKNOWN, asked("PATCH", f"{NAME}/blobs/uploads/x", b"abc")),
    Row(E.BLOB_UPLOAD_UNKNOWN, asked("PUT", f"{NAME}/blobs/uploads/x?digest={NOWHERE}")),
    Row(E.BLOB_UPLOAD_UNKNOWN, asked("DELETE", f"{NAME}/blobs/uploads/x")),
    Row(E.DENIED, refused_by(DeniedError())),
    Row(E.DIGEST_INVALID, asked("GET", f"{NAME}/blobs/sha256:short")),
    Row(E.DIGEST_INVALID, asked("GET", f"{NAME}/manifests/sha256:bad")),
    Row(E.DIGEST_INVALID, asked("GET", f"{NAME}/referrers/sha256:bad")),
    Row(E.DIGEST_INVALID, asked("PUT", f"{NAME}/blobs/uploads/none")),
    *(
        Row(E.DIGEST_INVALID, asked("POST", f"{NAME}/blobs/uploads?{query}", b"abc"))
        for query in NO_DIGESTS
    ),
    Row(E.DIGEST_INVALID, in_session("PUT", b"", f"?digest={NOWHERE}"), PLACE),
    Row(E.DIGEST_INVALID, put(image(), str(NOWHERE))),
    Row(E.DIGEST_INVALID, put(image(layers=[blob("sha256:bad")]))),
    Row(E.MANIFEST_BLOB_UNKNOWN, put(image(config=blob(NOWHERE)))),
    Row(E.MANIFEST_BLOB_UNKNOWN, put(image(layers=[blob(NOWHERE)]))),
    *(Row(E.MANIFEST_INVALID, put(document)) for document in NO_MANIFESTS),
    *(
        Row(E.MANIFEST_UNKNOWN, asked(method, f"{NAME}/manifests/{reference}"))
        for method, reference in NOT_THERE
    ),
    *(Row(E.NAME_INVALID, asked("GET", target)) for target in NO_NAMES),
    Row(E.NAME_UNKNOWN, asked("GET", f"{NAME}/tags/list")),
    *(Row(E.PAGINATION_NUMBER_INVALID, asked("GET", f"_catalog?n={n}")) for n in ("-1", "x")),
    *(
        Row(E.RANGE_INVALID, in_session(method, b"def", more, content_range=span), PLACE)
        for method, more in (("PATCH", ""), ("PUT", f"?{CLOSING}"))
        for span in ("0-2", "2-4", "4-6", "9-11")
    ),
    Row(E.RANGE_INVALID, in_session("PATCH", b"def"), PLACE),
    Row(E.RANGE_INVALID, in_session("PUT", b"de", f"?at=1&{CLOSING}"), PLACE),
    Row(
        E.RANGE_INVALID,
        asked("GET", f"{NAME}/blobs/{DIGEST}", range="bytes=6-"),
        ("Content-Range",),
    ),
    Row(E.REQUEST_INVALID, asked("POST", "_token", b"grant_type=password")),
    Row(E.SIZE_TOO_LARGE, put(b" " * 100_001)),
    Row(E.TAG_INVALID, asked("DELETE", f"{NAME}/manifests/-x")),
    Row(E.REQUEST_INVALID, asked("POST", f"{NAME}/_moorage/restore")),
    Row(E.REQUEST_INVALID, asked("GET", f"{NAME}/_moorage/history?tag=v1&digest={NOWHERE}")),
    Row(E.DIGEST_INVALID, asked("POST", f"{NAME}/_moorage/restore?digest=v1")),
    Row(E.MANIFEST_UNKNOWN, asked("POST", f"{NAME}/_moorage/restore?digest={NOWHERE}")),
    Row(E.NAME_UNKNOWN, asked("GET", f"{NAME}/_moorage/history")),
    Row(E.TAG_MOVED, tagged_elsewhere),
    Row(E.TAG_INVALID, asked("PUT", f"{NAME}/manifests/{'t' * 129}")),
    Row(E.TAG_INVALID, asked("PUT", f"{NAME}/manifests/{NOWHERE}?tag=-x", b"{}")),
    Row(E.TOOMANYREQUESTS, throttled, ("Retry-After",)),
    Row(E.UNAUTHORIZED, refused_by(UnauthorizedError())),
    Row(E.UNAVAILABLE, leased, ("Retry-After", *PLACE)),
    Row(E.UNSUPPORTED, asked("POST", f"{NAME}/tags/list"), ("Allow",)),
)


JUNK = ["x" * 5_000, "\x01" * 5_000, "\U0001f600" * 5_000, "\U000e0001" * 5_000]
WHERE: dict[str, Callable[[str], Prepare]] = {
    "a path": lambda junk: asked("GET", junk),
    "a name": lambda junk: asked("GET", f"{junk}/tags/list"),
    "a reference": lambda junk: asked("DELETE", f"{NAME}/manifests/{junk}"),
    "a digest": lambda junk: asked("GET", f"{NAME}/blobs/{junk}"),
    "a hash": lambda junk: asked("GET", f"{NAME}/blobs/sha256:{junk}"),
    "an algorithm": lambda junk: asked("GET", f"{NAME}/referrers/{junk}:00"),
    "a session": lambda junk: asked("GET", f"{NAME}/blobs/uploads/{junk}"),
    "n": lambda junk: asked("GET", f"_catalog?n={junk}"),
    "at": lambda junk: in_session("PATCH", b"d", f"?at={junk}"),
    "Content-Range": lambda junk: in_session("PATCH", b"d", content_range=junk),
    "digest": lambda junk: in_session("PUT", b"d", f"?digest={junk}"),
    "digest-algorithm": lambda junk: asked("POST", f"{NAME}/blobs/uploads?digest-algorithm={junk}"),
    "tag": lambda junk: asked("PUT", f"{NAME}/manifests/{NOWHERE}?tag={junk}", b"{}"),
    "Content-Type": lambda junk: asked("PUT", f"{NAME}/manifests/v1", b"{}", content_type=junk),
    "a form": lambda junk: asked("POST", "_token", junk.encode()),
    **{
        f"a manifest's {name}": lambda junk, name=name: put(image(**{name: junk}))  # type: ignore[misc]
        for name in (
            "mediaType",
            "schemaVersion",
            "config",
            "layers",
            "artifactType",
            "annotations",
        )
    },
    "a layer's type": lambda junk: put(image(layers=[blob(NOWHERE, media_type=junk)])),
    "a layer's digest": lambda junk: put(image(layers=[blob(junk)])),
    "a layer's size": lambda junk: put(image(layers=[{**blob(), "size": junk}])),
    "a subject's type": lambda junk: put(image(subject=blob(media_type=junk))),
    "a member twice": lambda junk: put(
        f"{{{json.dumps(junk)}: 1, {json.dumps(junk)}: 2}}".encode()
    ),
    "a member misspelt": lambda junk: put({"LAYERS" + "\u017f": junk, "MEDIATYPE": junk}),
    "a number": lambda junk: put(b'{"n": ' + b"9" * len(junk) + b"}"),
}
"""Places in a request for what an error may quote."""


@pytest.mark.parametrize("junk", JUNK, ids=["ASCII", "controls", "emoji", "unprintable"])
@pytest.mark.parametrize("where", WHERE)
def test_an_error_quotes_little_of_a_request(where: str, junk: str) -> None:
    """The answer to a huge request is short: Lambda can't return one of 6 MB."""
    world = World()
    method, target, body, headers = WHERE[where](junk)(world)
    answer = world.ask(method, target, body, **headers)
    assert 400 <= answer.status < 500
    assert len(answer.body) < 200 * 12 + 600


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code.name)
def test_a_refusal_has_its_codes_status_and_headers_and_changes_nothing(row: Row) -> None:
    """An upload continues at the offset in the refusal, with the same bytes."""
    world = World()
    assert world.ask("POST", f"{NAME}/blobs/uploads?digest={DIGEST}", BLOB).status == 201
    method, target, body, headers = row.prepare(world)
    before = world.stored()
    answer = world.ask(method, target, body, **headers)
    assert (answer.status, code(answer)) == (row.code.status, row.code.code)
    assert set(row.headers) <= set(answer.headers)
    assert world.stored() == before
    if "Location" in row.headers:
        session = target.partition("?")[0]
        place = (f"{session}?at=3", "0-2", session.rpartition("/")[2])
        assert tuple(answer.headers[name] for name in PLACE) == place
        world.memory.clock.offset += 10  # until any lease has ended
        assert world.ask("PUT", f"{place[0]}&{CLOSING}", b"def").status == 201


def test_every_error_code_has_a_row() -> None:
    """The table has no code that no request is answered with."""
    assert {row.code for row in ROWS} == set(ErrorCode)
