"""CORS: by default nothing; an origin of the setting may ask, and no other one is told anything.

At the API, and at the gateway as app.py and the template make it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import app
from chalicelib.api import cors
from chalicelib.api.dispatch import Api
from chalicelib.settings import ApiOptions, HeadStrategy
from chalicelib.wiring import registry as wiring
from moorage.common.project import PROJECT
from moorage.gateway.rest_api import rest_api_of
from moorage.gateway.server import GatewayOptions
from tests.chalicelib.api.pushing import a_request
from tests.chalicelib.api.test_dispatch import ENDPOINTS, METHODS, Deny
from tests.support.servers import request as ask_gateway
from tests.support.servers import run_gateway

if TYPE_CHECKING:
    from chalicelib.api.messages import Request, Response
    from chalicelib.registry.registry import Registry

UI, OTHER = "https://ui.example.com", "https://evil.example"
BOTH = ("http://localhost:3000", UI)
PREFLIGHT = {
    "access-control-request-method": "GET",
    "access-control-request-headers": "authorization",
}
ALLOW_ORIGIN = "Access-Control-Allow-Origin"
SENT = re.compile(
    r'"((?:OCI|Docker|Moorage|ETag|Link|Location|Range|Accept-Ranges|Content-Range|Allow|Retry-After'
    r'|WWW-Authenticate)(?:-[A-Za-z-]+)?)"(?=:|\] =)'
)


def no_registry() -> Registry:
    """Fail the test: nothing here comes as far."""
    raise AssertionError


def api_for(allowed: tuple[str, ...]) -> Api:
    """Return the API of a registry whose access control refuses everybody."""
    options = ApiOptions(1024, HeadStrategy.BODY, 4096, cors_origins=allowed)
    return Api(no_registry, options, Deny())


def ask(allowed: tuple[str, ...], method: str, path: str = "", **headers: str) -> Response:
    """Ask a registry whose access control refuses everybody."""
    sent = {name: value for name, value in headers.items() if value}
    request = a_request(method, path, 0.0)._replace(headers=sent)
    return api_for(allowed)(request)


def told(response: Response) -> dict[str, object]:
    """Return what an answer says of CORS."""
    names = [name for name in response.headers if name.startswith("Access-Control")]
    return {name: response.headers[name] for name in (*names, "Vary") if name in response.headers}


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize(
    ("allowed", "origin", "said", "vary"),
    [
        ((), UI, None, None),
        ((), "", None, None),
        (BOTH, UI, UI, "Origin"),
        (BOTH, BOTH[0], BOTH[0], "Origin"),
        (BOTH, OTHER, None, "Origin"),
        (BOTH, "", None, "Origin"),
        (BOTH, "null", None, "Origin"),
        (BOTH, f"{UI}.evil.example", None, "Origin"),
        (BOTH, f"{UI}:8443", None, "Origin"),
        (BOTH, UI.upper(), None, "Origin"),
        (BOTH, f"{UI}, {UI}", None, "Origin"),
        (BOTH, "*", None, "Origin"),
        (("*",), OTHER, "*", None),
        (("*",), "null", "*", None),
        (("*",), "", None, None),
    ],
)
def test_only_an_origin_of_the_setting_is_allowed(
    method: str, allowed: tuple[str, ...], origin: str, said: str | None, vary: str | None
) -> None:
    """It is named in the answer; what depends on the origin says so to caches, allowed or not."""
    asked = PREFLIGHT if method == "OPTIONS" else {}
    found = told(ask(allowed, method, origin=origin, **asked))
    assert (found.get(ALLOW_ORIGIN), found.pop("Vary", None)) == (said, vary)
    # A login goes in Authorization, which a page has to know: no browser adds one by itself.
    assert "Access-Control-Allow-Credentials" not in found
    assert bool(found) is (said is not None)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_preflight_says_what_may_be_sent(path: str) -> None:
    """It is 204 with the endpoint's methods, and needs no login."""
    response = ask(BOTH, "OPTIONS", path, origin=UI, **PREFLIGHT)
    assert (response.status, response.body) == (204, b"")
    methods = ", ".join(sorted([*ENDPOINTS[path], "OPTIONS"]))
    assert told(response) == {
        ALLOW_ORIGIN: UI,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, Range",
        "Access-Control-Max-Age": "7200",
        "Vary": "Origin",
    }


def test_an_options_that_is_no_preflight_is_answered_like_any_request() -> None:
    """Without Access-Control-Request-Method it asks for the methods of the endpoint."""
    found = told(ask(BOTH, "OPTIONS", origin=UI))
    assert set(found) == {ALLOW_ORIGIN, "Access-Control-Expose-Headers", "Vary"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "", 403), ("GET", "a/b/none", 404), ("OPTIONS", "a/b/none", 404), ("PUT", "", 405)],
)
def test_a_page_may_read_why_it_was_refused(method: str, path: str, status: int) -> None:
    """An error names the origin like any other answer."""
    response = ask(BOTH, method, path, origin=UI)
    assert (response.status, response.headers[ALLOW_ORIGIN]) == (status, UI)


@pytest.mark.parametrize("target", ["/v2/", "/v2/a/b/tags/list", "/v2/_token"])
@pytest.mark.parametrize("origin", [UI, OTHER])
def test_a_preflight_reaches_the_api_without_a_login(
    monkeypatch: pytest.MonkeyPatch, target: str, origin: str
) -> None:
    """Behind the gateway with the routes of app.py; no other method gets there without one."""
    asked: list[str] = []
    api = api_for((UI,))

    def answering(request: Request) -> Response:
        asked.append(request.method)
        return api(request)

    monkeypatch.setattr(wiring, "api", lambda: answering)
    environment = {"MOORAGE_URL": "https://r.example", "MOORAGE_CORS_ORIGINS": UI}
    # Only a server on this machine refuses foreign pages: API Gateway lets every one through.
    options = GatewayOptions(port=0, cors_origins=("*",))
    with run_gateway(app.app, options, rest_api_of(app.app, environment)) as url:
        sent = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        status, headers, body = ask_gateway(url, "OPTIONS", target, headers=sent)
        assert (status, body, asked) == (204, b"", ["OPTIONS"])
        assert headers[ALLOW_ORIGIN] == (UI if origin == UI else None)
        assert headers["Vary"] == "Origin"
        if target == "/v2/_token":
            return
        for method in METHODS:
            status, headers, _ = ask_gateway(url, method, target, headers={"Origin": origin})
            assert (status, headers[ALLOW_ORIGIN]) == (401, "*")
            assert "WWW-Authenticate" in headers["Access-Control-Expose-Headers"]
            assert headers["WWW-Authenticate"].startswith("Bearer realm=")
        assert asked == ["OPTIONS"]


def test_every_header_that_the_api_sends_can_be_read() -> None:
    """Each that its modules name, but for those that a browser always shows."""
    modules = sorted((PROJECT / "chalicelib" / "api").glob("*.py"))
    named = {
        name
        for module in modules
        if module.name != "cors.py"
        for name in SENT.findall(module.read_text(encoding="utf-8"))
    }
    assert {"Docker-Content-Digest", "Link", "Location", "Range", "Retry-After"} <= named
    assert named <= set(cors.RESPONSE_HEADERS)
    response = ask(("*",), "GET", origin=UI)
    exposed = str(response.headers["Access-Control-Expose-Headers"]).split(", ")
    assert exposed == list(cors.RESPONSE_HEADERS)
