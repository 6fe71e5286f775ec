"""Every operation that the drills stop, fail and repeat: what is prepared, what a client does.

An operation is what a client does, through the API, after an undisturbed preparation. Nothing here
may depend on how it is disturbed.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.errors import RegistryError
from chalicelib.registry.keys import canonical_key, direct_key
from chalicelib.registry.session import Session, UploadState
from chalicelib.registry.upload.runner import CommitDriver
from tests.drills import direct, edge, garbage, images, retained, trash
from tests.drills import direct_parts as parts
from tests.drills.owners import leases, quotas
from tests.drills.support.client import AWAY, HOME, TEXT, Upload
from tests.drills.support.ledger import Violation, id_of
from tests.drills.support.points import Gate
from tests.drills.support.requests import DRILL, expect
from tests.drills.support.worlds import BY_WORKER, PART, SMALL
from tests.support.values import as_sealed, take_lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.service import Limits
    from tests.drills.support.client import Client, Stage


# What is prepared


def opened(*sizes: int) -> Callable[[Stage], str]:
    """Prepare a session with chunks of these sizes in it; without any, nobody has begun it.

    Returns what its last Location names it by: a ticket before the first chunk, and then its id.
    """

    def prepare(stage: Stage) -> str:
        client = stage.client()
        session, at = client.start(HOME), 0
        for end in itertools.accumulate(sizes):
            at = client.fill(HOME, session, TEXT, at, end) or 0
        return id_of(session) if sizes else session

    return prepare


def changed(*sizes: int, **changes: Any) -> Callable[[Stage], str]:  # noqa: ANN401 - any field of a session
    """Prepare a session, and change fields of its item without the registry."""

    def prepare(stage: Stage) -> str:
        session = opened(*sizes)(stage)
        before = held(stage, session)
        stage.world.ports(Gate()).sessions.write(before, replace(before, **changes))
        return session

    return prepare


def opened_of_old(stage: Stage) -> str:
    """Prepare a session as it was opened before there were tickets: an item, and no byte."""
    ports, now = stage.world.ports(Gate()), stage.world.clock.now()
    ends = now + SMALL.session_life
    session = Session(
        id=ports.clock.new_id(),
        repository=HOME,
        principal=DRILL,
        nonce=ports.clock.new_id(),
        created_at=now,
        life_until=ends,
        hash_state=Hasher(Algorithm.SHA256).state(),
        sweep_at=ends,
    )
    ports.sessions.create(session)
    return session.id


def live_elsewhere(prepare: Callable[[Stage], str], text: bytes) -> Callable[[Stage], str]:
    """Prepare something where another repository has these bytes already."""

    def prepared(stage: Stage) -> str:
        stage.client().push(AWAY, Upload(text, whole=True))
        return prepare(stage)

    return prepared


def begun_by_ticket(stage: Stage) -> str:
    """Prepare a session with one chunk, of which its client knows the ticket alone."""
    session = opened()(stage)
    stage.client().fill(HOME, session, TEXT, 0, 12)
    return session


def stray(stage: Stage) -> str:
    """Prepare a session nobody has begun, whose whole PUT died when its bytes were in S3."""
    session = opened()(stage)
    key = direct_key(Digest.of(TEXT), id_of(session))
    stage.world.ports(Gate()).objects.put(key, TEXT)
    return session


def robbed(prepare: Callable[[Stage], str]) -> Callable[[Stage], str]:
    """Prepare a session whose staged object, or tail, is deleted: only a fault of S3 does that."""

    def rob(stage: Stage) -> str:
        session = prepare(stage)
        found = held(stage, session)
        stage.world.ports(Gate()).objects.delete([(found.staged or found.tail).key])  # type: ignore[union-attr]
        stage.ledger.robbed.add(session)
        return session

    return rob


def buried(prepare: Callable[[Stage], Any]) -> Callable[[Stage], Any]:
    """Prepare blobs, and delete their objects behind their records: they are pushed anew."""

    def bury(stage: Stage) -> object:
        prepared = prepare(stage)
        keys = [record.key for record in stage.world.snapshot().records.values()]
        stage.world.ports(Gate()).objects.delete(keys)
        stage.ledger.dead.update(keys)
        stage.ledger.blobs.clear()
        return prepared

    return bury


def leased(*sizes: int) -> Callable[[Stage], str]:
    """Prepare a session whose last request died while it held the lease."""

    def prepare(stage: Stage) -> str:
        session, clock = opened(*sizes)(stage), stage.world.clock
        sessions, now = stage.world.ports(Gate()).sessions, clock.now()
        take_lease(sessions, held(stage, session), holder="dead", now=now, until=now + 34)
        clock.sleep(60)
        return session

    return prepare


def elsewhere(*sizes: int, text: bytes = TEXT) -> Callable[[Stage], str]:
    """Prepare a session of bytes that another repository has pushed already."""
    return live_elsewhere(opened(*sizes), text)


def worked(*sizes: int) -> Callable[[Stage], str]:
    """Prepare a session with chunks of these sizes, whose commits a worker does, at once."""
    return with_workers(opened(*sizes))


def with_workers(prepare: Callable[[Stage], str]) -> Callable[[Stage], str]:
    """Prepare a session whose commits a worker does, at once."""

    def prepared(stage: Stage) -> str:
        session = prepare(stage)
        bring_workers(stage)
        return session

    return prepared


def bring_workers(stage: Stage) -> None:
    """Let every worker that is asked for do its work, at once."""

    def drive(session_id: str) -> None:
        # No request waits for a worker, or sees its error.
        with suppress(RegistryError):
            stage.registry().commits.resume(session_id, stage.world.clock.now() + 600)

    stage.world.workers.drive = drive


def held(stage: Stage, session: str) -> Session:
    """Return a session as it is stored."""
    found = stage.world.ports(Gate()).sessions.get(session)
    if found is None:
        raise Violation(f"{session} was prepared, and is not there")
    return found


def offset_at(stage: Stage, session: str) -> int:
    """Return how many bytes a session has; an unbegun one has none."""
    found = stage.world.ports(Gate()).sessions.get(id_of(session))
    return found.offset if found else 0


def waiting(prepare: Callable[[Stage], Any], hours: float) -> Callable[[Stage], Any]:
    """Prepare something, and let so many hours pass."""

    def wait(stage: Stage) -> object:
        prepared = prepare(stage)
        stage.world.clock.sleep(hours * 3600)
        return prepared

    return wait


def left(
    state: UploadState,
    sizes: tuple[int, ...] = (12, 3),
    **changes: Any,  # noqa: ANN401 - any field of a session
) -> Callable[[Stage], str]:
    """Prepare a session whose closing PUT died in this state, an hour ago: the sweeper is due.

    `changes` to the session are made before it was sealed.
    """

    def prepare(stage: Stage) -> str:
        session = changed(*sizes, **changes)(stage)
        ports, before = stage.world.ports(Gate()), held(stage, session)
        closed = as_sealed(before, Digest.of(TEXT[: sum(sizes)]), ports.clock.now())
        driver = CommitDriver(ports, SMALL)
        current = driver.take(ports.sessions.write(before, closed))
        while current.state is not state:
            current = driver.step(current, ports.clock.now() + 600)
        stage.world.clock.sleep(3600)
        return session

    return prepare


sealed = left(UploadState.SEALED)
unhashed = left(UploadState.SEALED, hash_state=b"?")


def copy_begun(stage: Stage) -> str:
    """Prepare a session whose driver died while it copied: the second part of four is there."""
    session = left(UploadState.ASSEMBLED, sizes=(20, 20, 15))(stage)
    objects, found = stage.world.ports(Gate()).objects, held(stage, session)
    key, staged = canonical_key(found.claimed_digest, session), found.staged_object
    upload_id, span = objects.begin_multipart(key).id, (2 * PART, 4 * PART - 1)
    objects.copy_part(key, upload_id, 2, staged.key, staged.etag, span)
    return session


def committed_disturbed(stage: Stage) -> str:
    """Prepare a committed session to which a dead request may still write."""
    session = leased(12, 3)(stage)
    closing(TEXT[:20])(stage.client(), session)
    return session


# What is done


def pushing(
    *chunks: int,
    text: bytes = TEXT,
    repository: str = HOME,
    **how: Any,  # noqa: ANN401 - any field of an upload
) -> Callable[[Client, Any], None]:
    """Push a blob in chunks of these sizes, the rest with the PUT."""
    return lambda client, _: client.push(repository, Upload(text, chunks, **how))


def filling(end: int) -> Callable[[Client, str], None]:
    """Send one chunk that ends at `end` into the session."""

    def act(client: Client, session: str) -> None:
        if client.fill(HOME, session, TEXT, offset_at(client.stage, session), end) != end:
            raise Violation(f"{session} did not take the chunk")

    return act


def refused(
    name: str, at: int, status: int, principal: str = DRILL
) -> Callable[[Client, str], None]:
    """Send a chunk that must be refused: for its repository, principal, offset or time."""

    def act(client: Client, session: str) -> None:
        target = f"{name}/blobs/uploads/{session}?at={at}"
        client.requests.principal = principal
        expect(client.requests.insist("PATCH", target, TEXT[at : at + 9]), status)
        client.requests.principal = DRILL

    return act


def refused_first(name: str, principal: str = DRILL) -> Callable[[Client, str], None]:
    """Send a chunk that must be refused for its repository or principal, then the right one."""

    def act(client: Client, session: str) -> None:
        refused(name, 0, 404, principal)(client, session)
        filling(12)(client, session)

    return act


def forging(client: Client, session: str) -> None:
    """Send a chunk with a ticket that nobody made, then with the right one."""
    refused(HOME, 0, 404)(client, f"{session[:-1]}{'A' if session[-1] != 'A' else 'B'}")
    filling(12)(client, session)


def closing(text: bytes = TEXT, **how: Any) -> Callable[[Client, str], None]:  # noqa: ANN401 - any field of an upload
    """Close the session, with what it still lacks of `text`; start anew if it is gone."""

    def act(client: Client, session: str) -> None:
        upload = Upload(text, **how)
        at = offset_at(client.stage, session)
        if upload.wrong_first:
            client.claim_wrongly(HOME, session, upload, at)
        if not client.close(HOME, session, upload, at):
            client.push(HOME, upload)

    return act


def asking_status(client: Client, session: str) -> None:
    """Ask for the status."""
    if client.where(HOME, session) is None:
        raise Violation(f"{session} is gone")


def cancelling(client: Client, session: str) -> None:
    """Cancel the session: afterwards it is unknown."""
    client.cancel(HOME, session)
    if client.where(HOME, session) is not None:
        raise Violation(f"{session} was cancelled, and is there")


def resuming(client: Client, session: str) -> None:
    """Drive a sealed session as the commit function does, then repeat the PUT."""
    client.invoke(lambda registry, now: registry.commits.resume(session, now + 600))
    bring_workers(client.stage)  # who finds that the first one died asks for another one
    closing()(client, session)


def closed_in_vain(stage: Stage) -> str:
    """Prepare a session whose closing PUT left the commit to a worker."""
    session = opened(20, 20)(stage)
    client = stage.client(patient=False)
    target = f"{HOME}/blobs/uploads/{session}?at=40&digest={Digest.of(TEXT)}"
    if client.requests.ask("PUT", target, TEXT[40:]).status != 503:
        raise Violation("a commit that no worker has driven was answered as done")
    return session


def healing(
    push: Callable[[Client, Any], None], text: bytes = TEXT
) -> Callable[[Client, Any], None]:
    """Push what is gone: afterwards the other repository has it, too, if it ever had."""

    def act(client: Client, prepared: object) -> None:
        push(client, prepared)
        if client.pull(AWAY, Digest.of(text)) not in {text, None}:
            raise Violation("the blob was healed in one repository alone")

    return act


def in_turn(*acts: Callable[[Client, Any], object]) -> Callable[[Client, Any], None]:
    """Do all of these, one after the other."""

    def act(client: Client, prepared: object) -> None:
        for each in acts:
            each(client, prepared)

    return act


def mounting(client: Client, _: object) -> None:
    """Mount the blob."""
    if not client.mount(HOME, AWAY, Upload(TEXT)):
        raise Violation("the blob was not mounted")


def pushed(stage: Stage) -> None:
    """Prepare a blob in both repositories."""
    for repository in (HOME, AWAY):
        stage.client().push(repository, Upload(TEXT, whole=True))


def pushed_away(stage: Stage) -> None:
    """Prepare a blob in the other repository only."""
    stage.client().push(AWAY, Upload(TEXT, whole=True))


def deleting_blob(client: Client, _: object) -> None:
    """Delete the blob from one repository: the other keeps it."""
    client.delete_blob(HOME, Digest.of(TEXT))
    if client.pull(HOME, Digest.of(TEXT)) is not None or client.pull(AWAY, Digest.of(TEXT)) != TEXT:
        raise Violation("the deletion took too little or too much")


def pulling(client: Client, _: object) -> None:
    """Pull the blob."""
    if client.pull(AWAY, Digest.of(TEXT)) != TEXT:
        raise Violation("the blob is not what was pushed")


def heading(client: Client, _: object) -> None:
    """HEAD the blob."""
    target = f"{AWAY}/blobs/{Digest.of(TEXT)}"
    expect(client.requests.insist("HEAD", target), 200)


def sweeping(wait: float = 0.0) -> Callable[[Client, Any], None]:
    """Sweep, after so many seconds; a sweeper that dies is run again."""

    def act(client: Client, _: object) -> None:
        client.stage.world.clock.sleep(wait)
        client.invoke(lambda registry, now: registry.sweeper.sweep(now + 600))

    return act


# The rows


@dataclass(frozen=True)
class Operation:
    """What a client does to what was prepared, e.g. a session's id."""

    name: str
    act: Callable[[Client, Any], object]
    prepare: Callable[[Stage], Any] = lambda _stage: None
    limits: Limits = SMALL


