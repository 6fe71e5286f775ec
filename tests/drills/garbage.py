"""Garbage: what is prepared for the collector, what is done beside it, and what has to hold then.

What nothing names may go once nobody has relied on it for a day: the ledger is told so. What is
answered with 200 or 201 from then on is a promise again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.registry.collector.report import FindingKind
from chalicelib.registry.keys import canonical_key, direct_key
from chalicelib.registry.model import CollectorState, bodies_of, owner_of_bodies
from chalicelib.stores.dynamodb.expressions import Clause, Delete, Update
from chalicelib.stores.dynamodb.keys import manifest_key, record_key, session_key
from tests.drills import images
from tests.drills.images import LAYERS
from tests.drills.support.client import AWAY, HOME, TEXT, Upload
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Gate
from tests.drills.support.requests import expect
from tests.drills.support.worlds import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.collector.report import CollectReport, GarbageFinding
    from tests.drills.support.client import Client, Stage
    from tests.drills.support.snapshot import Snapshot

    Prepare = Callable[[Stage], Any]
    Body = Callable[[Client, Any], object]

WEEK = 8 * 24 * 3600.0
"""In seconds, past every time of grace but that of the trash."""

PARTS_OF_IMAGE = (b"{}", *dict.fromkeys(LAYERS))
"""The blobs of an image of the drills."""

_PASSES = 12
"""How many passes it may take until nothing fails any more."""


# What is prepared


def may_go(stage: Stage) -> None:
    """Note that what no manifest names may be gone from now on."""
    seen = stage.world.snapshot()
    for place in seen.links.keys() - named(seen):
        stage.ledger.unlinked.add(place)


def named(seen: Snapshot) -> set[tuple[str, Digest]]:
    """Return the links that the manifests of their repositories name, in whatever state."""
    places = set()
    for (repository, digest), manifest in seen.manifests.items():
        references = manifest.references
        if references is None:
            # Its body says it; where that has not come, any digest may be in it.
            homes = bodies_of(repository), repository
            links = [seen.links[home, digest] for home in homes if (home, digest) in seen.links]
            body = manifest.body or (seen.objects.get(links[0].key) if links else None)
            references = tuple(
                each
                for home, each in seen.links
                if home == repository and (body is None or each.hex.encode() in body)
            )
        places |= {(repository, each) for each in references}
        places.add((bodies_of(repository), digest))
    return places & seen.links.keys()


def old(prepare: Prepare, seconds: float = WEEK) -> Prepare:
    """Prepare something that nobody has relied on for so long; the bucket was listed just now."""

    def prepared(stage: Stage) -> object:
        found, now = prepare(stage), stage.world.clock.now()
        stage.world.clock.sleep(seconds)
        listed = CollectorState("", began_at=now, listed_at=stage.world.clock.now())
        stage.world.ports(Gate()).metadata.save_collector_state(None, listed)
        may_go(stage)
        return found

    return prepared


def ending(prepare: Prepare) -> Prepare:
    """Prepare something old whose image may go meanwhile, and then its layers."""

    def prepared(stage: Stage) -> object:
        found = old(prepare)(stage)
        stage.ledger.unlinked |= {(HOME, Digest.of(data)) for data in PARTS_OF_IMAGE}
        return found

    return prepared


def unlisted(prepare: Prepare) -> Prepare:
    """Prepare something old, where no pass has ever been: it lists the bucket, too."""

    def prepared(stage: Stage) -> object:
        found = prepare(stage)
        stage.world.clock.sleep(WEEK)
        may_go(stage)
        return found

    return prepared


def waiting(prepare: Prepare) -> Prepare:
    """Prepare something a week ago."""

    def prepared(stage: Stage) -> object:
        found = prepare(stage)
        stage.world.clock.sleep(WEEK)
        return found

    return prepared


def pushed(*repositories: str) -> Prepare:
    """Prepare a blob in these repositories."""

    def prepare(stage: Stage) -> None:
        for repository in repositories:
            stage.client().push(repository, Upload(TEXT, whole=True))

    return prepare


def deleted(stage: Stage) -> None:
    """Prepare a blob that its client has deleted."""
    pushed(HOME)(stage)
    stage.client().delete_blob(HOME, Digest.of(TEXT))


def of_0_1(stage: Stage) -> None:
    """Prepare the same, as 0.1 has left it: nobody has noted when it was released."""
    deleted(stage)
    store: Any = stage.world.ports(Gate()).metadata
    there = Clause("attribute_exists(#pk)")
    key = record_key(Digest.of(TEXT))
    store._dynamo.write(Update(store._registry, key, there, remove=("released_at",)))  # noqa: SLF001 - no operation does that


def half_collected(stage: Stage) -> None:
    """Prepare a blob whose record a collector has ended, that died before it deleted the object."""
    deleted(stage)
    stage.world.clock.sleep(WEEK)
    metadata = stage.world.ports(Gate()).metadata
    record = metadata.get_record(Digest.of(TEXT))
    if record is None or not metadata.drop_record(record, stage.world.clock.now()):
        raise Violation(f"{record} was not dropped")


def remade(stage: Stage) -> None:
    """Prepare a blob of two repositories whose record was lost; a push to one has made another."""
    pushed(HOME, AWAY)(stage)
    digest, clock = Digest.of(TEXT), stage.world.clock
    store: Any = stage.world.ports(Gate()).metadata
    lost = store.get_record(digest)
    clock.sleep(WEEK)
    stage.registry().sweeper.sweep(clock.now() + 600)
    session = session_key(lost.key.split("/")[1])
    store._dynamo.write(Delete(store._uploads, session))  # noqa: SLF001 - as DynamoDB does in time
    store._dynamo.write(Delete(store._registry, record_key(digest)))  # noqa: SLF001 - no operation does that
    stage.ledger.remade.add(digest)
    stage.ledger.strays.add(lost.key)
    pushed(HOME)(stage)
    store.touch_link(store.get_link(AWAY, digest), clock.now())


def body_alone(stage: Stage) -> None:
    """Prepare the body of a large manifest that is gone, by a fault of the registry's own."""
    body = images.live(stage)
    stage.client().delete_manifest(HOME, str(Digest.of(body)))
    store: Any = stage.world.ports(Gate()).metadata
    key = manifest_key(HOME, Digest.of(body))
    store._dynamo.write(Delete(store._registry, key))  # noqa: SLF001 - likewise


