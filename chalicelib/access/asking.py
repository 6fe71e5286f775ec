"""What the token desk is asked, and what it answers: values only.

Apart from desk.py, which verifies tokens: the table of routes needs no more than this.
Source: RFC 6749, RFC 8693.
"""

import enum
from dataclasses import dataclass

from chalicelib.access.scopes import Scopes


class GrantType(enum.StrEnum):
    """What can be given for tokens; the values are OAuth2's `grant_type`s."""

    PASSWORD = "password"  # noqa: S105 - the name of one
    REFRESH = "refresh_token"
    EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What somebody asks for; `source` is the address it comes from.

    `scopes`: None where none were named. `offline`: with a refresh token.
    """

    scopes: Scopes | None
    source: str
    offline: bool = False


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """What somebody leaves with. Times in seconds since the epoch."""

    kind: str
    """What kind of token it is, as RFC 8693 (3) names them; a login token is a kind of ours."""
    token: str
    scopes: Scopes
    issued_at: float
    expires_at: int
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return "IssuedToken(...)"
