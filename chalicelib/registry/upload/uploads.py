"""Upload sessions, as the API uses them: start, append, status, cancel, and the closing PUT.

A `name` is what a path has of a session: its ticket, or its id once it is begun.
This module must never move a session past `open`, except to cancel it: `closing` does the rest.
"""

from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.errors import (
    DigestInvalidError,
    UnavailableError,
    UploadBusyError,
    UploadOffsetError,
    UploadUnknownError,
)
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Owner, Session, UploadState
from chalicelib.registry.upload.chunks import hasher_of
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.states import Event
from chalicelib.registry.upload.unbegun import UnbegunSessions

_CANCEL_TRIES = 4


class Uploads:
    """Upload sessions of all repositories. A `deadline` is epoch seconds: when the caller ends."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._leases = Leases(ports, limits)
        self._leftovers = Leftovers(ports, limits)
        self._closing = Closing(ports, limits)
        self._unbegun = UnbegunSessions(ports, limits)
        self.commit = self._closing.commit
        """Close a session."""

    def start(
        self, repository: str, principal: str, algorithm: Algorithm = Algorithm.SHA256
    ) -> Session:
        """Open a session. Nothing is stored before its first byte comes."""
        return self._unbegun.open(Owner(repository, principal), algorithm)

    def put_whole(self, repository: str, principal: str, digest: Digest, data: bytes) -> Session:
        """Store a blob that came in one request: one put, one transaction.

        Raises DigestInvalidError, and then nothing was stored.
        """
        found = Digest.of(data, digest.algorithm)
        if found != digest:
            raise DigestInvalidError(f"the content has digest {found}, not {digest}")
        opened = self._unbegun.new(Owner(repository, principal), digest.algorithm)
        try:
            return self._unbegun.publish(opened, digest, data)
        except SessionMovedError as error:
            # The request outlived its session, of which the client knows nothing: it sends again.
            raise UnavailableError("the upload took too long: send it again") from error

    def status(self, owner: Owner, name: str) -> Session:
        """Read a session; a committed one still answers, so that its PUT can be repeated."""
        named = self._unbegun.named(owner, name)
        return self._leases.find(owner, named.id, unbegun=named.unbegun)

    def opened_at(self, owner: Owner, name: str) -> float:
        """Return when a session was opened, in seconds since the epoch; raises UploadUnknownError.

        Also of one whose ticket has expired while the edge was putting its bytes.
        """
        named = self._unbegun.named(owner, name, late=self._limits.direct_put)
        if named.unbegun is not None and self._ports.sessions.get(named.id) is None:
            return named.unbegun.created_at
        return self._leases.find(owner, named.id).created_at

    def append(  # noqa: PLR0913 - a chunk is all of these
        self,
        owner: Owner,
        name: str,
        data: bytes,
        at: int,
        deadline: float,
        algorithm: Algorithm | None = None,
    ) -> Session:
        """Append a chunk that begins at offset `at`; two writes and no read of the session.

        The first chunk's first write creates the item.

        With the first chunk a client can still name the `algorithm` of the digest to come.
        Raises UploadUnknownError, UploadOffsetError, UploadBusyError, UploadInvalidError; then
        offset and bytes are as they were.
        """
        if not data:
            session = self._find_open(owner, name)
            if session.offset != at:
                raise UploadOffsetError(offset=session.offset)
            return session
        named = self._unbegun.named(owner, name)
        begun = self._leases.begin(named.unbegun, at, deadline) if named.unbegun else None
        leased = begun or self._leases.take(owner, named.id, at, None, deadline)
        hasher = hasher_of(leased) if leased.offset or algorithm is None else Hasher(algorithm)
        if hasher:
            hasher.update(data)
        written = self._leases.write(leased, self._leases.store(leased, data, hasher))
        self._leftovers.drop_superseded_tails(leased, written)
        return written

    def cancel(self, owner: Owner, name: str) -> None:
        """Cancel a session and delete what it stored. Only an open one can be cancelled."""
        for _ in range(_CANCEL_TRIES):
            session = self._find_open(owner, name)
            try:
                if session.state is UploadState.UNBEGUN:
                    self._unbegun.cancel(session)
                else:
                    self._leases.end(session, Event.CANCEL)
            except SessionMovedError:
                continue
            return
        raise UploadBusyError("the upload keeps changing", offset=session.offset, retry_after=1)

    def _find_open(self, owner: Owner, name: str) -> Session:
        session = self.status(owner, name)
        if session.state not in {UploadState.UNBEGUN, UploadState.OPEN}:
            raise UploadUnknownError("the upload is over or being committed")
        return session