def strays(stage: Stage) -> None:
    """Prepare objects that nothing names: below blobs/, and below direct/ by a dead request."""
    client = stage.client()
    session = client.start(HOME).partition("~")[0]
    objects = stage.world.ports(Gate()).objects
    for key in (canonical_key(Digest.of(TEXT), "nobody"), direct_key(Digest.of(TEXT), session)):
        objects.put(key, TEXT)
        stage.ledger.strays.add(key)


def with_waste(prepare: Prepare) -> Prepare:
    """Prepare something, and a blob that nothing names."""

    def prepared(stage: Stage) -> object:
        pushed(HOME)(stage)
        return prepare(stage)

    return prepared


def cached(stage: Stage) -> bytes:
    """Prepare a build cache, whose index names a layer, and layers that nothing names."""
    images.layers(stage)
    document = {
        "schemaVersion": 2,
        "mediaType": images.INDEX,
        "manifests": [images.described(LAYERS[0])],
    }
    body = json.dumps(document).encode()
    stage.client().put_manifest(HOME, "cache", body)
    return body


# What is done


def run(client: Client, only: list[GarbageFinding] | None = None) -> CollectReport:
    """Run the collector once; if it dies, again."""
    reports: list[CollectReport] = []
    client.invoke(
        lambda registry, now: reports.append(registry.collector.run(now + 600, only=only))
    )
    return reports[-1]


def at_once(client: Client, _: object) -> None:
    """Make a pass from its beginning, and again until nothing fails, before what is new is old."""
    reports: list[CollectReport] = []
    while not (reports and reports[-1].finished and not reports[-1].errors):
        if reports:
            client.requests.wait()
        client.invoke(lambda registry, now: reports.append(registry.collector.pass_now(now + 600)))


def collecting(client: Client, _: object) -> None:
    """Run the collector until nothing is left for it to do; one that dies is run again."""
    for _attempt in range(_PASSES):
        report = run(client)
        if report.lost:
            raise Violation(f"the collector takes for lost: {report.lost}")
        if report.finished and not report.errors:
            return
        client.requests.wait()
        client.stage.world.clock.sleep(SMALL.collect_every)
    raise Violation(f"{_PASSES} passes did not collect all")


