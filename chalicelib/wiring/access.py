"""Builds access control from the settings: what the authorizer and the token endpoint stand on.

Apart from wiring.py, for the authorizer needs no registry, and most requests need none of this.
This module must never decide anything that a setting does not say.
"""

import logging
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from chalicelib.access.authentication import Authenticator
from chalicelib.access.decision import Principal
from chalicelib.access.tokens import TokenIssuer
from chalicelib.clock import SystemClock
from chalicelib.settings import AccessSettings, SettingsError
from chalicelib.stores.aws.clients import client
from chalicelib.stores.aws.ssm_keys import ParameterKeys, signing_keys_config
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from chalicelib.stores.dynamodb.client import dynamodb_client
from chalicelib.telemetry import line as log

if TYPE_CHECKING:
    from chalicelib.access.token_service import TokenService

_log = logging.getLogger("moorage.gatehouse")


class LoggedAuthenticator:
    """A doorkeeper that writes a line of the log whenever somebody is asked for."""

    def __init__(self, doorkeeper: Authenticator) -> None:
        self._doorkeeper = doorkeeper

    def identify(self, header: str) -> Principal | None:
        """Say who sent an Authorization header, as the doorkeeper does."""
        with log.invocation(_log, "authorize", status=401, error="UNAUTHORIZED") as told:
            principal = self._doorkeeper.identify(header)
            if principal is not None:
                told.update(status=200, error=None, principal=principal.id)
            return principal


@lru_cache(maxsize=1)
def doorkeeper() -> LoggedAuthenticator:
    """Build what the authorizer asks."""
    return LoggedAuthenticator(Authenticator(_store(), _mint(), SystemClock()))


@lru_cache(maxsize=1)
def desk() -> "TokenService":
    """Build what the token endpoint asks, and the authorizer does not."""
    from chalicelib.access.federation.exchange import Exchange  # noqa: PLC0415 - likewise
    from chalicelib.access.token_service import TokenService  # noqa: PLC0415 - as said
    from chalicelib.stores.aws.sts import Sts  # noqa: PLC0415 - likewise
    from chalicelib.stores.web.issuers import Issuers  # noqa: PLC0415 - likewise

    config = _settings()
    exchange = Exchange(_store(), Issuers(), Sts(endpoint=config.sts_endpoint), config.service)
    return TokenService(_store(), _mint(), exchange, SystemClock())


@lru_cache(maxsize=1)
def _settings() -> AccessSettings:
    config = AccessSettings.read(os.environ)
    if config is None:
        raise SettingsError("MOORAGE_AUTH is off: this registry is open, and knows nobody")
    return config


@lru_cache(maxsize=1)
def _store() -> DynamoAccessStore:
    config = _settings()
    return DynamoAccessStore(dynamodb_client(serial=config.serial_dynamodb), config.table)


@lru_cache(maxsize=1)
def _mint() -> TokenIssuer:
    config = _settings()
    keys = ParameterKeys(client("ssm", signing_keys_config()), config.signing_key)
    return TokenIssuer(keys, config.url, config.service)
