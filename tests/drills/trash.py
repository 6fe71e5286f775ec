"""The trash: what is prepared in it, how it is brought back, and what has to hold then.

A restoration is a promise like a push: what it answers with 200 can be pulled whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from tests.drills import images
from tests.drills.images import LAYERS, NEW, TAGS
from tests.drills.support.client import HOME
from tests.drills.support.ledger import Violation
from tests.drills.support.requests import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.drills.support.client import Client, Stage

NAMED = str(Digest.of(NEW))
OF_TAG = f"digest={NAMED}&tag={TAGS[0]}"
WEEKS = 14 * 24.0
"""In hours, how long the trash keeps a manifest."""


# What is prepared


def deleted(stage: Stage) -> bytes:
    """Prepare an image with two tags that was deleted."""
    body = images.live(stage)
    stage.client().delete_manifest(HOME, NAMED)
    return body


def deleted_index(stage: Stage) -> bytes:
    """Prepare an index and its image, which were both deleted; returns the index."""
    body = images.index(images.live(stage))
    stage.client().put_manifest(HOME, "all", body)
    for each in (body, NEW):
        stage.client().delete_manifest(HOME, str(Digest.of(each)))
    return body


def moved_on(stage: Stage) -> bytes:
    """Prepare an image that was deleted, one of whose tags names another one by now."""
    body = deleted(stage)
    stage.client().put_manifest(HOME, TAGS[0], images.OLD)
    return body


def tag_moved(stage: Stage) -> bytes:
    """Prepare an image that both tags named, before they moved to another one."""
    body = images.live(stage)
    for tag in TAGS:
        stage.client().put_manifest(HOME, tag, images.OLD)
    return body


def lacking_a_layer(stage: Stage) -> bytes:
    """Prepare an image that was deleted, and a layer of it too."""
    body = deleted(stage)
    stage.client().delete_blob(HOME, Digest.of(LAYERS[0]))
    return body


def deleted_of_0_1(stage: Stage) -> bytes:
    """Prepare a large image as 0.1 stored it, which was deleted: a blob is its only body."""
    body = images.of_0_1(stage)
    stage.client().delete_manifest(HOME, NAMED)
    return body


# What is done


def restore(client: Client, query: str, *bodies: bytes, may_fail: bool = False) -> bool:
    """Ask for a restoration of these manifests; False if it was refused where it `may_fail`."""
    response = client.requests.insist("POST", f"{HOME}/_moorage/restore?{query}")
    if response.status in {403, 404, 409} and may_fail:
        return False
    expect(response, 200)
    for body in bodies:
        place = HOME, Digest.of(body)
        client.ledger.dropped.discard(place)
        client.ledger.manifests[place] = body
    return True


def restoring(query: str = f"digest={NAMED}", tags: tuple[str, ...] = TAGS) -> Callable[..., None]:
    """Bring the image back: it is there under these tags, and listed by its subject."""

    def act(client: Client, body: bytes) -> None:
        restore(client, query, body)
        images.require_named(client, body, tags)
        expect(client.requests.insist("GET", f"{HOME}/manifests/{Digest.of(body)}"), 200)

    return act


def restoring_listed(client: Client, body: bytes) -> None:
    """Bring the image back, and pull it with its layers and referrers."""
    restoring()(client, body)
    images.pulling(client, body)


def restoring_index(client: Client, body: bytes) -> None:
    """Bring the index back: its image is there, too."""
    restore(client, f"digest={Digest.of(body)}", body, NEW)
    images.require_named(client, body, ("all",))
    expect(client.requests.insist("GET", f"{HOME}/manifests/{NAMED}"), 200)


def restoring_body(client: Client, body: bytes) -> None:
    """Delete the blob that is the body of the deleted image: it can still be brought back."""
    client.delete_blob(HOME, Digest.of(body))
    restoring()(client, body)


def restoring_beside(client: Client, body: bytes) -> None:
    """Bring the image back: the tag that has moved on stays where it is."""
    restoring(tags=TAGS[1:])(client, body)
    images.require_named(client, images.OLD, TAGS[:1])


def refused(query: str, status: int) -> Callable[[Client, bytes], None]:
    """Ask for what can't be brought back: nothing changes."""

    def act(client: Client, _: bytes) -> None:
        before = client.stage.world.snapshot()
        expect(client.requests.insist("POST", f"{HOME}/_moorage/restore?{query}"), status)
        after = client.stage.world.snapshot()
        if (before.manifests, before.tags) != (after.manifests, after.tags):
            raise Violation(f"a restoration that was refused has changed {after}")

    return act


def trying(query: str = f"digest={NAMED}") -> Callable[[Client, bytes], None]:
    """Bring the image back, which may be gone or deleted again, or whose tags may have moved on."""

    def act(client: Client, _: object) -> None:
        restore(client, query, may_fail=True)

    return act


def deleting_again(client: Client, body: bytes) -> None:
    """Bring the image back and delete it again: it is gone."""
    restoring()(client, body)
    client.delete_manifest(HOME, NAMED)
    expect(client.requests.insist("GET", f"{HOME}/manifests/{NAMED}"), 404)


def ending_soon(stage: Stage) -> bytes:
    """Prepare an image whose time in the trash ends in ten seconds."""
    body = deleted(stage)
    stage.world.clock.sleep(WEEKS * 3600 - 10)
    return body
