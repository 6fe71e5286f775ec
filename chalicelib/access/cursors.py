"""Cursors: encrypted names, which a client passes back without being able to read them.

If a page of the catalog ends at a name that the caller may not see, the next page begins after that
name. The cursor is that name, encrypted by a key that is derived from the signing key, so that any
process can read it. All cursors have the same length.
This module must never encrypt a secret: a cursor is good for as long as its key is. It loads
cryptography: code that seldom needs a cursor imports it late.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from chalicelib.access.signing_keys import SigningKey, SigningKeySource
from chalicelib.dataclass import dataclass
from chalicelib.reference import MAX_NAME_LENGTH

_LABEL = b"moorage list cursor"


@dataclass(frozen=True)
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
