"""The collector: deletes what nothing names any more, while clients push and pull.

A pass walks through all rows of the registry. It judges each repository when it has read the last
of its rows, and each record by itself. Once a month it also lists the bucket. A run continues the
pass until its time is over, and the next run continues from there. Two collectors at once do no
harm, and neither does one that stopped in the middle and continues late, because each deletion is
conditional on what was read. This module must never delete anything except by `Links`, `Records`
and `Strays`, which say why their deletions are safe.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from chalicelib.dataclass import dataclass
from chalicelib.errors import RegistryError
from chalicelib.limits import BATCH_KEYS, S3_KEYS
from chalicelib.registry.collector.links import Links, UnknownReferencesError
from chalicelib.registry.collector.records import Records
from chalicelib.registry.collector.report import (
    CollectReport,
    FindingKind,
    GarbageFinding,
    RepositoryFacts,
)
from chalicelib.registry.collector.seen import Day, SeenHome, homes_and_rows
from chalicelib.registry.collector.strays import Strays
from chalicelib.registry.model import (
    CollectorPhase,
    CollectorState,
    Damaged,
    Garbage,
    Link,
    Record,
    ScannedRow,
    owner_of_bodies,
)
from chalicelib.registry.outcomes import CollectorMovedError, ListedObject
from chalicelib.registry.service import Limits, Ports

if TYPE_CHECKING:
    from chalicelib.digest import Digest

_log = logging.getLogger("moorage.collector")

T = TypeVar("T")

_BATCH = 1000
"""Links of one repository that are marked before its manifests are read."""

_SAVE_AFTER = 30.0
"""Seconds after which a run says how far it is: what a run that dies has to do again."""

_RANGES = (("blobs/", "blobs/~"), ("direct/", "direct/~"))
"""The canonical keys, in their order."""

_USED = "it was used meanwhile"

_UNRECORDED = "objects that nothing names stay, until all links have their records"


@dataclass
class _Run:
    """What one run has done so far."""

    until: float
    repositories: int = 0
    links: int = 0
    records: int = 0
    released: int = 0
    """Bytes of these records."""
    objects: int = 0
    freed: int = 0
    left: list[GarbageFinding] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    healed: int = 0
    lost: list[str] = field(default_factory=list)
    errors: int = 0
    began_at: float | None = None
    all_recorded: bool = True
    """False once the pass found a link that no record counts, or could not exclude that."""

    def report(self, *, finished: bool) -> CollectReport:
        return CollectReport(
            repositories=self.repositories,
            links=self.links,
            records=self.records,
            objects=self.objects,
            freed=self.freed,
            left=tuple(self.left),
            skipped=dict(self.skipped),
            healed=self.healed,
            lost=tuple(self.lost),
            errors=self.errors,
            finished=finished,
            began_at=self.began_at,
        )

    def dropped(self, records: Sequence[Record]) -> None:
        self.records += len(records)
        self.released += sum(record.size for record in records)

    def deleted(self, objects: Sequence[Garbage | ListedObject]) -> None:
        self.objects += len(objects)
        self.freed += sum(each.size for each in objects)

    def lose(self, what: str) -> None:
        _log.error("lost: %s", what)
        self.lost.append(what)


class Collector:
    """Collects garbage. `noted` gets the facts of each repository that a walk has judged."""

    def __init__(
        self,
        ports: Ports,
        limits: Limits,
        noted: Callable[[RepositoryFacts], None] = lambda _: None,
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._metadata = ports.metadata
        self._noted = noted
        self._links = Links(ports)
        self._records = Records(ports, limits)
        self._strays = Strays(ports, limits)

    # runs

    def run(self, until: float, *, only: Iterable[GarbageFinding] | None = None) -> CollectReport:
        """Continue the pass, or begin one if it is due, until done or `until` (epoch seconds).

        `only`: delete what these findings of a preview name, and nothing else, but for what was
        used meanwhile. What fails is counted, and the next pass tries it again.
        """
        if only is None:
            return self._guarded(until, lambda run: self._go_on(run, anew=False))
        findings = list(only)
        return self._guarded(until, lambda run: self._delete_listed(findings, run))

    def pass_now(self, until: float) -> CollectReport:
        """Begin a pass, whatever is under way, which lists the bucket too; see `run`."""
        return self._guarded(until, lambda run: self._go_on(run, anew=True))

    def state(self) -> CollectorState | None:
        """Return how far the pass is, as a run saves it now and then; None before the first one.

        Raises UnavailableError.
        """
        return self._metadata.collector_state()

    def _guarded(self, until: float, work: Callable[[_Run], bool]) -> CollectReport:
        run, finished = _Run(until), False
        try:
            finished = work(run)
        except CollectorMovedError:
            _log.info("another collector goes on: this one stops")
        except RegistryError as error:
            run.errors += 1
            _log.warning("the collector stops: %s", error.__cause__ or error.message)
        return run.report(finished=finished)

    @contextmanager
    def _surviving(self, what: str, run: _Run) -> Iterator[None]:
        """Count an error: it must not keep the rest from being done."""
        try:
            yield
        except RegistryError as error:
            run.errors += 1
            _log.warning("%s failed: %s", what, error.__cause__ or error.message)
        except Exception:  # noqa: BLE001 - see the docstring; the log has the traceback
            run.errors += 1
            _log.exception("%s failed", what)

    def _is_over(self, run: _Run) -> bool:
        return self._ports.clock.now() >= run.until

    def _day(self, *, asks_all: bool) -> Day:
        now = self._ports.clock.now()
        return Day(now, now - self._limits.link_grace, asks_all)

    # a pass

    def _go_on(self, run: _Run, *, anew: bool) -> bool:
        """Continue the pass; `anew`: begin a new one. True if nothing is left to do now."""
        stored = self._metadata.collector_state()
        state = stored or CollectorState("")
        if anew:
            state = replace(state, listed_at=None)
        if anew or self._is_due(state):
            state = self._begun(state, stored)
        self._empty(run)
        if state.phase is CollectorPhase.WALK:
            state = self._walk(state, run)
            # Before the listing, which would take the same objects for strays, and count them too.
            self._empty(run)
        if state.phase is CollectorPhase.LIST:
            state = self._list(state, run)
        over = state.phase is CollectorPhase.IDLE
        run.began_at = None if over else state.began_at
        return over and not self._is_over(run)

    def _is_due(self, state: CollectorState) -> bool:
        now, began = self._ports.clock.now(), state.began_at or 0.0
        return state.phase is CollectorPhase.IDLE and began + self._limits.collect_every <= now

    def _begun(self, state: CollectorState, stored: CollectorState | None) -> CollectorState:
        now, listed = self._ports.clock.now(), state.listed_at
        begun = CollectorState(
            state.version,
            CollectorPhase.WALK,
            began_at=now,
            finished_at=state.finished_at,
            listed_at=state.listed_at,
            lists=True if listed is None or listed + self._limits.list_every <= now else None,
        )
        return self._metadata.save_collector_state(stored, begun)

    def _after_walk(self, state: CollectorState) -> CollectorState:
        """Return what follows the walk: the listing, if it is time for one, or the end.

        A link whose record is lost can still be pulled: its own key names the object, which a
        listing would take for a stray. So there is none before all links have their records.
        """
        if state.lists:
            return replace(state, phase=CollectorPhase.LIST, place=None)
        if state.lists is not None:
            _log.error("the bucket is not listed: %s", _UNRECORDED)
        return self._over(state)

    def _over(self, state: CollectorState) -> CollectorState:
        now = self._ports.clock.now()
        return replace(state, phase=CollectorPhase.IDLE, place=None, finished_at=now, lists=None)

    def _empty(self, run: _Run) -> None:
        with self._surviving("deleting garbage", run):
            run.deleted(self._records.empty(run.until))

    # the walk

    def _walk(self, base: CollectorState, run: _Run) -> CollectorState:
        """Walk on through all rows; returns the state as it is saved at the end, or in time."""
        state, place, saved_at = base, base.place, self._ports.clock.now()
        records: list[Record] = []
        emptied = 0

        def so_far() -> CollectorState:
            return replace(
                base,
                place=place,
                repositories=base.repositories + run.repositories,
                links=base.links + run.links,
                records=base.records + run.records,
                freed=base.freed + run.released,
                lists=base.lists and run.all_recorded,
            )

        day = self._day(asks_all=base.lists is not None)
        for found in homes_and_rows(self._metadata.scan(place), day):
            if isinstance(found, SeenHome):
                if not self._judge(found, run):
                    break
            else:
                records += self._to_judge(found, day, run)
            place, now = found.place, self._ports.clock.now()
            is_over = now >= run.until
            if len(records) >= BATCH_KEYS or is_over or now - saved_at >= _SAVE_AFTER:
                self._judge_records(records, run)
                records.clear()
            if run.records - emptied >= S3_KEYS:
                self._empty(run)
                emptied = run.records
            if is_over:
                break
            if now - saved_at >= _SAVE_AFTER:
                state, saved_at = self._metadata.save_collector_state(state, so_far()), now
        else:
            self._judge_records(records, run)
            return self._metadata.save_collector_state(state, self._after_walk(so_far()))
        self._judge_records(records, run)
        return self._metadata.save_collector_state(state, so_far())

    def _judge(self, seen: SeenHome, run: _Run) -> bool:
        """Sweep a home's links that nothing names; False if there was no time for all of them."""
        waste = None
        with self._surviving(f"collecting {seen.home}", run):
            try:
                old = self._unnamed(seen)
                waste = sum(link.size for link in old)
                for batch in _batches(old, _BATCH):
                    if self._is_over(run):
                        return False
                    swept = self._sweep(seen.home, batch, run)
                    run.dropped(self._records.drop_released([link.digest for link in swept]))
            except UnknownReferencesError as error:
                run.skipped[seen.home] = str(error)
                _log.warning("nothing of %s is collected: %s", seen.home, error)
        self._look_for_records(seen, run)
        if owner_of_bodies(seen.home) is None:
            run.repositories += 1
            with self._surviving(f"noting what {seen.home} is", run):
                self._noted(seen.facts(waste))
        return True

    def _unnamed(self, seen: SeenHome) -> list[Link]:
        """Return the old links that no manifest names, as far as the walk has seen.

        Raises UnknownReferencesError.
        """
        if seen.damaged is not None:
            raise UnknownReferencesError(seen.damaged)
        owner = owner_of_bodies(seen.home)
        if owner is not None:
            return self._links.without_manifest(owner, list(seen.old.values()))
        for manifest in seen.unread if seen.old else ():
            for digest in self._links.named_by(manifest):
                seen.name(digest)
        return list(seen.old.values())

    def _sweep(self, home: str, links: Sequence[Link], run: _Run) -> Sequence[Link]:
        """Sweep links of one home; returns those that are gone and were counted."""
        became = self._links.sweep(home, links)
        for link in became.uncounted:
            _log.warning("%s linked to %s, which no record counts", home, link.digest)
        run.healed += len(became.uncounted)
        run.links += len(became.swept) + len(became.uncounted)
        run.left += [_of_link(link, _USED) for link in became.used]
        return became.swept

    def _look_for_records(self, seen: SeenHome, run: _Run) -> None:
        """Count links that stay and have another record than their own; report those without one.

        Of a thirtieth each day, of all at times. What a listing finds after a link was counted, no
        preview has said: the next pass lists.
        """
        are_recorded = False
        with self._surviving(f"looking for the records of {seen.home}", run):
            found = self._links.uncounted(seen.home, seen.to_check)
            for link, record in found:
                if record is None:
                    lost = f"{seen.home} links to {link.digest}, which has no record"
                    run.lose(f"{lost}: push it again")
                elif self._links.count(link, record):
                    _log.warning("%s links to %s: counted now", seen.home, link.digest)
                    run.healed += 1
                else:
                    _log.warning("%s links to %s: not counted yet", seen.home, link.digest)
            # A row that can't be read may be such a link.
            are_recorded = not found and seen.damaged is None
        run.all_recorded = run.all_recorded and are_recorded

    def _to_judge(self, row: ScannedRow, day: Day, run: _Run) -> list[Record]:
        """Return a row's record if there is anything to do about it now."""
        if isinstance(row.value, Damaged):
            run.errors += 1
            _log.error("a row can't be read: %s", row.value.why)
        if not isinstance(row.value, Record):
            return []
        record = row.value
        if record.links > 0:
            return [record] if day.has_turn(record.digest) else []
        unknown = record.released_at is None
        return [record] if unknown or self._records.is_over(record, day.now) else []

    def _judge_records(self, records: Sequence[Record], run: _Run) -> None:
        """Delete records without links that are over; look whether the others have objects."""
        with self._surviving(f"judging {len(records)} records", run):
            run.dropped(self._records.drop([each for each in records if each.links <= 0]))
            linked = [each for each in records if each.links > 0]
            for record in self._records.lost(linked):
                run.lose(f"{record.digest} is linked, and its object {record.key} is gone")

    # the listing

    def _list(self, state: CollectorState, run: _Run) -> CollectorState:
        """Look for strays in the whole bucket, page by page; returns the state as it is saved."""
        for first, last in _RANGES:
            after = max(first, state.place or first)
            more = after < last
            while more:
                if self._is_over(run):
                    return state
                look = self._strays.look(after, last)
                self._ports.objects.delete([stray.key for stray in look.strays])
                run.deleted(look.strays)
                after, more = look.after, look.more
                state = self._metadata.save_collector_state(state, replace(state, place=after))
        over = self._over(state)
        over = replace(over, listed_at=state.began_at or over.finished_at)
        return self._metadata.save_collector_state(state, over)

    # a list

    def preview(self) -> Iterator[GarbageFinding]:
        """Find what a pass would delete now, and write nothing.

        Each finding comes when it is found. A skipped repository is a finding, too.
        """
        going: Counter[tuple[Digest, str | None]] = Counter()
        used: dict[Digest, float] = {}
        all_recorded = True
        day = self._day(asks_all=True)
        for found in homes_and_rows(self._metadata.scan(None), day):
            if not isinstance(found, SeenHome):
                yield from self._found(found, day.now)
                continue
            old: list[Link] = []
            try:
                old = self._unnamed(found)
            except UnknownReferencesError as error:
                yield GarbageFinding(FindingKind.SKIPPED, found.home, None, None, 0, str(error))
            uncounted = {
                link.digest for link, _ in self._links.uncounted(found.home, found.to_check)
            }
            if found.damaged is not None or uncounted - {link.digest for link in old}:
                all_recorded = False
            for link in old:
                going[link.digest, link.count_id] += 1
                used[link.digest] = max(link.touched_at, used.get(link.digest, 0.0))
                reason = "no manifest names it, and nobody has relied on it of late"
                yield _of_link(link, reason)
        for digests in _batches(list(used), BATCH_KEYS):
            for digest, record in self._metadata.get_records(digests).items():
                at = max(used[digest], record.released_at or 0.0)
                counted = record.links - going[digest, record.count_id]
                after = replace(record, links=counted, released_at=at)
                if self._records.is_over(after, day.now):
                    yield _of_record(record, "all repositories that link to it lose their links")
        if all_recorded:
            yield from self._found_strays()
        else:
            yield GarbageFinding(FindingKind.SKIPPED, None, None, None, 0, _UNRECORDED)

    def _found(self, row: ScannedRow, now: float) -> Iterator[GarbageFinding]:
        match row.value:
            case Record() as record if self._records.is_over(record, now):
                yield _of_record(record, "no repository links to it")
            case Garbage(key, digest, size):
                reason = "its record is gone already"
                yield GarbageFinding(FindingKind.GARBAGE, None, digest, key, size, reason)

    def _found_strays(self) -> Iterator[GarbageFinding]:
        reason = "no record names it, and nobody can publish it any more"
        for after, last in _RANGES:
            more = after < last
            while more:
                strays, after, more = self._strays.look(after, last, end=False)  # noqa: PLW2901 - the next page
                for stray in strays:
                    yield GarbageFinding(
                        FindingKind.STRAY, None, None, stray.key, stray.size, reason
                    )

    def _delete_listed(self, findings: Sequence[GarbageFinding], run: _Run) -> bool:
        """Delete what is listed, and nothing else; True if there was time for all of it."""
        of_kind = {kind: [each for each in findings if each.kind is kind] for kind in FindingKind}
        links = sorted(of_kind[FindingKind.LINK], key=lambda each: each.repository or "")
        for home, of_home in groupby(links, key=lambda each: each.repository or ""):
            for batch in _batches(list(of_home), _BATCH):
                if self._is_over(run):
                    return False
                with self._surviving(f"collecting {home}", run):
                    self._sweep_listed(home, batch, run)
        if run.errors:
            return False  # what those links keep would be said to be in use
        strays = of_kind[FindingKind.STRAY]
        if strays and not self._look_for_all_records(run):
            if self._is_over(run) or run.errors:
                return False
            run.left += [replace(each, reason=_UNRECORDED) for each in strays]
            strays = []
        work = (
            (self._drop_listed, of_kind[FindingKind.BLOB]),
            (self._delete_garbage, of_kind[FindingKind.GARBAGE]),
            (self._delete_strays, strays),
        )
        for delete, listed in work:
            for batch in _batches(listed, S3_KEYS):
                if self._is_over(run):
                    return False
                with self._surviving(f"deleting {len(batch)} objects", run):
                    delete(batch, run)
        return not run.errors

    def _look_for_all_records(self, run: _Run) -> bool:
        """Whether all links have their records; False, too, if there was no time to ask."""
        rows = self._metadata.scan(None)
        for found in homes_and_rows(rows, self._day(asks_all=True)):
            if self._is_over(run):
                return False
            if isinstance(found, SeenHome):
                self._look_for_records(found, run)
        return run.all_recorded

    def _sweep_listed(self, home: str, findings: Sequence[GarbageFinding], run: _Run) -> None:
        digests = [each.digest for each in findings if each.digest is not None]
        links = self._metadata.get_links(home, digests).values()
        before = self._day(asks_all=False).before
        run.left += [_of_link(link, _USED) for link in links if link.touched_at > before]
        try:
            self._sweep(home, [link for link in links if link.touched_at <= before], run)
        except UnknownReferencesError as error:
            run.skipped[home] = str(error)

    def _drop_listed(self, findings: Sequence[GarbageFinding], run: _Run) -> None:
        """Delete records that are listed, and the objects of those that are gone, by now or long.

        A run that died may have deleted the record of one, and not its object.
        """
        listed = {each.digest: each for each in findings if each.digest is not None}
        records = self._metadata.get_records(list(listed))
        same = [each for each in records.values() if each.key == listed[each.digest].key]
        dropped = self._records.drop(same)
        run.dropped(dropped)
        kept = records.keys() - {record.digest for record in dropped}
        run.left += [replace(listed[digest], reason=_USED) for digest in kept]
        self._delete_garbage([each for each in findings if each.digest not in kept], run)

    def _delete_garbage(self, findings: Sequence[GarbageFinding], run: _Run) -> None:
        """Delete what is listed and has a row of garbage: a list may say anything."""
        listed = [each.key for each in findings if each.key is not None]
        run.deleted(self._records.delete(self._metadata.get_garbage(listed)))

    def _delete_strays(self, findings: Sequence[GarbageFinding], run: _Run) -> None:
        listed = [ListedObject(each.key, each.size) for each in findings if each.key is not None]
        strays = self._strays.among(listed)
        self._ports.objects.delete([stray.key for stray in strays])
        run.deleted(strays)
        gone = {stray.key for stray in strays}
        run.left += [replace(each, reason=_USED) for each in findings if each.key not in gone]


def _of_link(link: Link, reason: str) -> GarbageFinding:
    return GarbageFinding(FindingKind.LINK, link.repository, link.digest, None, link.size, reason)


def _of_record(record: Record, reason: str) -> GarbageFinding:
    return GarbageFinding(FindingKind.BLOB, None, record.digest, record.key, record.size, reason)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
