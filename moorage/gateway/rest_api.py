"""What a deployment puts before a function: resources, their authorizers, the gateway's answers.

Routes and authorizers are read from the Chalice object, so that they are written once, in app.py.
This module must never import app: gateway/server.py passes the object in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from moorage.gateway.authorizer import DEFAULT_TTL_SECONDS, TokenAuthorizer
from moorage.gateway.faults import GatewayAnswers, read_answers
from moorage.gateway.resources import EVERYTHING, Resources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_URL: Final = "MOORAGE_URL"
_AUTH: Final = "MOORAGE_AUTH"


class _View(Protocol):
    """A Chalice route: what one method of one path does."""

    authorizer: Any


class ChaliceApp(Protocol):
    """The part of a Chalice object that describes its API."""

    @property
    def routes(self) -> Mapping[str, Mapping[str, _View]]:
        """Routes by path and method."""


@dataclass(frozen=True)
class RestApi:
    """Resources, authorizers by resource and method, and answers; by default an open API."""

    resources: Resources = EVERYTHING
    authorizers: Mapping[tuple[str, str], TokenAuthorizer] = field(default_factory=dict)
    answers: GatewayAnswers = field(default_factory=GatewayAnswers)


def rest_api_of(app: ChaliceApp, environment: Mapping[str, str]) -> RestApi:
    """Return the API that a deployment of `app` has.

    `environment` is the function's. MOORAGE_URL is the registry's public URL; with
    MOORAGE_AUTH=off no method has an authorizer. A method without one is open to everybody.
    """
    closed = environment.get(_AUTH) != "off"
    known: dict[int, TokenAuthorizer] = {}
    authorizers = {
        (path, method): known.setdefault(id(view.authorizer), _authorizer(view.authorizer))
        for path, methods in app.routes.items()
        for method, view in methods.items()
        if closed and view.authorizer is not None
    }
    return RestApi(
        Resources({path: frozenset(methods) for path, methods in app.routes.items()}),
        authorizers,
        read_answers(environment.get(_URL, "").rstrip("/")),
    )


def _authorizer(handler: Any) -> TokenAuthorizer:  # noqa: ANN401 - Chalice ships no types
    ttl = handler.config.ttl_seconds
    return TokenAuthorizer(
        handler, DEFAULT_TTL_SECONDS if ttl is None else ttl, handler.config.header
    )
