"""Direct uploads in parts: what is prepared, what a client does, what has to hold.

A client's own PUT of a part is a call like any other: it can be stopped, lost, and come late.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.keys import parts_key, report_key
from chalicelib.registry.session import UploadState
from chalicelib.registry.upload.direct_parts import named, sealed_with
from chalicelib.registry.upload.runner import CommitDriver
from chalicelib.registry.upload.segments import Report
from chalicelib.registry.upload.verification import as_bits
from tests.drills.support.client import AWAY, HOME, TEXT, Upload
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Gate
from tests.drills.support.requests import DRILL, expect
from tests.drills.support.worlds import PART, SMALL
from tests.support.parted import PartedBlob, parted

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.session import Session
    from tests.drills.support.client import Client, Stage

HOUR = 3600.0
LONG = TEXT * 4
BLOB = parted(LONG, 64, 64)
"""220 bytes in three parts, each but the last of one block."""
ONE = parted(TEXT)
SHA512 = parted(LONG, 128, algorithm=Algorithm.SHA512)
OTHER = parted(LONG.upper(), 64, 64)
"""As long as BLOB in each part, and other bytes."""

# What is prepared


def opened(stage: Stage) -> str:
    """Prepare a session in parts, to which nothing was put."""
    return stage.client().start_parts(HOME, BLOB)


def put(stage: Stage) -> str:
    """Prepare a session whose parts are in S3."""
    session = opened(stage)
    stage.client().put_parts(HOME, session, BLOB)
    return session


def pushed_away(stage: Stage) -> None:
    """Prepare the blob in the other repository, by another upload in parts."""
    stage.client().push_parts(AWAY, BLOB)


def pushed_away_whole(stage: Stage) -> None:
    """Prepare the blob in the other repository, by a POST."""
    stage.client().push(AWAY, Upload(LONG, whole=True))


def elsewhere(prepare: Callable[[Stage], Any]) -> Callable[[Stage], Any]:
    """Prepare something while another repository has the blob."""

    def prepared(stage: Stage) -> object:
        pushed_away_whole(stage)
        return prepare(stage)

    return prepared


def ending_soon(stage: Stage) -> str:
    """Prepare a session whose parts are in S3, and whose life ends in ten seconds."""
    session = put(stage)
    stage.world.clock.time = held(stage, session).life_until - 10
    return session


def robbed(stage: Stage) -> str:
    """Prepare a session whose multipart upload is gone: only a hand at the bucket does that."""
    session = put(stage)
    upload_id = held(stage, session).upload_id or ""
    stage.world.ports(Gate()).objects.abort_multipart(parts_key(session), upload_id)
    stage.ledger.robbed.add(session)
    return session


def left(state: UploadState) -> Callable[[Stage], str]:
    """Prepare a session whose commit died in this state, an hour ago: the sweeper is due."""

    def prepare(stage: Stage) -> str:
        session = put(stage)
        ports, before = stage.world.ports(Gate()), held(stage, session)
        report = Report.parse(BLOB.report, BLOB.algorithm, minimum=PART)
        ports.objects.put(report_key(session, named(report)), report.dump())
        sweep_at = ports.clock.now() + SMALL.sweep_sealed
        closed = replace(sealed_with(before, BLOB.digest, report), sweep_at=sweep_at)
        driver = CommitDriver(ports, SMALL)
        current = driver.take(ports.sessions.write(before, closed))
        while current.state is not state:
            current = driver.step(current, ports.clock.now() + 600)
        stage.world.clock.sleep(HOUR)
        return session

    return prepare


def half_verified(*, wrong: bool = False) -> Callable[[Stage], str]:
    """Prepare a session whose commit died when the first and the last segment held.

    `wrong`: between them are other bytes than those reported. Whoever drives it on finds them.
    """

    def prepare(stage: Stage) -> str:
        session = left(UploadState.ASSEMBLED)(stage)
        ports, before = stage.world.ports(Gate()), held(stage, session)
        found = replace(before, verified_segments=as_bits({0, 2}))
        if wrong:
            stage.ledger.refused.add(session)
            data = b"".join((BLOB.parts[1], OTHER.parts[2], BLOB.parts[3]))
            etag = ports.objects.put(parts_key(session), data).etag
            found = replace(found, staged=replace(found.staged_object, etag=etag))
        ports.sessions.write(before, found)
        return session

    return prepare


def held(stage: Stage, session: str) -> Session:
    """Return a session as it is stored."""
    found = stage.world.snapshot().sessions.get(session)
    if found is None:
        raise Violation(f"{session} was prepared, and is not there")
    return found


# What is done


def pushing(blob: PartedBlob = BLOB, repository: str = HOME) -> Callable[[Client, Any], None]:
    """Push the blob."""
    return lambda client, _: client.push_parts(repository, blob)


def asking_status(client: Client, session: str) -> None:
    """Ask which parts are there."""
    sizes = {number: len(data) for number, data in BLOB.parts.items()}
    if client.stored_parts(HOME, session) != sizes:
        raise Violation(f"{session} does not have its parts")


def asking_urls(client: Client, session: str) -> None:
    """Ask for URLs."""
    if client.part_urls(HOME, session, BLOB) is None:
        raise Violation(f"{session} has no URLs")


def committing(client: Client, session: str) -> None:
    """Commit what was put; a repeat needs no report."""
    for report in (BLOB.report, b""):
        if not client.commit_parts(HOME, session, BLOB, report):
            raise Violation(f"{session} is gone")


def refused(digest: Digest, report: bytes) -> Callable[[Client, str], None]:
    """Commit with a digest or a report that is not true: nothing is to be had, nor kept."""

    def act(client: Client, session: str) -> None:
        client.commit_wrongly(HOME, session, digest, report)
        for each in (digest, BLOB.digest):
            if client.pull(HOME, each) is not None:
                raise Violation(f"{each} was had by a report")

    return act


def changed(*sizes: int) -> bytes:
    """Return BLOB's report with these sizes."""
    document = json.loads(BLOB.report)
    for part, size in zip(document["parts"], sizes, strict=True):
        part["size"] = size
    return json.dumps(document).encode()


