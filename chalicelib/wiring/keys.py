"""Builds what reads the secret keys: access control and the registry use the same, read once.

Apart from wiring/access.py, which loads what verifies tokens. This module must never show a key.
"""

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from chalicelib.registry.tickets import FixedKeys
from chalicelib.settings import AccessSettings, Settings, SettingsError
from chalicelib.stores.aws.clients import client
from chalicelib.stores.aws.ssm_keys import DerivedTicketKeys, ParameterKeys, signing_keys_config

if TYPE_CHECKING:
    from chalicelib.registry.ports import TicketKeys


@lru_cache(maxsize=1)
def access_settings() -> AccessSettings:
    """Read the environment of access control, once; raises SettingsError."""
    config = AccessSettings.read(os.environ)
    if config is None:
        raise SettingsError("MOORAGE_AUTH is off: this registry is open, and has no logins")
    return config


@lru_cache(maxsize=1)
def signing_keys() -> ParameterKeys:
    """Build what reads the signing keys."""
    return ParameterKeys(client("ssm", signing_keys_config()), access_settings().signing_key)


def ticket_keys(settings: Settings) -> "TicketKeys":
    """Build the keys of tickets; an open registry has no secret, nor a parameter for one.

    Nothing is read before a ticket is: the functions that commit and sweep may not read the key.
    """
    if settings.open:
        return FixedKeys.of(settings.bucket, settings.uploads_table)
    return DerivedTicketKeys(signing_keys)
