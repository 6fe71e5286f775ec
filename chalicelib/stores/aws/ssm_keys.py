"""The signing keys in SSM Parameter Store: one SecureString, encrypted by KMS at rest.

This module must never log what it reads, nor read it for each request.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.config import Config

from chalicelib.access.signing_keys import SigningKeySet, SigningKeySource
from chalicelib.stores.aws.failures import AWS_ERRORS, translate

if TYPE_CHECKING:
    from mypy_boto3_ssm.client import SSMClient

KEPT_SECONDS = 300.0
"""How long the keys are used before they are read again: rotating a key waits for that."""

RENEWED_SECONDS = 30.0
"""Seconds between two readings for tokens with unknown keys: forged ones cost nothing more."""


def signing_keys_config() -> Config:
    """Return how the client is to behave, each value on purpose.

    The store answers 40 requests a second for the whole account, and each new process sends one: a
    burst of them is spread by waits of up to 1, 2 and 4 s, within the authorizer's 10.
    """
    return Config(
        retries={"mode": "standard", "total_max_attempts": 4},
        connect_timeout=1,
        read_timeout=1,  # tens of milliseconds are usual, KMS included
    )


class ParameterKeys:
    """`SigningKeySource` over a parameter; thread-safe: a race costs one read too many."""

    def __init__(
        self, client: "SSMClient", name: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._name = name
        self._monotonic = monotonic
        self._read: tuple[float, SigningKeySet] | None = None

    def current(self) -> SigningKeySet:
        """See SigningKeySource.current; raises SigningKeySetError too, for another text."""
        read = self._read
        if read is not None and self._monotonic() - read[0] < KEPT_SECONDS:
            return read[1]
        return self._fetch()

    def renew(self) -> bool:
        """Read it again, if the last time is long enough ago."""
        read = self._read
        if read is not None and self._monotonic() - read[0] < RENEWED_SECONDS:
            return False
        self._fetch()
        return True

    def _fetch(self) -> SigningKeySet:
        try:
            answer = self._client.get_parameter(Name=self._name, WithDecryption=True)
        except AWS_ERRORS as error:
            raise translate(error) from error
        keys = SigningKeySet.parse(answer["Parameter"]["Value"])
        self._read = (self._monotonic(), keys)
        return keys


class DerivedTicketKeys:
    """`TicketKeys` that are made of the signing keys, and replaced with them.

    `source` builds what reads those when a ticket first needs it.
    """

    def __init__(self, source: Callable[[], SigningKeySource]) -> None:
        self._source = source

    def current(self) -> tuple[bytes, ...]:
        """See TicketKeys.current."""
        return self._source().current().ticket_keys()

    def renew(self) -> bool:
        """See TicketKeys.renew."""
        return self._source().renew()
