"""Calls a TOKEN authorizer before a function, as API Gateway does.

Its result for a token is cached, and the policy in it is evaluated for each request. This module
must never cache an exception or a failure, and never log a token.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from moorage.gateway.event import method_arn
from moorage.gateway.faults import GatewayError, GatewayFault
from moorage.gateway.function import Invoker, LambdaFunction
from moorage.gateway.policy import AuthorizerResult, PolicyError, read_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorage.gateway.event import GatewayRequest
    from moorage.gateway.resources import MatchedResource

DEFAULT_TTL_SECONDS: Final = 300
"""How long API Gateway caches a result where the authorizer sets no time."""

TIMEOUT_SECONDS: Final = 10.0
MAX_ARN_BYTES: Final = 1600
"""API Gateway's limit on a method's ARN, where the method has an authorizer: 414 above it."""

_MOST_RESULTS: Final = 1024
# The one exception text that API Gateway answers with 401.
_UNAUTHORIZED: Final = "Unauthorized"

_log = logging.getLogger("moorage.gateway")


@dataclass(frozen=True)
class TokenAuthorizer:
    """An authorizer: its function, how long results are cached (0: not at all), its header.

    `clock` is in seconds and never goes back.
    """

    function: LambdaFunction
    ttl_seconds: float = DEFAULT_TTL_SECONDS
    header: str = "Authorization"
    clock: Callable[[], float] = time.monotonic


class RunningAuthorizer:
    """Calls an authorizer's function, and caches its results by token."""

    def __init__(self, authorizer: TokenAuthorizer, threads: int) -> None:
        self._authorizer = authorizer
        self._invoker = Invoker(authorizer.function, threads, TIMEOUT_SECONDS)
        # Until when (on the authorizer's clock) each result is good, the least used first.
        self._cache: OrderedDict[str, tuple[float, AuthorizerResult]] = OrderedDict()

    async def authorize(
        self, incoming: GatewayRequest, route: MatchedResource
    ) -> dict[str, str | int]:
        """Return the event's `requestContext.authorizer`; raises GatewayError for a refusal."""
        arn = method_arn(incoming, route)
        if len(arn.encode()) > MAX_ARN_BYTES:
            raise GatewayError(GatewayFault.URI_TOO_LONG)
        token = incoming.header(self._authorizer.header)
        if not token:
            raise GatewayError(GatewayFault.UNAUTHORIZED)
        began = time.monotonic()
        result = self._cached(token)
        if result is None:
            result = await self._call(token, arn, incoming.request_id)
            self._store(token, result)
        if not result.allows(arn):
            raise GatewayError(GatewayFault.ACCESS_DENIED)
        latency = int((time.monotonic() - began) * 1000)
        return {**result.context, "principalId": result.principal, "integrationLatency": latency}

    async def drain(self) -> None:
        """Wait for calls that run or queue."""
        await self._invoker.drain()

    def close(self) -> None:
        """Take no more calls."""
        self._invoker.close()

    async def _call(self, token: str, arn: str, request_id: str) -> AuthorizerResult:
        def make_event() -> dict[str, Any]:
            return {"type": "TOKEN", "methodArn": arn, "authorizationToken": token}

        outcome = await self._invoker.call(make_event, request_id)
        if outcome is None:
            raise GatewayError(
                GatewayFault.AUTHORIZER_FAILED,
                f"the authorizer ran longer than {TIMEOUT_SECONDS} s",
            )
        if outcome.error is not None:
            raise _refusal(outcome.error, request_id)
        try:
            return read_result(outcome.value)
        except PolicyError as error:
            raise GatewayError(
                GatewayFault.AUTHORIZER_MISCONFIGURED,
                f"the authorizer's result can't be used: {error}",
            ) from error

    def _cached(self, token: str) -> AuthorizerResult | None:
        until, result = self._cache.get(token, (0.0, None))
        if result is None:
            return None
        if self._authorizer.clock() >= until:
            del self._cache[token]
            return None
        self._cache.move_to_end(token)
        return result

    def _store(self, token: str, result: AuthorizerResult) -> None:
        if self._authorizer.ttl_seconds <= 0:
            return
        self._cache[token] = (self._authorizer.clock() + self._authorizer.ttl_seconds, result)
        if len(self._cache) > _MOST_RESULTS:
            self._cache.popitem(last=False)


def _refusal(error: BaseException, request_id: str) -> GatewayError:
    # SystemExit is no refusal: Lambda then reports the end of its process, not the text.
    if isinstance(error, Exception) and str(error) == _UNAUTHORIZED:
        return GatewayError(GatewayFault.UNAUTHORIZED)
    _log.error("the authorizer raised [%s]", request_id, exc_info=error)
    return GatewayError(GatewayFault.AUTHORIZER_FAILED)
