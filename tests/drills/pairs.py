"""The pairs of requests that race: what each does, what is prepared, and what must hold after.

A body must never depend on how it is scheduled; it judges the answers that it gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.session import UploadState
from tests.drills import direct, edge, garbage, images, retained, trash
from tests.drills import direct_parts as parts
from tests.drills.operations import (
    FEW_REFERENCES,
    GONE,
    GONE_BODY,
    SMALL_BODY,
    buried,
    elsewhere,
    held,
    in_turn,
    leased,
    offset_at,
    opened,
    opened_of_old,
    pushed,
    pushed_away,
    pushing,
    sealed,
    stray,
    sweeping,
    unhashed,
    with_workers,
    worked,
)
from tests.drills.owners import leases, quotas
from tests.drills.races import Race
from tests.drills.support.client import AWAY, HOME, TEXT, Upload
from tests.drills.support.ledger import Violation
from tests.drills.support.requests import expect
from tests.drills.support.worlds import BY_WORKER

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.api.messages import Response
    from tests.drills.races import Body
    from tests.drills.support.client import Client, Stage

OTHER = TEXT.upper()
"""As long as TEXT, and other bytes."""


# What one client does


def patching(text: bytes, at: int, end: int) -> Body:
    """PATCH a chunk until it or another one is accepted there, or the session is over."""

    def body(client: Client, session: str) -> None:
        client.fill(HOME, session, text, at, end)

    return body


def putting(text: bytes, at: int, *, right: bool = True, **how: Any) -> Body:  # noqa: ANN401 - any field of an upload
    """PUT with a digest until it is answered; a `right` one must be accepted."""

    def body(client: Client, session: str) -> None:
        upload = Upload(text, **how)
        response = put(client, session, upload, at)
        if response.status == 201:
            client.ledger.blobs[HOME, upload.digest] = text
        if response.status == 404:
            client.gone(session, upload.digest)
        expect(response, *((201,) if right else (201, 400, 404, 416)))

    return body


def put(client: Client, session: str, upload: Upload, at: int) -> Response:
    """PUT what is left from `at` on."""
    target = f"{HOME}/blobs/uploads/{session}?at={at}&digest={upload.digest}"
    return client.requests.insist("PUT", target, upload.data[at:])


def cancelling(client: Client, session: str) -> None:
    """Cancel."""
    client.cancel(HOME, session)


def mounting(client: Client, _: object) -> None:
    """Mount the blob, which the source may have lost."""
    client.mount(HOME, AWAY, Upload(TEXT))


def deleting(repository: str) -> Body:
    """Delete the blob."""
    return lambda client, _: client.delete_blob(repository, Digest.of(TEXT))


def filling_and_putting(at: int, end: int) -> Body:
    """PATCH the first bytes of TEXT, unless the session has some, and PUT the next ones."""

    def body(client: Client, session: str) -> None:
        client.fill(HOME, session, TEXT, 0, at)
        putting(TEXT[:end], at, right=False)(client, session)

    return body


def tagging(body: bytes, *, may_lack: bool = False) -> Body:
    """Put a manifest under the tag."""
    return lambda client, _: client.put_manifest(HOME, "v1", body, may_lack=may_lack)


def putting_index(client: Client, body: bytes) -> None:
    """Put an index of the image, which may be deleted by then."""
    client.put_manifest(HOME, "all", images.index(body), may_lack=True)


def deleting_manifest(reference: str) -> Body:
    """Delete a manifest or a tag."""
    return lambda client, _: client.delete_manifest(HOME, reference)


def deleting_layer(client: Client, _: object) -> None:
    """Delete a blob that the manifest names."""
    client.delete_blob(HOME, Digest.of(images.LAYERS[0]))


def deleting_body(client: Client, _: object) -> None:
    """Delete the blob that is a manifest's body."""
    client.delete_blob(HOME, Digest.of(images.NEW))


def working(client: Client, session: str) -> None:
    """Drive the session as the commit function does."""
    client.invoke(lambda registry, now: registry.commits.resume(session, now + 600))


# What is prepared


def ticket_ending(stage: Stage) -> str:
    """Prepare a session that nobody has begun, whose ticket ends in ten seconds."""
    session = opened()(stage)
    stage.world.clock.time = float(session.split("~")[1]) - 10
    return session


def ending_soon(*sizes: int) -> Callable[[Stage], str]:
    """Prepare a session with chunks of these sizes, or an old one, that ends in ten seconds."""

    def prepare(stage: Stage) -> str:
        session = opened(*sizes)(stage) if sizes else opened_of_old(stage)
        stage.world.clock.time = held(stage, session).life_until - 10
        return session

    return prepare


# What comes after


