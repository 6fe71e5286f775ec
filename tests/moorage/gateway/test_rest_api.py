"""What stands before a Chalice app: its routes, its authorizers, the template's answers."""

from __future__ import annotations

import json

import pytest
from chalice.app import AuthRequest, AuthResponse, AuthRoute, Chalice, Response

from moorage.gateway.authorizer import DEFAULT_TTL_SECONDS
from moorage.gateway.rest_api import rest_api_of
from tests.support.servers import request, run_gateway

METHODS = ["GET", "PUT"]
URL = "http://127.0.0.1:8000"


def application(ttl_seconds: int | None = 60) -> Chalice:
    """Make an app as app.py is one: two routes with an authorizer, and one without."""
    app = Chalice("behind")
    app.api.binary_types = ["*/*"]

    @app.authorizer(ttl_seconds=ttl_seconds)
    def authorize(asked: AuthRequest) -> AuthResponse:
        if asked.token == "nobody":  # noqa: S105 - a test's
            raise Exception("Unauthorized")  # noqa: TRY002 - the words that API Gateway knows
        routes: list[str | AuthRoute] = ["*"] if asked.token == "ann" else []  # noqa: S105 - likewise
        return AuthResponse(routes, asked.token, {"team": "blue"})

    def answer() -> Response:
        asked = app.current_request
        assert asked is not None
        told = json.dumps(asked.context.get("authorizer")).encode()
        return Response(told, headers={"Content-Type": "application/octet-stream"})

    for path, name in (("/", "root"), ("/{proxy+}", "below")):
        app.route(path, methods=METHODS, name=name, authorizer=authorize)(answer)
    app.route("/_token", methods=["GET", "POST"], name="token")(answer)
    return app


def test_routes_and_authorizers_are_the_apps() -> None:
    """Each method has the authorizer that Chalice would deploy, and all share one."""
    app = application()
    api = rest_api_of(app, {})
    assert api.resources.methods == {
        "/": {"GET", "PUT"},
        "/{proxy+}": {"GET", "PUT"},
        "/_token": {"GET", "POST"},
    }
    guarded = {(path, method) for path in ("/", "/{proxy+}") for method in METHODS}
    assert set(api.authorizers) == guarded
    assert len({id(authorizer) for authorizer in api.authorizers.values()}) == 1
    authorizer = api.authorizers["/", "GET"]
    assert (authorizer.ttl_seconds, authorizer.header) == (60, "Authorization")


@pytest.mark.parametrize(("given", "kept"), [(None, DEFAULT_TTL_SECONDS), (0, 0), (60, 60)])
def test_a_missing_ttl_is_aws_default(given: int | None, kept: int) -> None:
    """None is API Gateway's default, and 0 is no cache."""
    api = rest_api_of(application(given), {})
    assert api.authorizers["/", "GET"].ttl_seconds == kept


@pytest.mark.parametrize(
    ("auth", "closed"), [("off", False), ("on", True), ("", True), ("0", True)]
)
def test_only_off_removes_the_authorizers(auth: str, *, closed: bool) -> None:
    """Any other value leaves them."""
    api = rest_api_of(application(), {"MOORAGE_AUTH": auth})
    assert bool(api.authorizers) is closed
    assert set(api.resources.methods) == {"/", "/{proxy+}", "/_token"}


@pytest.mark.parametrize("url", [URL, f"{URL}/"])
def test_answers_are_the_templates(url: str) -> None:
    """They have the public URL of the environment."""
    challenge = rest_api_of(application(), {"MOORAGE_URL": url}).answers.custom["UNAUTHORIZED"]
    assert f'realm="{URL}/v2/_token",service="127.0.0.1:8000"' in str(challenge.headers)


def test_a_chalice_app_runs_behind_its_authorizer() -> None:
    """Chalice's own policies are read, and its views get the caller."""
    app = application()
    statuses, told = [], []
    with run_gateway(app, api=rest_api_of(app, {"MOORAGE_URL": URL})) as url:
        for token in ("ann", "nobody", "bob", ""):
            headers = {"Authorization": token, "Accept": "*/*"}
            status, _, body = request(url, "GET", "/v2/a/b", headers=headers)
            statuses.append(status)
            told.append(body)
        status, _, body = request(url, "GET", "/v2/_token", headers={"Accept": "*/*"})
    assert statuses == [200, 401, 401, 401]
    caller = json.loads(told[0])
    assert (caller["principalId"], caller["team"]) == ("ann", "blue")
    assert (status, body) == (200, b"null")
