"""What the drilled operations prepare and do, through a client whose calls are disturbed.

Nothing here may depend on how it is disturbed.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.registry.session import UploadState
from chalicelib.registry.upload.runner import CommitDriver
from tests.drills.support.client import Upload
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Gate
from tests.drills.support.requests import DRILL, expect
from tests.drills.support.worlds import SMALL
from tests.support.values import as_sealed, take_lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.session import Session
    from tests.drills.support.client import Client, Stage

HOME, AWAY = "team/home", "team/away"
TEXT = b"The quick brown fox jumps over the lazy dog, and again."
"""55 bytes: a few parts of 8 and a tail, and above what one copy takes."""


# What is prepared


def opened(*sizes: int) -> Callable[[Stage], str]:
    """Prepare a session with chunks of these sizes in it."""

    def prepare(stage: Stage) -> str:
        client = stage.client()
        session, at = client.start(HOME), 0
        for end in itertools.accumulate(sizes):
            at = client.fill(HOME, session, TEXT, at, end) or 0
        return session

    return prepare


def changed(*sizes: int, **changes: Any) -> Callable[[Stage], str]:  # noqa: ANN401 - any field of a session
    """Prepare a session, and change fields of its item without the registry."""

    def prepare(stage: Stage) -> str:
        session = opened(*sizes)(stage)
        before = held(stage, session)
        stage.world.ports(Gate()).sessions.write(before, replace(before, **changes))
        return session

    return prepare


def robbed(prepare: Callable[[Stage], str]) -> Callable[[Stage], str]:
    """Prepare a session whose staged object, or tail, is deleted: only a fault of S3 does that."""

    def rob(stage: Stage) -> str:
        session = prepare(stage)
        found = held(stage, session)
        stage.world.ports(Gate()).objects.delete([(found.staged or found.tail).key])  # type: ignore[union-attr]
        stage.ledger.robbed.add(session)
        return session

    return rob


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

    def prepare(stage: Stage) -> str:
        stage.client().push(AWAY, Upload(text, whole=True))
        return opened(*sizes)(stage)

    return prepare


def worked(*sizes: int) -> Callable[[Stage], str]:
    """Prepare a session with chunks of these sizes, whose commits a worker does, at once."""

    def prepare(stage: Stage) -> str:
        session = opened(*sizes)(stage)

        def drive(session_id: str) -> None:
            # No request waits for a worker, or sees its error.
            with suppress(RegistryError):
                stage.registry().commits.resume(session_id, stage.world.clock.now() + 600)

        stage.world.workers.drive = drive
        return session

    return prepare


def held(stage: Stage, session: str) -> Session:
    """Return a session as it is stored."""
    found = stage.world.ports(Gate()).sessions.get(session)
    if found is None:
        raise Violation(f"{session} was prepared, and is not there")
    return found


def waiting(prepare: Callable[[Stage], Any], hours: float) -> Callable[[Stage], Any]:
    """Prepare something, and let so many hours pass."""

    def wait(stage: Stage) -> object:
        prepared = prepare(stage)
        stage.world.clock.sleep(hours * 3600)
        return prepared

    return wait


def left(state: UploadState, **changes: Any) -> Callable[[Stage], str]:  # noqa: ANN401 - any field of a session
    """Prepare a session whose closing PUT died in this state, an hour ago: the sweeper is due.

    `changes` to the session are made before it was sealed.
    """

    def prepare(stage: Stage) -> str:
        session = changed(12, 3, **changes)(stage)
        ports, before = stage.world.ports(Gate()), held(stage, session)
        closed = as_sealed(before, Digest.of(TEXT[:15]), ports.clock.now())
        driver, current = CommitDriver(ports, SMALL), ports.sessions.write(before, closed)
        while current.state is not state:
            current = driver.step(current)
        stage.world.clock.sleep(3600)
        return session

    return prepare


sealed = left(UploadState.SEALED)


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
        if client.fill(HOME, session, TEXT, held(client.stage, session).offset, end) != end:
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


def closing(text: bytes = TEXT, **how: Any) -> Callable[[Client, str], None]:  # noqa: ANN401 - any field of an upload
    """Close the session, with what it still lacks of `text`; start anew if it is gone."""

    def act(client: Client, session: str) -> None:
        upload = Upload(text, **how)
        at = held(client.stage, session).offset
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
    closing()(client, session)


def closed_in_vain(stage: Stage) -> str:
    """Prepare a session whose closing PUT left the commit to a worker."""
    session = opened(20, 20)(stage)
    client = stage.client(patient=False)
    target = f"{HOME}/blobs/uploads/{session}?at=40&digest={Digest.of(TEXT)}"
    if client.requests.ask("PUT", target, TEXT[40:]).status != 503:
        raise Violation("a commit that no worker has driven was answered as done")
    return session


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