DAYS = 24 * 8
"""In hours: past the life of a session, and of what a link's last use is worth."""
SMALL_BODY = SMALL._replace(body_inline=64)
FEW_REFERENCES = SMALL_BODY._replace(references_inline=1)
"""What a manifest names stands in its body, which is not in its row."""
GONE = SMALL._replace(trash=0.0)
GONE_BODY = SMALL_BODY._replace(trash=0.0)
"""Without a trash."""
SHA512 = Algorithm.SHA512
ASSEMBLED, VERIFIED, COPIED = UploadState.ASSEMBLED, UploadState.VERIFIED, UploadState.COPIED
SHORT = TEXT[:20]
"""Parts and a tail, and below what one copy takes."""

# A row has one line or two, of which formatting would make six.
# fmt: off
UPLOADS = [
    Operation("POST, status", lambda client, _: asking_status(client, client.start(HOME))),
    Operation("POST whole", pushing(whole=True)),
    Operation("POST whole sha512", pushing(whole=True, algorithm=SHA512)),
    Operation("POST whole, nothing", pushing(whole=True, text=b"")),
    Operation("POST whole, already live", pushing(whole=True), pushed),
    Operation("POST whole, live elsewhere", pushing(whole=True, text=SHORT), elsewhere(text=SHORT)),
    Operation("POST whole, object gone", healing(pushing(whole=True)), buried(pushed)),
    Operation("POST whole, object gone elsewhere",
              healing(pushing(whole=True)), buried(pushed_away)),
    Operation("POST, PUT", pushing()),
    Operation("POST, PUT, wrong digest, right one", pushing(wrong_first=True)),
    Operation("POST, PUT of nothing", pushing(text=b"")),
    Operation("POST, PUT, live elsewhere", closing(SHORT), elsewhere(text=SHORT)),
    Operation("POST, PUT, its first one died", closing(), stray),
    Operation("a forged ticket", forging, opened()),
    Operation("a ticket under another name", refused_first(AWAY), opened()),
    Operation("a ticket of another principal", refused_first(HOME, "mallory"), opened()),
    Operation("a ticket that is too old", refused(HOME, 0, 404), waiting(opened(), 2)),
    Operation("a ticket before its first byte", refused(HOME, 12, 416), opened()),
    Operation("a ticket of a session that is begun", closing(), begun_by_ticket),
    Operation("an old ticket of a session that is begun", closing(), waiting(begun_by_ticket, 2)),
    Operation("POST, one PATCH, PUT", pushing(len(TEXT))),
    Operation("POST, PATCHes, PUT", pushing(5, 5, 12, 3, 3, 27)),
    Operation("POST, PATCHes, last chunk in the PUT", pushing(12, 5, 20)),
    Operation("POST, small PATCH, last chunk in the PUT", pushing(3, text=TEXT[:7])),
    Operation("POST, wrong digest, right one", pushing(12, 5, wrong_first=True)),
    Operation("append a tail", filling(3), opened()),
    Operation("append to a tail", filling(7), opened(3)),
    Operation("append a part", filling(12), opened()),
    Operation("append a part after a tail", filling(14), opened(12, 1)),
    Operation("append, the 16th", filling(23), opened(8, *(1 for _ in range(14)))),
    Operation("append after a dead request", filling(14), leased(12, 1)),
    Operation("append to an unhashed session", filling(30), changed(12, 5, hash_state=b"?")),
    Operation("append under another name", refused(AWAY, 12, 404), opened(12)),
    Operation("append as another principal", refused(HOME, 12, 404, "mallory"), opened(12)),
    Operation("append the same again", refused(HOME, 0, 416), opened(12)),
    Operation("append after the end", refused(HOME, 12, 404), waiting(opened(12), 24 * 8)),
    Operation("append to a tail that is gone", refused(HOME, 15, 404), robbed(opened(12, 3))),
    Operation("append to an old session", filling(12), opened_of_old),
    Operation("commit a body into an old session", closing(SHORT), opened_of_old),
    Operation("commit a body into an old session, live elsewhere",
              closing(SHORT), live_elsewhere(opened_of_old, SHORT)),
    Operation("cancel an old session", cancelling, opened_of_old),
    Operation("status", asking_status, opened(12, 5)),
    Operation("cancel", cancelling, opened(12, 5)),
    Operation("cancel, nothing sent", cancelling, opened()),
    Operation("cancel after a dead request", cancelling, leased(12, 5)),
]

