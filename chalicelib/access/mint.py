"""The registry's mint: issues tokens and verifies them, with the key ring as it is now.

This module must never keep a key for longer than its source does.
"""

import uuid
from collections.abc import Callable
from typing import Protocol, TypeVar

from chalicelib.access.decision import Principal
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import Scopes
from chalicelib.access.signing_keys import KeyRing
from chalicelib.access.tokens import Tokens, Use

T = TypeVar("T")


class SigningKeySource(Protocol):
    """Where the key ring is kept."""

    def ring(self) -> KeyRing:
        """Return the key ring, which may be some minutes old; raises UnavailableError."""

    def renew(self) -> bool:
        """Read the key ring again; False if that was done a moment ago. Raises as `ring` does."""


class TokenIssuer:
    """Tokens of one registry: `issuer` is its URL, `service` what clients call it."""

    def __init__(self, keys: SigningKeySource, issuer: str, service: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self.service = service

    def verified(self, verify: Callable[[Tokens], T]) -> T:
        """Return what `verify` says; if a token's key is unknown, look once for a new one."""
        try:
            return verify(self._tokens())
        except AuthenticationError as refused:
            if refused.reason is not Reason.JWT_KEY or not self._keys.renew():
                raise
        return verify(self._tokens())

    def issue(
        self,
        principal: Principal,
        access: Scopes,
        now: float,
        *,
        use: Use = Use.ACCESS,
        until: float | None = None,
    ) -> str:
        """Return a token for somebody; raises ScopesTooLongError. See `Tokens.issue`."""
        return self._tokens().issue(
            principal.id,
            access,
            now,
            jti=uuid.uuid4().hex,
            use=use,
            source=principal.source,
            version=principal.version,
            until=until,
        )

    def _tokens(self) -> Tokens:
        return Tokens(self._keys.ring(), self._issuer, self.service)