def holds_one_of(*texts: bytes) -> Body:
    """One of these texts is accepted whole, and none of the session's accepted bytes is lost."""

    def finish(client: Client, session: str) -> None:
        if client.where(HOME, session) is None:
            return
        for text in texts:
            upload = Upload(text)
            response = put(client, session, upload, offset_at(client.stage, session))
            if response.status == 201:
                client.ledger.blobs[HOME, upload.digest] = text
                if client.pull(HOME, upload.digest) != text:
                    raise Violation(f"{text!r} was accepted, and can't be pulled")
                return
            if expect(response, 400, 404).status == 404:
                client.gone(session, upload.digest)
        raise Violation(f"no text that was sent is what {session} holds")

    return finish


def pullable_from(*repositories: str) -> Body:
    """The blob can be pulled from these repositories."""

    def finish(client: Client, _: object) -> None:
        for repository in repositories:
            if client.pull(repository, Digest.of(TEXT)) != TEXT:
                raise Violation(f"{repository} lacks the blob")

    return finish


def tagged(body: bytes) -> Body:
    """The tag names this manifest."""
    return lambda client, _: images.require_named(client, body, ("v1",))


def never_moved(client: Client, _: object) -> None:
    """No tag has ever moved from one manifest to another."""
    moved = [row for row in client.stage.world.snapshot().history if row.tag and row.now]
    if moved:
        raise Violation(f"an immutable tag has moved: {moved}")


# The rows

SHA512 = Algorithm.SHA512
MIXED = TEXT[:15] + OTHER[15:]
NEW, OLD = str(Digest.of(images.NEW)), str(Digest.of(images.OLD))
HOURS = 2 * 3600.0
WEEK = 8 * 24 * 3600.0
WHOLE_HOME, WHOLE_AWAY = pushing(whole=True), pushing(whole=True, repository=AWAY)

# A row of the tables has a line or two, which formatting would make six.
# fmt: off
UPLOADS = [
    Race("PATCH, PATCH, same bytes", opened(), [patching(TEXT, 0, 5)] * 2, holds_one_of(TEXT[:5])),
    Race("PATCH, PATCH, other bytes", opened(),
         [patching(TEXT, 0, 5), patching(OTHER, 0, 5)], holds_one_of(TEXT[:5], OTHER[:5])),
    Race("PATCH, PATCH, parts of other bytes", opened(12, 3),
         [patching(TEXT, 15, 25), patching(MIXED, 15, 25)], holds_one_of(TEXT[:25], MIXED[:25])),
    Race("PATCH, PUT", opened(12, 3),
         [patching(TEXT, 15, 20), putting(TEXT[:15], 15, right=False)],
         holds_one_of(TEXT[:20], TEXT[:15])),
    Race("PATCH, PUT with a body", opened(3),
         [patching(TEXT, 3, 6), putting(TEXT[:9], 3, right=False)],
         holds_one_of(TEXT[:9], TEXT[:6])),
    Race("PUT, PUT", opened(12, 3), [putting(TEXT[:15], 15)] * 2),
    Race("PUT, PUT, small", opened(3), [putting(TEXT[:3], 3)] * 2),
    Race("PUT, wrong PUT", opened(12, 3),
         [putting(TEXT[:15], 15), putting(OTHER[:15], 15, right=False)]),
    Race("PUT, wrong PUT, small", opened(3),
         [putting(TEXT[:3], 3), putting(OTHER[:3], 3, right=False)]),
    Race("PUT, PUT, small, other bodies", opened(),
         [putting(TEXT[:5], 0, right=False), putting(OTHER[:5], 0, right=False)]),
    Race("PUT, wrong PUT, unhashed", opened(12, 3),
         [putting(TEXT[:15], 15, algorithm=SHA512),
          putting(OTHER[:15], 15, right=False, algorithm=SHA512)]),
    Race("PUT, PUT, unhashed, other bodies", opened(12),
         [putting(TEXT[:20], 12, right=False, algorithm=SHA512),
          putting(TEXT[:12] + OTHER[12:20], 12, right=False, algorithm=SHA512)]),
    Race("PUT of a body, wrong PUT, unhashed, by a worker", worked(20, 20),
         [putting(TEXT[:50], 40, right=False, algorithm=SHA512),
          putting(OTHER[:40], 40, right=False, algorithm=SHA512)], limits=BY_WORKER),
    Race("PUT, wrong PUT, unhashed, by a worker", worked(20, 20),
         [putting(TEXT[:40], 40, algorithm=SHA512),
          putting(OTHER[:40], 40, right=False, algorithm=SHA512)], limits=BY_WORKER),
    Race("PUT, wrong PUT, by a worker", worked(20, 20),
         [putting(TEXT[:40], 40), putting(OTHER[:40], 40, right=False)], limits=BY_WORKER),
    Race("PUT, PUT, two algorithms", opened(12, 3),
         [putting(TEXT[:15], 15, right=False, algorithm=SHA512),
          putting(TEXT[:15], 15, right=False)]),
    Race("DELETE, PUT", opened(12, 3), [cancelling, putting(TEXT[:15], 15, right=False)]),
    Race("DELETE, PUT small", opened(3), [cancelling, putting(TEXT[:3], 3, right=False)]),
    Race("DELETE, PUT of a body", opened(), [cancelling, putting(TEXT[:3], 0, right=False)]),
    Race("PATCH, PUT, nobody has begun", opened(),
         [patching(TEXT, 0, 5), putting(TEXT, 0, right=False)], holds_one_of(TEXT, TEXT[:5])),
    Race("PUT, PUT, nobody has begun", opened(), [putting(TEXT, 0)] * 2),
    Race("PUT, PUT, nobody has begun, live elsewhere", elsewhere(), [putting(TEXT, 0)] * 2),
    Race("PUT, sweeper, nobody has begun", stray, [putting(TEXT, 0), sweeping()]),
    Race("PUT, sweeper, at the end of the ticket", ticket_ending,
         [putting(TEXT, 0, right=False), sweeping(20)]),
    Race("DELETE, PATCH, nobody has begun", opened(), [cancelling, patching(TEXT, 0, 5)]),
    Race("DELETE, DELETE, nobody has begun", opened(), [cancelling] * 2),
    Race("DELETE, PATCH", opened(12, 3), [cancelling, patching(TEXT, 15, 25)]),
    Race("DELETE, DELETE", opened(12, 3), [cancelling] * 2),
    Race("PUT, worker", sealed, [putting(TEXT[:15], 15), working]),
    Race("PUT, PUT, by a worker", worked(20, 20), [putting(TEXT[:40], 40)] * 2, limits=BY_WORKER),
    Race("worker, worker", sealed, [working] * 2),
    Race("worker, worker, unhashed", unhashed, [working] * 2),
    Race("PUT, DELETE of its blob", opened(20, 35),
         [putting(TEXT, 55, right=False), deleting(HOME)]),
    Race("takeover, takeover", leased(3), [patching(TEXT, 3, 6), patching(OTHER, 3, 6)],
         holds_one_of(TEXT[:6], TEXT[:3] + OTHER[3:6])),
]