DIRECT = [
    Operation("direct", direct.pushing()),
    Operation("direct, nothing", direct.pushing(b"")),
    Operation("direct, already live", direct.pushing(), pushed),
    Operation("direct, live elsewhere", direct.pushing(), pushed_away),
    Operation("direct, live elsewhere, directly", direct.pushing(), direct.pushed_away),
    Operation("direct, object gone", healing(direct.pushing()), buried(direct.pushed_away)),
    Operation("direct, status", direct.asking_status, direct.opened),
    Operation("direct, commit", direct.committing, direct.put),
    Operation("direct, commit before the PUT", direct.committing_nothing, direct.opened_elsewhere),
    Operation("direct, cancel", direct.cancelling, direct.put),
    Operation("direct, PUT and cancel", direct.putting_and_cancelling, direct.opened),
    Operation("direct, cancel, the PUT ends late", direct.putting_late, direct.opened),
    Operation("direct, asked as another upload", direct.asked_otherwise, direct.put),
    Operation("direct, asked by another principal", direct.asked_by_another, direct.put),
    Operation("direct, then chunks elsewhere", closing(), direct.live_before(opened(20, 20, 15))),
    Operation("direct, then a mount", mounting, direct.pushed_away),
    Operation("direct, then a pull", pulling, direct.pushed_away),
]

