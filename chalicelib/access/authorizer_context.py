"""What the gateway tells the API of a sender whom the authorizer has identified.

API Gateway carries texts only, and keeps them for a while: so what a sender may do is not among
them, and is looked up when it is used. This module must never tell more than a token says.
"""

from collections.abc import Mapping

from chalicelib.access.decision import ANONYMOUS, Principal, TokenSubject
from chalicelib.access.scopes import parse_scopes, text_of

PRINCIPAL = "principalId"
"""Where API Gateway itself puts an authorizer's principal."""

_LIMIT, _SOURCE, _VERSION = "limit", "source", "version"


def vouched(principal: Principal) -> dict[str, str]:
    """Return what is told of somebody beside the id."""
    told = {_VERSION: str(principal.version)}
    if principal.limit is not None:
        told[_LIMIT] = text_of(principal.limit)
    if principal.source is not None:
        told[_SOURCE] = principal.source
    return told


def stated(authorizer: Mapping[str, str]) -> TokenSubject:
    """Return what was told; a request that no authorizer has seen is anybody's."""
    if PRINCIPAL not in authorizer:
        return TokenSubject(ANONYMOUS.id, None)
    limit = authorizer.get(_LIMIT)
    return TokenSubject(
        authorizer[PRINCIPAL],
        None if limit is None else parse_scopes([limit]),
        authorizer.get(_SOURCE),
        int(authorizer.get(_VERSION, "0")),
    )
