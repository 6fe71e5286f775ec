"""Cursors: names that a client carries and may not read.

A page of the catalog that ends behind a hidden name goes on there. A cursor is that name, encrypted
by a key that is derived from the signing key, so that any process reads it; all have one length.
This module must never encrypt a secret: a cursor is good for as long as its key is. It loads
cryptography: code that seldom needs a cursor imports it late.
"""

import base64
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from chalicelib.access.signing_keys import SigningKey, SigningKeySource
from chalicelib.reference import MAX_NAME_LENGTH

_LABEL = b"moorage list cursor"


@dataclass(frozen=True, slots=True)
class Cursors:
    """Writes and reads cursors with the signing keys as they are now."""

    keys: SigningKeySource

    def write(self, name: str) -> str:
        """Return the cursor of a name, as a text for a URL; raises UnavailableError."""
        return self._fernet().encrypt(name.ljust(MAX_NAME_LENGTH).encode()).decode()

    def read(self, cursor: str) -> str | None:
        """Return the name of a cursor; None for another text, or where its key is gone.

        Raises UnavailableError.
        """
        name = self._read(cursor)
        # Another process may have written it with a newer key.
        return self._read(cursor) if name is None and self.keys.renew() else name

    def _read(self, cursor: str) -> str | None:
        try:
            return self._fernet().decrypt(cursor.encode()).decode().rstrip()
        except (InvalidToken, UnicodeError):
            return None

    def _fernet(self) -> MultiFernet:
        held = self.keys.current()
        keys = [held.signing] if held.other is None else [held.signing, held.other]
        return MultiFernet([_fernet(key) for key in keys])


def _fernet(key: SigningKey) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(key.derived(_LABEL)))