DIRECT = [
    Race("direct commit, direct commit", direct.put, [direct.committing] * 2),
    Race("direct commit, direct commit, live elsewhere", direct.live_before(direct.put),
         [direct.committing] * 2),
    Race("direct commit, DELETE", direct.put, [direct.trying_to_commit, direct.giving_up]),
    Race("direct PUT, DELETE", direct.opened, [direct.trying_to_push, direct.giving_up]),
    Race("direct PUT, direct PUT", direct.opened, [direct.trying_to_push] * 2),
    Race("direct DELETE, DELETE", direct.put, [direct.giving_up] * 2),
    Race("direct, the same pushed elsewhere", lambda _: None, [direct.pushing(), WHOLE_AWAY],
         pullable_from(HOME, AWAY)),
    Race("direct, the same pushed here", lambda _: None, [direct.pushing(), WHOLE_HOME],
         pullable_from(HOME)),
    Race("direct, direct, object gone", buried(pushed),
         [direct.pushing(), direct.pushing(repository=AWAY)], pullable_from(HOME, AWAY)),
    Race("direct commit, DELETE of its blob", direct.put,
         [direct.trying_to_commit, deleting(HOME)]),
    Race("direct commit, sweeper at the end", direct.ending_soon,
         [direct.trying_to_commit, sweeping(20)]),
    Race("direct PUT, sweeper at the end", direct.ending_soon,
         [direct.trying_to_push, sweeping(20)]),
    Race("direct DELETE, sweeper at the end", direct.ending_soon,
         [direct.giving_up, sweeping(20)]),
    Race("late direct commit", direct.put, [direct.committing] * 2, late=True),
    Race("late direct PUT", direct.opened, [direct.trying_to_push, direct.giving_up], late=True),
]

