"""The edge: what it puts to S3 for a client, and the client's GET that commits it.

The edge checks the ticket and asks nobody: its PUT is a call that can be stopped, lost, repeated,
and come when the session is over. This module must never read the stores to decide what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.registry.keys import direct_key
from tests.drills.support.client import AWAY, CLIENTS_PUT, HOME, TEXT, Upload
from tests.drills.support.ledger import Violation, id_of
from tests.drills.support.points import Stopped
from tests.drills.support.requests import DRILL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.drills.support.client import Client, Stage

HOUR = 3600.0
OTHER = TEXT.swapcase()
_REDIRECTED = 307


# What a client and the edge do


def put(
    client: Client, ticket: str, data: bytes, *, said: bytes | None = None, compared: bool = True
) -> None:
    """Let the edge put bytes, under the digest of what the client `said` they are."""
    key = direct_key(Digest.of(data if said is None else said), id_of(ticket))
    world = client.stage.world
    for _ in range(client.requests.tries):
        try:
            client.requests.gate(
                CLIENTS_PUT, lambda: world.put_by_edge(key, data, compared=compared)
            )
        except Stopped:
            client.requests.gate.revive()
            client.requests.wait()
        except Exception:  # noqa: BLE001 - S3 has failed the edge: the client sends it again
            client.requests.wait()
        else:
            return
    raise Violation(f"{ticket}: no PUT in {client.requests.tries} tries")


def ask(client: Client, ticket: str, data: bytes, name: str = HOME) -> int:
    """Ask for the commit, as often as the answer is a redirect; returns the last status."""
    target = f"{name}/blobs/uploads/{ticket}?commit&digest={Digest.of(data)}"
    for _ in range(client.requests.tries):
        response = client.requests.insist("GET", target)
        if response.status != _REDIRECTED:
            return response.status
        target = str(response.headers["Location"])
    raise Violation(f"{target} leads to itself for ever")


def commit(client: Client, ticket: str, data: bytes = TEXT, name: str = HOME) -> bool:
    """Commit what was put; False if the session is over."""
    status = ask(client, ticket, data, name)
    if status == 404:
        return client.gone(ticket, Digest.of(data))
    if status != 201:
        raise Violation(f"{ticket} was answered {status}")
    client.ledger.blobs[name, Digest.of(data)] = data
    return True


# What is prepared


def opened(stage: Stage) -> str:
    """Prepare a session that nobody has begun."""
    return stage.client().start(HOME)


def put_before(stage: Stage) -> str:
    """Prepare a session for which the edge has put the bytes."""
    ticket = opened(stage)
    put(stage.client(), ticket, TEXT)
    return ticket


def put_uncompared(stage: Stage) -> str:
    """Prepare the same, where S3 was given nothing to compare."""
    ticket = opened(stage)
    put(stage.client(), ticket, TEXT, compared=False)
    return ticket


def live_before(prepare: Callable[[Stage], str]) -> Callable[[Stage], str]:
    """Prepare something while another repository has the blob."""

    def prepared(stage: Stage) -> str:
        stage.client().push(AWAY, Upload(TEXT, whole=True))
        return prepare(stage)

    return prepared


def ending_soon(stage: Stage) -> str:
    """Prepare a session with bytes, whose commit is refused in ten seconds."""
    ticket = put_before(stage)
    stage.world.clock.time = float(ticket.split("~")[1]) + 24 * HOUR - 10
    return ticket


# What is done


def pushing(data: bytes = TEXT, *, compared: bool = True) -> Callable[[Client, Any], None]:
    """Push the blob, in a session that was opened or in a new one."""

    def act(client: Client, ticket: str | None) -> None:
        ticket = ticket or client.start(HOME)
        put(client, ticket, data, compared=compared)
        if not commit(client, ticket, data):
            raise Violation(f"{ticket} is gone")

    return act


def committing(client: Client, ticket: str) -> None:
    """Commit what was put."""
    if not commit(client, ticket):
        raise Violation(f"{ticket} is gone")


def trying_to_commit(client: Client, ticket: str) -> None:
    """Commit, unless another request has ended the session, or begun it with a chunk."""
    status = ask(client, ticket, TEXT)
    if status == 404:
        client.gone(ticket, Digest.of(TEXT))
    elif status == 201:
        client.ledger.blobs[HOME, Digest.of(TEXT)] = TEXT
    elif status != 400:
        raise Violation(f"{ticket} was answered {status}")


def committing_nothing(client: Client, ticket: str) -> None:
    """Commit before anything was put: the digest alone gives nothing, though the blob is live."""
    if ask(client, ticket, TEXT) != 400 or client.pull(HOME, Digest.of(TEXT)) is not None:
        raise Violation("a blob was had by its digest")
    pushing()(client, ticket)


def committing_two(client: Client, ticket: str) -> None:
    """Put two blobs for one session: one of them is committed, and the other is refused."""
    put(client, ticket, OTHER)
    put(client, ticket, TEXT)
    committing(client, ticket)
    if ask(client, ticket, OTHER) != 400 or client.pull(HOME, Digest.of(OTHER)) is not None:
        raise Violation("a session was committed twice")


def putting_again(client: Client, ticket: str) -> None:
    """Put the bytes once more after the commit, and commit once more."""
    for _ in range(2):
        pushing()(client, ticket)


def committing_as_others(client: Client, ticket: str) -> None:
    """Commit as another principal, and for another repository: the session is its owner's alone."""
    for name, principal in ((HOME, "mallory"), (AWAY, DRILL)):
        client.requests.principal = principal
        if ask(client, ticket, TEXT, name) != 404:
            raise Violation(f"{principal} committed in {name} what was put for another")
        client.requests.principal = DRILL
    committing(client, ticket)


def committing_days_later(client: Client, ticket: str) -> None:
    """Commit when the sweeper may have been there: it is too late."""
    if ask(client, ticket, TEXT) != 404:
        raise Violation("a commit is good for ever")


def committing_lies(client: Client, ticket: str) -> None:
    """Commit bytes that are not what they were said to be, which S3 has not compared."""
    put(client, ticket, OTHER, said=TEXT, compared=False)
    if ask(client, ticket, TEXT) != 400 or client.pull(HOME, Digest.of(TEXT)) is not None:
        raise Violation("bytes were published that nobody has compared")


def committing_what_changes(client: Client, ticket: str) -> None:
    """Put other bytes to the key after the commit, which S3 does not compare: nobody gets them."""
    committing(client, ticket)
    put(client, ticket, OTHER, said=TEXT, compared=False)
    if client.pull(HOME, Digest.of(TEXT)) != TEXT:
        raise Violation("a blob was changed after its commit")


def giving_up(client: Client, ticket: str) -> None:
    """Cancel, unless the session is committed."""
    client.cancel(HOME, ticket)
