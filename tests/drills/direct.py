"""Direct uploads: what their operations and races prepare, what a client does, what has to hold.

A client's own PUT is a call like any other: it can be stopped, lost, and come late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from tests.drills.support.client import AWAY, HOME, TEXT, Upload
from tests.drills.support.ledger import Violation
from tests.drills.support.requests import DRILL, expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.drills.support.client import Client, Stage

HOUR = 3600.0

# What is prepared


def opened(stage: Stage) -> str:
    """Prepare a direct session, to which nothing was put."""
    return stage.client().start_direct(HOME, TEXT)


def opened_elsewhere(stage: Stage) -> str:
    """Prepare the same, while another repository has the blob."""
    stage.client().push(AWAY, Upload(TEXT, whole=True))
    return opened(stage)


def put(stage: Stage) -> str:
    """Prepare a direct session whose bytes are in S3."""
    session = opened(stage)
    stage.client().put_direct(HOME, session, TEXT)
    return session


def pushed_away(stage: Stage) -> None:
    """Prepare a blob in the other repository, by a direct upload."""
    stage.client().push_direct(AWAY, TEXT)


def live_before(prepare: Callable[[Stage], Any]) -> Callable[[Stage], Any]:
    """Prepare something while another repository has the blob, by a direct upload."""

    def prepared(stage: Stage) -> object:
        pushed_away(stage)
        return prepare(stage)

    return prepared


def ending_soon(stage: Stage) -> str:
    """Prepare a direct session whose bytes are in S3, and whose life ends in ten seconds."""
    session = put(stage)
    found = stage.world.snapshot().sessions[session]
    stage.world.clock.time = found.life_until - 10
    return session


# What is done


def pushing(data: bytes = TEXT, repository: str = HOME) -> Callable[[Client, Any], None]:
    """Push the blob."""
    return lambda client, _: client.push_direct(repository, data)


def asking_status(client: Client, session: str) -> None:
    """Ask for the status, which has a URL."""
    if client.url_of(HOME, session) is None:
        raise Violation(f"{session} has no URL")


def committing(client: Client, session: str) -> None:
    """Commit what was put."""
    if not client.commit_direct(HOME, session, TEXT):
        raise Violation(f"{session} is gone")


def committing_nothing(client: Client, session: str) -> None:
    """Commit before anything was put: the digest alone gives nothing, though the blob is live."""
    target = f"{HOME}/_moorage/uploads/{session}"
    expect(client.requests.insist("PUT", target), 400)
    if client.pull(HOME, Digest.of(TEXT)) is not None:
        raise Violation("a blob was had by its digest")
    client.put_direct(HOME, session, TEXT)
    committing(client, session)


def cancelling(client: Client, session: str) -> None:
    """Cancel: afterwards the session is unknown."""
    client.cancel_direct(HOME, session)
    if client.url_of(HOME, session) is not None:
        raise Violation(f"{session} was cancelled, and has a URL")


def putting_and_cancelling(client: Client, session: str) -> None:
    """Put the bytes, and cancel; the PUT may still be under way then."""
    client.put_direct(HOME, session, TEXT)
    client.cancel_direct(HOME, session)


def putting_late(client: Client, session: str) -> None:
    """Begin a PUT, and cancel; it ends when the sweeper has come many times."""
    put, world, begun = (
        client.url_of(HOME, session),
        client.stage.world,
        client.requests.clock.now(),
    )
    client.cancel_direct(HOME, session)
    if put is None:
        raise Violation(f"{session} has no URL")
    for _ in range(23):
        world.clock.sleep(HOUR)
        client.invoke(lambda registry, now: registry.sweeper.sweep(now + 600))
    if world.put_by_url(put, TEXT, begun) != 200:
        raise Violation("a PUT that was begun in time was refused")


def asked_otherwise(client: Client, session: str) -> None:
    """Ask the endpoints of other uploads for the session: they know nothing of it."""
    target = f"{HOME}/blobs/uploads/{session}"
    for method, query in (
        ("GET", ""),
        ("PATCH", "?at=0"),
        ("PUT", f"?at=0&digest={Digest.of(TEXT)}"),
        ("PUT", f"?digest={Digest.of(TEXT)}"),
        ("DELETE", ""),
    ):
        body = TEXT if "at=" in query else b""
        expect(client.requests.insist(method, target + query, body), 404)
    committing(client, session)


def asked_by_another(client: Client, session: str) -> None:
    """Ask as another principal, and for another repository: the session is theirs alone."""
    for name, principal in ((HOME, "mallory"), (AWAY, DRILL)):
        client.requests.principal = principal
        for method in ("GET", "PUT", "DELETE"):
            target = f"{name}/_moorage/uploads/{session}"
            expect(client.requests.insist(method, target), 404)
        client.requests.principal = DRILL
    committing(client, session)


# What is done beside what may end the session


def trying_to_commit(client: Client, session: str) -> None:
    """Commit, unless another request has ended the session."""
    client.commit_direct(HOME, session, TEXT)


def trying_to_push(client: Client, session: str) -> None:
    """Put the bytes and commit, likewise."""
    client.put_direct(HOME, session, TEXT)
    response = client.requests.insist("PUT", f"{HOME}/_moorage/uploads/{session}")
    if expect(response, 201, 404).status == 404:
        client.gone(session, Digest.of(TEXT))
    else:
        client.ledger.blobs[HOME, Digest.of(TEXT)] = TEXT


def giving_up(client: Client, session: str) -> None:
    """Cancel, unless the session is committed."""
    client.cancel_direct(HOME, session)
