"""What stands before a function: its resources, their authorizers, and the gateway's own answers.

Read from the Chalice object, so that routes and authorizers are said once, in app.py. It must
never import it: gateway.py gives it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from moorage.gateway.answers import GatewayAnswers, read_answers
from moorage.gateway.authorizer import DEFAULT_TTL_SECONDS, TokenAuthorizer
from moorage.gateway.routes import EVERYTHING, Resources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_URL: Final = "MOORAGE_URL"
_AUTH: Final = "MOORAGE_AUTH"


class _View(Protocol):
    """A route of Chalice's: what one method of one path does."""

    authorizer: Any


class ChaliceApp(Protocol):
    """The part of a Chalice object that says what API Gateway is told."""

    @property
    def routes(self) -> Mapping[str, Mapping[str, _View]]:
        """Routes by path and method."""


@dataclass(frozen=True)
class Front:
    """Resources, authorizers by resource and method, and answers; by default an open API."""

    resources: Resources = EVERYTHING
    authorizers: Mapping[tuple[str, str], TokenAuthorizer] = field(default_factory=dict)
    answers: GatewayAnswers = field(default_factory=GatewayAnswers)


def front_of(app: ChaliceApp, environment: Mapping[str, str]) -> Front:
    """Read what a deployment of `app` would put before it.

    `environment` is the function's: MOORAGE_URL is where the registry is reached, and with
    MOORAGE_AUTH=off no authorizer is asked. A method that has none is open to everybody.
    """
    closed = environment.get(_AUTH) != "off"
    known: dict[int, TokenAuthorizer] = {}
    authorizers = {
        (path, method): known.setdefault(id(view.authorizer), _authorizer(view.authorizer))
        for path, methods in app.routes.items()
        for method, view in methods.items()
        if closed and view.authorizer is not None
    }
    return Front(
        Resources({path: frozenset(methods) for path, methods in app.routes.items()}),
        authorizers,
        read_answers(environment.get(_URL, "").rstrip("/")),
    )


def _authorizer(handler: Any) -> TokenAuthorizer:  # noqa: ANN401 - Chalice ships no types
    ttl = handler.config.ttl_seconds
    return TokenAuthorizer(
        handler, DEFAULT_TTL_SECONDS if ttl is None else ttl, handler.config.header
    )