PARTS = [
    Operation("parts", parts.pushing()),
    Operation("parts, sha512", parts.pushing(parts.SHA512)),
    Operation("parts, one", parts.pushing(parts.ONE)),
    Operation("parts, live elsewhere", parts.pushing(), parts.pushed_away_whole),
    Operation("parts, live elsewhere, in parts", parts.pushing(), parts.pushed_away),
    Operation("parts, object gone", healing(parts.pushing(), parts.LONG),
              buried(parts.pushed_away)),
    Operation("parts, status", parts.asking_status, parts.put),
    Operation("parts, URLs", parts.asking_urls, parts.opened),
    Operation("parts, commit", parts.committing, parts.put),
    Operation("parts, commit before they come",
              parts.refused(parts.BLOB.digest, parts.BLOB.report), parts.elsewhere(parts.opened)),
    Operation("parts, commit with another digest",
              parts.refused(parts.OTHER.digest, parts.BLOB.report), parts.put),
    Operation("parts, commit with other states",
              parts.refused(parts.BLOB.digest, parts.OTHER.report), parts.put),
    Operation("parts, commit with other sizes",
              parts.refused(parts.BLOB.digest, parts.changed(128, 64, 28)), parts.put),
    Operation("parts, one put anew", parts.putting_anew, parts.put),
    Operation("parts, half verified", parts.committing, parts.half_verified()),
    Operation("parts, half verified, the rest is wrong",
              parts.committing_wrongly, parts.half_verified(wrong=True)),
    Operation("parts, cancel", parts.cancelling, parts.put),
    Operation("parts, PUTs and cancel", parts.putting_and_cancelling, parts.opened),
    Operation("parts, cancel, one ends late", parts.ending_late, parts.put),
    Operation("parts, asked as another upload", parts.asked_otherwise, parts.put),
    Operation("parts, asked by another principal", parts.asked_by_another, parts.put),
    Operation("parts, gone", parts.committing_what_is_gone, parts.robbed),
    Operation("parts, commit by a worker", parts.committing, with_workers(parts.put), BY_WORKER),
]

