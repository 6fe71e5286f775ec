"""Images for the drills: their layers, their manifests, and what is done to them.

This module must never know how an operation is disturbed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.registry.model import bodies_of
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb.expressions import Put
from chalicelib.stores.dynamodb.items import STORED_RULES
from chalicelib.stores.dynamodb.keys import rules_key
from tests.drills.support.client import HOME, Upload
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Gate, stop_before
from tests.drills.support.requests import GaveUpError, expect
from tests.support.values import begin_delete, push_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.drills.support.client import Client, Stage

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TAGS = ("v1", "v2")
MANY_TAGS = tuple(f"v{number}" for number in range(31))
"""More tags than one transaction takes."""
SUBJECT = Digest.of(b"somebody else's manifest")
LAYERS = [b"layer one", b"layer two", b"layer one"]
MANY = [b"layer %d" % (number % 105) for number in range(150)]
"""150 layers, some of which repeat: more links than one batch reads."""


def described(data: bytes, media_type: str = "application/octet-stream") -> dict[str, Any]:
    """Describe bytes."""
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def image(layers: list[bytes], **extra: object) -> bytes:
    """Write an image with a subject."""
    document = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": described(b"{}"),
        "layers": [described(layer) for layer in layers],
        "subject": {"mediaType": IMAGE, "digest": str(SUBJECT), "size": 7},
        **extra,
    }
    return json.dumps(document).encode()


def index(body: bytes) -> bytes:
    """Write an index of one image."""
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(body, IMAGE)]}
    return json.dumps(document).encode()


OLD = image(LAYERS, annotations={"age": "old"})
NEW = image(LAYERS)
OTHER = image(LAYERS, annotations={"age": "another"})


def layers(stage: Stage) -> bytes:
    """Prepare an image's layers; returns the manifest."""
    return _pushed(stage, LAYERS)


def many_layers(stage: Stage) -> bytes:
    """Prepare the layers of a large image; returns the manifest."""
    return _pushed(stage, MANY)


def _pushed(stage: Stage, texts: list[bytes]) -> bytes:
    for data in dict.fromkeys([b"{}", *texts]):
        stage.client().push(HOME, Upload(data, whole=True))
    return image(texts)


def live(stage: Stage) -> bytes:
    """Prepare an image with two tags; returns its manifest."""
    body = layers(stage)
    for tag in TAGS:
        stage.client().put_manifest(HOME, tag, body)
    return body


def tagged_before(stage: Stage) -> bytes:
    """Prepare another image under the tags; returns the manifest that is to be put."""
    body = layers(stage)
    for tag in TAGS:
        stage.client().put_manifest(HOME, tag, OLD)
    return body


def pending(stage: Stage) -> bytes:
    """Prepare an image whose put died right after its manifest was put pending."""
    body = layers(stage)
    gate = Gate({1: stop_before})
    with suppress(GaveUpError):
        stage.client(gate, patient=False).put_manifest(HOME, "v1", body)
    return body


def pending_with_body(stage: Stage) -> bytes:
    """Prepare a large image whose put died when its body was stored, before it was live."""
    body = layers(stage)
    gate = Gate()
    metadata = stage.world.ports(Gate()).metadata
    for at in range(1, 99):
        gate = Gate({at: stop_before})
        with suppress(GaveUpError):
            stage.client(gate, patient=False).put_manifest(HOME, "v1", body)
        if metadata.get_link(bodies_of(HOME), Digest.of(body)) is not None:
            return body
    raise Violation("the body of a large manifest was never stored")


def pushed_as_blob(stage: Stage) -> bytes:
    """Prepare a large image with two tags, whose manifest is a blob of the repository as well."""
    body = live(stage)
    stage.client().push(HOME, Upload(body, whole=True))
    return body


def of_0_1(stage: Stage) -> bytes:
    """Prepare the same as 0.1 stored it: the blob is the manifest's only body."""
    body = pushed_as_blob(stage)
    metadata = stage.world.ports(Gate()).metadata
    manifest = metadata.get_manifest(HOME, Digest.of(body))
    if manifest is None:
        raise Violation("the manifest was put, and is not there")
    stage.client().delete_manifest(HOME, str(manifest.digest))
    stage.ledger.dropped.clear()
    for trashed in stage.world.snapshot().manifests.values():
        metadata.empty_trash(trashed, metadata.get_link(bodies_of(HOME), trashed.digest))
    push_manifest(metadata, replace(manifest, references=None), *TAGS)
    return body


def half_deleted(stage: Stage) -> bytes:
    """Prepare an image whose deletion was begun and not finished."""
    body = live(stage)
    stage.ledger.manifests.clear()
    ports = stage.world.ports(Gate())
    begin_delete(ports.metadata, HOME, Digest.of(body), ports.clock.now() + 3600)
    return body


def putting(*tags: str) -> Callable[[Client, bytes], None]:
    """Put the manifest by tag; by digest with `?tag=` where there are several."""

    def act(client: Client, body: bytes) -> None:
        if len(tags) == 1:
            client.put_manifest(HOME, tags[0], body)
        else:
            query = "&".join(f"tag={tag}" for tag in tags)
            client.put_manifest(HOME, f"{Digest.of(body)}?{query}", body)
        require_named(client, body, (tags[0], tags[-1]))

    return act


