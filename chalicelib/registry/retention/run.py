"""Retention: previews what the rules in force, or a draft, decide; and runs that delete images.

A run first marks the images that are to go. Then it reads and judges the repository again, so that
a push that began meanwhile is either seen or removes the mark. Each deletion requires the marks.
Roots are deleted before the other members of their units. This module must never delete an image
that was used after it was judged, and deletes only into the trash.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.limits import BATCH_KEYS
from chalicelib.registry.manifests.reading import Manifests
from chalicelib.registry.manifests.removal import Removals
from chalicelib.registry.model import Manifest, ManifestState, RetentionState
from chalicelib.registry.outcomes import ManifestMovedError
from chalicelib.registry.ports import MetadataStore
from chalicelib.registry.retention.judging import (
    Facts,
    Judgement,
    Mark,
    Stopped,
    Times,
    judge,
)
from chalicelib.registry.retention.reading import read_facts
from chalicelib.registry.retention.units import Unit
from chalicelib.registry.service import Limits, Ports
from chalicelib.rules.document import Rules, parse_rules, rules_in_force
from chalicelib.rules.reading import RulesInvalidError

_log = logging.getLogger("moorage.retention")

_ROUND = 100
"""Most units that are marked, judged again and removed together."""

_NAMES = 1000
_CHECKED = 99
"""Most manifests that a deletion is conditional on beside its own: a transaction has 100."""


@dataclass(frozen=True)
class Preview:
    """The judgement of a repository, and all facts that it is based on.

    `bytes_freed` are those of blobs that nothing names but what goes, in no other repository.
    """

    judgement: Judgement
    facts: Facts
    bytes_freed: int | None = None


@dataclass
class RetentionReport:
    """What one run did.

    `repositories` it has looked at, `images` (units) and `manifests` it has moved to the trash;
    `used_meanwhile` are images that were to go and stayed, `unknown` those that can't be judged.
    `stopped` says by repository why nothing went there. `finished`: the pass is at its end, or none
    was due.
    """

    repositories: int = 0
    images: int = 0
    manifests: int = 0
    used_meanwhile: int = 0
    unknown: int = 0
    stopped: dict[str, Stopped] = field(default_factory=dict)
    errors: int = 0
    finished: bool = False

    def count(self, manifest: Manifest) -> None:
        """Count a manifest that is in the trash now; an image's root counts as an image, too."""
        self.manifests += 1
        self.images += Mark.parse(manifest.mark or "").is_root


def hold(
    metadata: MetadataStore, repository: str, digests: Sequence[Digest]
) -> Mapping[Digest, Manifest]:
    """Take marks away from what is in use by a lease that was written before; returns what is live.

    Either a run has read that lease after it marked, or the mark is found here: so what is live
    now stays.
    """
    live: dict[Digest, Manifest] = {}
    waiting = list(digests)
    while waiting:
        found = metadata.get_manifests(repository, waiting)
        waiting = []
        for digest, manifest in found.items():
            if manifest.state is not ManifestState.LIVE:
                continue
            live[digest] = manifest
            if manifest.mark is not None:
                try:
                    metadata.unmark_manifest(manifest)
                except ManifestMovedError:
                    del live[digest]
                    waiting.append(digest)
    return live


class _RulesChangedError(Exception):
    """Other rules are in force than those by which the pass goes."""


