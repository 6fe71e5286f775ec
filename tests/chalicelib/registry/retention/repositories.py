"""Repositories as retention judges them: manifests, tags and rules in few words, and drawn ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies

from chalicelib.digest import Digest
from chalicelib.pattern import Pattern
from chalicelib.registry.model import InUse, Manifest, ManifestState
from chalicelib.registry.retention.judging import Facts, Judgement, Times, judge
from chalicelib.rules.document import Rules
from chalicelib.rules.immutable import ImmutableTags
from chalicelib.rules.retention import RetentionRule
from tests.support.values import NOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAME = "team/app"
DAY = 24 * 3600.0
TIMES = Times(DAY, DAY)
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
BRAKE = 100


def digest_of(name: str) -> Digest:
    """Return the digest of the manifest that a test calls so."""
    return Digest.of(name.encode())


@dataclass
class Repository:
    """A repository that a test fills; names stand for manifests."""

    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    children: dict[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    in_use: list[InUse] = field(default_factory=list)
    unreadable: Digest | None = None

    def add(
        self,
        name: str,
        *tags: str,
        days: float = 0,
        names: Sequence[str] | None = None,
        subject: str | None = None,
        **facts: Any,  # noqa: ANN401 - any field of a manifest
    ) -> Digest:
        """Put a manifest that was pushed so many days ago; an index, if it names others."""
        digest = digest_of(name)
        manifest = Manifest(
            repository=NAME,
            digest=digest,
            media_type=IMAGE if names is None else INDEX,
            size=7,
            references=(),
            subject=None if subject is None else digest_of(subject),
            body=None,
            pushed_at=NOW - days * DAY,
            version="1",
            state=ManifestState.LIVE,
            pushed_by="somebody",
        )
        self.manifests[digest] = replace(manifest, **facts)
        if names is not None:
            self.children[digest] = tuple(map(digest_of, names))
        self.tags |= dict.fromkeys(tags, digest)
        return digest

    def use(self, *names: str, source: str = "cluster", until: float = NOW + 60) -> None:
        """Let a source name manifests that run."""
        digests = {digest_of(name): "a task" for name in names}
        self.in_use.append(InUse(NAME, source, "ecs", digests, NOW - 60, until))

    @property
    def facts(self) -> Facts:
        """What is known of it."""
        return Facts(
            NAME,
            dict(self.manifests),
            dict(self.children),
            dict(self.tags),
            tuple(self.in_use),
            self.unreadable,
        )

    def judge(
        self,
        *rules: RetentionRule,
        immutable: Iterable[ImmutableTags] = (),
        now: float = NOW,
    ) -> Judgement:
        """Judge it by these rules."""
        return judge(Rules(tuple(immutable), rules), self.facts, now, TIMES)

    def going(self, *rules: RetentionRule, now: float = NOW) -> set[str]:
        """Judge it; returns the names of what goes."""
        judged = self.judge(*rules, now=now)
        return {name for name in self.names if judged.goes(digest_of(name))}

    names: tuple[str, ...] = tuple("abcdefghijklmnopqrstuvwxyz")


def rule(name: str = "r", *tags: str, **members: Any) -> RetentionRule:  # noqa: ANN401 - any field of a rule
    """Return a rule of all repositories, without a brake."""
    given = {"exceptions": (), "untagged": False, "brake": BRAKE, **members}
    return RetentionRule(name, (Pattern.parse("**"),), tags, **given)


CI = rule("CI", "*", untagged=True, days_since_push=14)
RELEASES = rule("releases", "v*", keep_always=True)


def immutable(name: str, *tags: str) -> ImmutableTags:
    """Return a rule by which tags may not move."""
    return ImmutableTags(name, (Pattern.parse("**"),), tags, ())


_TAGS = ("v1", "v2", "main", "pr-1", "pr-2")
_GLOBS = ("*", "*", "v*", "pr-*", "main")
_NAMES = tuple("abcdefgh")
_DAYS = strategies.sampled_from((40, 38, 35, 30, 20, 10, 0))
"""Old ones first: most that is drawn is to go by some rule."""
_EXPIRE = strategies.one_of(
    strategies.builds(lambda days: {"days_since_push": days}, strategies.integers(1, 30)),
    strategies.builds(lambda days: {"days_since_pull": days}, strategies.integers(1, 30)),
)
_KEEP = strategies.one_of(
    strategies.just({"keep_always": True}),
    strategies.builds(lambda last: {"keep_last": last}, strategies.integers(1, 3)),
)


def _rules(
    actions: strategies.SearchStrategy[dict[str, int]], least: int, brakes: Sequence[int]
) -> strategies.SearchStrategy[list[RetentionRule]]:
    globs = strategies.lists(strategies.sampled_from(_GLOBS), max_size=2)
    of = strategies.sampled_from((True, True, False)), actions, strategies.sampled_from(brakes)
    return strategies.lists(strategies.tuples(globs, *of), min_size=least, max_size=3).map(
        lambda drawn: [
            rule(f"rule {at}", *tags, untagged=untagged, brake=brake, **action)
            for at, (tags, untagged, action, brake) in enumerate(drawn)
        ]
    )


expiring = _rules(_EXPIRE, 1, (BRAKE,))
"""Rules by which images go."""

braked = _rules(_EXPIRE, 1, (BRAKE, BRAKE, 50, 20))
"""The same with brakes."""

keeping = _rules(_KEEP, 0, (BRAKE,)).map(
    lambda rules: [replace(rule, name=f"keep {rule.name}") for rule in rules]
)
"""Rules by which images are kept."""


@strategies.composite
def repositories(draw: strategies.DrawFn) -> Repository:
    """Draw a repository with indexes, referrers, signatures by tag and circles."""
    repository = Repository()
    count = draw(strategies.integers(1, len(_NAMES)))
    names = _NAMES[:count]
    some = strategies.lists(strategies.sampled_from(names), max_size=3)
    for name in names:
        pulled, restored = draw(strategies.none() | _DAYS), draw(strategies.none() | _DAYS)
        repository.add(
            name,
            days=draw(_DAYS),
            names=draw(strategies.none() | some),
            subject=draw(strategies.none() | strategies.sampled_from(names)),
            pulled_at=None if pulled is None else NOW - pulled * DAY,
            restored_at=None if restored is None else NOW - restored * DAY,
            pushed_by=draw(strategies.sampled_from(("somebody", "somebody", None))),
        )
    tags = strategies.lists(strategies.sampled_from(_TAGS), unique=True)
    for tag in draw(tags):
        repository.tags[tag] = digest_of(draw(strategies.sampled_from(names)))
    for name in draw(some):
        signature = f"{str(digest_of(name)).replace(':', '-')}.sig"
        repository.tags[signature] = digest_of(draw(strategies.sampled_from(names)))
    return repository


def going(judged: Judgement) -> set[Digest]:
    """Return what goes, whatever stops the run."""
    return {digest for digest, decision in judged.decisions.items() if decision.goes}


def owned(facts: Facts) -> Mapping[Digest, set[Digest]]:
    """Return what belongs to each manifest directly, found in another way than the product's."""
    pairs = {(owner, each) for owner, named in facts.children.items() for each in named}
    for digest, manifest in facts.manifests.items():
        if manifest.subject is not None:
            pairs.add((manifest.subject, digest))
    for tag, digest in facts.tags.items():
        for subject in facts.manifests:
            if tag == f"{subject.algorithm.value}-{subject.hex}.sig":
                pairs.add((subject, digest))
    return {
        owner: {each for one, each in pairs if one == owner and each in facts.manifests}
        for owner in facts.manifests
    }
