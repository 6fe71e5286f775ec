"""API tokens, and credentials: what the registry keeps of them, which is a hash.

An API token is `moor_`, 256 random bits in base 62 (43 characters) and a checksum (6). Scanners for
leaked secrets recognize its form, and the registry refuses a mistyped one without a read. This
module must never keep or show one.

The hash is plain SHA-256. Slow, salted hashes are for passwords that people choose, which can be
guessed; 256 random bits can't be, however fast a guess is, and two of them are never the same.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import field
from datetime import UTC, datetime

from chalicelib.access.grants import Grants
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.dataclass import dataclass

PREFIX = "moor_"

_BITS = 256
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH = 43
_CHECKSUM_LENGTH = 6
_FORM = rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}"
_NAME = r"[a-z0-9][a-z0-9._@-]{0,62}"


class CredentialNameError(ValueError):
    """A text that can't be a credential's name; the message says what can."""


@dataclass(frozen=True)
class Credential:
    """What is kept of an API token. Times in seconds since the epoch, days as `2026-11-24`.

    `version` counts its secrets: replacing the secret raises it. The tokens that were issued for an
    earlier secret are valid for as long as that secret is.
    """

    id: str
    name: str
    owner: str
    created_at: float
    grants: Grants
    secret_hash: str = field(repr=False)
    version: int = 1
    expires_at: float | None = None
    last_used_day: str | None = None
    revoked: bool = False
    previous_hash: str | None = field(default=None, repr=False)
    previous_until: float | None = None
    """Until when, exclusive, the replaced secret is still accepted."""

    def check(self, now: float) -> None:
        """Return if the credential can be used at `now`; raises AuthenticationError."""
        if self.revoked:
            raise AuthenticationError(Reason.CREDENTIAL_REVOKED)
        if self.expires_at is not None and now >= self.expires_at:
            raise AuthenticationError(Reason.CREDENTIAL_EXPIRED)

    def takes_version(self, version: int, now: float) -> bool:
        """Whether the secret of that version is valid at `now`."""
        previous_counts = self.previous_until is not None and now < self.previous_until
        return version == self.version or (previous_counts and version == self.version - 1)


def generate() -> str:
    """Return a new API token, which is shown once and kept by its holder alone."""
    body = PREFIX + _in_base_62(secrets.randbits(_BITS), _RANDOM_LENGTH)
    return body + _checksum(body)


def is_api_token(text: str) -> bool:
    """Whether a text has an API token's form and checksum; it need not exist."""
    if not re.fullmatch(_FORM, text):
        return False
    body, checksum = text[:-_CHECKSUM_LENGTH], text[-_CHECKSUM_LENGTH:]
    return hmac.compare_digest(_checksum(body), checksum)


def hash_of(api_token: str) -> str:
    """Return an API token's SHA-256 in hexadecimal, which is kept, and by which it is found."""
    return hashlib.sha256(api_token.encode()).hexdigest()


def verify(presented: str, credential: Credential, now: float) -> int:
    """Return the version of the secret that was presented, if the credential has it at `now`.

    Raises AuthenticationError. Both hashes are always compared, each in constant time; the reason
    that a credential is revoked or expired is given only to a holder of its secret.
    """
    if not is_api_token(presented):
        raise AuthenticationError(Reason.CREDENTIAL_FORM)
    hashed = hash_of(presented)
    current = hmac.compare_digest(hashed, credential.secret_hash)
    previous = hmac.compare_digest(hashed, credential.previous_hash or "")
    if not current and not previous:
        raise AuthenticationError(Reason.CREDENTIAL_UNKNOWN)
    credential.check(now)
    version = credential.version if current else credential.version - 1
    if not credential.takes_version(version, now):
        raise AuthenticationError(Reason.CREDENTIAL_REPLACED)
    return version


def day_of(now: float) -> str:
    """Return the day, in UTC, on which a time falls."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def is_credential_name(text: str) -> bool:
    """Whether a text can name a credential, or a trust; there need not be one."""
    return re.fullmatch(_NAME, text) is not None


def parse_credential_name(text: str) -> str:
    """Return a credential's name unchanged; raises CredentialNameError."""
    if not is_credential_name(text):
        raise CredentialNameError(
            f"{text[:100]!r} can't name an API token: lower-case letters, digits, '.', '_', '@'"
            " and '-', beginning with a letter or digit, at most 63 characters"
        )
    return text


def _checksum(body: str) -> str:
    return _in_base_62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _in_base_62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