def putting_index(client: Client, body: bytes) -> None:
    """Put an index of the image."""
    client.put_manifest(HOME, "all", index(body))


def putting_cache(client: Client, body: bytes) -> None:
    """Put an index that names a layer, as a build cache does, beside the image."""
    client.put_manifest(HOME, "v1", body)
    document = json.loads(index(body))
    document["manifests"].append(described(LAYERS[0]))
    client.put_manifest(HOME, "cache", json.dumps(document).encode())


def deleting_body(client: Client, body: bytes) -> None:
    """Delete the blob of the manifest's digest: the manifest stays."""
    client.delete_blob(HOME, Digest.of(body))
    require_named(client, body, TAGS)
    expect(client.requests.insist("GET", f"{HOME}/blobs/{Digest.of(body)}"), 404)


def lacking(client: Client, _: object) -> None:
    """Put an image none of whose layers is there: it is refused, and not there."""
    if client.put_manifest(HOME, "v1", NEW, may_lack=True):
        raise Violation("a manifest without its layers was accepted")
    expect(client.requests.insist("GET", f"{HOME}/manifests/{Digest.of(NEW)}"), 404)


def refused(client: Client, body: bytes) -> None:
    """Put an image that lacks a layer: it is refused."""
    if client.put_manifest(HOME, "v1", body, may_lack=True):
        raise Violation("a manifest without one of its layers was accepted")


def gone(stage: Stage) -> bytes:
    """Prepare an image that was deleted where there is no trash."""
    body = live(stage)
    stage.client().delete_manifest(HOME, str(Digest.of(body)))
    return body


def pulling(client: Client, body: bytes) -> None:
    """Pull the manifest by its tag, then its layers and its list of tags and referrers."""
    require_named(client, body, TAGS)
    for data in LAYERS:
        if client.pull(HOME, Digest.of(data)) != data:
            raise Violation(f"{data!r} can't be pulled")
    expect(client.requests.insist("GET", f"{HOME}/tags/list"), 200)
    referrers = expect(client.requests.insist("GET", f"{HOME}/referrers/{SUBJECT}"), 200)
    if str(Digest.of(body)).encode() not in referrers.body:
        raise Violation("the referrer is not listed")


def deleting_tag(client: Client, body: bytes) -> None:
    """Delete one tag: the manifest and the other tag stay."""
    client.delete_manifest(HOME, TAGS[0])
    expect(client.requests.insist("GET", f"{HOME}/manifests/{TAGS[0]}"), 404)
    require_named(client, body, TAGS[1:])
    require_gone(client, TAGS[:1])


def deleting(client: Client, body: bytes) -> None:
    """Delete the manifest: its tags and its referrer row go with it."""
    client.delete_manifest(HOME, str(Digest.of(body)))
    for reference in (*TAGS, Digest.of(body)):
        expect(client.requests.insist("GET", f"{HOME}/manifests/{reference}"), 404)
    require_gone(client, TAGS)


def replacing(client: Client, body: bytes) -> None:
    """Delete the manifest, and put the same one anew: it is there, whatever comes late."""
    client.delete_manifest(HOME, str(Digest.of(body)))
    client.ledger.dropped.clear()
    client.ledger.manifests.clear()
    client.put_manifest(HOME, TAGS[0], body)
    require_named(client, body, TAGS[:1])


def held(prepare: Callable[[Stage], bytes]) -> Callable[[Stage], bytes]:
    """Prepare something, and a rule by which its tags may not move."""

    def hold(stage: Stage) -> bytes:
        body = prepare(stage)
        store: Any = stage.world.ports(Gate()).metadata
        rule = {"name": "releases", "repositories": [HOME], "tags": ["v*"]}
        text = json.dumps({"immutable": [rule]})
        item = STORED_RULES.encode(StoredRules(1, text, 0, ""))
        # Owners set rules past the registry, which has no such operation.
        store._dynamo.write(Put(store._registry, rules_key(), item))  # noqa: SLF001
        return body

    return hold


def denied(client: Client, body: bytes) -> None:
    """Put an image under a tag that may not move: it is refused, and nothing of it is left.

    The request's first write may reach DynamoDB once more after the refusal. That leaves a pending
    row, which nobody is shown, and which the next refusal takes away.
    """
    target, digest = f"{HOME}/manifests/{TAGS[0]}", Digest.of(body)
    for _ in range(2):
        expect(client.requests.insist("PUT", target, body, content_type=""), 403)
        expect(client.requests.insist("GET", f"{HOME}/manifests/{digest}"), 404)
        require_named(client, OLD, TAGS)
        if (HOME, digest) not in client.stage.world.snapshot().manifests:
            return
    raise Violation("a manifest that was refused is there")


def require_gone(client: Client, tags: tuple[str, ...]) -> None:
    """Require that the history says once of each of these tags, and of no other, that it went."""
    rows = client.stage.world.snapshot().history
    gone = sorted(row.tag for row in rows if row.tag is not None and row.now is None)
    if gone != sorted(tags):
        raise Violation(f"{tags} were deleted, and the history says that of {gone}")


def require_named(client: Client, body: bytes, tags: tuple[str, ...]) -> None:
    """Require that each of these tags names the manifest."""
    for tag in tags:
        response = expect(client.requests.insist("GET", f"{HOME}/manifests/{tag}"), 200)
        if response.body != body:
            raise Violation(f"{tag} names another manifest")
