"""Flows of the API: every row of the table of routes, and every way in which an upload goes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from chalicelib.digest import Algorithm, Digest
from chalicelib.reference import Tag
from chalicelib.registry.manifests import ManifestPush
from chalicelib.registry.session import UploadState
from tests.chalicelib.api.pushing import IMAGE, INDEX
from tests.policies.deployed import COMMIT_INLINE, MIB, ReplayedDeployment
from tests.policies.leftovers import PART, WHO, died, published
from tests.support.values import a_manifest, begin_delete, fresh_name

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from chalicelib.registry.session import Session

SMALL = b"a blob that is answered with its bytes"
LARGE = bytes(2000)
"""A blob that is answered with a URL."""


def located(response: Response, status: int) -> str:
    """Return where an answer with this status leads to."""
    assert response.status == status, response.body
    return str(response.headers["Location"])


def started(deployment: ReplayedDeployment, name: str, query: str = "") -> str:
    """Start an upload; return its URL."""
    return located(deployment.ask("POST", f"{name}/blobs/uploads{query}"), 202)


def appended(deployment: ReplayedDeployment, at: str, *chunks: bytes) -> str:
    """Append chunks; return where the upload goes on."""
    for chunk in chunks:
        at = located(deployment.ask("PATCH", at, chunk), 202)
    return at


def closed(
    deployment: ReplayedDeployment, at: str, data: bytes, last: bytes = b"", status: int = 201
) -> None:
    """Close an upload with the digest of its bytes."""
    response = deployment.ask("PUT", f"{at}&digest={Digest.of(data)}", last)
    assert response.status == status, response.body


def blob(deployment: ReplayedDeployment, name: str, data: bytes) -> dict[str, object]:
    """Push a blob in one request; return its descriptor."""
    digest = Digest.of(data)
    located(deployment.ask("POST", f"{name}/blobs/uploads?digest={digest}", data), 201)
    return {"mediaType": "application/octet-stream", "digest": str(digest), "size": len(data)}


def image(deployment: ReplayedDeployment, name: str, **extra: object) -> bytes:
    """Push what an image needs; return its manifest."""
    config, layer = blob(deployment, name, b"{}"), blob(deployment, name, SMALL)
    fields = {"mediaType": IMAGE, "config": config, "layers": [layer], **extra}
    return json.dumps({"schemaVersion": 2, **fields}).encode()


def put(
    deployment: ReplayedDeployment, name: str, reference: object, body: bytes, kind: str = IMAGE
) -> None:
    """Put a manifest."""
    target = f"{name}/manifests/{reference}"
    located(deployment.ask("PUT", target, body, content_type=kind), 201)


def an_upload_in_one_request(deployment: ReplayedDeployment) -> None:
    """A blob by POST, twice, into two repositories: the second pushes delete what they brought."""
    names, data = (fresh_name(), fresh_name()), os.urandom(1000)
    for name in (*names, *names):
        blob(deployment, name, data)


def an_upload_in_two_requests(deployment: ReplayedDeployment) -> None:
    """POST, and PUT with the bytes."""
    at, data = started(deployment, fresh_name()), os.urandom(1000)
    closed(deployment, f"{at}&x", data, data)


def an_upload_of_a_tail(deployment: ReplayedDeployment) -> None:
    """POST, PATCHes too small for a part, PUT; the superseded tails are deleted on the way."""
    chunks = [os.urandom(10) for _ in range(18)]
    at = appended(deployment, started(deployment, fresh_name()), *chunks)
    assert deployment.ask("GET", at).status == 204
    closed(deployment, at, b"".join(chunks))


def an_upload_in_parts(deployment: ReplayedDeployment) -> None:
    """POST, PATCHes of which some are parts, a last chunk with the PUT: assembled and copied."""
    chunks = [os.urandom(size) for size in (1000, PART, 1000)]
    at = appended(deployment, started(deployment, fresh_name()), *chunks[:2])
    closed(deployment, at, b"".join(chunks), chunks[2])


def an_upload_of_what_is_there(deployment: ReplayedDeployment) -> None:
    """Parts of a blob that is live by now are given up, and the blob is linked."""
    data = os.urandom(PART)
    published(deployment, data)
    closed(deployment, appended(deployment, started(deployment, fresh_name()), data), data)


def an_upload_by_sha512(deployment: ReplayedDeployment) -> None:
    """By a digest that was announced, and by one that was not: then the bytes are read."""
    data = os.urandom(PART)
    for query in ("?digest-algorithm=sha512", ""):
        at = appended(deployment, started(deployment, fresh_name(), query), data)
        digest = Digest.of(data, Algorithm.SHA512)
        assert deployment.ask("PUT", f"{at}&digest={digest}").status == 201


def an_upload_with_a_wrong_digest(deployment: ReplayedDeployment) -> None:
    """The upload goes on, and is closed with the right one."""
    at, data = started(deployment, fresh_name()), os.urandom(1000)
    at = appended(deployment, at, data)
    closed(deployment, at, b"another", status=400)
    closed(deployment, at, data)


def an_upload_that_is_cancelled(deployment: ReplayedDeployment) -> None:
    """Parts and tails are deleted; after a dead request, all that is below the prefix."""
    for chunks in ((b"tail",), (bytes(PART),), (bytes(PART), b"tail")):
        at = appended(deployment, started(deployment, fresh_name()), *chunks)
        assert deployment.ask("DELETE", at).status == 204
    session = taken_by_the_admin(deployment, died(deployment, PART))
    at = f"{session.repository}/blobs/uploads/{session.id}"
    assert deployment.ask("DELETE", at).status == 204


def an_upload_that_is_taken_over(deployment: ReplayedDeployment) -> None:
    """Another request takes up what a dead one left, and closes it."""
    session = taken_by_the_admin(deployment, died(deployment, 10))
    at = f"{session.repository}/blobs/uploads/{session.id}?at=10"
    at = located(deployment.ask("PATCH", at, b"more"), 202)
    assert deployment.ask("DELETE", at).status == 204


def an_upload_whose_bytes_are_lost(deployment: ReplayedDeployment) -> None:
    """A tail that is gone ends the upload: S3 has to say that it is not there."""
    at = appended(deployment, started(deployment, fresh_name()), b"tail")
    gone = [key for key in deployment.arranged.stored() if "/tail-" in key]
    deployment.arranged.ports.objects.delete(gone)
    assert deployment.ask("PATCH", at, b"more").status == 404


def an_upload_that_is_long_to_commit(deployment: ReplayedDeployment) -> None:
    """More than a request can commit is handed to the commit function; the PUT is repeated."""
    chunks = [os.urandom(PART), os.urandom(COMMIT_INLINE - PART + MIB)]
    at, data = started(deployment, fresh_name()), b"".join(chunks)
    at = appended(deployment, at, *chunks)
    closed(deployment, at, data, status=503)
    session_id = at.partition("?")[0].rpartition("/")[2]
    deployment.commit(session_id)
    closed(deployment, at, data)


def blobs(deployment: ReplayedDeployment) -> None:
    """Bytes, ranges and URLs; blobs that are not there; deletion."""
    name = fresh_name()
    for data in (SMALL, LARGE):
        target = f"{name}/blobs/{blob(deployment, name, data)['digest']}"
        status = 200 if data == SMALL else 307
        assert deployment.ask("GET", target).status == status
        assert deployment.ask("GET", target, range="bytes=0-3").status in {206, 307}
        assert deployment.ask("HEAD", target).status == 307
        assert deployment.ask("DELETE", target).status == 202
        assert deployment.ask("GET", target).status == 404


def an_old_link(deployment: ReplayedDeployment) -> None:
    """A link that the collector might look at is touched before the answer."""
    with deployment.earlier(20 * 3600):
        name = published(deployment, SMALL)
    target = f"{name}/blobs/{Digest.of(SMALL)}"
    assert deployment.ask("HEAD", target).status == 307


def a_mount(deployment: ReplayedDeployment) -> None:
    """From a repository that has it, again, and from one that has not."""
    source, name = published(deployment, LARGE), fresh_name()
    mount = f"blobs/uploads?mount={Digest.of(LARGE)}&from="
    for target, origin, status in (
        (name, source, 201),
        (name, source, 201),
        (name, fresh_name(), 202),
    ):
        assert deployment.ask("POST", f"{target}/{mount}{origin}").status == status


def manifests(deployment: ReplayedDeployment) -> None:
    """Put, get and delete by tag and by digest; with a subject; with more tags; moved tags."""
    name = fresh_name()
    body = image(deployment, name)
    digest = Digest.of(body)
    put(deployment, name, f"{digest}?tag=v1&tag=v2", body)
    put(deployment, name, "v1", body)
    subject = {"mediaType": IMAGE, "digest": str(digest), "size": len(body)}
    other = image(deployment, name, subject=subject)
    put(deployment, name, "v2", other)
    for reference in ("v1", "v2", digest):
        for method in ("GET", "HEAD"):
            assert deployment.ask(method, f"{name}/manifests/{reference}").status == 200
    for listed in ("tags/list", f"referrers/{digest}"):
        assert deployment.ask("GET", f"{name}/{listed}").status == 200
    assert deployment.ask("DELETE", f"{name}/manifests/v1").status == 202
    for each in (Digest.of(other), digest):
        assert deployment.ask("DELETE", f"{name}/manifests/{each}").status == 202
        assert deployment.ask("GET", f"{name}/manifests/{each}").status == 404


def a_large_manifest(deployment: ReplayedDeployment) -> None:
    """What is too long for an item is a blob."""
    name = fresh_name()
    body = image(deployment, name, annotations={"padding": "x" * 120_000})
    put(deployment, name, "v1", body)
    assert deployment.ask("GET", f"{name}/manifests/v1").body == body


def a_manifest_that_is_refused(deployment: ReplayedDeployment) -> None:
    """Its blobs are not there: what was begun is taken back."""
    missing = {"mediaType": "a/b", "digest": str(Digest.of(b"missing")), "size": 7}
    body = image(deployment, fresh_name(), layers=[missing])
    target = f"{fresh_name()}/manifests/v1"
    assert deployment.ask("PUT", target, body, content_type=IMAGE).status == 404


def a_manifest_that_was_half_deleted(deployment: ReplayedDeployment) -> None:
    """A push of it finishes the deletion first; an index asks for manifests."""
    registry, name = deployment.arranged, fresh_name()
    inner = b'{"schemaVersion":2,"manifests":[]}'
    now = registry.clock.now()
    push = ManifestPush(name, Tag("v1"), INDEX, inner, (), WHO, now + 29)
    digest = registry.registry.manifests.put(push).digest
    begin_delete(registry.ports.metadata, name, digest, now + 3600)
    put(deployment, name, "v1", inner, INDEX)
    listed = {"mediaType": INDEX, "digest": str(digest), "size": len(inner)}
    outer = json.dumps({"schemaVersion": 2, "manifests": [listed]}).encode()
    put(deployment, name, "v2", outer, INDEX)
    registry.ports.metadata.put_pending(a_manifest(repository=name))


def the_rest(deployment: ReplayedDeployment) -> None:
    """The ping and the catalog."""
    for target in ("", "_catalog"):
        assert deployment.ask("GET", target).status == 200
    assert deployment.ask("HEAD", "").status == 200


def taken_by_the_admin(deployment: ReplayedDeployment, session: Session) -> Session:
    """Make a session the admin's, as if the admin had opened it."""
    principal = deployment.identify(deployment.admin)
    assert principal is not None
    assert session.state is UploadState.OPEN
    deployment.arranged.dynamodb.update_item(
        TableName=deployment.arranged.uploads_table,
        Key={"session": {"S": session.id}},
        UpdateExpression="SET principal = :who",
        ExpressionAttributeValues={":who": {"S": principal.id}},
    )
    return session


FLOWS = (
    an_upload_in_one_request,
    an_upload_in_two_requests,
    an_upload_of_a_tail,
    an_upload_in_parts,
    an_upload_of_what_is_there,
    an_upload_by_sha512,
    an_upload_with_a_wrong_digest,
    an_upload_that_is_cancelled,
    an_upload_that_is_taken_over,
    an_upload_whose_bytes_are_lost,
    an_upload_that_is_long_to_commit,
    blobs,
    an_old_link,
    a_mount,
    manifests,
    a_large_manifest,
    a_manifest_that_is_refused,
    a_manifest_that_was_half_deleted,
    the_rest,
)
