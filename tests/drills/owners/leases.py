"""What runs somewhere: in-use leases that are refreshed and removed, and what must not be deleted.

Whoever refreshes a source goes past the registry, with the owner's rights on the table.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.registry.model import InUse, UseSource
from chalicelib.stores.dynamodb.in_use import DynamoInUseStore, UseSourceMovedError
from tests.drills import images
from tests.drills.support.client import AWAY, HOME
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Gate, stop_before
from tests.drills.support.requests import GaveUpError, expect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chalicelib.registry.registry import Registry
    from tests.drills.support.client import Client, Stage

    Named = Mapping[str, frozenset[Digest]]

SOURCE, THIRD = "prod", "team/third"
_HOURS = 3600.0
_IMAGE = Digest.of(images.NEW)
IN_USE = f"{HOME}/manifests/{_IMAGE}"
_OTHERS = [Digest.of(b"an image that runs, %d" % number) for number in range(3)]

FIRST: Named = {HOME: frozenset({_IMAGE}), AWAY: frozenset(_OTHERS[:1])}
SECOND: Named = {HOME: frozenset({_IMAGE, _OTHERS[1]}), THIRD: frozenset(_OTHERS[2:])}
LAST: Named = {AWAY: frozenset(_OTHERS[:2]), HOME: frozenset({_IMAGE})}


def _changing(
    named: Named, change: Callable[[DynamoInUseStore, float], object]
) -> Callable[[Client, object], None]:
    """Change what the source names; another change that began later is left alone."""

    def act(client: Client, _: object) -> None:
        allowed, before = client.ledger.in_use, dict(client.ledger.in_use)
        for repository in {*named, *before}:
            allowed[repository] = before.get(repository, {None}) | {named.get(repository)}
        overtaken: list[bool] = []

        def work(registry: Registry, now: float) -> None:
            try:
                change(_store(registry, client), now)
            except UseSourceMovedError:
                overtaken.append(True)

        client.invoke(work)
        if not overtaken:
            allowed.update({repository: {named.get(repository)} for repository in allowed})

    return act


# What is prepared


def live(stage: Stage) -> bytes:
    """Prepare an image with two tags that runs somewhere; returns its manifest."""
    body = images.live(stage)
    refreshing(FIRST)(stage.client(), body)
    return body


def overdue(stage: Stage) -> bytes:
    """Prepare such an image whose source should have been looked at again."""
    body = live(stage)
    stage.world.clock.sleep(72 * _HOURS)
    return body


def half_refreshed(stage: Stage) -> bytes:
    """Prepare a source whose first refresh died when it had written one of its two leases."""
    body = images.live(stage)
    with suppress(GaveUpError):
        refreshing(FIRST)(stage.client(Gate({3: stop_before}), patient=False), body)
    return body


# What is done


def refreshing(named: Named) -> Callable[[Client, object], None]:
    """Refresh the source: it names this from then on, and until then what it named."""
    return _changing(named, lambda store, now: store.refresh(*_as_named(named, now)))


removing = _changing({}, lambda store, _: store.remove(SOURCE))
"""Remove the source: nothing is left of it."""


def beside(act: Callable[[Client, object], None]) -> Callable[[Client, object], None]:
    """Do this beside another refresh, which may come last."""

    def racing(client: Client, prepared: object) -> None:
        act(client, prepared)
        client.ledger.in_use.clear()

    return racing


def refused(client: Client, body: bytes) -> None:
    """Delete what runs: it is refused, and all of it stays."""
    expect(client.requests.insist("DELETE", IN_USE), 403)
    images.require_named(client, body, images.TAGS)


def forcing(client: Client, _: object) -> None:
    """Delete it by force: it is gone."""
    client.ledger.dropped.add((HOME, _IMAGE))
    expect(client.requests.insist("DELETE", f"{IN_USE}?force=true"), 202, 404)
    expect(client.requests.insist("GET", IN_USE), 404)


def trying(client: Client, _: object) -> None:
    """Delete the image, which may run by then."""
    client.ledger.dropped.add((HOME, _IMAGE))
    expect(client.requests.insist("DELETE", IN_USE), 202, 403, 404)


# What comes after


def one_of(*outcomes: Named) -> Callable[[Client, object], None]:
    """The source names all of one of these, and nothing of another one."""

    def finish(client: Client, _: object) -> None:
        leases = client.stage.world.snapshot().in_use
        found = {repository: frozenset(lease.digests) for (repository, _), lease in leases.items()}
        if found not in outcomes:
            raise Violation(f"the source names {found}")

    return finish


def _as_named(named: Named, now: float) -> tuple[UseSource, list[InUse]]:
    until = now + 48 * _HOURS
    leases = [
        InUse(repository, SOURCE, "file", dict.fromkeys(sorted(found, key=str), ""), now, until)
        for repository, found in named.items()
    ]
    return UseSource(SOURCE, "file", tuple(named), len(leases), now, until, ""), leases


def _store(registry: Registry, client: Client) -> DynamoInUseStore:
    """Return the store of whoever refreshes, whose requests go through the client's gate."""
    metadata: Any = registry._ports.metadata  # noqa: SLF001 - the same table, by the same gate
    clock = client.stage.world.clock
    return DynamoInUseStore(
        metadata._dynamo._client,  # noqa: SLF001 - likewise
        metadata._registry,  # noqa: SLF001 - likewise
        sleep=clock.sleep,
        new_id=clock.new_id,
    )