def putting_anew(client: Client, session: str) -> None:
    """Put a part once more, with other bytes, and commit what was there before: it is refused."""
    anew = replace(BLOB, parts={2: OTHER.parts[2]})
    urls = client.part_urls(HOME, session, anew) or {}
    client.stage.world.put_by_url(urls[2], anew.parts[2])
    refused(BLOB.digest, BLOB.report)(client, session)


def cancelling(client: Client, session: str) -> None:
    """Cancel: afterwards the session is unknown."""
    client.cancel_direct(HOME, session)
    if client.stored_parts(HOME, session) is not None:
        raise Violation(f"{session} was cancelled, and is there")


def putting_and_cancelling(client: Client, session: str) -> None:
    """Put the parts, and cancel; a PUT may still be under way then."""
    client.put_parts(HOME, session, BLOB)
    client.cancel_direct(HOME, session)


def asked_otherwise(client: Client, session: str) -> None:
    """Ask the endpoints of other uploads for the session: they know nothing of it."""
    target = f"{HOME}/blobs/uploads/{session}"
    for method, query in (
        ("GET", ""),
        ("PATCH", "?at=0"),
        ("PUT", f"?digest={BLOB.digest}"),
        ("DELETE", ""),
    ):
        body = TEXT if method == "PATCH" else b""
        expect(client.requests.insist(method, target + query, body), 404)
    committing(client, session)


def asked_by_another(client: Client, session: str) -> None:
    """Ask as another principal, and for another repository: the session is theirs alone."""
    for name, principal in ((HOME, "mallory"), (AWAY, DRILL)):
        client.requests.principal = principal
        target = f"{name}/_moorage/uploads/{session}"
        expect(client.requests.insist("POST", f"{target}/parts", BLOB.wanted), 404)
        committed = client.requests.insist("PUT", f"{target}?digest={BLOB.digest}", BLOB.report)
        expect(committed, 404)
        for method in ("GET", "DELETE"):
            expect(client.requests.insist(method, target), 404)
        client.requests.principal = DRILL
    committing(client, session)


def committing_what_is_gone(client: Client, session: str) -> None:
    """Commit a session whose parts are gone: 404, and the blob is pushed anew."""
    if client.commit_parts(HOME, session, BLOB):
        raise Violation("parts that were gone were committed")
    client.push_parts(HOME, BLOB)


def committing_wrongly(client: Client, session: str) -> None:
    """Commit what was begun with other bytes: it is refused, now and again."""
    client.commit_wrongly(HOME, session, BLOB.digest, BLOB.report)


# What is done beside what may end the session


def trying_to_commit(client: Client, session: str) -> None:
    """Commit, unless another request has ended the session."""
    client.commit_parts(HOME, session, BLOB)


def trying_to_push(client: Client, session: str) -> None:
    """Put the parts and commit, likewise."""
    if client.put_parts(HOME, session, BLOB):
        client.commit_parts(HOME, session, BLOB)


def answered(digest: Digest, report: bytes) -> Callable[[Client, str], None]:
    """Commit with a digest and a report of which another request may have another one."""

    def act(client: Client, session: str) -> None:
        client.ledger.refused.add(session)
        target = f"{HOME}/_moorage/uploads/{session}?digest={digest}"
        response = expect(client.requests.insist("PUT", target, report), 201, 400)
        if response.status == 201:
            if digest != BLOB.digest:
                raise Violation(f"{digest} was published")
            client.ledger.blobs[HOME, digest] = LONG

    return act


def putting_anew_late(client: Client, session: str) -> None:
    """Put a part with other bytes, at whatever time, by a URL that was got before."""
    client.ledger.refused.add(session)
    _put_anew(client, session, OTHER)


def putting_the_same_late(client: Client, session: str) -> None:
    """Put a part once more, likewise: as a client's HTTP library does, whose first PUT was slow."""
    _put_anew(client, session, BLOB)


def _put_anew(client: Client, session: str, blob: PartedBlob) -> None:
    urls = client.part_urls(HOME, session, replace(blob, parts={2: blob.parts[2]}))
    if urls is not None:
        client.put_to(urls[2], blob.parts[2])


def asking_beside(client: Client, session: str) -> None:
    """Ask for the status, of a session that another request commits: it is known all the time."""
    expect(client.requests.insist("GET", f"{HOME}/_moorage/uploads/{session}"), 200)


def giving_up(client: Client, session: str) -> None:
    """Cancel, unless the session is committed."""
    client.cancel_direct(HOME, session)


def ending_late(client: Client, session: str) -> None:
    """Begin to put a part, and cancel; it ends when the sweeper has come many times.

    S3 may keep a part of an upload that was aborted while the part was on its way.
    """
    client.cancel_direct(HOME, session)
    for _ in range(23):
        client.stage.world.clock.sleep(HOUR)
        client.invoke(lambda registry, now: registry.sweeper.sweep(now + 600))
    objects, key = client.stage.world.ports(Gate()).objects, parts_key(session)
    objects.put_part(key, objects.begin_multipart(key).id, 1, BLOB.parts[1])