EDGE = [
    Operation("edge", edge.pushing()),
    Operation("edge, live elsewhere", edge.committing, edge.live_before(edge.put_before)),
    Operation("edge, object gone", healing(edge.pushing()), buried(pushed_away)),
    Operation("edge, commit before the PUT", edge.committing_nothing,
              edge.live_before(edge.opened)),
    Operation("edge, two blobs", edge.committing_two, edge.opened),
    Operation("edge, the PUT again", edge.putting_again, edge.opened),
    Operation("edge, commit by others", edge.committing_as_others, edge.put_before),
    Operation("edge, commit hours later", edge.committing, waiting(edge.put_before, 20)),
    Operation("edge, commit days later", edge.committing_days_later, waiting(edge.put_before, 26)),
    Operation("edge, cancel", cancelling, edge.put_before),
    Operation("edge, not compared", edge.pushing(compared=False)),
    Operation("edge, not compared, live elsewhere",
              edge.committing, edge.live_before(edge.put_uncompared)),
    Operation("edge, not compared, and not true", edge.committing_lies, edge.opened),
    Operation("edge, not compared, and changed", edge.committing_what_changes,
              edge.put_uncompared),
]

COMMITS = [
    Operation("commit a tail", closing(TEXT[:5]), opened(5)),
    Operation("commit a tail and a body", closing(TEXT[:9]), opened(5)),
    Operation("commit parts and a tail", closing(TEXT[:20]), opened(12, 8 - 3, 3)),
    Operation("commit parts", closing(TEXT[:20]), opened(12, 8)),
    Operation("commit parts and a body", closing(TEXT[:25]), opened(12, 3)),
    Operation("commit parts after a dead request", closing(TEXT[:25]), leased(12, 3)),
    Operation("commit a tail after a dead request", closing(TEXT[:5]), leased(5)),
    Operation("commit, copied in parts", closing(), opened(20, 20, 15)),
    Operation("commit, copy was begun", closing(), copy_begun),
    Operation("commit, already live", closing(), elsewhere(20, 20, 15)),
    Operation("commit a body, already live", closing(), elsewhere()),
    Operation("commit a short body, live elsewhere", closing(SHORT), elsewhere(text=SHORT)),
    Operation("commit a tail and a body, live elsewhere", closing(SHORT), elsewhere(5, text=SHORT)),
    Operation("commit a tail, live elsewhere", closing(TEXT[:5]), elsewhere(5, text=TEXT[:5])),
    Operation("commit parts, live elsewhere", closing(SHORT), elsewhere(12, 8, text=SHORT)),
    Operation("commit parts, object gone", healing(closing()), buried(elsewhere(20, 20, 15))),
    Operation("commit nothing as sha512", closing(b"", algorithm=SHA512), opened()),
    Operation("commit as sha512", closing(TEXT[:20], algorithm=SHA512), opened(12, 8)),
    Operation("commit a tail as sha512", closing(TEXT[:5], algorithm=SHA512), opened(5)),
    Operation("commit as sha512, already live", closing(algorithm=SHA512), elsewhere(20, 20, 15)),
    Operation("commit as sha512, wrong digest first",
              closing(TEXT[:20], algorithm=SHA512, wrong_first=True), opened(12, 8)),
    Operation("commit a body as sha512, wrong digest first",
              closing(TEXT[:20], algorithm=SHA512, wrong_first=True), opened(12)),
    Operation("commit unhashed", closing(TEXT[:20]), changed(12, 8, hash_state=b"?")),
    Operation("commit unhashed, wrong digest first",
              closing(TEXT[:20], wrong_first=True), changed(12, 8, hash_state=b"?")),
    Operation("commit a tail unhashed", closing(TEXT[:5]), changed(5, hash_state=b"?")),
    Operation("commit a tail that is gone", closing(TEXT[:15]), robbed(opened(12, 3))),
    Operation("commit staged bytes that are gone", closing(TEXT[:15]), robbed(left(ASSEMBLED))),
    Operation("commit verified bytes that are gone",
              closing(TEXT[:15]), robbed(left(VERIFIED, hash_state=b"?"))),
    Operation("commit by a worker", closing(), worked(20, 20), BY_WORKER),
    Operation("commit by a worker as sha512", closing(algorithm=SHA512), worked(20, 20), BY_WORKER),
    Operation("worker", resuming, closed_in_vain, BY_WORKER),
]

