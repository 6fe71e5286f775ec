"""The sweeper: ends what requests have left unfinished.

It cancels abandoned sessions when their life ends, drives sealed ones, and cleans up after ended
ones. It removes manifests that a dead request left pending or half deleted. It deletes strays:
objects below direct/ that nothing names. Every write is conditional, so any number of sweepers may
run beside requests and each other. This module must never touch anything that its item does not say
is due, nor a stray that could still be published.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from functools import partial
from itertools import zip_longest

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.registry.collector.strays import Strays
from chalicelib.registry.keys import direct_keys_from
from chalicelib.registry.manifests.removal import Removals
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import TERMINAL, Session, UploadState
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.runner import CommitDriver
from chalicelib.registry.upload.states import Event

_log = logging.getLogger("moorage.sweeper")


class SweepOutcome(StrEnum):
    """The outcome of one thing that was due."""

    COMMITTED = "committed"
    """A sealed session was driven to its end."""
    CANCELLED = "cancelled"
    """A session's life had ended, or its bytes were lost."""
    CLEANED = "cleaned"
    """What an ended session had left is deleted, and its item may expire; or strays are."""
    POSTPONED = "postponed"
    """It is not over yet, and is due again later."""
    MANIFEST = "manifest"
    """A pending manifest was removed, or a deletion finished."""
    NOTHING = "nothing"
    """There was nothing to do, and it is not counted: the index is eventually consistent."""
    FAILED = "failed"
    """An error, which is logged; the next run tries again."""


@dataclass(frozen=True)
class SweepReport:
    """The result of one run. `finished`: the queue was read to its end before time ran out."""

    outcomes: Mapping[SweepOutcome, int]
    finished: bool


Work = partial[SweepOutcome | None]
"""A piece of work. Without an outcome it is a commit, which the run continues after all others.

Its first argument is the session's id, or a manifest's repository.
"""