PARTS = [
    Race("parts commit, parts commit", parts.put, [parts.committing] * 2),
    Race("parts commit, parts commit, live elsewhere", parts.elsewhere(parts.put),
         [parts.committing] * 2),
    Race("parts commit, another digest", parts.put,
         [parts.answered(parts.BLOB.digest, parts.BLOB.report),
          parts.answered(parts.OTHER.digest, parts.OTHER.report)]),
    Race("parts commit, another report", parts.put,
         [parts.answered(parts.BLOB.digest, parts.BLOB.report),
          parts.answered(parts.BLOB.digest, parts.OTHER.report)]),
    Race("parts commit, a part put anew", parts.put,
         [parts.answered(parts.BLOB.digest, parts.BLOB.report), parts.putting_anew_late]),
    Race("parts commit, the same part put anew", parts.put,
         [parts.committing, parts.putting_the_same_late]),
    Race("parts commit, status", parts.put, [parts.committing, parts.asking_beside]),
    Race("parts commit, DELETE", parts.put, [parts.trying_to_commit, parts.giving_up]),
    Race("parts PUTs, DELETE", parts.opened, [parts.trying_to_push, parts.giving_up]),
    Race("parts PUTs, parts PUTs", parts.opened, [parts.trying_to_push] * 2),
    Race("parts DELETE, DELETE", parts.put, [parts.giving_up] * 2),
    Race("parts commit, worker", parts.left(UploadState.SEALED), [parts.committing, working]),
    Race("parts commit, parts commit, by a worker", with_workers(parts.put),
         [parts.committing] * 2, limits=BY_WORKER),
    Race("parts, the same pushed elsewhere", lambda _: None,
         [parts.pushing(), pushing(whole=True, text=parts.LONG, repository=AWAY)]),
    Race("parts, the same pushed here", lambda _: None,
         [parts.pushing(), pushing(whole=True, text=parts.LONG)]),
    Race("parts commit, sweeper at the end", parts.ending_soon,
         [parts.trying_to_commit, sweeping(20)]),
    Race("parts PUTs, sweeper at the end", parts.ending_soon,
         [parts.trying_to_push, sweeping(20)]),
    Race("late parts commit", parts.put, [parts.committing] * 2, late=True),
    Race("late parts commit, live elsewhere", parts.elsewhere(parts.put),
         [parts.committing] * 2, late=True),
    Race("late parts commit, another report", parts.put,
         [parts.answered(parts.BLOB.digest, parts.OTHER.report),
          parts.answered(parts.BLOB.digest, parts.BLOB.report)], late=True),
    Race("late parts worker", parts.left(UploadState.SEALED), [working, parts.committing],
         late=True),
    Race("late parts PUTs", parts.opened, [parts.trying_to_push, parts.giving_up], late=True),
]

EDGE = [
    Race("edge commit, edge commit", edge.put_before, [edge.committing] * 2),
    Race("edge commit, edge commit, live elsewhere", edge.live_before(edge.put_before),
         [edge.committing] * 2),
    Race("edge commit, edge commit, not compared", edge.put_uncompared, [edge.committing] * 2),
    Race("edge commit, DELETE", edge.put_before, [edge.trying_to_commit, edge.giving_up]),
    Race("edge commit, DELETE, not compared", edge.put_uncompared,
         [edge.trying_to_commit, edge.giving_up]),
    Race("edge commit, PATCH", edge.put_before, [edge.trying_to_commit, patching(TEXT, 0, 5)],
         holds_one_of(TEXT, TEXT[:5])),
    Race("edge commit, PUT", edge.put_before, [edge.trying_to_commit, putting(TEXT, 0)]),
    Race("edge, edge, of one session", edge.opened, [edge.pushing()] * 2),
    Race("edge commit, DELETE of its blob", edge.put_before,
         [edge.trying_to_commit, deleting(HOME)]),
    Race("edge commit, sweeper at the end", edge.ending_soon,
         [edge.trying_to_commit, sweeping(20)]),
    Race("late edge commit", edge.put_before, [edge.committing] * 2, late=True),
    Race("late edge commit, DELETE", edge.put_before,
         [edge.trying_to_commit, edge.giving_up], late=True),
]

LATE = [
    Race("late tail", opened(12, 3), [patching(MIXED, 15, 18), patching(TEXT, 15, 18)],
         holds_one_of(TEXT[:18], MIXED[:18]), late=True),
    Race("late whole PUT", opened(), [putting(TEXT, 0)] * 2, late=True),
    Race("late whole PUT, PATCH", opened(),
         [putting(TEXT, 0, right=False), patching(TEXT, 0, 5)], holds_one_of(TEXT, TEXT[:5]),
         late=True),
    Race("late whole PUT, DELETE", opened(),
         [putting(TEXT, 0, right=False), cancelling], late=True),
    Race("late part", opened(12, 3), [patching(MIXED, 15, 25), patching(TEXT, 15, 25)],
         holds_one_of(TEXT[:25], MIXED[:25]), late=True),
    Race("late first part", opened(), [patching(OTHER, 0, 9), filling_and_putting(9, end=20)],
         holds_one_of(TEXT[:20], OTHER[:9]), late=True),
    Race("late part, and the rest", opened(12, 3),
         [patching(MIXED, 15, 25), putting(TEXT[:25], 15, right=False)],
         holds_one_of(TEXT[:25], MIXED[:25]), late=True),
    Race("late PUT, small", opened(3),
         [putting(TEXT[:6], 3, right=False), putting(TEXT[:3] + OTHER[3:6], 3, right=False)],
         late=True),
    Race("late PUT", opened(12, 3), [putting(TEXT[:15], 15)] * 2, late=True),
    Race("late worker", sealed, [working, putting(TEXT[:15], 15)], late=True),
    Race("late worker, unhashed", unhashed, [working, putting(TEXT[:15], 15)], late=True),
    Race("late PUT, copied in parts", opened(20, 35), [putting(TEXT, 55)] * 2, late=True),
    Race("late worker, sweeper", sealed, [working, sweeping(60)], late=True),
    Race("late worker, end of its life", sealed, [working, sweeping(WEEK)], late=True),
    Race("late small PUT", opened(3), [putting(TEXT[:3], 3)] * 2, late=True),
    Race("late PUT, the same pushed elsewhere", opened(20, 35), [putting(TEXT, 55), WHOLE_AWAY],
         late=True),
    Race("late whole POST", pushed_away, [WHOLE_HOME] * 2, late=True),
]

