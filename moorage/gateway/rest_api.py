"""What a deployment puts before a function: resources, their authorizers, the gateway's answers.

Routes and authorizers are read from the Chalice object, so that they are written once, in app.py.
This module must never import app: gateway/server.py passes the object in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from moorage.gateway.authorizer import DEFAULT_TTL_SECONDS, TokenAuthorizer
from moorage.gateway.faults import GatewayAnswers, read_answers
from moorage.gateway.resources import EVERYTHING, Resources

if TYPE_CHECKING:
    from collections.abc import Mapping

_URL: Final = "MOORAGE_URL"
_AUTH: Final = "MOORAGE_AUTH"
_CORS: Final = "MOORAGE_CORS_ORIGINS"


@dataclass(frozen=True)
class RestApi:
    """Resources, authorizers by resource and method, and answers; by default an open API."""

    resources: Resources = EVERYTHING
    authorizers: Mapping[tuple[str, str], TokenAuthorizer] = field(default_factory=dict)
    answers: GatewayAnswers = field(default_factory=GatewayAnswers)


def rest_api_of(function: Any, environment: Mapping[str, str]) -> RestApi:  # noqa: ANN401 - Chalice ships no types
    """Return the API that a deployment of a Chalice object has; any other function's is open.

    `environment` is the function's. MOORAGE_URL is the registry's public URL; with
    MOORAGE_AUTH=off no method has an authorizer. A method without one is open to everybody.
    """
    routes = getattr(function, "routes", None)
    if routes is None:
        return RestApi()
    closed = environment.get(_AUTH) != "off"
    known: dict[int, TokenAuthorizer] = {}
    authorizers = {
        (path, method): known.setdefault(id(view.authorizer), _authorizer(view.authorizer))
        for path, methods in routes.items()
        for method, view in methods.items()
        if closed and view.authorizer is not None
    }
    return RestApi(
        Resources({path: frozenset(methods) for path, methods in routes.items()}),
        authorizers,
        read_answers(environment.get(_URL, "").rstrip("/"), cors=bool(environment.get(_CORS))),
    )


def _authorizer(handler: Any) -> TokenAuthorizer:  # noqa: ANN401 - likewise
    ttl = handler.config.ttl_seconds
    return TokenAuthorizer(
        handler, DEFAULT_TTL_SECONDS if ttl is None else ttl, handler.config.header
    )
