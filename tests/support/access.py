"""Access control for tests: a store in memory, a token issuer with its own key, a token service."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chalicelib.access.authentication import Authenticator
from chalicelib.access.authorizer_context import PRINCIPAL, to_context
from chalicelib.access.credentials import generate, hash_of
from chalicelib.access.cursors import Cursors
from chalicelib.access.federation.exchange import TokenExchange
from chalicelib.access.grants import Grants
from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.access.token_service import TokenService
from chalicelib.access.tokens import TokenIssuer
from chalicelib.errors import UnavailableError
from chalicelib.registry.tickets import FixedKeys, Tickets
from tests.chalicelib.access.values import a_credential
from tests.support.memory_access import MemoryAccessStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

URL = "https://registry.example.com"
SERVICE = "registry.example.com"
REALM = f"{URL}/v2/_token"


def basic(user: str, password: str) -> str:
    """Return a Basic header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class FixedSigningKeys:
    """Signing keys that nobody rotates, unless a test does."""

    held: SigningKeySet = field(default_factory=lambda: SigningKeySet(SigningKey.generate()))

    def current(self) -> SigningKeySet:
        """Return it."""
        return self.held

    def renew(self) -> bool:
        """Say that there is nothing newer."""
        return False


class Unreachable:
    """Issuers and an STS that can't be asked."""

    def keys(self, *_: object, **__: object) -> NoReturn:
        """Fail."""
        raise UnavailableError("nobody is asked in this test")

    caller = keys


@dataclass
class AccessWorld:
    """Access control over a store in memory. `now` gives seconds since the epoch."""

    now: Callable[[], float]
    store: MemoryAccessStore = field(default_factory=MemoryAccessStore)
    keys: FixedSigningKeys = field(default_factory=FixedSigningKeys)

    @property
    def token_issuer(self) -> TokenIssuer:
        """The registry's token issuer."""
        return TokenIssuer(self.keys, URL, SERVICE)

    @property
    def tickets(self) -> Tickets:
        """What the edge's function makes, too."""
        return Tickets(FixedKeys(self.keys.held.ticket_keys()))

    @property
    def authenticator(self) -> Authenticator:
        """What the authorizer calls."""
        return Authenticator(self.store, self.token_issuer, self.now)

    def token_service(self) -> TokenService:
        """Return what the token endpoint calls."""
        exchange = TokenExchange(self.store, Unreachable(), Unreachable(), SERVICE)
        return TokenService(
            self.store, self.token_issuer, exchange, self.now, self.tickets.read_viewer
        )

    def cursors(self) -> Cursors:
        """Return the cursors of lists."""
        return Cursors(self.keys)

    def credential(self, name: str, *grants: str) -> str:
        """Make a credential; returns its API token."""
        token = generate()
        named = {"id": f"id-of-{name}", "name": name, "created_at": self.now()}
        held = {"grants": Grants.parse(grants), "secret_hash": hash_of(token)}
        self.store.create(a_credential(**named, **held))
        return token

    def authorizer(self, header: str) -> Mapping[str, str] | None:
        """Return the authorizer's context for a header; None for the gateway's own 401."""
        principal = self.authenticator.identify(header)
        return None if principal is None else {PRINCIPAL: principal.id, **to_context(principal)}
