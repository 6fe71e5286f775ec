"""The keys that sign tokens: up to two at a time, so that a key is replaced with nobody logged out.

The first signs, both verify. A key is replaced in steps, each after every process has read the keys
of the step before: `old new`, `new old`, and, when the old key's last token has expired, `new`.
This module must never show a key: neither in a text for people nor in an error.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import field
from typing import Protocol, Self

from chalicelib.dataclass import dataclass

KEY_SIZE = 32
"""Bytes of a key: as many as the hash has, which RFC 7518 (3.2) asks for at least."""

_MOST_KEYS = 2
_LABEL = b"moorage signing key"
_TICKETS = b"moorage tickets"
_ID_LENGTH = 16


class SigningKeySetError(ValueError):
    """A text that holds no signing keys; the message says what does, and quotes nothing of it."""


@dataclass(frozen=True)
class SigningKey:
    """A secret key of 32 bytes."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_SIZE:
            raise SigningKeySetError(f"a signing key has {KEY_SIZE} bytes")

    @classmethod
    def generate(cls) -> Self:
        """Return a new random key."""
        return cls(secrets.token_bytes(KEY_SIZE))

    @property
    def id(self) -> str:
        """The `kid` of its tokens: a hash that gives nothing of the key away."""
        return self.derived(_LABEL).hex()[:_ID_LENGTH]

    def derived(self, label: bytes) -> bytes:
        """Return a key of 32 bytes for another use, from which nobody finds this one."""
        return hmac.digest(self.secret, label, hashlib.sha256)

    def text(self) -> str:
        """Return the key as `SigningKeySet.parse` reads it: for the parameter store, and no log."""
        return base64.urlsafe_b64encode(self.secret).decode().rstrip("=")


@dataclass(frozen=True)
class SigningKeySet:
    """The key that signs, and perhaps another one that verifies."""

    signing: SigningKey
    other: SigningKey | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one or two keys in base64url, the signing one first, separated by white space.

        Raises SigningKeySetError.
        """
        words = text.split()
        if not 1 <= len(words) <= _MOST_KEYS:
            raise SigningKeySetError(f"one or {_MOST_KEYS} signing keys, not {len(words)}")
        keys = [_key(word) for word in words]
        if len({key.secret for key in keys}) != len(keys):
            raise SigningKeySetError("both signing keys are the same")
        return cls(*keys)

    def ticket_keys(self) -> tuple[bytes, ...]:
        """Return the keys of tickets, which the edge knows too: the one that makes them first."""
        keys = (self.signing, self.other)
        return tuple(key.derived(_TICKETS) for key in keys if key is not None)

    def find(self, key_id: str) -> SigningKey | None:
        """Return the key of this id."""
        keys = (self.signing, self.other)
        return next((key for key in keys if key is not None and key.id == key_id), None)


class SigningKeySource(Protocol):
    """Where the signing keys are kept."""

    def current(self) -> SigningKeySet:
        """Return the keys, read some minutes ago at most; raises UnavailableError."""

    def renew(self) -> bool:
        """Read the keys again; False if that was done a moment ago. Raises as `current` does."""


def _key(word: str) -> SigningKey:
    try:
        secret = base64.b64decode(f"{word}=".encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeError, binascii.Error):
        raise SigningKeySetError("a signing key is base64url without padding") from None
    return SigningKey(secret)
