"""Decides by the retention rules which images of a repository stay and which go, and why.

Keeping always wins, an image goes only if each of its tags goes, and an image that can't be judged
stays. This module must never do I/O, nor guess a fact that nobody noted.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest
from chalicelib.registry.model import InUse, Manifest, ManifestState
from chalicelib.registry.retention.units import TangledError, Unit, Units, units_of
from chalicelib.rules.document import Rules
from chalicelib.rules.retention import RetentionRule

MARK_LIFE = 7 * 24 * 3600.0
"""How long a mark says that what a manifest belongs to went, in seconds."""

_ROOT, _MEMBER = "root", "member"


@dataclass(frozen=True)
class Facts:
    """All that is known of a repository.

    `children` has the manifests that each index names; `unreadable` is an index of which that is
    not known, None if there is no such.
    """

    repository: str
    manifests: Mapping[Digest, Manifest]
    children: Mapping[Digest, Sequence[Digest]]
    tags: Mapping[str, Digest]
    in_use: Sequence[InUse] = ()
    unreadable: Digest | None = None


class Times(NamedTuple):
    """The length of a rule's day, and how much later than noted a pull may have been, in seconds.

    A pull is noted once in that time.
    """

    day: float
    pull_note: float


class RetentionReason(StrEnum):
    """Why an image stays; or, the last, why it goes."""

    PUSHING = "being-pushed"
    """A push that it belongs to, or that belongs to it, is under way."""
    IN_USE = "in-use"
    """A source says that it runs somewhere."""
    IMMUTABLE = "immutable"
    """One of its tags may not move, and so it stays."""
    KEPT = "kept"
    """A rule keeps it."""
    NO_RULE = "no-rule"
    """No rule says that it goes, or none says so of one of its tags."""
    UNKNOWN = "unknown"
    """When it was pulled last is not known."""
    YOUNG = "young"
    """It is not old enough for the rules by which it will go."""
    EXPIRED = "expired"
    """It goes."""


class RetentionDecision(NamedTuple):
    """The decision about a manifest, with its rule or source, and the tag that led to it.

    `root` names the unit for which that was decided. `due` is when a young one goes, if nobody
    uses it until then. `brake` is that of the rules by which it goes.
    """

    reason: RetentionReason
    root: Digest
    by: str | None = None
    tag: str | None = None
    due: float | None = None
    brake: int | None = None

    @property
    def goes(self) -> bool:
        """Whether it goes."""
        return self.reason is RetentionReason.EXPIRED


class Stop(StrEnum):
    """Why nothing of a repository goes, whatever its rules say."""

    OVERDUE = "overdue"
    """A source of what is in use has not been read in time."""
    BRAKE = "brake"
    """Too many images would go."""
    UNREADABLE = "unreadable"
    """What an index names can't be read, so that nobody knows what belongs to it."""
    TANGLED = "tangled"
    """Too much belongs to too much."""


class Stopped(NamedTuple):
    """Why nothing goes, with words for a person."""

    why: Stop
    text: str


@dataclass(frozen=True)
class Judgement:
    """The decisions about a repository's live manifests.

    `expired` are the units that go, those first that were pushed first; `images` counts all that
    are live. With `stopped`, none of them does.
    """

    repository: str
    decisions: Mapping[Digest, RetentionDecision]
    expired: Sequence[Unit]
    images: int
    units: Units
    stopped: Stopped | None = None

    @property
    def going(self) -> Sequence[Unit]:
        """The units that a run removes."""
        return () if self.stopped else self.expired

    @property
    def unknown(self) -> int:
        """How many images stay since nobody noted when they were pulled last."""
        found = (self.decisions.get(unit.root) for unit in self.units.units)
        return sum(each is not None and each.reason is RetentionReason.UNKNOWN for each in found)

    def goes(self, digest: Digest) -> bool:
        """Whether a run removes a manifest."""
        return self.stopped is None and digest in self.decisions and self.decisions[digest].goes