BLOBS = [
    Race("one blob to two repositories", opened(), [WHOLE_HOME, WHOLE_AWAY],
         pullable_from(HOME, AWAY)),
    Race("one blob to two repositories, in parts", opened(),
         [pushing(20, 35), pushing(55, repository=AWAY)], pullable_from(HOME, AWAY)),
    Race("one blob to one repository", opened(), [pushing(55), WHOLE_HOME], pullable_from(HOME)),
    Race("mount, delete at the source", pushed_away, [mounting, deleting(AWAY)]),
    Race("mount, mount", pushed_away, [mounting] * 2, pullable_from(HOME, AWAY)),
    Race("push, delete", pushed, [WHOLE_HOME, deleting(HOME)],
         in_turn(WHOLE_HOME, pullable_from(HOME, AWAY))),
    Race("push, push, object gone", buried(pushed), [WHOLE_HOME, WHOLE_AWAY],
         pullable_from(HOME, AWAY)),
    Race("push, delete elsewhere, object gone", buried(pushed), [WHOLE_HOME, deleting(AWAY)],
         pullable_from(HOME)),
    Race("delete, delete", pushed, [deleting(HOME)] * 2, pullable_from(AWAY)),
    Race("delete, delete elsewhere", pushed, [deleting(HOME), deleting(AWAY)],
         in_turn(WHOLE_HOME, pullable_from(HOME))),
]

MANIFESTS = [
    Race("tag, tag", images.layers, [tagging(images.OLD), tagging(images.NEW)]),
    Race("tag moves, tag moves", images.tagged_before,
         [tagging(images.NEW), tagging(images.OTHER)]),
    Race("tag moves, tag is deleted", images.tagged_before,
         [tagging(images.NEW), deleting_manifest("v1")]),
    Race("tag moves, old manifest is deleted", images.tagged_before,
         [tagging(images.NEW), deleting_manifest(OLD)], tagged(images.NEW)),
    Race("put, delete", images.live, [tagging(images.NEW), deleting_manifest(NEW)],
         in_turn(tagging(images.NEW), tagged(images.NEW))),
    Race("delete, delete", images.live, [deleting_manifest(NEW)] * 2,
         in_turn(tagging(images.NEW), tagged(images.NEW))),
    Race("delete, delete and put and delete", images.live,
         [deleting_manifest(NEW),
          in_turn(deleting_manifest(NEW), tagging(images.NEW), deleting_manifest(NEW))]),
    Race("put, put", images.layers, [tagging(images.NEW)] * 2, tagged(images.NEW)),
    Race("put, put, large", images.layers, [tagging(images.NEW)] * 2, tagged(images.NEW),
         SMALL_BODY),
    Race("put, delete, large", images.live, [tagging(images.NEW), deleting_manifest(NEW)],
         in_turn(tagging(images.NEW), tagged(images.NEW)), SMALL_BODY),
    Race("delete, delete and put, large", images.live,
         [deleting_manifest(NEW), in_turn(deleting_manifest(NEW), tagging(images.NEW))],
         limits=SMALL_BODY),
    Race("put, a layer is deleted, large", images.layers,
         [tagging(images.NEW, may_lack=True), deleting_layer], limits=SMALL_BODY),
    Race("put, put, a layer is deleted, large", images.layers,
         [in_turn(tagging(images.NEW, may_lack=True), deleting_layer),
          tagging(images.NEW, may_lack=True)], limits=SMALL_BODY),
    Race("delete the manifest, delete its blob, of 0.1", images.of_0_1,
         [deleting_manifest(NEW), deleting_body], limits=SMALL_BODY),
    Race("put, a layer is deleted", images.layers,
         [tagging(images.NEW, may_lack=True), deleting_layer]),
    Race("put an index, its image is deleted", images.live,
         [putting_index, deleting_manifest(NEW)]),
]

RULES = [
    Race("tag, tag, immutable", images.held(images.layers),
         [tagging(images.OLD, may_lack=True), tagging(images.NEW, may_lack=True)], never_moved),
    Race("tag, tag by digest, immutable", images.held(images.layers),
         [tagging(images.NEW)] * 2, in_turn(tagged(images.NEW), never_moved)),
    Race("tag, restore by force, immutable", images.held(trash.deleted),
         [tagging(images.OLD, may_lack=True), trash.trying(f"{trash.OF_TAG}&force=1")],
         never_moved),
]

