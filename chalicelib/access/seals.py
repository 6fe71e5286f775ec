"""Seals names that a client carries and may not read.

A page of the catalog that ends behind a hidden name goes on there. A sealed name is encrypted by a
key that is derived from the signing key, so that any process opens it, and has one length, whatever
the name's. This module must never seal a secret: a seal is good for as long as its key is. It loads
cryptography: code that seldom seals imports it late.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from chalicelib.access.signing_keys import SigningKey, SigningKeySource
from chalicelib.reference import MAX_NAME_LENGTH

_LABEL = b"moorage sealed name"


@dataclass(frozen=True, slots=True)
class Seals:
    """Seals and opens names with the signing keys as they are now."""

    keys: SigningKeySource

    def seal(self, name: str) -> str:
        """Return a name sealed, as a text for a URL; raises UnavailableError without keys."""
        return self._fernet().encrypt(name.ljust(MAX_NAME_LENGTH).encode()).decode()

    def open(self, sealed: str) -> str | None:
        """Return the name that was sealed; None for another text, or where its key is gone.

        Raises UnavailableError without keys.
        """
        name = self._opened(sealed)
        # Another process may have sealed it with a newer key.
        return self._opened(sealed) if name is None and self.keys.renew() else name

    def _opened(self, sealed: str) -> str | None:
        try:
            return self._fernet().decrypt(sealed.encode()).decode().rstrip()
        except (InvalidToken, UnicodeError):
            return None

    def _fernet(self) -> MultiFernet:
        held = self.keys.current()
        keys = [held.signing] if held.other is None else [held.signing, held.other]
        return MultiFernet([_fernet(key) for key in keys])


def _fernet(key: SigningKey) -> Fernet:
    derived = hmac.new(key.secret, _LABEL, hashlib.sha256).digest()
    return Fernet(base64.urlsafe_b64encode(derived))
