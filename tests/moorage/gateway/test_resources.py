"""Which resource of the API a path matches."""

from __future__ import annotations

import pytest

from moorage.gateway.faults import GatewayError, GatewayFault
from moorage.gateway.resources import EVERYTHING, MatchedResource, Resources

ROOT, GREEDY = "/", "/{proxy+}"
ONLY = Resources({"/a": ("GET",)})
SOME = Resources({ROOT: ("GET",), GREEDY: ("GET", "PUT"), "/_token": ("GET", "POST")})


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2", MatchedResource(ROOT, "/", None)),
        ("/v2/", MatchedResource(ROOT, "/", None)),
        ("/v2//", MatchedResource(ROOT, "//", None)),
        ("/v2/a", MatchedResource(GREEDY, "/a", "a")),
        ("/v2/a/b/", MatchedResource(GREEDY, "/a/b/", "a/b")),
        ("/v2/a%2Fb/c%20d", MatchedResource(GREEDY, "/a%2Fb/c%20d", "a%2Fb/c%20d")),
        ("/v2/a/../b/%2e%2e/c", MatchedResource(GREEDY, "/a/../b/%2e%2e/c", "a/../b/%2e%2e/c")),
        ("/v2//a", MatchedResource(GREEDY, "//a", "/a")),
        ("/v2/v2/", MatchedResource(GREEDY, "/v2/", "v2")),
        ("/v2/{proxy+}", MatchedResource(GREEDY, "/{proxy+}", "{proxy+}")),
    ],
)
@pytest.mark.parametrize("resources", [SOME, EVERYTHING])
def test_a_path_matches_the_root_or_the_greedy_resource(
    resources: Resources, path: str, route: MatchedResource
) -> None:
    """It is never normalised."""
    assert resources.match("GET", path) == route


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2/_token", MatchedResource("/_token", "/_token", None)),
        ("/v2/_token/", MatchedResource("/_token", "/_token/", None)),
        ("/v2//_token", MatchedResource(GREEDY, "//_token", "/_token")),
        ("/v2/%5Ftoken", MatchedResource(GREEDY, "/%5Ftoken", "%5Ftoken")),
        ("/v2/_token/a", MatchedResource(GREEDY, "/_token/a", "_token/a")),
        ("/v2/a/_token", MatchedResource(GREEDY, "/a/_token", "a/_token")),
        ("/v2/_TOKEN", MatchedResource(GREEDY, "/_TOKEN", "_TOKEN")),
    ],
)
def test_a_fixed_path_wins(path: str, route: MatchedResource) -> None:
    """Exactly this path matches its own resource, and any other the greedy one, if there is one."""
    assert SOME.match("GET", path) == route
    assert ONLY.match("GET", "/v2/a") == MatchedResource("/a", "/a", None)


OUTSIDE = ["/", "", "/v1/", "/v2x", "/V2/", "/%76%32/", "//v2/", "/a/v2/"]
NOT_THERE = ["TRACE", "CONNECT", "PROPFIND", "get"]


@pytest.mark.parametrize(
    ("resources", "method", "path", "fault"),
    [
        *((EVERYTHING, "GET", path, GatewayFault.FORBIDDEN) for path in OUTSIDE),
        *((EVERYTHING, method, "/v2/", GatewayFault.NO_SUCH_METHOD) for method in NOT_THERE),
        *((EVERYTHING, method, "/v2/a", GatewayFault.NO_SUCH_METHOD) for method in NOT_THERE),
        # A fixed path wins, though the greedy resource has the method.
        (SOME, "PUT", "/v2/_token", GatewayFault.NO_SUCH_METHOD),
        # An API may have no root and nothing greedy.
        (ONLY, "GET", "/v2/", GatewayFault.NO_SUCH_METHOD),
        (ONLY, "GET", "/v2/b", GatewayFault.NO_SUCH_METHOD),
    ],
)
def test_a_request_that_matches_nothing_is_refused(
    resources: Resources, method: str, path: str, fault: GatewayFault
) -> None:
    """A path outside the stage is Forbidden; else it is the method that is missing."""
    with pytest.raises(GatewayError) as caught:
        resources.match(method, path)
    assert caught.value.fault is fault


@pytest.mark.parametrize("path", ["/v2/", "/v2/a"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_methods_of_a_registry_have_routes(method: str, path: str) -> None:
    """Both resources take the seven methods."""
    assert EVERYTHING.match(method, path).resource in {ROOT, GREEDY}


@pytest.mark.parametrize("resource", ["/{name}", "/a/{proxy+}", "a", "", "/a/", "//"])
def test_a_resource_with_parameters_is_refused(resource: str) -> None:
    """When it is built: it would never match."""
    with pytest.raises(ValueError, match="knows no resource"):
        Resources({resource: ("GET",)})
