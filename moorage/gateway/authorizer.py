"""Asking a TOKEN authorizer before a function is called, as API Gateway does.

What it said of a token is kept for a while, and the policy in it is read anew for each request. It
must never keep a refusal or a failure, and never log a token.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from moorage.gateway.event import method_arn
from moorage.gateway.fault import Fault, GatewayError
from moorage.gateway.function import InvocationResult, Invoker, LambdaFunction
from moorage.gateway.policy import AuthorizerResult, PolicyError, read_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorage.gateway.event import Incoming
    from moorage.gateway.routes import MatchedResource

DEFAULT_TTL_SECONDS: Final = 300
"""How long API Gateway keeps a verdict if it isn't told."""

TIMEOUT_SECONDS: Final = 10.0
MAX_ARN_BYTES: Final = 1600
"""API Gateway's limit on a method's ARN, where the method has an authorizer: 414 above it."""

_MOST_VERDICTS: Final = 1024
# API Gateway looks for this very text.
_UNAUTHORIZED: Final = "Unauthorized"

_log = logging.getLogger("moorage.gateway")


@dataclass(frozen=True)
class TokenAuthorizer:
    """An authorizer: its function, how long its verdicts are kept (0: not at all), its header.

    `clock` is in seconds and never goes back.
    """

    function: LambdaFunction
    ttl_seconds: float = DEFAULT_TTL_SECONDS
    header: str = "Authorization"
    clock: Callable[[], float] = time.monotonic


class Guard:
    """A running authorizer: it calls the function and remembers the verdicts."""

    def __init__(self, authorizer: TokenAuthorizer, threads: int) -> None:
        self._authorizer = authorizer
        self._invoker = Invoker(authorizer.function, threads, TIMEOUT_SECONDS)
        self._kept: OrderedDict[str, tuple[float, AuthorizerResult]] = OrderedDict()

    async def admit(self, incoming: Incoming, route: MatchedResource) -> dict[str, str | int]:
        """Give what an event's `requestContext.authorizer` says of the caller.

        Raises GatewayError, with the answer that the caller gets instead.
        """
        arn = method_arn(incoming, route)
        if len(arn.encode()) > MAX_ARN_BYTES:
            raise GatewayError(Fault.URI_TOO_LONG)
        token = incoming.header(self._authorizer.header)
        if not token:
            raise GatewayError(Fault.UNAUTHORIZED)
        began = time.monotonic()
        verdict = self._remembered(token)
        if verdict is None:
            verdict = await self._ask(token, arn, incoming.request_id)
            self._keep(token, verdict)
        if not verdict.allows(arn):
            raise GatewayError(Fault.ACCESS_DENIED)
        latency = int((time.monotonic() - began) * 1000)
        return {
            **verdict.context,
            "principalId": verdict.principal,
            "integrationLatency": latency,
        }

    async def drain(self) -> None:
        """Wait for calls that run or queue."""
        await self._invoker.drain()

    def close(self) -> None:
        """Take no more calls."""
        self._invoker.close()

    async def _ask(self, token: str, arn: str, request_id: str) -> AuthorizerResult:
        def make_event() -> dict[str, Any]:
            return {"type": "TOKEN", "methodArn": arn, "authorizationToken": token}

        outcome = await self._invoker.call(make_event, request_id)
        if outcome is None:
            raise GatewayError(
                Fault.AUTHORIZER_FAILED, f"the authorizer ran longer than {TIMEOUT_SECONDS} s"
            )
        if outcome.error is not None:
            raise _refusal(outcome.error, request_id)
        return _verdict(outcome)

    def _remembered(self, token: str) -> AuthorizerResult | None:
        until, verdict = self._kept.get(token, (0.0, None))
        if verdict is None:
            return None
        if self._authorizer.clock() >= until:
            del self._kept[token]
            return None
        self._kept.move_to_end(token)
        return verdict

    def _keep(self, token: str, verdict: AuthorizerResult) -> None:
        if self._authorizer.ttl_seconds <= 0:
            return
        self._kept[token] = (self._authorizer.clock() + self._authorizer.ttl_seconds, verdict)
        self._kept.move_to_end(token)
        if len(self._kept) > _MOST_VERDICTS:
            self._kept.popitem(last=False)


def _refusal(error: BaseException, request_id: str) -> GatewayError:
    # Lambda reports the end of its process, not the exception that ended it.
    if isinstance(error, Exception) and str(error) == _UNAUTHORIZED:
        return GatewayError(Fault.UNAUTHORIZED)
    _log.error("the authorizer raised [%s]", request_id, exc_info=error)
    return GatewayError(Fault.AUTHORIZER_FAILED)


def _verdict(outcome: InvocationResult) -> AuthorizerResult:
    try:
        return read_result(outcome.value)
    except PolicyError as error:
        raise GatewayError(
            Fault.AUTHORIZER_MISCONFIGURED, f"the authorizer's result is of no use: {error}"
        ) from error