BLOBS = [
    Operation("mount", mounting, pushed_away),
    Operation("mount what is there", mounting, pushed),
    Operation("mount an old blob", mounting, waiting(pushed_away, DAYS)),
    Operation("mount an old blob that is there", mounting, waiting(pushed, DAYS)),
    Operation("pull a blob", pulling, pushed),
    Operation("pull an old blob", pulling, waiting(pushed, DAYS)),
    Operation("HEAD an old blob", heading, waiting(pushed, DAYS)),
    Operation("delete a blob", deleting_blob, pushed),
]

MANIFESTS = [
    Operation("put an image of 150 layers", images.putting(*images.TAGS), images.many_layers),
    Operation("put an image", images.putting("v1"), images.layers),
    Operation("put an image under 31 tags", images.putting(*images.MANY_TAGS), images.layers),
    Operation("put an image anew, move a tag", images.putting("v1"), images.tagged_before),
    Operation("put an image that is there", images.putting("v1"), images.live),
    Operation("put an image that is being deleted", images.putting("v1"), images.half_deleted),
    Operation("put an index", images.putting_index, images.live),
    Operation("put a large manifest", images.putting("v1"), images.layers, SMALL_BODY),
    Operation("put a large manifest that is there", images.putting("v1"), images.live, SMALL_BODY),
    Operation("put a large manifest that is being deleted",
              images.putting("v1"), images.half_deleted, SMALL_BODY),
    Operation("put a manifest that lacks a blob", images.lacking),
    Operation("put a large manifest that lacks a blob", images.lacking, limits=SMALL_BODY),
    Operation("put a build cache", images.putting_cache, images.layers),
    Operation("pull a manifest", images.pulling, images.live),
    Operation("delete a tag", images.deleting_tag, images.live),
    Operation("delete a manifest", images.deleting, images.live),
    Operation("delete a manifest, put it anew", images.replacing, images.live),
    Operation("delete a large manifest", images.deleting, images.live, SMALL_BODY),
    Operation("delete a large manifest, put it anew", images.replacing, images.live, SMALL_BODY),
    Operation("delete the blob of a large manifest",
              images.deleting_body, images.pushed_as_blob, SMALL_BODY),
    Operation("delete the blob of a large manifest of 0.1",
              images.deleting_body, images.of_0_1, SMALL_BODY),
]

RULES = [
    Operation("put an image under an immutable tag",
              images.putting("v1"), images.held(images.layers)),
    Operation("put an image that an immutable tag names",
              images.putting("v1"), images.held(images.live)),
    Operation("move an immutable tag", images.denied, images.held(images.tagged_before)),
    Operation("move an immutable tag to a large manifest",
              images.denied, images.held(images.tagged_before), SMALL_BODY),
]

TRASH = [
    Operation("delete a manifest for good", images.deleting, images.live, GONE),
    Operation("delete a large manifest for good", images.deleting, images.live, GONE_BODY),
    Operation("delete a large manifest for good, put it anew",
              images.replacing, images.live, GONE_BODY),
    Operation("put what is in the trash", images.putting("v1"), trash.deleted),
    Operation("put a large manifest that is in the trash",
              images.putting("v1"), trash.deleted, SMALL_BODY),
    Operation("put what is in the trash and lacks a layer", images.refused, trash.lacking_a_layer),
    Operation("restore a manifest", trash.restoring_listed, trash.deleted),
    Operation("restore a large manifest", trash.restoring_listed, trash.deleted, SMALL_BODY),
    Operation("restore a manifest half deleted", trash.restoring(), images.half_deleted),
    Operation("restore a manifest, delete it again", trash.deleting_again, trash.deleted),
    Operation("restore what is there", trash.restoring(), images.live),
    Operation("restore an index", trash.restoring_index, trash.deleted_index),
    Operation("restore beside a tag that has moved on", trash.restoring_beside, trash.moved_on),
    Operation("restore over a tag that has moved on",
              trash.restoring(f"digest={trash.NAMED}&force=1"), trash.moved_on),
    Operation("restore a tag", trash.restoring(trash.OF_TAG, ("v1",)), trash.deleted),
    Operation("restore a tag that has moved on", trash.refused(trash.OF_TAG, 409), trash.tag_moved),
    Operation("restore a tag by force",
              trash.restoring(f"{trash.OF_TAG}&force=1", ("v1",)), trash.tag_moved),
    Operation("restore what lacks a layer",
              trash.refused(f"digest={trash.NAMED}", 404), trash.lacking_a_layer),
    Operation("restore what is gone for good", trash.refused(f"digest={trash.NAMED}", 404),
              images.gone, GONE),
    Operation("delete the blob of a large manifest of 0.1 in the trash",
              trash.restoring_body, trash.deleted_of_0_1, SMALL_BODY),
    Operation("sweep the trash", sweeping(), waiting(trash.deleted, trash.WEEKS + 1)),
    Operation("sweep the trash of a large manifest",
              sweeping(), waiting(trash.deleted, trash.WEEKS + 1), SMALL_BODY),
    Operation("sweep a manifest half deleted, without a trash",
              sweeping(), waiting(images.half_deleted, 2), GONE),
]