def counting(client: Client, _: object) -> None:
    """Make a whole pass: both links to the blob are counted by its record, whatever it is."""
    at_once(client, None)
    seen, digest = client.stage.world.snapshot(), Digest.of(TEXT)
    record = seen.records.get(digest)
    links = [link for link in seen.links.values() if record and record.counts(link)]
    if record is None or [link.key for link in links] != [record.key] * 2 or record.links != 2:
        raise Violation(f"{record} counts {links}")


def once(client: Client, _: object) -> None:
    """Run the collector once, beside whatever there is."""
    client.invoke(lambda registry, now: registry.collector.pass_now(now + 600))


def by_list(client: Client, _: object) -> None:
    """Delete what a preview has listed."""
    findings = list(client.stage.registry().collector.preview())
    if not {FindingKind.LINK, FindingKind.BLOB} <= {each.kind for each in findings}:
        raise Violation(f"a preview finds {findings}")
    for _attempt in range(_PASSES):
        report = run(client, only=findings)
        if report.left:
            raise Violation(f"nobody has used what was listed, and it stays: {report.left}")
        if report.finished:
            return
        client.requests.wait()
    raise Violation(f"{_PASSES} runs did not delete all that was listed")


def by_old_list(client: Client, body: bytes) -> None:
    """Delete what a preview has listed before somebody relied on all of it: nothing goes."""
    findings = list(client.stage.registry().collector.preview())
    heading_and_putting(client, body)
    report = run(client, only=findings)
    if not report.errors and report.finished and not report.left:
        raise Violation("what was listed is used, and nobody says so")


def keeping(act: Body) -> Body:
    """Do it: the record and the object of the blob stay."""

    def acting(client: Client, prepared: object) -> None:
        act(client, prepared)
        seen = client.stage.world.snapshot()
        if not (seen.records and seen.objects):
            raise Violation("a blob that was used just now is gone")

    return acting


def leaving(act: Body, *blobs: bytes, of: tuple[str, ...] = (HOME,)) -> Body:
    """Do it: of the repositories these blobs are left, and nothing else in the bucket."""

    def acting(client: Client, prepared: object) -> None:
        act(client, prepared)
        seen = client.stage.world.snapshot()
        left = {place for place in seen.links if owner_of_bodies(place[0]) is None}
        wanted = {(repository, Digest.of(blob)) for repository in of for blob in blobs}
        if left != wanted:
            raise Violation(f"{left} are linked, and should be {wanted}")
        nothing_wasted(seen)
        for repository, digest in wanted:
            if client.pull(repository, digest) is None:
                raise Violation(f"{digest} can't be pulled from {repository}")

    return acting


def nothing_wasted(seen: Snapshot) -> None:
    """Require that nothing is stored but what links and records name."""
    keys = {record.key for record in seen.records.values()}
    stored = {key for key in seen.objects if not key.startswith("uploads/")}
    unlinked = {record for record in seen.records.values() if not record.links}
    if stored - keys or unlinked or seen.garbage:
        raise Violation(f"left: {stored - keys}, {unlinked}, {seen.garbage}")


def twice(client: Client, prepared: object) -> None:
    """Collect, and once more when what had no time before has one, and it is over."""
    collecting(client, prepared)
    client.stage.world.clock.sleep(WEEK)
    collecting(client, prepared)


def kept(client: Client, repository: str, *blobs: bytes) -> None:
    """Note that these blobs were promised."""
    for data in blobs:
        client.ledger.unlinked.discard((repository, Digest.of(data)))
        client.ledger.blobs[repository, Digest.of(data)] = data


def heading_and_putting(client: Client, body: bytes) -> None:
    """Ask whether the layers are there, push those that are not, and put the manifest: it is taken.

    What a client hears is there is there for half a day.
    """
    for data in PARTS_OF_IMAGE:
        target = f"{HOME}/blobs/{Digest.of(data)}"
        if expect(client.requests.insist("HEAD", target), 200, 404).status == 404:
            client.push(HOME, Upload(data, whole=True))
        kept(client, HOME, data)
    client.put_manifest(HOME, "v1", body)


def heading(client: Client, _: object) -> None:
    """Ask whether the blob is there: if it is said to be, it is there for half a day."""
    response = client.requests.insist("HEAD", f"{HOME}/blobs/{Digest.of(TEXT)}")
    if expect(response, 200, 404).status == 200:
        kept(client, HOME, TEXT)


