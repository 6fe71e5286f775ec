"""The doorkeeper: says who sent a request, before the API sees it. It decides nothing else.

It runs as API Gateway's authorizer, whose answers the gateway keeps for a minute, by the
Authorization header. What somebody may do is looked up at each use all the same: a token that has
expired, or whose key is gone, is taken for so much longer, and nothing else is. This module must
never let a failure pass for a refusal: somebody who can't be looked up is told to come again.
"""

import logging

from chalicelib.access.authentication import identify
from chalicelib.access.decision import Principal
from chalicelib.access.mint import TokenIssuer
from chalicelib.access.ports import AccessStore, Clock
from chalicelib.access.refusals import AuthenticationError
from chalicelib.access.usage import note_use

_log = logging.getLogger("moorage.access")


class Authenticator:
    """Knows the holders of credentials and tokens."""

    def __init__(self, store: AccessStore, mint: TokenIssuer, clock: Clock) -> None:
        self._store = store
        self._mint = mint
        self._clock = clock

    def identify(self, header: str) -> Principal | None:
        """Say who sent an Authorization header; None for nobody, and for whoever is not known.

        Raises UnavailableError and TooManyRequestsError.
        """
        now = self._clock.now()
        try:
            principal = self._mint.verified(
                lambda tokens: identify(header, self._store, tokens, now)
            )
        except AuthenticationError as refused:
            _log.info("not let in: %s", refused.reason)
            return None
        if principal.limit is None and not principal.is_known:
            return None
        note_use(self._store, principal, now)
        return principal
