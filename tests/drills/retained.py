"""What rules let go: an old unit, the runs that remove it, and what others do with it meanwhile.

Whatever is accepted while a run is under way is there at the end, and no index lacks its images.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.model import ManifestState
from chalicelib.registry.retention.run import hold
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb.expressions import Put
from chalicelib.stores.dynamodb.items import STORED_RULES
from chalicelib.stores.dynamodb.keys import rules_key
from tests.drills import images, trash
from tests.drills.images import INDEX, LAYERS, NEW, described
from tests.drills.owners import leases
from tests.drills.support.client import HOME
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Gate, Stopped, stop_after
from tests.drills.support.requests import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chalicelib.registry.registry import Registry
    from chalicelib.stores.dynamodb.codec import Item
    from chalicelib.stores.dynamodb.keys import Key
    from tests.drills.support.client import Client, Stage

CHILD = images.image(LAYERS, annotations={"of": "the unit"})
ROOT = images.index(CHILD)
SIGNATURE = images.image(LAYERS[:1], subject=described(ROOT, INDEX))
UNIT = {
    name: Digest.of(body)
    for name, body in {"child": CHILD, "root": ROOT, "signature": SIGNATURE}.items()
}
ANOTHER = json.dumps({**json.loads(ROOT), "annotations": {"of": "another"}}).encode()
"""Another index of the same image."""
CHILD_RUNS = {HOME: frozenset({UNIT["child"]})}
TAG = "pr-1"
DAY = 24 * 3600.0
CI = {"name": "CI", "repositories": [HOME], "tags": ["pr-*"], "untagged": True, "brake": 100}
BY_PUSH = {**CI, "expire": {"days_since_push": 14}}


def places(*names: str) -> set[tuple[str, Digest]]:
    """Return where members of the unit are."""
    return {(HOME, UNIT[name]) for name in names}


# What is prepared


def write(stage: Stage, key: Key, item: Item) -> None:
    """Write past the registry, as owners do."""
    store: Any = stage.world.ports(Gate()).metadata
    store._dynamo.write(Put(store._registry, key, item))  # noqa: SLF001 - it has no such operation


def ruled(stage: Stage, *rules: Mapping[str, object]) -> None:
    """Set rules of retention."""
    text = json.dumps({"retention": {"rules": rules}})
    write(stage, rules_key(), STORED_RULES.encode(StoredRules(1, text, 0, "")))


def old(stage: Stage) -> bytes:
    """Prepare a unit of 15 days, which goes after 14, and an image with a tag that nothing names.

    The unit may be gone from then on, but for what a client is promised.
    """
    client = stage.client()
    images.layers(stage)
    for reference, body in (
        (str(UNIT["child"]), CHILD),
        (TAG, ROOT),
        (str(UNIT["signature"]), SIGNATURE),
        ("v1", NEW),
    ):
        client.put_manifest(HOME, reference, body)
    ruled(stage, BY_PUSH)
    stage.world.clock.sleep(15 * DAY)
    stage.ledger.dropped |= places(*UNIT)
    return ROOT


def half_removed(stage: Stage) -> bytes:
    """Prepare such a unit, whose runs died, each a call later, until one had removed the root."""
    old(stage)
    for at in range(999):
        with suppress(Stopped):
            run(stage.registry(Gate({at: stop_after})), stage.world.clock.now())
        if UNIT["root"] not in live(stage):
            return ROOT
    raise Violation("no run ever removed the root first")


def deleted_root(stage: Stage) -> bytes:
    """Prepare such a unit whose index is in the trash: its image is old, and belongs to nothing."""
    old(stage)
    stage.client().delete_manifest(HOME, str(UNIT["root"]))
    return ROOT


def kept_by_a_rule(stage: Stage) -> bytes:
    """Prepare such a unit, and a rule that keeps it."""
    old(stage)
    ruled(stage, BY_PUSH, {"name": "k", "repositories": ["**"], "tags": ["pr-1"], "keep": "always"})
    return _kept(stage)


def braked(stage: Stage) -> bytes:
    """Prepare such a unit, which is more of the repository than may go at once."""
    old(stage)
    ruled(stage, {**BY_PUSH, "brake": 49})
    return _kept(stage)


def running_somewhere(stage: Stage) -> bytes:
    """Prepare such a unit whose image runs, as a source says."""
    old(stage)
    leases.refreshing(CHILD_RUNS)(stage.client(), None)
    return _kept(stage)


def overdue(stage: Stage) -> bytes:
    """Prepare such a unit, and a source that names another image, and is overdue."""
    old(stage)
    leases.refreshing({HOME: frozenset({Digest.of(NEW)})})(stage.client(), None)
    stage.world.clock.sleep(3 * DAY)
    return _kept(stage)


def _kept(stage: Stage) -> bytes:
    stage.ledger.dropped -= places(*UNIT)
    return ROOT


# What is done


def run(registry: Registry, now: float) -> None:
    """Let retention run, as the collect function does; anew where a repository failed."""
    if registry.retention.run(now + 600, anew=True).errors:
        raise UnavailableError


def running(client: Client, _: object) -> None:
    """Let retention run, beside others; whoever dies runs again."""
    client.invoke(run)


def removing(client: Client, _: object) -> None:
    """Let retention run: the unit is in the trash, and the rest is there."""
    running(client, _)
    seen = client.stage.world.snapshot()
    if places(*UNIT) & {
        p for p, each in seen.manifests.items() if each.state is ManifestState.LIVE
    }:
        raise Violation(f"what the rules let go is there: {live(client.stage)}")
    expect(client.requests.insist("GET", f"{HOME}/manifests/{TAG}"), 404)
    by = {row.by for row in seen.history}
    if by - {None, "retention:CI"} and not by & {"retention:CI"}:
        raise Violation(f"history says that {by} have deleted it")
    images.require_named(client, NEW, ("v1",))


def keeping(client: Client, _: object) -> None:
    """Let retention run: the unit is there as it was."""
    running(client, _)
    images.require_named(client, ROOT, (TAG,))
    lacking = set(UNIT.values()) - live(client.stage)
    if lacking:
        raise Violation(f"what is kept is gone: {lacking}")


def live(stage: Stage) -> set[Digest]:
    """Return what is live."""
    manifests = stage.world.snapshot().manifests
    return {d for (_, d), each in manifests.items() if each.state is ManifestState.LIVE}


def putting(reference: str, body: bytes, *promised: str) -> Callable[[Client, Any], None]:
    """Put a manifest; if it is accepted, it is there from then on, and so are these of the unit."""

    def act(client: Client, _: object) -> None:
        if client.put_manifest(HOME, reference, body, may_lack=True):
            client.ledger.dropped -= places(*promised)

    return act


def restoring(client: Client, _: object) -> None:
    """Bring the index back; if that is answered, it is there with its image."""
    if trash.restore(client, f"digest={UNIT['root']}", ROOT, may_fail=True):
        client.ledger.dropped -= places("root", "child")


def protecting(client: Client, _: object) -> None:
    """Say that the image runs: if it is live then, it stays, and so does its index."""
    leases.refreshing(CHILD_RUNS)(client, None)
    found: list[Mapping[Digest, object]] = []

    def work(registry: Registry, _now: float) -> None:
        metadata = registry._ports.metadata  # noqa: SLF001 - as the owner, past the registry
        found.append(hold(metadata, HOME, [UNIT["child"], UNIT["root"]]))

    client.invoke(work)
    if found:
        client.ledger.dropped -= places(*(name for name in UNIT if UNIT[name] in found[-1]))


# What comes after


def ended(client: Client, prepared: object) -> None:
    """Another run ends what two have begun: the unit is gone."""
    removing(client, prepared)
    whole(client, prepared)


def whole(client: Client, _: object) -> None:
    """No index that is live lacks an image, however it came to be."""
    seen = client.stage.world.snapshot()
    for (repository, digest), manifest in seen.manifests.items():
        if manifest.state is not ManifestState.LIVE or manifest.media_type != INDEX:
            continue
        for reference in manifest.references or ():
            named = seen.manifests.get((repository, reference))
            if named is None or named.state is not ManifestState.LIVE:
                raise Violation(f"index {digest} lacks {reference}, which is {named}")