TRASH = [
    Race("put, delete, no trash", images.live, [tagging(images.NEW), deleting_manifest(NEW)],
         in_turn(tagging(images.NEW), tagged(images.NEW)), GONE),
    Race("put, delete, large, no trash", images.live,
         [tagging(images.NEW), deleting_manifest(NEW)],
         in_turn(tagging(images.NEW), tagged(images.NEW)), GONE_BODY),
    Race("delete, delete and put, large, no trash", images.live,
         [deleting_manifest(NEW), in_turn(deleting_manifest(NEW), tagging(images.NEW))],
         limits=GONE_BODY),
    Race("delete the manifest, delete its blob, of 0.1, no trash", images.of_0_1,
         [deleting_manifest(NEW), deleting_body], limits=GONE_BODY),
    Race("restore, restore", trash.deleted, [trash.restoring()] * 2),
    Race("restore, put", trash.deleted, [trash.trying(), tagging(images.NEW)],
         tagged(images.NEW)),
    Race("restore, put, large", trash.deleted, [trash.trying(), tagging(images.NEW)],
         tagged(images.NEW), SMALL_BODY),
    Race("restore, delete", trash.deleted, [trash.trying(), deleting_manifest(NEW)]),
    Race("restore, delete of what is half deleted", images.half_deleted,
         [trash.trying(), deleting_manifest(NEW)]),
    Race("restore, the tag moves on", trash.deleted, [trash.trying(), tagging(images.OLD)],
         tagged(images.OLD)),
    Race("restore a tag, the tag moves on", trash.deleted,
         [trash.trying(trash.OF_TAG), tagging(images.OLD)], tagged(images.OLD)),
    Race("restore, a layer is deleted", trash.deleted, [trash.trying(), deleting_layer]),
    Race("restore, sweeper at the end", trash.ending_soon, [trash.trying(), sweeping(20)]),
    Race("restore, sweeper at the end, large", trash.ending_soon,
         [trash.trying(), sweeping(20)], limits=SMALL_BODY),
    Race("put, sweeper at the end of the trash, large", trash.ending_soon,
         [tagging(images.NEW), sweeping(20)], tagged(images.NEW), SMALL_BODY),
    Race("late restore, delete", trash.deleted, [trash.trying(), deleting_manifest(NEW)],
         late=True),
]

LEASES = [
    Race("refresh, refresh", leases.live,
         [leases.beside(leases.refreshing(leases.SECOND)),
          leases.beside(leases.refreshing(leases.LAST))],
         leases.one_of(leases.SECOND, leases.LAST)),
    Race("refresh, refresh, the first time", images.live,
         [leases.beside(leases.refreshing(leases.SECOND)),
          leases.beside(leases.refreshing(leases.LAST))],
         leases.one_of(leases.SECOND, leases.LAST)),
    Race("refresh, remove", leases.live,
         [leases.beside(leases.refreshing(leases.SECOND)), leases.beside(leases.removing)],
         leases.one_of(leases.SECOND, {})),
    Race("refresh, delete of what stays in use", leases.live,
         [leases.refreshing(leases.SECOND), leases.refused]),
    Race("refresh, delete of what comes in use", images.live,
         [leases.refreshing(leases.FIRST), leases.trying]),
    Race("late refresh, refresh", leases.live,
         [leases.beside(leases.refreshing(leases.SECOND)),
          leases.beside(leases.refreshing(leases.LAST))], late=True),
]