@dataclass(frozen=True)
class Mark:
    """What a run writes to a manifest that is to go; a use removes the mark.

    `nonce` is fresh in each round. So a member of a unit that still has its mark when nothing that
    it belonged to is left was to go with that, by this rule, and a run was stopped half-way.
    """

    nonce: str
    at: float
    is_root: bool
    rule: str

    @property
    def text(self) -> str:
        """The mark as it is stored."""
        return f"{self.nonce} {self.at:.0f} {_ROOT if self.is_root else _MEMBER} {self.rule}"

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Read a mark that `text` wrote."""
        nonce, at, kind, rule = text.split(" ", 3)
        return cls(nonce, float(at), kind == _ROOT, rule)


def judge(rules: Rules, facts: Facts, now: float, times: Times) -> Judgement:
    """Decide for each live manifest of a repository whether it goes, and why."""
    own = [rule for rule in rules.retention if rule.is_for(facts.repository)]
    try:
        units = units_of(facts.manifests, facts.children, facts.tags)
    except TangledError:
        stopped = Stopped(Stop.TANGLED, "its manifests share more than can be looked at")
        return Judgement(facts.repository, {}, (), 0, Units((), (), {}), stopped)
    bench = _Bench(rules, own, facts, now, times, units.units)
    decided = [(unit, bench.decide(unit)) for unit in units.units]
    decisions: dict[Digest, RetentionDecision] = {}
    for unit, decision in decided:
        for digest in unit.members:
            # What stays in one of its units stays.
            if digest not in decisions or (decisions[digest].goes and not decision.goes):
                decisions[digest] = decision
    live = {d for d, each in facts.manifests.items() if each.state is ManifestState.LIVE}
    expired = [(unit, decision) for unit, decision in decided if decision.goes]
    expired.sort(key=lambda each: (facts.manifests[each[0].root].pushed_at, str(each[0].root)))
    images = sum(unit.root in live for unit in units.units)
    return Judgement(
        facts.repository,
        {digest: decisions[digest] for digest in sorted(decisions, key=str) if digest in live},
        [unit for unit, _ in expired],
        images,
        units,
        _overdue(facts, now) or _unreadable(facts) or _braked([d for _, d in expired], images),
    )


def _overdue(facts: Facts, now: float) -> Stopped | None:
    late = sorted(lease.source for lease in facts.in_use if lease.until < now)
    if not late:
        return None
    text = f"source {late[0]!r} of what is in use was not refreshed in time: nobody knows what runs"
    return Stopped(Stop.OVERDUE, text)


def _unreadable(facts: Facts) -> Stopped | None:
    if facts.unreadable is None:
        return None
    return Stopped(Stop.UNREADABLE, f"what index {facts.unreadable} names can't be read now")


def _braked(expired: Sequence[RetentionDecision], images: int) -> Stopped | None:
    """Compare how many would go with each brake, counting those by rules of a stricter one too."""
    for brake in sorted({each.brake for each in expired if each.brake is not None}):
        count = sum(each.brake is not None and each.brake <= brake for each in expired)
        if count * 100 > brake * images:
            text = f"{count} of {images} images would go, which is more than the brake of {brake} %"
            return Stopped(Stop.BRAKE, text)
    return None


class _Bench:
    """The rules of one repository, with what they need to know of all its units."""

    def __init__(  # noqa: PLR0913 - what a judgement needs
        self,
        rules: Rules,
        own: Sequence[RetentionRule],
        facts: Facts,
        now: float,
        times: Times,
        units: Sequence[Unit],
    ) -> None:
        self._rules = rules
        self._facts = facts
        self._now = now
        self._times = times
        # By name, so that no reason depends on the order of the document.
        by_name = sorted(own, key=lambda rule: rule.name)
        self._keeping = [rule for rule in by_name if rule.keeps]
        self._expiring = [rule for rule in by_name if not rule.keeps]
        self._first_kept = {
            rule.name: self._rank(rule, units)
            for rule in self._keeping
            if rule.keep_last is not None
        }
        self._used = {digest: lease for lease in facts.in_use for digest in lease.digests}

    def decide(self, unit: Unit) -> RetentionDecision:
        """Decide for a unit."""
        return self._held(unit) or self._kept(unit) or self._left_over(unit) or self._aged(unit)

    def _held(self, unit: Unit) -> RetentionDecision | None:
        """Return why it stays whatever the rules of retention say."""
        manifests = self._facts.manifests
        if any(manifests[digest].state is ManifestState.PENDING for digest in unit.members):
            return RetentionDecision(RetentionReason.PUSHING, unit.root)
        lease = next((self._used[each] for each in unit.members if each in self._used), None)
        if lease is not None:
            return RetentionDecision(RetentionReason.IN_USE, unit.root, lease.source)
        for tag in unit.tags:
            rule = self._rules.holding(self._facts.repository, tag)
            if rule is not None:
                return RetentionDecision(RetentionReason.IMMUTABLE, unit.root, rule, tag)
        return None

    def _kept(self, unit: Unit) -> RetentionDecision | None:
        """Return by which rule it is kept."""
        for rule in self._keeping:
            first = self._first_kept.get(rule.name)
            if first is not None and self._pushed(unit) < first:
                continue
            for tag in unit.tags or (None,):
                if _is_of(rule, tag):
                    return RetentionDecision(RetentionReason.KEPT, unit.root, rule.name, tag)
        return None

    def _left_over(self, unit: Unit) -> RetentionDecision | None:
        """Return the rule by which it follows its deleted root, after a run that was stopped."""
        text = self._facts.manifests[unit.root].mark
        mark = None if text is None else Mark.parse(text)
        if mark is None or mark.is_root or mark.at + MARK_LIFE < self._now:
            return None
        if all(rule.name != mark.rule for rule in self._expiring):
            return None
        return RetentionDecision(RetentionReason.EXPIRED, unit.root, mark.rule)

    def _aged(self, unit: Unit) -> RetentionDecision:
        """Decide by its age, for each of its tags; for None where it has none."""
        found = [self._of_tag(unit, tag) for tag in unit.tags or (None,)]
        staying = [each for each in found if not each.goes]
        for reason in (RetentionReason.NO_RULE, RetentionReason.UNKNOWN):
            for each in staying:
                if each.reason is reason:
                    return each
        if staying:
            return max(staying, key=lambda each: (each.due or 0, each.by or ""))
        by = min(found, key=lambda each: each.by or "")
        return by._replace(brake=min(each.brake or 0 for each in found))

    def _of_tag(self, unit: Unit, tag: str | None) -> RetentionDecision:
        rules = [rule for rule in self._expiring if _is_of(rule, tag)]
        found = [self._by(rule, unit, tag) for rule in rules]
        going = [each for each in found if each.goes]
        if going:
            return going[0]._replace(brake=min(each.brake or 0 for each in going))
        unknown = next((each for each in found if each.reason is RetentionReason.UNKNOWN), None)
        young = min(
            (each for each in found if each.due is not None),
            key=lambda each: each.due or 0,
            default=None,
        )
        return young or unknown or RetentionDecision(RetentionReason.NO_RULE, unit.root, tag=tag)

    def _by(self, rule: RetentionRule, unit: Unit, tag: str | None) -> RetentionDecision:
        """Decide by one rule."""
        members = [self._facts.manifests[digest] for digest in unit.members]
        # What was brought back was used then.
        pushed = max(max(each.pushed_at, each.restored_at or 0) for each in members)
        if rule.days_since_push is not None:
            due = pushed + rule.days_since_push * self._times.day
        else:
            days = rule.days_since_pull or 0
            noted = max(
                (each.pulled_at + self._times.pull_note for each in members if each.pulled_at),
                default=0.0,
            )
            due = max(pushed, noted) + days * self._times.day
            # Before 0.2 nobody noted pulls, nor who pushed.
            unnoted = any(each.pulled_at is None and each.pushed_by is None for each in members)
            if due <= self._now and unnoted:
                return RetentionDecision(RetentionReason.UNKNOWN, unit.root, rule.name, tag)
        if due > self._now:
            return RetentionDecision(RetentionReason.YOUNG, unit.root, rule.name, tag, due)
        return RetentionDecision(
            RetentionReason.EXPIRED, unit.root, rule.name, tag, brake=rule.brake
        )

    def _pushed(self, unit: Unit) -> float:
        return self._facts.manifests[unit.root].pushed_at

    def _rank(self, rule: RetentionRule, units: Iterable[Unit]) -> float:
        """Return when the last one was pushed that a rule keeps by its rank."""
        pushed = sorted(
            self._pushed(unit)
            for unit in units
            if self._facts.manifests[unit.root].state is ManifestState.LIVE
            and any(_is_of(rule, tag) for tag in unit.tags or (None,))
        )
        return pushed[-min(rule.keep_last or 0, len(pushed))] if pushed else 0.0


def _is_of(rule: RetentionRule, tag: str | None) -> bool:
    """Whether a rule is of a tag; None is an image that has none."""
    return rule.untagged if tag is None else rule.covers(tag)