class Retention:
    """The retention of all repositories."""

    def __init__(
        self, ports: Ports, limits: Limits, manifests: Manifests, removals: Removals
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._manifests = manifests
        self._removals = removals
        self._times = Times(limits.retention_day, limits.pull_note)

    def rules(self) -> Rules:
        """Read the rules in force; raises UnavailableError for those of a later version."""
        return rules_in_force(self._ports.metadata.get_rules())

    def knows(self, repository: str) -> bool:
        """Whether the catalog has a repository."""
        return self._ports.metadata.has_repository(repository)

    def preview(
        self, repository: str, rules: Rules, *, most: int | None = None, sizes: bool = False
    ) -> Preview:
        """Say what these rules decide for each image of a repository; nothing is written.

        Raises TooManyError for more than `most` manifests or tags. Only with `sizes` it is looked
        up how many bytes would be freed.
        """
        facts = read_facts(self._ports, self._manifests, repository, most)
        judgement = judge(rules, facts, self._ports.clock.now(), self._times)
        return Preview(judgement, facts, self._freed(judgement, facts) if sizes else None)

    def repositories(self) -> Iterator[str]:
        """All repositories of the catalog, read page by page."""
        return self._names("")

    def run(self, until: float, *, anew: bool = False) -> RetentionReport:
        """Continue the current pass, until done or `until` (epoch seconds).

        A new one begins a day after the last one did, at once when the rules have changed, or
        `anew`. Raises UnavailableError when rules, state or catalog can't be read.
        """
        report = RetentionReport()
        while True:
            text = self._ports.metadata.get_rules()
            try:
                rules = parse_rules(text)
            except RulesInvalidError:
                _log.exception("the rules can't be read: nothing is removed")
                report.errors += 1
                return report
            begun = self._begun(text, anew=anew) if rules.retention else None
            if begun is None:
                report.finished = True
                return report
            anew = False
            try:
                self._pass(_Pass(begun, text, rules, until, report))
            except _RulesChangedError:
                continue
            return report

    def _begun(self, text: str, *, anew: bool) -> RetentionState | None:
        """Return the pass to continue, or a new one; None if none is due, or another run has it."""
        metadata, now = self._ports.metadata, self._ports.clock.now()
        state, rules = metadata.retention_state(), hashlib.sha256(text.encode()).hexdigest()
        if state is not None and state.rules == rules and not anew:
            if state.finished_at is None:
                return state
            if now - state.began_at < self._limits.retention_every:
                return None
        new = RetentionState(now, rules, "", None, self._ports.clock.new_id())
        return new if metadata.put_retention_state(state, new) else None

    def _pass(self, going: "_Pass") -> None:
        names = self._names(going.state.after)
        for name in names:
            if self._ports.clock.now() >= going.until:
                return
            if not any(rule.is_for(name) for rule in going.rules.retention):
                continue
            try:
                done = self._repository(name, going)
            except RegistryError as error:
                # The next pass looks at it again; none of the others waits for it.
                _log.warning("retention of %s failed: %s", name, error.message)
                going.report.errors += 1
                done = True
            if not done or not self._put(going, after=name):
                return
            going.report.repositories += 1
        if self._put(going, finished_at=self._ports.clock.now()):
            going.report.finished = True

    def _put(self, going: "_Pass", **changes: str | float) -> bool:
        """Write how far the pass is; False if another run is at it."""
        new = replace(going.state, version=self._ports.clock.new_id(), **changes)  # type: ignore[arg-type]
        if not self._ports.metadata.put_retention_state(going.state, new):
            return False
        going.state = new
        return True

    def _names(self, after: str) -> Iterator[str]:
        more = True
        while more:
            page = self._ports.metadata.list_repositories(after or None, _NAMES)
            yield from (row.name for row in page.items)
            more = page.more
            after = page.items[-1].name if page.items else after

    def _repository(self, name: str, going: "_Pass") -> bool:
        """Remove what goes of one repository, in rounds; False if time ran out before the end."""
        tried: set[Digest] = set()
        judged, facts = self._judged(name, going)
        going.report.unknown += judged.unknown
        while True:
            if judged.stopped:
                going.report.stopped[name] = judged.stopped
                _log.warning("nothing of %s is removed: %s", name, judged.stopped.text)
            units = [unit for unit in judged.going if unit.root not in tried][:_ROUND]
            if not units:
                return True
            tried.update(unit.root for unit in units)
            marked = self._marked(units, judged, facts)
            # The next round goes by what this one reads: what was used since can't be marked.
            judged, facts = self._judged(name, going)
            if not self._round(units, marked, judged, going):
                return False

    def _judged(self, name: str, going: "_Pass") -> tuple[Judgement, Facts]:
        if self._ports.metadata.get_rules() != going.text:
            raise _RulesChangedError
        facts = read_facts(self._ports, self._manifests, name)
        now = self._ports.clock.now()
        return judge(going.rules, facts, now, self._times), facts

    def _round(
        self,
        units: Sequence[Unit],
        marked: Mapping[Digest, Manifest],
        judged: Judgement,
        going: "_Pass",
    ) -> bool:
        """Remove some units, but for what was used since; False if time runs out."""
        still = {unit.root: unit for unit in judged.going}
        gone: set[Digest] = set()
        in_time = True
        for unit in units:
            in_time = in_time and self._ports.clock.now() < going.until
            again = still.get(unit.root)
            if in_time and again and self._retired(again, marked, judged):
                gone.add(unit.root)
                going.report.count(marked[unit.root])
            else:
                going.report.used_meanwhile += in_time
        staying: set[Digest] = set()
        for digest in judged.units.order:
            if digest in gone:
                continue
            in_time = in_time and self._ports.clock.now() < going.until
            goes = in_time and digest not in staying and judged.goes(digest) and digest in marked
            # A root that is still here was used meanwhile; of any other one no owner is left.
            if goes and digest not in still and self._removed(marked[digest], []):
                gone.add(digest)
                going.report.count(marked[digest])
            else:
                staying |= {digest, *judged.units.owned[digest]}
        if in_time:
            self._unmark([each for digest, each in marked.items() if digest in staying])
        return in_time

    def _marked(
        self, units: Sequence[Unit], judged: Judgement, facts: Facts
    ) -> Mapping[Digest, Manifest]:
        """Mark what goes of some units; returns what has a mark now."""
        nonce, now = self._ports.clock.new_id(), self._ports.clock.now()
        marked: dict[Digest, Manifest] = {}
        for unit in units:
            for digest in filter(judged.goes, unit.members):
                decision, manifest = judged.decisions[digest], facts.manifests[digest]
                # What is left over from a run that was stopped stays known as such.
                is_root = digest == unit.root and decision.brake is not None
                mark = Mark(nonce, now, is_root, decision.by or "").text
                if digest not in marked and self._ports.metadata.mark_manifest(manifest, mark):
                    marked[digest] = replace(manifest, mark=mark)
        return marked

    def _retired(self, unit: Unit, marked: Mapping[Digest, Manifest], judged: Judgement) -> bool:
        """Remove a unit's root, if all that goes with it is marked still."""
        going = [digest for digest in unit.members if judged.goes(digest)]
        # What was pushed to it, or used, in between has no mark.
        if not marked.keys() >= set(going):
            return False
        return self._removed(marked[unit.root], [marked[digest] for digest in going[1:]])

    def _removed(self, manifest: Manifest, others: Sequence[Manifest]) -> bool:
        """Remove a manifest, if it and all of these still have their marks; else False."""
        rule = Mark.parse(manifest.mark or "").rule
        try:
            self._require_marked(others[_CHECKED:])
            self._removals.retire(manifest, others[:_CHECKED], f"retention:{rule}")
        except ManifestMovedError:
            return False
        return True

    def _require_marked(self, others: Sequence[Manifest]) -> None:
        """Read those that a transaction has no room for."""
        for start in range(0, len(others), BATCH_KEYS):
            batch = others[start : start + BATCH_KEYS]
            digests = [each.digest for each in batch]
            found = self._ports.metadata.get_manifests(batch[0].repository, digests)
            for each in batch:
                seen = found.get(each.digest)
                if seen is None or (seen.state, seen.mark) != (ManifestState.LIVE, each.mark):
                    raise ManifestMovedError

    def _unmark(self, manifests: Sequence[Manifest]) -> None:
        for manifest in manifests:
            try:
                self._ports.metadata.unmark_manifest(manifest)
            except ManifestMovedError:
                continue

    def _freed(self, judgement: Judgement, facts: Facts) -> int | None:
        """Add up the blobs that only what goes names; None if an item doesn't say what it names."""
        going: set[Digest] = set()
        staying: set[Digest] = set()
        for digest, manifest in facts.manifests.items():
            if manifest.state not in {ManifestState.LIVE, ManifestState.PENDING}:
                continue
            if manifest.references is None:
                return None
            named = going if judgement.goes(digest) else staying
            named.update(manifest.references)
        records = self._ports.metadata.get_records(sorted(going - staying, key=str))
        return sum(record.size for record in records.values() if record.links <= 1)


@dataclass
class _Pass:
    """A pass that a run is at, by which rules, and until when."""

    state: RetentionState
    text: str
    rules: Rules
    until: float
    report: RetentionReport
