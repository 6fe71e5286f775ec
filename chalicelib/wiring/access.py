"""Builds access control from the settings: the authorizer's authenticator, and the token service.

Apart from wiring/registry.py: the authorizer needs no registry, and what verifies tokens (PyJWT and
cryptography) is needed here and at no other request. This module must never decide anything that a
setting does not say.
"""

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from chalicelib.access.authentication import Authenticator
from chalicelib.access.decision import Principal
from chalicelib.access.tokens import TokenIssuer
from chalicelib.clock import SystemClock
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from chalicelib.stores.dynamodb.client import dynamodb_client
from chalicelib.telemetry import log
from chalicelib.wiring.keys import access_settings, signing_keys

if TYPE_CHECKING:
    from chalicelib.access.cursors import Cursors
    from chalicelib.access.token_service import TokenService

_log = logging.getLogger("moorage.access")


def identify(header: str) -> Principal | None:
    """See Authenticator.identify: what the authorizer does, with its line in the log."""
    built = authenticator()
    with log.invocation(_log, "authorize", status=401, error="UNAUTHORIZED") as fields:
        principal = built.identify(header)
        if principal is not None:
            fields.update(status=200, error=None, principal=principal.id)
        return principal


@lru_cache(maxsize=1)
def authenticator() -> Authenticator:
    """Build what the authorizer calls."""
    return Authenticator(_store(), _token_issuer(), SystemClock().now)


@lru_cache(maxsize=1)
def token_service() -> "TokenService":
    """Build what the token endpoint calls."""
    # The authorizer, which this module serves too, needs none of these.
    from chalicelib.access.federation.exchange import TokenExchange  # noqa: PLC0415 - as said
    from chalicelib.access.token_service import TokenService  # noqa: PLC0415 - as said
    from chalicelib.registry.tickets import Tickets  # noqa: PLC0415 - as said
    from chalicelib.stores.aws.ssm_keys import DerivedTicketKeys  # noqa: PLC0415 - as said
    from chalicelib.stores.aws.sts import StsClient  # noqa: PLC0415 - as said
    from chalicelib.stores.web.issuers import Issuers  # noqa: PLC0415 - as said

    config = access_settings()
    sts = StsClient(endpoint=config.sts_endpoint)
    exchange = TokenExchange(_store(), Issuers(), sts, config.service)
    tickets = Tickets(DerivedTicketKeys(signing_keys))
    return TokenService(_store(), _token_issuer(), exchange, SystemClock().now, tickets.read_viewer)


@lru_cache(maxsize=1)
def cursors() -> "Cursors":
    """Build the cursors of the catalog."""
    from chalicelib.access.cursors import Cursors  # noqa: PLC0415 - as said

    return Cursors(signing_keys())


@lru_cache(maxsize=1)
def _store() -> DynamoAccessStore:
    config = access_settings()
    return DynamoAccessStore(dynamodb_client(), config.table)


@lru_cache(maxsize=1)
def _token_issuer() -> TokenIssuer:
    config = access_settings()
    return TokenIssuer(signing_keys(), config.url, config.service)
