"""An authorizer for tests of the gateway: it keeps what it is asked, and says what a test wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moorage.gateway.authorizer import TokenAuthorizer
from moorage.gateway.resources import Resources
from moorage.gateway.server import RestApi
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "arn:aws:execute-api:us-east-1:000000000000:local/v2/"
ANY = ("GET", "PUT")
RESOURCES = Resources({"/": ANY, "/{proxy+}": ANY, "/_token": ANY})


@dataclass
class ScriptedAuthorizer:
    """A function that keeps its events and says what a test wants said of each token."""

    says: Callable[[str], object]
    events: list[dict[str, Any]] = field(default_factory=list)
    now: float = 1000.0

    def __call__(self, event: dict[str, Any], _: object) -> object:
        """Keep the event and answer."""
        self.events.append(event)
        return self.says(event["authorizationToken"])

    def rest_api(self, ttl_seconds: float = 60) -> RestApi:
        """Put it before every method but those of /_token."""
        asked = TokenAuthorizer(self, ttl_seconds, clock=lambda: self.now)
        guarded = {(path, method): asked for path in ("/", "/{proxy+}") for method in ANY}
        return RestApi(RESOURCES, guarded)


def policy(*resources: str, effect: str = "Allow") -> dict[str, object]:
    """Write a policy of one statement."""
    invoke = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": list(resources)}
    return {"Version": "2012-10-17", "Statement": [invoke]}


def letting(*resources: str, **context: object) -> Callable[[str], object]:
    """Let everybody at some resources; who it is, is the token."""
    return lambda token: {
        "principalId": token,
        "policyDocument": policy(*resources),
        "context": context,
    }


SOMEBODY = "t"


def ask(
    url: str, token: str | None = SOMEBODY, target: str = "/v2/a", method: str = "GET"
) -> tuple[int, object, bytes]:
    """Send a request with a token; give status, error type and body."""
    headers = {} if token is None else {"Authorization": token}
    status, answered, body = request(url, method, target, headers=headers)
    return status, answered["x-amzn-ErrorType"], body
