"""The authorizer's context: what API Gateway hands from the authorizer to the API.

The gateway carries strings only, and keeps them for a minute: so grants are not among them, and are
looked up at each request. This module must never put more in it than a token's claims say.
"""

from collections.abc import Mapping

from chalicelib.access.decision import ANONYMOUS, Principal, TokenSubject
from chalicelib.access.scopes import parse_scopes, text_of

PRINCIPAL = "principalId"
"""Where API Gateway itself puts an authorizer's principal."""

_LIMIT, _SOURCE, _VERSION, _EXPIRED = "limit", "source", "version", "expired"


def to_context(principal: Principal) -> dict[str, str]:
    """Return the context of a principal; the gateway adds the id, under PRINCIPAL."""
    context = {_VERSION: str(principal.version)}
    if principal.limit is not None:
        context[_LIMIT] = text_of(principal.limit)
    if principal.source is not None:
        context[_SOURCE] = principal.source
    if principal.expired_at is not None:
        context[_EXPIRED] = str(principal.expired_at)
    return context


def from_context(context: Mapping[str, str]) -> TokenSubject:
    """Read the context of a request; one that no authorizer has seen is anonymous."""
    if PRINCIPAL not in context:
        return TokenSubject(ANONYMOUS.id, None)
    limit, expired = context.get(_LIMIT), context.get(_EXPIRED)
    return TokenSubject(
        context[PRINCIPAL],
        None if limit is None else parse_scopes([limit]),
        context.get(_SOURCE),
        int(context.get(_VERSION, "0")),
        None if expired is None else int(expired),
    )
