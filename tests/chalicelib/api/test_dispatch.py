"""The one exit of the API: who is asked, how a refusal looks, what is logged, what never leaks."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request
from chalicelib.api.routes import ROUTES, Action, Route
from chalicelib.errors import (
    DeniedError,
    RegistryError,
    TooManyRequestsError,
    UnavailableError,
    UploadBusyError,
    UploadOffsetError,
)
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.chalicelib.api.pushing import code

if TYPE_CHECKING:
    from chalicelib.api.messages import AuthorizedCaller
    from chalicelib.registry.registry import Registry

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SECRET = "hunter2"  # noqa: S105 - what must be nowhere
OPTIONS = ApiOptions(1024, HeadStrategy.BODY, 1024)

ENDPOINTS = {
    "": {"GET": Action.PING, "HEAD": Action.PING},
    "_catalog": {"GET": Action.CATALOG},
    "_token": {"GET": Action.TOKEN, "POST": Action.TOKEN},
    "a/b/blobs/uploads": {"POST": Action.PUSH},
    "a/b/blobs/uploads/x": dict.fromkeys(("GET", "PATCH", "PUT", "DELETE"), Action.PUSH),
    f"a/b/blobs/sha256:{'0' * 64}": {
        "GET": Action.PULL,
        "HEAD": Action.PULL,
        "DELETE": Action.DELETE,
    },
    "a/b/manifests/v1": {
        "GET": Action.PULL,
        "HEAD": Action.PULL,
        "PUT": Action.PUSH,
        "DELETE": Action.DELETE,
    },
    "a/b/tags/list": {"GET": Action.PULL},
    f"a/b/referrers/sha256:{'0' * 64}": {"GET": Action.PULL},
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

    def admit(self, request: Request, action: str, repository: str | None) -> AuthorizedCaller:
        """Refuse."""
        self.asked.append((request.method, Action(action), repository))
        raise DeniedError


def api(error: Exception, authorizer: Deny | None = None) -> Api:
    """Return an API over a registry that fails."""
    return Api(lambda: cast("Registry", Failing(error)), OPTIONS, authorizer)


def request(method: str, path: str, **changes: Any) -> Request:  # noqa: ANN401 - any field
    """Return a request of somebody with a secret in its header, query and body."""
    fields: dict[str, Any] = {
        "query": {"token": [SECRET]},
        "headers": {"authorization": f"Bearer {SECRET}"},
        "body": SECRET.encode(),
        "deadline": 0.0,
        "request_id": "r-1",
        **changes,
    }
    return Request(method=method, path=path, **fields)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_says_that_this_is_a_registry(method: str) -> None:
    """GET and HEAD of /v2/ are 200 with an empty object, and ask nothing of any store."""
    response = api(AssertionError())(request(method, ""))
    assert (response.status, response.body) == (200, b"{}")
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(("path", "method", "action"), HAD)
def test_nothing_is_done_before_it_is_allowed(path: str, method: str, action: Action) -> None:
    """Every endpoint asks for the action that it needs, and is 403 with no store touched."""
    deny = Deny()
    response = api(AssertionError(), deny)(request(method, path))
    assert (response.status, code(response)) == (403, "DENIED")
    assert deny.asked == [(method, action, "a/b" if path.startswith("a/b") else None)]


def test_every_route_is_of_an_endpoint_that_is_tested_here() -> None:
    """No row of the table is missing in ENDPOINTS: each names its action, and is denied above."""

    def tested(route: Route) -> bool:
        return any(
            route.pattern.fullmatch(path) and has.get(route.method) is route.action
            for path, has in ENDPOINTS.items()
        )

    assert [route for route in ROUTES if not tested(route)] == []
    assert len(HAD) == len(ROUTES)


@pytest.mark.parametrize(("path", "method"), LACKED)
def test_another_method_is_405_and_says_which_there_are(path: str, method: str) -> None:
    """A method that an endpoint lacks is 405 with Allow, whoever asks."""
    deny = Deny()
    response = api(AssertionError(), deny)(request(method, path))
    assert (response.status, code(response)) == (405, "UNSUPPORTED")
    assert response.headers["Allow"] == ", ".join(sorted(ENDPOINTS[path]))
    assert deny.asked == []


@pytest.mark.parametrize(
    "name", ["blobs", "blobs/uploads/x", "manifests/a", "a/tags/list", "a/b/c"]
)
def test_a_name_may_hold_the_words_of_an_endpoint(name: str) -> None:
    """The end of a path says what it is; all before is the name, whatever it looks like."""
    for tail in ("blobs/uploads", "tags/list", "manifests/v1"):
        deny = Deny()
        method = "POST" if tail == "blobs/uploads" else "GET"
        api(AssertionError(), deny)(request(method, f"{name}/{tail}"))
        assert [asked for _, _, asked in deny.asked] == [name]


def test_a_fault_is_500_and_says_nothing_of_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody foresaw is UNKNOWN to the client, a traceback in the log."""
    response = api(ZeroDivisionError("table of ann"))(request("GET", "a/b/tags/list"))
    assert (response.status, code(response)) == (500, "UNKNOWN")
    assert b"ann" not in response.body
    assert "ZeroDivisionError: table of ann" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "expected", "seconds"),
    [
        (TooManyRequestsError(retry_after=7), 429, "TOOMANYREQUESTS", "7"),
        (UnavailableError(retry_after=3), 503, "UNAVAILABLE", "3"),
        (UploadBusyError(offset=5, retry_after=9), 503, "UNAVAILABLE", "9"),
        (UploadBusyError(offset=5), 503, "UNAVAILABLE", "1"),
        (UploadOffsetError(offset=5), 416, "RANGE_INVALID", None),
    ],
)
@pytest.mark.parametrize("path", ["a/b/blobs/uploads", "a/b/blobs/uploads/x"])
def test_a_refusal_says_when_and_where_to_go_on(
    path: str, error: RegistryError, status: int, expected: str, seconds: str | None
) -> None:
    """429 and 503 always carry Retry-After; what concerns a session carries its place too."""
    method = "PATCH" if path.endswith("/x") else "POST"
    response = api(error)(request(method, path))
    assert (response.status, code(response)) == (status, expected)
    assert response.headers.get("Retry-After") == seconds
    in_session = path.endswith("/x") and hasattr(error, "offset")
    place = (f"/v2/{path}?at=5", "0-4", "x") if in_session else (None, None, None)
    names = ("Location", "Range", "Docker-Upload-UUID")
    assert tuple(response.headers.get(name) for name in names) == place


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