class Sweeper:
    """Sweeps sessions and manifests."""

    def __init__(self, ports: Ports, limits: Limits, removals: Removals) -> None:
        self._ports = ports
        self._limits = limits
        self._removals = removals
        self._leftovers = Leftovers(ports, limits)
        self._strays = Strays(ports, limits)
        self._driver = CommitDriver(ports, limits)

    def sweep(self, until: float) -> SweepReport:
        """Work through all that is due, one after the other, until done or `until` (epoch seconds).

        What is not reached stays due for the next run. Raises UnavailableError when the queue
        itself can't be read.
        """
        outcomes: Counter[SweepOutcome] = Counter()
        unfinished: deque[str] = deque()
        for work in self._due(until, unfinished):
            if self._ports.clock.now() >= until:
                return SweepReport(outcomes, finished=False)
            outcome = self._guarded(work)
            if outcome is None:
                unfinished.append(work.args[0])
            elif outcome is not SweepOutcome.NOTHING:
                outcomes[outcome] += 1
        return SweepReport(outcomes, finished=True)

    def _due(self, until: float, unfinished: deque[str]) -> Iterator[Work]:
        """All that is due, and then the commits that are unfinished, in turns."""
        now = self._ports.clock.now()
        sessions = (
            partial(self._sweep_session, session_id, until)
            for session_id in self._ports.sessions.due(now)
        )
        manifests = (
            partial(self._sweep_manifest, repository, digest)
            for repository, digest in self._ports.metadata.due_manifests(now)
        )
        # In turns: none keeps another waiting for a run that has the time for all.
        for turn in zip_longest(sessions, manifests, self._searches(now)):
            yield from filter(None, turn)
        while unfinished:
            yield partial(self._drive_on, unfinished.popleft(), until)

    def _searches(self, now: float) -> Iterator[Work]:
        """Looks for strays, a page each; none follows one that failed, which left no mark."""
        last, before = direct_keys_from(now - self._limits.stray_age), None
        while (first := self._searched()) != before and first < last:
            before = first
            yield partial(self._search, first, last)

    def _searched(self) -> str:
        """Return the key after which the search continues.

        It comes by within hours of an object's time, when a session that has published it still has
        its item: so an object whose record is lost is not taken for a stray.
        """
        return max(self._ports.sessions.searched(), direct_keys_from(0))

    def _search(self, first: str, last: str) -> SweepOutcome | None:
        look = self._strays.look(first, last)
        if look.strays:
            _log.info("deleting %d strays, the first: %s", len(look.strays), look.strays[0].key)
            self._ports.objects.delete([stray.key for stray in look.strays])
        self._ports.sessions.mark_searched(look.after)
        return SweepOutcome.CLEANED if look.strays else SweepOutcome.NOTHING

    def _guarded(self, work: Work) -> SweepOutcome | None:
        """Do one piece of work; an error in it must not keep the rest from being done."""
        try:
            return work()
        except RegistryError as error:
            cause = error.__cause__ or error.message
            _log.warning("sweeping %s failed: %s", work.args[:2], cause)
        except Exception:  # noqa: BLE001 - see the docstring; the log has the traceback
            _log.exception("sweeping %s failed", work.args[:2])
        return SweepOutcome.FAILED

    def _sweep_manifest(self, repository: str, digest: Digest) -> SweepOutcome:
        ended = self._removals.end_due(repository, digest)
        return SweepOutcome.MANIFEST if ended else SweepOutcome.NOTHING

    def _sweep_session(self, session_id: str, until: float) -> SweepOutcome | None:
        session = self._ports.sessions.get(session_id)
        now = self._ports.clock.now()
        if session is None or session.sweep_at is None or session.sweep_at > now:
            return SweepOutcome.NOTHING
        try:
            return self._end(session, now, until)
        except SessionMovedError:
            return SweepOutcome.NOTHING  # another request or sweeper moved it
        except Exception:
            self._step_back(session_id)
            raise

    def _step_back(self, session_id: str) -> None:
        """Postpone a session that failed behind those that have not been tried yet, best effort."""
        with suppress(RegistryError, SessionMovedError):
            session, now = self._ports.sessions.get(session_id), self._ports.clock.now()
            if session is not None and session.sweep_at is not None and session.sweep_at <= now:
                self._postpone(session, now + self._limits.sweep_again / 2)

    def _end(self, session: Session, now: float, until: float) -> SweepOutcome | None:
        if session.state in TERMINAL:
            return self._settled(self._leftovers.clean_up(session), SweepOutcome.CLEANED)
        if session.leased(now):
            return self._postpone(session, session.lease_until)
        if session.over_by(now):
            return self._settled(self._driver.end(session, Event.EXPIRE), SweepOutcome.CANCELLED)
        if session.takes_bytes:
            return self._postpone(session, session.life_until)
        return self._drive(session, now, until)

    def _drive_on(self, session_id: str, until: float) -> SweepOutcome | None:
        """Drive a commit that this run has begun, unless somebody else does."""
        session, now = self._ports.sessions.get(session_id), self._ports.clock.now()
        if session is None or session.settled or session.leased(now):
            return SweepOutcome.NOTHING
        with suppress(SessionMovedError):
            return self._drive(session, now, until)
        return SweepOutcome.NOTHING

    def _drive(self, session: Session, now: float, until: float) -> SweepOutcome | None:
        """Drive a commit for as long as one step may take, so that no other one waits for it."""
        if not session.settled:
            # Postponed first: a commit that kills the run must not be the first of each run.
            later = now + self._limits.sweep_again / 2
            taken = self._driver.take(session, sweep_at=later)
            driven = self._driver.drive(taken, min(until, now + self._limits.drive_step))
            session = self._driver.release(driven, taken)
        if session.mismatched:
            # The client may still name the right digest, as long as the session lives.
            return self._postpone(session, session.life_until)
        outcome = _OUTCOME_OF.get(session.state)
        return outcome and self._settled(session, outcome)

    def _settled(self, session: Session, outcome: SweepOutcome) -> SweepOutcome:
        """Postpone a session that is still due; of any other, return `outcome`."""
        now = self._ports.clock.now()
        if session.sweep_at is not None and session.sweep_at <= now:
            return self._postpone(session, now + self._limits.sweep_again)
        return outcome

    def _postpone(self, session: Session, at: float) -> SweepOutcome:
        self._ports.sessions.write(session, replace(session, sweep_at=at))
        return SweepOutcome.POSTPONED


_OUTCOME_OF = {
    UploadState.COMMITTED: SweepOutcome.COMMITTED,
    UploadState.CANCELLED: SweepOutcome.CANCELLED,
}
