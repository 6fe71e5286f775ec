"""Requests of a client over the API, each an invocation of its own that can be stopped.

Every answer must be one that the registry may give. This module must never read the stores, nor
know what a request is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.access.authorizer_context import PRINCIPAL
from chalicelib.api.dispatch import Api
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Gate, Stopped
from tests.support.registries import request_to

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from chalicelib.registry.registry import Registry
    from tests.drills.support.worlds import DrillClock

DRILL = "drill"
"""The principal of all requests, except where a drill sets another one."""

LATER = frozenset({429, 503})
"""Statuses after which a client tries again, when Retry-After says."""

_OPTIONS = ApiOptions(
    inline_limit=1024 * 1024, head_strategy=HeadStrategy.BODY, manifest_limit=4_500_000
)


class NoAnswerError(Exception):
    """The invocation died: the client's connection was cut."""


class GaveUpError(Exception):
    """A client that does not try again got no answer, or a 429 or 503."""


class Requests:
    """One client's requests; a patient client repeats those without an answer."""

    def __init__(
        self,
        registry: Registry,
        clock: DrillClock,
        gate: Gate,
        *,
        patient: bool = True,
        tries: int = 60,
    ) -> None:
        self.tries = tries
        self.clock = clock
        self.gate = gate
        self.patient = patient
        self.principal = DRILL
        self._api = Api(lambda: registry, _OPTIONS)

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Send one request; raises NoAnswerError if its invocation is stopped."""
        request = request_to(method, target, body, headers, self.clock.now() + 29)
        try:
            response = self._api(request._replace(authorizer={PRINCIPAL: self.principal}))
        except Stopped:
            self.gate.revive()
            raise NoAnswerError from None
        self._judge(method, target, response)
        return response

    def _judge(self, method: str, target: str, response: Response) -> None:
        """Raise Violation for an answer that no request may get."""
        if response.status >= 500 and response.status != 503:
            raise Violation(f"{method} {target}: {response.status} {response.body[:200]!r}")
        if response.status in LATER and not str(response.headers.get("Retry-After")).isdigit():
            raise Violation(f"{method} {target}: {response.status} without Retry-After")

    def insist(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Send a request until its answer is neither 429 nor 503."""
        for _ in range(self.tries):
            try:
                response = self.ask(method, target, body, **headers)
            except NoAnswerError:
                self.wait()
            else:
                if response.status not in LATER:
                    return response
                self.wait(response)
        raise Violation(f"{method} {target}: no answer in {self.tries} tries")

    def wait(self, response: Response | None = None) -> None:
        """Wait as Retry-After says, or a second after no answer, if this client is patient."""
        if not self.patient:
            raise GaveUpError
        self.clock.sleep(int(str(response.headers["Retry-After"])) if response else 1)


def expect(response: Response, *statuses: int) -> Response:
    """Return the answer; raises Violation if it is another than these."""
    if response.status not in statuses:
        raise Violation(f"{response.status} instead of {statuses}: {response.body[:300]!r}")
    return response


def offset_of(response: Response) -> int:
    """Return how many bytes are durable: from Location, for Range is the same for 0 and 1."""
    return int(str(response.headers["Location"]).rpartition("?at=")[2])