LEASES = [
    Operation("refresh a source", leases.refreshing(leases.FIRST), images.live),
    Operation("refresh a source anew", leases.refreshing(leases.SECOND), leases.live),
    Operation("refresh a source half refreshed",
              leases.refreshing(leases.SECOND), leases.half_refreshed),
    Operation("remove a source", leases.removing, leases.live),
    Operation("remove a source half refreshed", leases.removing, leases.half_refreshed),
    Operation("delete what is in use", leases.refused, leases.live),
    Operation("delete what is in use and overdue", leases.refused, leases.overdue),
    Operation("delete what is in use by force", leases.forcing, leases.live),
    Operation("delete a tag of what is in use", images.deleting_tag, leases.live),
]

GARBAGE = [
    Operation("collect, nothing to do", garbage.leaving(garbage.collecting)),
    Operation("collect old layers",
              garbage.leaving(garbage.collecting), garbage.old(images.layers)),
    Operation("collect new layers",
              garbage.leaving(garbage.at_once, *garbage.PARTS_OF_IMAGE), images.layers),
    Operation("collect beside an image",
              garbage.leaving(garbage.collecting, *garbage.PARTS_OF_IMAGE),
              garbage.old(garbage.with_waste(images.live))),
    Operation("collect beside a pending manifest",
              garbage.leaving(garbage.collecting, *garbage.PARTS_OF_IMAGE),
              garbage.old(garbage.with_waste(images.pending))),
    Operation("collect beside a manifest half deleted",
              garbage.leaving(garbage.collecting, *garbage.PARTS_OF_IMAGE),
              garbage.old(garbage.with_waste(images.half_deleted))),
    Operation("collect beside the trash",
              garbage.leaving(garbage.collecting, *garbage.PARTS_OF_IMAGE),
              garbage.old(garbage.with_waste(trash.deleted))),
    Operation("collect beside a large manifest",
              garbage.leaving(garbage.collecting, *garbage.PARTS_OF_IMAGE),
              garbage.old(garbage.with_waste(images.live)), SMALL_BODY),
    Operation("collect beside references in a body",
              garbage.leaving(garbage.collecting, *garbage.PARTS_OF_IMAGE),
              garbage.old(garbage.with_waste(images.live)), FEW_REFERENCES),
    Operation("collect beside a manifest whose body has not come",
              garbage.leaving(garbage.collecting, *garbage.PARTS_OF_IMAGE, TEXT),
              garbage.old(garbage.with_waste(images.pending)), FEW_REFERENCES),
    Operation("collect beside a large manifest of 0.1",
              garbage.leaving(garbage.collecting, *garbage.PARTS_OF_IMAGE, images.NEW),
              garbage.old(images.of_0_1), SMALL_BODY),
    Operation("collect beside a build cache",
              garbage.leaving(garbage.collecting, images.LAYERS[0]), garbage.old(garbage.cached)),
    Operation("collect a blob of two repositories",
              garbage.leaving(garbage.collecting), garbage.old(garbage.pushed(HOME, AWAY))),
    Operation("collect a blob that was deleted",
              garbage.leaving(garbage.collecting), garbage.old(garbage.deleted)),
    Operation("collect a blob that was deleted in 0.1",
              garbage.leaving(garbage.twice), garbage.old(garbage.of_0_1)),
    Operation("collect what was half collected",
              garbage.leaving(garbage.collecting), garbage.old(garbage.half_collected)),
    Operation("collect a body whose manifest is gone",
              garbage.leaving(garbage.collecting), garbage.old(garbage.body_alone), SMALL_BODY),
    Operation("collect blobs whose objects are gone",
              garbage.leaving(garbage.collecting), garbage.old(buried(garbage.pushed(HOME)))),
    Operation("collect beside a stray that may be published",
              in_turn(garbage.at_once, closing()), stray),
    Operation("collect what is just deleted", garbage.keeping(garbage.at_once), garbage.deleted),
    Operation("collect beside a commit", in_turn(garbage.at_once, closing(TEXT[:15])),
              left(COPIED)),
    Operation("collect a link that no record counts", garbage.counting, garbage.remade),
    Operation("collect strays", garbage.leaving(garbage.collecting),
              garbage.unlisted(garbage.strays)),
    Operation("collect what a preview lists, used since",
              garbage.leaving(garbage.by_old_list, *garbage.PARTS_OF_IMAGE),
              garbage.old(images.layers)),
    Operation("collect what a preview lists", garbage.leaving(garbage.by_list),
              garbage.old(garbage.pushed(HOME, AWAY))),
]

RETENTION = [
    Operation("retention", retained.removing, retained.old),
    Operation("retention without a trash", retained.removing, retained.old, GONE),
    Operation("retention of large manifests", retained.removing, retained.old, SMALL_BODY),
    Operation("retention that another run left", retained.removing, retained.half_removed),
    Operation("retention of what is kept", retained.keeping, retained.kept_by_a_rule),
    Operation("retention of too much", retained.keeping, retained.braked),
    Operation("retention of what runs", retained.keeping, retained.running_somewhere),
    Operation("retention beside an overdue source", retained.keeping, retained.overdue),
]

