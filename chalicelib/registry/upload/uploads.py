"""Upload sessions, as the API uses them: start, append, status, cancel, and the closing PUT.

This module must never move a session past `open`, except to cancel it: `closing` does the rest.
"""

from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.errors import UploadBusyError, UploadOffsetError, UploadUnknownError
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Owner, Session, UploadState
from chalicelib.registry.upload.chunks import hasher_of
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.states import Event

_CANCEL_TRIES = 4


class Uploads:
    """Upload sessions of all repositories. A `deadline` is epoch seconds: when the caller ends."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._leases = Leases(ports, limits)
        self._leftovers = Leftovers(ports, limits)
        self._closing = Closing(ports, limits)
        self.status = self._leases.find
        """Read a session; a committed one still answers, so that its PUT can be repeated."""
        self.commit = self._closing.commit
        """Close a session."""

    def start(
        self, repository: str, principal: str, algorithm: Algorithm = Algorithm.SHA256
    ) -> Session:
        """Open a session. One write; nothing is stored in S3 before the first chunk."""
        session = self._new(repository, principal, algorithm)
        self._ports.sessions.create(session)
        return session

    def put_whole(
        self, repository: str, principal: str, digest: Digest, data: bytes, deadline: float
    ) -> Session:
        """Store a blob that came in one request; see Closing.put_whole."""
        opened = self._new(repository, principal, digest.algorithm)
        return self._closing.put_whole(opened, digest, data, deadline)

    def append(  # noqa: PLR0913 - a chunk is all of these
        self,
        owner: Owner,
        session_id: str,
        data: bytes,
        at: int,
        deadline: float,
        algorithm: Algorithm | None = None,
    ) -> Session:
        """Append a chunk that begins at offset `at`; two writes and no read of the session.

        With the first chunk a client can still name the `algorithm` of the digest to come.
        Raises UploadUnknownError, UploadOffsetError, UploadBusyError, UploadInvalidError; then
        offset and bytes are as they were.
        """
        if not data:
            session = self._find_open(owner, session_id)
            if session.offset != at:
                raise UploadOffsetError(offset=session.offset)
            return session
        leased = self._leases.take(owner, session_id, at, None, deadline)
        hasher = hasher_of(leased) if leased.offset or algorithm is None else Hasher(algorithm)
        if hasher:
            hasher.update(data)
        written = self._leases.write(leased, self._leases.store(leased, data, hasher))
        self._leftovers.drop_superseded_tails(leased, written)
        return written

    def cancel(self, owner: Owner, session_id: str) -> None:
        """Cancel a session and delete what it stored. Only an open one can be cancelled."""
        for _ in range(_CANCEL_TRIES):
            session = self._find_open(owner, session_id)
            try:
                self._leases.end(session, Event.CANCEL)
            except SessionMovedError:
                continue
            return
        raise UploadBusyError("the upload keeps changing", offset=session.offset, retry_after=1)

    def _find_open(self, owner: Owner, session_id: str) -> Session:
        session = self.status(owner, session_id)
        if session.state is not UploadState.OPEN:
            raise UploadUnknownError("the upload is over or being committed")
        return session

    def _new(self, repository: str, principal: str, algorithm: Algorithm) -> Session:
        clock = self._ports.clock
        now = clock.now()
        return Session(
            id=clock.new_id(),
            repository=repository,
            principal=principal,
            nonce=clock.new_id(),
            created_at=now,
            life_until=now + self._limits.session_life,
            algorithm=algorithm,
            hash_state=Hasher(algorithm).state(),
            sweep_at=now + self._limits.session_life,
        )
