"""Quotas: repositories that are full, what is refused there, and what has room again.

The invariants hold every repository to its quota; here is what clients are answered.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.registry.quotas import SETTLED
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb.expressions import Put
from chalicelib.stores.dynamodb.items import STORED_RULES
from chalicelib.stores.dynamodb.keys import rules_key
from tests.drills import direct_parts as parts
from tests.drills import edge, images
from tests.drills.support.client import AWAY, HOME, TEXT, Upload, named_by
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Gate
from tests.drills.support.requests import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.drills.support.client import Client, Stage

    Act = Callable[[Client, Any], object]

OTHER = TEXT.swapcase()
"""As many bytes as TEXT, and others."""
THIRD = TEXT[::-1]
ROOM = len(TEXT)


# What is prepared


def within(
    prepare: Callable[[Stage], Any], size: int | None = None, tags: int | None = None
) -> Callable[..., Any]:
    """Prepare something, and a quota that covers its repository from then on."""

    def prepared(stage: Stage, version: int = 1) -> object:
        found = prepare(stage)
        store: Any = stage.world.ports(Gate()).metadata
        quota = {"name": "drill", "repositories": [HOME], "bytes": size, "tags": tags}
        text = json.dumps({"quotas": [quota] if size or tags else []})
        set_at = stage.world.clock.now() - SETTLED
        item = STORED_RULES.encode(StoredRules(version, text, set_at, ""))
        # Owners set rules past the registry, which has no such operation.
        store._dynamo.write(Put(store._registry, rules_key(), item))  # noqa: SLF001
        return found

    return prepared


def nothing(_: Stage) -> None:
    """Prepare nothing."""


def full(stage: Stage) -> None:
    """Prepare a repository that a blob has filled, as it is counted."""
    within(nothing, ROOM)(stage)
    stage.client().push(HOME, Upload(TEXT, whole=True))


def covered_anew(stage: Stage) -> None:
    """Prepare a repository that was filled while no quota covered it, as it did before."""
    within(nothing, 9 * ROOM)(stage)
    stage.client().push(HOME, Upload(b"x", whole=True))
    within(nothing)(stage, version=2)
    stage.client().push(HOME, Upload(TEXT, whole=True))
    within(nothing, ROOM + 9)(stage, version=3)


def emptied_beside(stage: Stage) -> None:
    """Prepare a repository that was full, and a blob in the other one."""
    emptied(stage)
    elsewhere(stage)


def emptied(stage: Stage) -> None:
    """Prepare a repository that was full before its blob was deleted."""
    full(stage)
    stage.client().delete_blob(HOME, Digest.of(TEXT))


def elsewhere(stage: Stage) -> None:
    """Prepare a blob in the other repository."""
    stage.client().push(AWAY, Upload(OTHER, whole=True))


def full_beside(stage: Stage) -> None:
    """Prepare a full repository, and a blob in the other one."""
    full(stage)
    elsewhere(stage)


def tagged(stage: Stage) -> bytes:
    """Prepare an image with as many tags as there may be; returns another one."""
    images.tagged_before(stage)
    within(nothing, tags=2)(stage)
    return images.NEW


# What is done


def refused(method: str, target: str, body: bytes = b"") -> Act:
    """Send a request for which there is no room: 403, and nothing of it is there."""

    def act(client: Client, _: object) -> None:
        before = client.stage.world.snapshot()
        expect(client.requests.insist(method, f"{HOME}/{target}", body), 403)
        require_unchanged(client, before.links, before.tags)

    return act


WHOLE = refused("POST", f"blobs/uploads?digest={Digest.of(OTHER)}", OTHER)
MOUNT = refused("POST", f"blobs/uploads?mount={Digest.of(OTHER)}&from={AWAY}")
DIRECT = refused("POST", f"_moorage/uploads?digest={Digest.of(OTHER)}&size={len(OTHER)}")


def closing(at: int, text: bytes = TEXT) -> Act:
    """Close a session with what it still lacks: 403, also when it is repeated; it is over."""

    def act(client: Client, session: str) -> None:
        target = f"blobs/uploads/{session}?at={at}&digest={Digest.of(text)}"
        for _ in range(2):
            refused("PUT", target, text[at:])(client, session)
        expect(client.requests.insist("GET", f"{HOME}/blobs/uploads/{session}"), 404)

    return act


def putting_whole(client: Client, _: object) -> None:
    """Open a session, and close it with all of a blob: 403, as often as it is sent."""
    response = expect(client.requests.insist("POST", f"{HOME}/blobs/uploads"), 202)
    target = f"blobs/uploads/{named_by(response)}?digest={Digest.of(OTHER)}"
    for _ in range(2):
        refused("PUT", target, OTHER)(client, None)


def committing_direct(client: Client, session: str) -> None:
    """Commit what was put to S3: 403, and again; the session is over."""
    for _ in range(2):
        refused("PUT", f"_moorage/uploads/{session}")(client, session)
    expect(client.requests.insist("GET", f"{HOME}/_moorage/uploads/{session}"), 404)


def committing_parts(client: Client, session: str) -> None:
    """Commit parts: 403, and again."""
    target = f"_moorage/uploads/{session}?digest={parts.BLOB.digest}"
    for _ in range(2):
        refused("PUT", target, parts.BLOB.report)(client, session)


def committing_by_edge(client: Client, ticket: str) -> None:
    """Commit what the edge has put: 403, and again."""
    for _ in range(2):
        if edge.ask(client, ticket, TEXT) != 403:
            raise Violation("what has no room was committed")
    if client.pull(HOME, Digest.of(TEXT)) is not None:
        raise Violation("what was refused is there")


def tagging(reference: str, *, name: str = "v3") -> Act:
    """Put an image under a tag too many: 403, and the image is not there."""

    def act(client: Client, body: bytes) -> None:
        before = client.stage.world.snapshot()
        target = f"{HOME}/manifests/{reference}"
        expect(client.requests.insist("PUT", target, body, content_type=""), 403)
        require_unchanged(client, before.links, before.tags)
        expect(client.requests.insist("GET", f"{HOME}/manifests/{Digest.of(body)}"), 404)
        expect(client.requests.insist("GET", f"{HOME}/manifests/{name}"), 404)

    return act


def mounting(client: Client, _: object) -> None:
    """Mount the blob, for which there is room."""
    if not client.mount(HOME, AWAY, Upload(OTHER)):
        raise Violation("the blob was not mounted")


def moving_a_tag(client: Client, body: bytes) -> None:
    """Move a tag: that needs no room. Delete one: then there is some."""
    client.put_manifest(HOME, images.TAGS[0], body)
    client.delete_manifest(HOME, images.TAGS[1])
    client.put_manifest(HOME, "v3", body)
    images.require_named(client, body, (images.TAGS[0], "v3"))


def pushing(text: bytes = OTHER) -> Act:
    """Push a blob for which there is room."""
    return lambda client, _: client.push(HOME, Upload(text, whole=True))


def trying(text: bytes) -> Act:
    """Push a blob, for which another one may have left no room."""

    def act(client: Client, _: object) -> None:
        digest = Digest.of(text)
        target = f"{HOME}/blobs/uploads?digest={digest}"
        if expect(client.requests.insist("POST", target, text), 201, 403).status == 201:
            client.ledger.blobs[HOME, digest] = text

    return act


def trying_to_tag(tag: str) -> Act:
    """Put the image under a tag, for which another one may have left no room."""
    return lambda client, body: client.put_manifest(HOME, tag, body, may_lack=True)


# What comes after


def one_is_there(client: Client, _: object) -> None:
    """Of the two blobs one has found room."""
    links = client.stage.world.snapshot().links
    there = [text for text in (TEXT, OTHER) if (HOME, Digest.of(text)) in links]
    if len(there) != 1:
        raise Violation(f"{there} are there, and there is room for one")


def require_unchanged(client: Client, links: Any, tags: Any) -> None:  # noqa: ANN401 - of a snapshot
    """Require that the repository has the same blobs and tags."""
    now = client.stage.world.snapshot()
    if (links.keys(), tags) != (now.links.keys(), now.tags):
        raise Violation(f"what was refused has changed {links} and {tags}")