QUOTAS = [
    Operation("push within a quota", quotas.pushing(), quotas.within(quotas.nothing, quotas.ROOM)),
    Operation("push what a full repository has", quotas.pushing(TEXT), quotas.full),
    Operation("push where there is room again", quotas.pushing(), quotas.emptied),
    Operation("push under a quota that is new", quotas.WHOLE, quotas.covered_anew),
    Operation("no room, POST whole", quotas.WHOLE, quotas.full),
    Operation("no room, POST whole, not counted yet",
              quotas.WHOLE, quotas.within(pushed, quotas.ROOM)),
    Operation("no room, POST, PUT", quotas.putting_whole, quotas.full),
    Operation("no room, mount", quotas.MOUNT, quotas.full_beside),
    Operation("no room, a tail", quotas.closing(5), quotas.within(opened(5), 9)),
    Operation("no room, parts and a tail", quotas.closing(15), quotas.within(opened(12, 3), 9)),
    Operation("no room, unhashed",
              quotas.closing(12), quotas.within(changed(12, hash_state=b"?"), 9)),
    Operation("no room, direct", quotas.DIRECT, quotas.full),
    Operation("no room, direct commit", quotas.committing_direct, quotas.within(direct.put, 9)),
    Operation("no room, parts", quotas.committing_parts, quotas.within(parts.put, 9)),
    Operation("no room, edge", quotas.committing_by_edge, quotas.within(edge.put_before, 9)),
    Operation("no room, edge, not compared",
              quotas.committing_by_edge, quotas.within(edge.put_uncompared, 9)),
    Operation("no room, sealed, live elsewhere", sweeping(),
              quotas.within(live_elsewhere(left(UploadState.SEALED), TEXT[:15]), 9)),
    Operation("no room, copied", sweeping(), quotas.within(left(COPIED), 9)),
    Operation("no room, verified parts", sweeping(), quotas.within(parts.left(VERIFIED), 9)),
    Operation("no room for a tag", quotas.tagging("v3"), quotas.tagged),
    Operation("no room for a tag of a large manifest",
              quotas.tagging("v3"), quotas.tagged, SMALL_BODY),
    Operation("no room for one of two tags",
              quotas.tagging(f"{Digest.of(images.NEW)}?tag=v1&tag=v3"), quotas.tagged),
    Operation("move a tag where there is no room", quotas.moving_a_tag, quotas.tagged),
]

SWEEPS = [
    Operation("sweep, nothing due", sweeping(), opened(12)),
    Operation("sweep an abandoned session", sweeping(), waiting(opened(12, 3), DAYS)),
    Operation("sweep an old session", sweeping(), waiting(opened_of_old, DAYS)),
    Operation("sweep, nobody has begun", sweeping(), waiting(opened(), DAYS)),
    Operation("sweep a stray", sweeping(), waiting(stray, 30)),
    Operation("sweep a stray that may be published", sweeping(), stray),
    Operation("sweep what the edge has put", sweeping(), waiting(edge.put_before, 30)),
    Operation("sweep past a blob that came whole", sweeping(), waiting(pushed, 30)),
    Operation("sweep after a dead request", sweeping(), waiting(leased(12, 3), DAYS)),
    Operation("sweep a sealed session", sweeping(), sealed),
    Operation("sweep a sealed session at its end", sweeping(), waiting(sealed, DAYS)),
    Operation("sweep an assembled session at its end", sweeping(), waiting(left(ASSEMBLED), DAYS)),
    Operation("sweep a copy that was begun", sweeping(), copy_begun),
    Operation("sweep a copy that was begun, at its end", sweeping(), waiting(copy_begun, DAYS)),
    Operation("sweep a verified session at its end",
              sweeping(), waiting(left(VERIFIED, hash_state=b"?"), DAYS)),
    Operation("sweep a copied session at its end", sweeping(), waiting(left(COPIED), DAYS)),
    Operation("sweep a direct session at its end", sweeping(), waiting(direct.put, DAYS)),
    Operation("sweep an empty direct session", sweeping(), waiting(direct.opened, DAYS)),
    Operation("sweep parts at their end", sweeping(), waiting(parts.put, DAYS)),
    Operation("sweep a session without parts", sweeping(), waiting(parts.opened, DAYS)),
    Operation("sweep sealed parts", sweeping(), parts.left(UploadState.SEALED)),
    Operation("sweep sealed parts at their end",
              sweeping(), waiting(parts.left(UploadState.SEALED), DAYS)),
    Operation("sweep parts that are half verified", sweeping(), parts.half_verified()),
    Operation("sweep parts that are half verified and wrong",
              sweeping(), parts.half_verified(wrong=True)),
    Operation("sweep assembled parts at their end",
              sweeping(), waiting(parts.left(ASSEMBLED), DAYS)),
    Operation("sweep verified parts at their end",
              sweeping(), waiting(parts.left(VERIFIED), DAYS)),
    Operation("sweep a committed session", sweeping(), waiting(committed_disturbed, 2)),
    Operation("sweep a pending manifest", sweeping(), waiting(images.pending, 2)),
    Operation("sweep a manifest half deleted", sweeping(), waiting(images.half_deleted, 2)),
    Operation("sweep a large pending manifest",
              sweeping(), waiting(images.pending_with_body, 2), SMALL_BODY),
    Operation("sweep a large manifest half deleted",
              sweeping(), waiting(images.half_deleted, 2), SMALL_BODY),
]
# fmt: on

ALL = [
    *UPLOADS,
    *DIRECT,
    *EDGE,
    *PARTS,
    *COMMITS,
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