GARBAGE = [
    Race("collect, HEAD and manifest PUT", garbage.old(images.layers),
         [garbage.collecting, garbage.heading_and_putting], garbage.whole),
    Race("collect, HEAD", garbage.old(garbage.pushed(HOME)),
         [garbage.collecting, garbage.heading], garbage.whole),
    Race("collect, manifest PUT", garbage.old(images.layers),
         [garbage.collecting, garbage.putting], garbage.whole),
    Race("collect, large manifest PUT", garbage.old(images.layers),
         [garbage.collecting, garbage.putting], garbage.whole, SMALL_BODY),
    Race("collect, manifest PUT, references in the body", garbage.old(images.layers),
         [garbage.collecting, garbage.putting], garbage.whole, FEW_REFERENCES),
    Race("collect, tag moves", garbage.old(garbage.with_waste(images.tagged_before)),
         [garbage.collecting, tagging(images.NEW)], garbage.whole),
    Race("collect, push", garbage.old(garbage.pushed(HOME)),
         [garbage.collecting, garbage.pushing(whole=True)], garbage.whole),
    Race("collect, push to another repository", garbage.old(garbage.deleted),
         [garbage.collecting, garbage.pushing(AWAY, whole=True)], garbage.whole),
    Race("collect, push in chunks", garbage.old(garbage.deleted),
         [garbage.collecting, garbage.pushing(chunks=(20, 20))], garbage.whole),
    Race("collect, push in chunks to two repositories", garbage.old(garbage.pushed(AWAY)),
         [garbage.collecting, garbage.pushing(chunks=(20, 20))], garbage.whole),
    Race("collect, push, object gone", garbage.old(buried(garbage.pushed(HOME))),
         [garbage.collecting, garbage.pushing(AWAY, whole=True)], garbage.whole),
    Race("collect, push of what is half collected", garbage.old(garbage.half_collected),
         [garbage.collecting, garbage.pushing(whole=True)], garbage.whole),
    Race("collect, direct push", garbage.old(garbage.pushed(HOME)),
         [garbage.collecting, direct.pushing()], garbage.whole),
    Race("collect, mount", garbage.old(garbage.pushed(AWAY)),
         [garbage.collecting, garbage.mounting], garbage.whole),
    Race("collect, pull", garbage.old(garbage.pushed(HOME)),
         [garbage.collecting, garbage.pulling], garbage.whole),
    Race("collect, DELETE of the blob", garbage.old(garbage.pushed(HOME, AWAY)),
         [garbage.collecting, deleting(HOME)], garbage.whole),
    Race("collect, delete", garbage.old(images.live),
         [garbage.collecting, deleting_manifest(NEW)], garbage.whole),
    Race("collect, delete, no trash", garbage.ending(images.live),
         [garbage.collecting, deleting_manifest(NEW)], garbage.whole, GONE_BODY),
    Race("collect, delete and put", garbage.ending(images.live),
         [garbage.collecting, garbage.replacing], garbage.whole, GONE),
    Race("collect, restore", garbage.old(trash.deleted),
         [garbage.collecting, trash.trying()], garbage.whole),
    Race("collect, restore of a large manifest", garbage.old(trash.deleted),
         [garbage.collecting, trash.trying()], garbage.whole, SMALL_BODY),
    Race("collect, empty trash", garbage.ending(garbage.waiting(trash.deleted)),
         [garbage.collecting, sweeping()], garbage.whole, SMALL_BODY),
    Race("collect, restore at the end", garbage.old(trash.ending_soon, 5.0),
         [garbage.once, in_turn(trash.trying(), sweeping(20))], garbage.whole),
    Race("collect, sweep of a pending manifest", garbage.ending(images.pending_with_body),
         [garbage.collecting, sweeping()], garbage.whole, SMALL_BODY),
    Race("collect, put of what is pending", garbage.old(images.pending),
         [garbage.collecting, garbage.putting], garbage.whole),
    Race("collect, collect", garbage.old(garbage.pushed(HOME, AWAY)),
         [garbage.collecting] * 2, garbage.whole),
    Race("collect, DELETE of a link that no record counts", garbage.remade,
         [garbage.once, deleting(AWAY)], garbage.each_by_itself),
    Race("collect, DELETE of the link that a remade record counts", garbage.remade,
         [garbage.once, deleting(HOME)], garbage.each_by_itself),
    Race("collect, push to a link that no record counts", garbage.remade,
         [garbage.once, garbage.pushing(AWAY, whole=True)], garbage.each_by_itself),
    Race("collect, collect, a link that no record counts", garbage.remade,
         [garbage.once] * 2, garbage.each_by_itself),
    Race("collect from the beginning, collect", garbage.old(garbage.half_collected),
         [garbage.once, garbage.collecting], garbage.whole),
    Race("collect, PUT, nobody has begun", stray, [garbage.once, putting(TEXT, 0)]),
    Race("collect, sweeper, strays", garbage.unlisted(garbage.strays),
         [garbage.once, sweeping()], garbage.whole),
    Race("late collect, HEAD and manifest PUT", garbage.old(images.layers),
         [garbage.once, garbage.days_later(garbage.heading_and_putting)], garbage.whole,
         late=True),
    Race("late collect, manifest PUT", garbage.old(images.layers),
         [garbage.once, garbage.days_later(garbage.putting)], garbage.whole, late=True),
    Race("late collect, collect and push", garbage.old(garbage.pushed(HOME)),
         [garbage.once, in_turn(garbage.once, garbage.pushing(whole=True))], garbage.whole,
         late=True),
    Race("late collect, collect and push twice", garbage.old(garbage.pushed(HOME)),
         [garbage.once, in_turn(garbage.once, *[garbage.pushing(whole=True)] * 2)], garbage.whole,
         late=True),
    Race("late collect, push and collect", garbage.old(garbage.deleted),
         [garbage.once, in_turn(garbage.pushing(AWAY, whole=True), garbage.once)],
         garbage.whole, late=True),
]

