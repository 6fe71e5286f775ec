"""Access control for tests: a store in memory, a mint with a key of its own, a token desk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chalicelib.access.authentication import Authenticator
from chalicelib.access.authorizer_context import PRINCIPAL, vouched
from chalicelib.access.credentials import Credential, generate, hash_of
from chalicelib.access.federation.exchange import Exchange
from chalicelib.access.grants import Grants
from chalicelib.access.signing_keys import KeyRing, SigningKey
from chalicelib.access.token_service import TokenService
from chalicelib.access.tokens import TokenIssuer
from chalicelib.errors import UnavailableError
from tests.support.memory_access import MemoryAccessStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from chalicelib.access.ports import Clock

URL = "https://registry.example.com"
SERVICE = "registry.example.com"
REALM = f"{URL}/v2/_token"


@dataclass
class FixedKeys:
    """A key ring that nobody rotates, unless a test does."""

    held: KeyRing = field(default_factory=lambda: KeyRing(SigningKey.generate()))

    def ring(self) -> KeyRing:
        """Return it."""
        return self.held

    def renew(self) -> bool:
        """Say that there is nothing newer."""
        return False


class Unreachable:
    """Issuers and STS that nobody can ask."""

    def keys(self, *_: object, **__: object) -> NoReturn:
        """Fail."""
        raise UnavailableError("nobody is asked in this test")

    caller = keys


@dataclass
class AccessWorld:
    """Who may do what, in memory, at one time."""

    clock: Clock
    store: MemoryAccessStore = field(default_factory=MemoryAccessStore)
    keys: FixedKeys = field(default_factory=FixedKeys)

    @property
    def mint(self) -> TokenIssuer:
        """The registry's mint."""
        return TokenIssuer(self.keys, URL, SERVICE)

    @property
    def doorkeeper(self) -> Authenticator:
        """What the authorizer asks."""
        return Authenticator(self.store, self.mint, self.clock)

    def desk(self) -> TokenService:
        """Return the token desk."""
        exchange = Exchange(self.store, Unreachable(), Unreachable(), SERVICE)
        return TokenService(self.store, self.mint, exchange, self.clock)

    def credential(self, name: str, *grants: str) -> str:
        """Make a credential; returns its access token."""
        token = generate()
        record = Credential(
            id=f"id-of-{name}",
            name=name,
            owner="a test",
            created_at=self.clock.now(),
            grants=Grants.parse(grants),
            secret_hash=hash_of(token),
        )
        self.store.create(record)
        return token

    def authorizer(self, header: str) -> Mapping[str, str] | None:
        """Return what the gateway tells the API of who sent a header; None for its own 401."""
        principal = self.doorkeeper.identify(header)
        return None if principal is None else {PRINCIPAL: principal.id, **vouched(principal)}