def putting(client: Client, body: bytes) -> None:
    """Put the manifest of layers that may be gone: if it is taken, all of them are there."""
    if client.put_manifest(HOME, "v1", body, may_lack=True):
        kept(client, HOME, *PARTS_OF_IMAGE)


def pushing(repository: str = HOME, **how: Any) -> Body:  # noqa: ANN401 - any field of an upload
    """Push the blob, whole or in chunks."""

    def push(client: Client, _: object) -> None:
        client.push(repository, Upload(TEXT, **how))
        kept(client, repository, TEXT)

    return push


def replacing(client: Client, body: bytes) -> None:
    """Delete the image for good, and push it anew."""
    client.delete_manifest(HOME, str(Digest.of(body)))
    client.ledger.dropped.clear()
    client.ledger.manifests.clear()
    heading_and_putting(client, body)


def mounting(client: Client, _: object) -> None:
    """Mount the blob, which the source may have lost."""
    if client.mount(HOME, AWAY, Upload(TEXT)):
        kept(client, HOME, TEXT)


def pulling(client: Client, _: object) -> None:
    """Pull the blob, which may be gone; that somebody has read it keeps nothing."""
    client.pull(HOME, Digest.of(TEXT))


def days_later(body: Body) -> Body:
    """Do it two days later."""

    def act(client: Client, prepared: object) -> None:
        client.stage.world.clock.sleep(2 * 24 * 3600)
        body(client, prepared)

    return act


# What comes after


def whole(client: Client, _: object) -> None:
    """Every manifest that is live can be pulled, with its blobs; then what nothing names goes."""
    stage = client.stage
    for (repository, digest), body in stage.ledger.manifests.items():
        if (repository, digest) in stage.ledger.dropped:
            continue
        response = client.requests.insist("GET", f"{repository}/manifests/{digest}")
        if expect(response, 200).body != body:
            raise Violation(f"{digest} has other bytes")
        for layer in json.loads(body).get("layers", ()):
            if client.pull(repository, Digest.parse(layer["digest"])) is None:
                raise Violation(f"{digest} was accepted, and lacks {layer}")
    for (repository, digest), data in stage.ledger.blobs.items():
        if client.pull(repository, digest) not in {data, None}:
            raise Violation(f"{digest} has other bytes")
    stage.world.clock.sleep(WEEK)
    may_go(stage)
    stage.registry().sweeper.sweep(stage.world.clock.now() + 600)
    twice(client, None)
    seen = stage.world.snapshot()
    waste = seen.links.keys() - named(seen)
    if waste:
        raise Violation(f"nothing names {waste}")
    nothing_wasted(seen)


def each_by_itself(client: Client, _: object) -> None:
    """Delete the blob from all repositories but one, and wait: that one has it still."""
    stage, digest = client.stage, Digest.of(TEXT)
    *others, last = [place for place in stage.ledger.blobs if place not in stage.ledger.unlinked]
    for repository, _digest in others:
        client.delete_blob(repository, digest)
    for _pass in range(3):
        stage.world.clock.sleep(WEEK)
        metadata = stage.world.ports(Gate()).metadata
        link = metadata.get_link(last[0], digest)
        if link is None or not metadata.touch_link(link, stage.world.clock.now()):
            raise Violation(f"{last} is gone")
        once(client, None)
        if client.pull(last[0], digest) != TEXT:
            raise Violation(f"{last} can't be pulled any more")


def nothing_left(stage: Stage) -> None:
    """Delete everything, and wait: no byte is left in the bucket, and no row of what was there."""
    registry, seen = stage.registry(), stage.world.snapshot()
    for repository, digest in seen.manifests:
        registry.removals.delete(repository, digest, None, force=True)
    stage.world.clock.sleep(stage.world.limits.trash + 60)
    registry.sweeper.sweep(stage.world.clock.now() + 600)
    for _attempt in range(2):
        stage.world.clock.sleep(WEEK)
        done = registry.collector.pass_now(stage.world.clock.now() + 600)
        if done.errors or done.skipped or not done.finished:
            raise Violation(f"a pass ends with {done}")
    seen = stage.world.snapshot()
    rows = (seen.links, seen.records, seen.manifests, seen.tags, seen.tagged, seen.referrers)
    if seen.objects or seen.multiparts or seen.garbage or any(rows):
        raise Violation(f"left of what was deleted: {seen}")
