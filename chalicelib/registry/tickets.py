r"""Tickets: names, in paths, of sessions or downloads that have no item; a MAC says who made them.

    /v2/<name>/blobs/uploads/<ticket>   <session>~<expiry>~<algorithm>~<owner>~<mac>
    /v2/<name>/blobs/<ticket>           <digest>~<expiry>~<place>~<session>~<mac>

The edge (infra/edge.js) reads tickets too, and knows no principal. So a ticket is made thus:

    fields  all before the last `~`
    mac     base64url without padding, 43 characters, of
            HMAC-SHA256(key, "moorage <purpose>\n<name>\n<fields>")

- `<purpose>` is `upload`, `download` or `viewer`. `<name>` is the repository's, not
  percent-encoded. No field has a `~`, and no name a line break.
- A reader first decodes the path (`%7E`, `%3A`), then splits it, computes the MAC over what it was
  given and compares in constant time, and only then looks at the fields.
- `<expiry>` is decimal, in seconds since the epoch. A ticket is good while the time is below it.
- `<owner>` is the principal's hash: SHA-256("<session>\n<principal>") in base64url, cut to 22
  characters. The MAC covers it: so the edge need not know the principal, who has to be the same
  at the commit.
- `<algorithm>`, `sha256` or `sha512`, is what the client named in its POST.
- `<place>` is `blobs`, `direct` or `parts`: with digest and session it makes the object's key, as
  in keys.py.
- The edge itself makes tickets of a viewer, with the name empty: `<address>~<mac>`, in a header.

There are one or two keys of 32 bytes: the first makes MACs, all check them. This module must never
accept a field before the MAC, nor take keys that can't be read for a wrong MAC.
"""

import base64
import enum
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, NamedTuple, Self

from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.keys import place_of

if TYPE_CHECKING:
    from chalicelib.registry.ports import TicketKeys
    from chalicelib.registry.session import Owner

SEPARATOR = "~"

_OWNER_LENGTH = 22
_DECIMAL = r"[1-9][0-9]{0,11}"


class Purpose(enum.StrEnum):
    """What a ticket is for; a MAC is valid for one purpose only."""

    UPLOAD = "upload"
    DOWNLOAD = "download"
    VIEWER = "viewer"
    """The address of the edge's client, which the edge passes to the API."""


class UploadTicket(NamedTuple):
    """A session of an upload that has no item yet."""

    session: str
    expires_at: int
    """Seconds since the epoch: from then on the session can't be begun."""
    algorithm: Algorithm


class Tickets:
    """Writes and reads tickets with the keys as they are now. Raises UnavailableError."""

    def __init__(self, keys: "TicketKeys") -> None:
        self._keys = keys

    def write(self, purpose: Purpose, name: str, *fields: str) -> str:
        """Return the ticket of some fields, in a repository of this name."""
        text = SEPARATOR.join(fields)
        return f"{text}{SEPARATOR}{mac_of(self._keys.current()[0], purpose, name, text)}"

    def read(self, purpose: Purpose, name: str, ticket: str) -> list[str] | None:
        """Return the fields of a ticket, its MAC left out; None where that is wrong."""
        text, _, mac = ticket.rpartition(SEPARATOR)
        # Another process may have made it with a newer key.
        if self._made(purpose, name, text, mac) or (
            self._keys.renew() and self._made(purpose, name, text, mac)
        ):
            return text.split(SEPARATOR)
        return None

    def write_upload(self, owner: "Owner", ticket: UploadTicket) -> str:
        """Return the text of an upload's ticket."""
        return self.write(
            Purpose.UPLOAD,
            owner.repository,
            ticket.session,
            str(ticket.expires_at),
            ticket.algorithm,
            _hash_of(ticket.session, owner.principal),
        )

    def read_upload(self, owner: "Owner", ticket: str) -> UploadTicket | None:
        """Return an upload's ticket, expired or not; None if it is not this owner's."""
        match self.read(Purpose.UPLOAD, owner.repository, ticket):
            case [session, expiry, algorithm, whose] if re.fullmatch(_DECIMAL, expiry, re.ASCII):
                if whose == _hash_of(session, owner.principal):
                    return UploadTicket(session, int(expiry), Algorithm(algorithm))
        return None

    def write_download(self, repository: str, digest: Digest, key: str, ends: float) -> str | None:
        """Return the ticket by which the edge serves an object until `ends` (epoch seconds).

        None for a key that no ticket can name.
        """
        placed = place_of(key)
        if placed is None:
            return None
        return self.write(Purpose.DOWNLOAD, repository, str(digest), str(int(ends)), *placed)

    def read_viewer(self, ticket: str) -> str | None:
        """Return the address of the edge's client; None if the edge has not made the ticket."""
        match self.read(Purpose.VIEWER, "", ticket):
            case [address]:
                return address
        return None

    def _made(self, purpose: Purpose, name: str, text: str, mac: str) -> bool:
        found = [
            hmac.compare_digest(mac_of(key, purpose, name, text).encode(), mac.encode())
            for key in self._keys.current()
        ]
        return any(found)


class FixedKeys(NamedTuple):
    """`TicketKeys` that never change: those of an open registry."""

    keys: tuple[bytes, ...]

    @classmethod
    def of(cls, *names: str) -> Self:
        """Return the key of a registry that has no secret: it tells its tickets from another's."""
        return cls(
            (hashlib.sha256("\n".join(("moorage open registry", *names)).encode()).digest(),)
        )

    def current(self) -> tuple[bytes, ...]:
        """See TicketKeys.current."""
        return self.keys

    def renew(self) -> bool:
        """See TicketKeys.renew."""
        return False


def mac_of(key: bytes, purpose: Purpose, name: str, text: str) -> str:
    """Return the MAC of a ticket's fields; see above."""
    message = f"moorage {purpose}\n{name}\n{text}"
    return _base64url(hmac.digest(key, message.encode(), hashlib.sha256))


def _hash_of(session: str, principal: str) -> str:
    return _base64url(hashlib.sha256(f"{session}\n{principal}".encode()).digest())[:_OWNER_LENGTH]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
