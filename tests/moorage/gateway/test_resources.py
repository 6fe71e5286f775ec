"""Which resource of the API a path meets."""

from __future__ import annotations

import pytest

from moorage.gateway.faults import GatewayError, GatewayFault
from moorage.gateway.resources import EVERYTHING, MatchedResource, Resources

ROOT, GREEDY = "/", "/{proxy+}"
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
def test_a_path_meets_its_resource(resources: Resources, path: str, route: MatchedResource) -> None:
    """A path inside the stage is the root or a greedy proxy, never normalised."""
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
    """The very path meets its own resource, and anything else the greedy one."""
    assert SOME.match("GET", path) == route


def test_a_fixed_path_wins_whatever_the_method() -> None:
    """A method that the fixed resource lacks is refused, though the greedy one has it."""
    assert SOME.match("PUT", "/v2/a").resource == GREEDY
    with pytest.raises(GatewayError) as caught:
        SOME.match("PUT", "/v2/_token")
    assert caught.value.fault is GatewayFault.NO_SUCH_METHOD


@pytest.mark.parametrize("path", ["/", "", "/v1/", "/v2x", "/V2/", "/%76%32/", "//v2/", "/a/v2/"])
def test_a_path_outside_the_stage_is_forbidden(path: str) -> None:
    """What is not under the stage is 403 Forbidden."""
    with pytest.raises(GatewayError) as caught:
        EVERYTHING.match("GET", path)
    assert caught.value.fault is GatewayFault.FORBIDDEN


@pytest.mark.parametrize("path", ["/v2/", "/v2/a"])
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_a_method_that_no_route_has_is_refused(method: str, path: str) -> None:
    """A method without a route is 403 Missing Authentication Token."""
    with pytest.raises(GatewayError) as caught:
        EVERYTHING.match(method, path)
    assert caught.value.fault is GatewayFault.NO_SUCH_METHOD


@pytest.mark.parametrize("path", ["/v2/", "/v2/a"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_the_methods_of_a_registry_have_routes(method: str, path: str) -> None:
    """Both resources take the six methods."""
    assert EVERYTHING.match(method, path).resource in {ROOT, GREEDY}


def test_without_a_resource_a_path_is_refused() -> None:
    """An API that has no root and nothing greedy knows its own paths alone."""
    only = Resources({"/a": ("GET",)})
    assert only.match("GET", "/v2/a") == MatchedResource("/a", "/a", None)
    for path in ("/v2/", "/v2/b"):
        with pytest.raises(GatewayError) as caught:
            only.match("GET", path)
        assert caught.value.fault is GatewayFault.NO_SUCH_METHOD


@pytest.mark.parametrize("resource", ["/{name}", "/a/{proxy+}", "a", "", "/a/", "//"])
def test_other_resources_are_not_understood(resource: str) -> None:
    """What the gateway can't match is refused when it is built, and never overlooked."""
    with pytest.raises(ValueError, match="knows no resource"):
        Resources({resource: ("GET",)})
