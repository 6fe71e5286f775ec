"""Strays: objects at canonical keys that no record names, and that nobody can publish any more.

A request that dies between its PUT and its transaction leaves a stray below direct/. A copy that
arrived late, or a restored table, leaves one below blobs/. This module must never delete an object
that could still be published: it first ends the session that might publish it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from chalicelib.limits import S3_KEYS
from chalicelib.registry.keys import opened_at, read_canonical_key
from chalicelib.registry.outcomes import ListedObject, SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import TERMINAL, Session, UploadState


class Look(NamedTuple):
    """What a look at a page of the bucket found; the next one begins behind `after`."""

    strays: Sequence[ListedObject]
    after: str
    more: bool


class Strays:
    """Looks for strays, a page of the bucket at a time."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits

    def look(self, first: str, last: str, *, end: bool = True) -> Look:
        """Look at the first keys after `first` and below `last`: 1,000, or all that there are.

        `end`: sessions that nobody has begun, and that could publish one, are ended: one cancelled
        item each. Else nothing is written.
        """
        listed = self._ports.objects.list_between(first, last, S3_KEYS)
        more = len(listed) == S3_KEYS
        return Look(self.among(listed, end=end), listed[-1].key if more else last, more)

    def among(self, listed: Sequence[ListedObject], *, end: bool = True) -> list[ListedObject]:
        """Return the strays among some objects. `end` is as in `look`."""
        places = [(each, read_canonical_key(each.key)) for each in listed]
        found = [(each, *place) for each, place in places if place is not None]
        records = self._ports.metadata.get_records([digest for _, _, digest in found])
        named = {record.key for record in records.values()}
        return [
            each
            for each, session_id, _ in found
            if each.key not in named and self._given_up(session_id, each.key, end=end)
        ]

    def _given_up(self, session_id: str, key: str, *, end: bool) -> bool:
        """Whether a session is over that did not publish its key; an unbegun one is ended now.

        So a request that is still under way finds the session cancelled, however late it arrives.
        Only a session whose id has a time can be without an item before it ends: any other one
        has its item before its object comes, and that outlives what is published by it.
        """
        session, now = self._ports.sessions.get(session_id), self._ports.clock.now()
        opened = opened_at(session_id)
        if session is None and key.startswith("direct/") and opened is not None:
            if opened + self._limits.stray_age > now:
                return False
            session = self._ended(session_id, now) if end else None
        return session is None or (session.state in TERMINAL and session.published_key != key)

    def _ended(self, session_id: str, now: float) -> Session | None:
        """End a session that has no item; returns the one that it has by now."""
        ended = Session(
            id=session_id,
            repository="",
            principal="",
            nonce=self._ports.clock.new_id(),
            created_at=now,
            life_until=now,
            state=UploadState.CANCELLED,
            expires_at=now + self._limits.remember,
        )
        try:
            self._ports.sessions.create(ended)
        except SessionMovedError as moved:
            return moved.current
        return ended