RETENTION = [
    Race("retention, put of the index", retained.old,
         [retained.running, retained.putting(retained.TAG, retained.ROOT, "root", "child")],
         retained.whole),
    Race("retention, put of another index", retained.old,
         [retained.running, retained.putting("new", retained.ANOTHER, "child")], retained.whole),
    Race("retention, tag of an image", retained.old,
         [retained.running, retained.putting("new", retained.CHILD, "child")], retained.whole),
    Race("retention, put of the signature", retained.old,
         [retained.running,
          retained.putting(str(retained.UNIT["signature"]), retained.SIGNATURE, "signature")],
         retained.whole),
    Race("retention, the tag moves", retained.old,
         [retained.running, retained.putting(retained.TAG, images.NEW)], retained.whole),
    Race("retention, delete", retained.old,
         [retained.running, deleting_manifest(str(retained.UNIT["root"]))], retained.whole),
    Race("retention, restore", retained.deleted_root,
         [retained.running, retained.restoring], retained.whole),
    Race("retention, lease", retained.old,
         [retained.running, retained.protecting], retained.whole),
    Race("retention, retention", retained.old, [retained.running] * 2, retained.ended),
    Race("late retention, put of another index", retained.old,
         [retained.running, retained.putting("new", retained.ANOTHER, "child")], retained.whole,
         late=True),
]

QUOTAS = [
    Race("push, push, room for one", quotas.within(quotas.nothing, quotas.ROOM),
         [quotas.trying(TEXT), quotas.trying(quotas.OTHER)], quotas.one_is_there),
    Race("push, push, room for one, counted", quotas.emptied,
         [quotas.trying(TEXT), quotas.trying(quotas.OTHER)], quotas.one_is_there),
    Race("push, push, room for two", quotas.within(quotas.nothing, 2 * quotas.ROOM),
         [quotas.pushing(TEXT), quotas.pushing(quotas.OTHER)], pullable_from(HOME)),
    Race("push, delete, push, full", quotas.full,
         [in_turn(deleting(HOME), quotas.trying(quotas.OTHER)), quotas.trying(quotas.THIRD)]),
    Race("mount, mount, room for one", quotas.emptied_beside, [quotas.mounting] * 2),
    Race("push, push of the same, room for one", quotas.within(quotas.nothing, quotas.ROOM),
         [quotas.pushing(TEXT)] * 2, pullable_from(HOME)),
    Race("push, push of the same, full", quotas.full, [quotas.pushing(TEXT)] * 2,
         pullable_from(HOME)),
    Race("push, delete, full", quotas.full, [quotas.trying(quotas.OTHER), deleting(HOME)],
         in_turn(quotas.pushing(), quotas.one_is_there)),
    Race("tag, tag, room for one", quotas.within(images.layers, tags=1),
         [quotas.trying_to_tag("v1"), quotas.trying_to_tag("v2")]),
    Race("tag, tag of the same, room for one", quotas.within(images.layers, tags=1),
         [tagging(images.NEW)] * 2, tagged(images.NEW)),
    Race("late push, push, room for one", quotas.within(quotas.nothing, quotas.ROOM),
         [quotas.trying(TEXT), quotas.trying(quotas.OTHER)], late=True),
]

SWEEPS = [
    Race("PUT, sweeper", sealed, [putting(TEXT[:15], 15), sweeping()]),
    Race("sweeper, sweeper", sealed, [sweeping(), sweeping()]),
    Race("PATCH, sweeper", ending_soon(12, 3), [patching(TEXT, 15, 20), sweeping(20)]),
    Race("PUT, sweeper at the end", ending_soon(12, 3),
         [putting(TEXT[:15], 15, right=False), sweeping(20)]),
    Race("PUT small, sweeper past its lease", ending_soon(3),
         [putting(TEXT[:3], 3, right=False), sweeping(60)]),
    Race("PUT of a body, sweeper past its lease", ending_soon(),
         [putting(TEXT[:3], 0, right=False), sweeping(60)]),
    Race("PUT, sweeper past its lease", ending_soon(12, 3),
         [putting(TEXT[:20], 15, right=False), sweeping(60)]),
    Race("POST whole, sweeper", lambda _: None, [WHOLE_HOME, sweeping(HOURS)]),
    Race("DELETE, sweeper at the end", ending_soon(12, 3), [cancelling, sweeping(20)]),
    Race("sweeper, sweeper at the end", ending_soon(12, 3), [sweeping(20), sweeping(0)]),
    Race("push, sweeper", opened(), [pushing(55), sweeping(HOURS)], pullable_from(HOME)),
    Race("put, sweeper", images.layers, [tagging(images.NEW), sweeping(HOURS)],
         tagged(images.NEW)),
    Race("put, sweeper, large", images.pending_with_body, [tagging(images.NEW), sweeping(HOURS)],
         tagged(images.NEW), SMALL_BODY),
    Race("put on a deletion, sweeper", images.half_deleted,
         [tagging(images.NEW), sweeping(HOURS)], tagged(images.NEW)),
    Race("delete, sweeper", images.live, [deleting_manifest(NEW), sweeping(HOURS)]),
]
# fmt: on

ALL = [
    *UPLOADS,
    *DIRECT,
    *EDGE,
    *PARTS,
    *LATE,
    *BLOBS,
    *MANIFESTS,
    *RULES,
    *TRASH,
    *LEASES,
    *GARBAGE,
    *RETENTION,
    *QUOTAS,
    *SWEEPS,
]
