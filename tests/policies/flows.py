"""Flows of the functions: every row of the table of routes, every grant type, every leftover.

First what requests leave behind; then the flows of the API, with every way in which an upload goes;
then of logging in; then of the commit and sweep functions. A flow takes a deployment and no more.
"""

from __future__ import annotations

import inspect
import json
import os
import time
import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3

from chalicelib.access.credentials import generate
from chalicelib.access.federation.exchange import SubjectTokenType
from chalicelib.access.trusts import AWS, Trust
from chalicelib.digest import Algorithm, Digest
from chalicelib.reference import Tag
from chalicelib.registry.collector.seen import is_its_turn
from chalicelib.registry.keys import parts_key, report_key
from chalicelib.registry.manifests.pushing import ManifestPush
from chalicelib.registry.model import ManifestState, Record, bodies_of
from chalicelib.registry.quotas import RULES_AGE
from chalicelib.registry.service import Limits
from chalicelib.registry.session import Session, StoredObject, UploadState
from chalicelib.registry.upload.direct_parts import named, sealed_with
from chalicelib.registry.upload.segments import Report
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.keys import record_key
from chalicelib.stores.dynamodb.rules import DynamoRulesStore
from moorage.login.aws import presigned_identity
from tests.chalicelib.api.pushing import IMAGE, INDEX
from tests.policies.deployed import (
    COMMIT_INLINE,
    COPY_PART,
    COPY_WHOLE,
    MIB,
    SERVICE,
    ReplayedDeployment,
    basic,
)
from tests.support.issuer import jwk, rsa_key, serving, token
from tests.support.parted import PartedBlob, parted
from tests.support.presigned_puts import send
from tests.support.values import (
    a_manifest,
    a_session,
    as_sealed,
    begin_delete,
    fresh_digest,
    fresh_name,
    push_manifest,
    take_lease,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.api.messages import Response

SMALL = b"a blob that is answered with its bytes"
WHO = "somebody"
PART = 5 * MIB
LARGE = bytes(2000)
"""A blob that is answered with a URL."""

TOO_LARGE = (PART, PART, 2 * MIB)
"""Chunks of more than one copy takes here."""
assert sum(TOO_LARGE) > COPY_WHOLE

DAY = 24 * 3600.0
ROLE = "arn:aws:sts::123456789012:assumed-role/ci"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
LIMITS = Limits()


# What requests leave behind, in every state, for commit function and sweeper to go on with. A test
# arranges all of it, so that nothing of it counts as a function's call.


def opened(
    deployment: ReplayedDeployment, *sizes: int, data: bytes | None = None, name: str | None = None
) -> tuple[Session, bytes]:
    """Open a session and append chunks of random bytes, or of `data`; return it, and the bytes."""
    registry = deployment.arranged
    uploads, data = registry.registry.uploads, data or os.urandom(sum(sizes))
    session, at = uploads.start(name or fresh_name(), WHO), 0
    for size in sizes:
        deadline = registry.clock.now() + 29
        name_of = session.ticket or session.id
        session = uploads.append(session.owner, name_of, data[at : at + size], at, deadline)
        at += size
    return session, data


def set_rules(deployment: ReplayedDeployment, document: object) -> None:
    """Put rules in force, as the registry's owner does."""
    registry = deployment.arranged
    rules = DynamoRulesStore(registry.dynamodb, registry.registry_table)
    before = rules.current()
    version = before.version + 1 if before else 1
    rules.replace(before, StoredRules(version, json.dumps(document), 0.0, WHO))


def parts_sealed(
    deployment: ReplayedDeployment,
    claimed: bytes | None = None,
    *,
    lacking: bool = False,
    large: bool = False,
) -> Session:
    """Leave a direct upload in parts that a request has closed, with its digest or another one.

    `lacking`: its last part never came. `large`: workers verify it.
    """
    registry = deployment.arranged
    sizes = (PART, PART) if large else (PART,)
    blob = parted(os.urandom(sum(sizes) + 1000), *sizes)
    session = registry.registry.direct.start_parts(fresh_name(), WHO, blob.algorithm).session
    sent = list(blob.parts.items())
    for number, data in sent[:-1] if lacking else sent:
        key, upload_id = parts_key(session.id), session.upload_id or ""
        registry.ports.objects.put_part(key, upload_id, number, data)
    report = Report.parse(blob.report, blob.algorithm)
    registry.ports.objects.put(report_key(session.id, named(report)), report.dump())
    claim = blob.digest if claimed is None else Digest.of(claimed)
    closed = replace(
        sealed_with(session, claim, report), sweep_at=registry.clock.now() + LIMITS.sweep_sealed
    )
    return registry.ports.sessions.write(session, closed)


def sealed(  # noqa: PLR0913 - whatever a flow varies
    deployment: ReplayedDeployment,
    *sizes: int,
    algorithm: Algorithm = Algorithm.SHA256,
    claimed: bytes | None = None,
    data: bytes | None = None,
    name: str | None = None,
    disturbed: bool = False,
) -> tuple[Session, bytes]:
    """Leave a session that a request has closed with its digest, or with that of other bytes."""
    session, data = opened(deployment, *sizes, data=data, name=name)
    claim = Digest.of(data if claimed is None else claimed, algorithm)
    closed = as_sealed(session, claim, deployment.arranged.clock.now())
    closed = replace(closed, disturbed=disturbed)
    return deployment.arranged.ports.sessions.write(session, closed), data


def published(deployment: ReplayedDeployment, data: bytes, name: str | None = None) -> str:
    """Push a blob into a repository whole; return the repository."""
    registry, name = deployment.arranged, name or fresh_name()
    registry.registry.uploads.put_whole(name, WHO, Digest.of(data), data)
    return name


def died(deployment: ReplayedDeployment, *sizes: int) -> Session:
    """Leave a session whose request has died in the middle, with bytes of it that nobody knows."""
    session, _ = opened(deployment, *sizes)
    now = deployment.arranged.clock.now()
    take_lease(deployment.arranged.ports.sessions, session, now=now - 60, until=now - 1)
    written_late(deployment, session)
    return session


def written_late(deployment: ReplayedDeployment, session: Session) -> None:
    """Write what a dead request of this session may yet write: a tail, and a multipart upload."""
    objects = deployment.arranged.ports.objects
    objects.put(f"uploads/{session.id}/tail-99", b"late")
    objects.begin_multipart(f"uploads/{session.id}/data")


def changed_under_a_copy(deployment: ReplayedDeployment) -> Session:
    """Leave an assembled session whose bytes, too many for one copy, are not those that it names.

    Another driver of its commit has begun a copy in parts besides, and left that.
    """
    objects, size = deployment.arranged.ports.objects, COPY_WHOLE + COPY_PART
    now, session_id = deployment.arranged.clock.now(), str(uuid.uuid4())
    key = f"uploads/{session_id}/data"
    objects.put(key, os.urandom(size))
    session = a_session(
        id=session_id,
        state=UploadState.ASSEMBLED,
        offset=size,
        life_until=now + 3600,
        upload_id="over",
        next_part=3,
        tail_part=2,
        claim=Digest.of(session_id.encode()),
        staged=StoredObject(key, size, '"another"'),
        sweep_at=now - 1,
    )
    deployment.arranged.ports.sessions.create(session)
    return session


def copy_begun(deployment: ReplayedDeployment, session: Session) -> None:
    """Leave a copy in parts to the canonical key of a session."""
    deployment.arranged.ports.objects.begin_multipart(published_key(session))


def half_deleted(deployment: ReplayedDeployment, name: str, body: bytes) -> Digest:
    """Leave an index whose deletion has begun; return its digest."""
    registry, now = deployment.arranged, deployment.arranged.clock.now()
    push = ManifestPush(name, Tag("v1"), INDEX, body, (), WHO)
    digest = registry.registry.pushes.put(push).digest
    begin_delete(registry.ports.metadata, name, digest, now + LIMITS.manifest_grace)
    return digest


def state_of(deployment: ReplayedDeployment, session: Session) -> UploadState:
    """Return where a session stands by now."""
    found = deployment.arranged.ports.sessions.get(session.id)
    assert found is not None
    return found.state


def keys_of(deployment: ReplayedDeployment, session: Session) -> Sequence[str]:
    """Return the keys of all objects of a session."""
    return [key for key in deployment.arranged.stored() if session.id in key]


# the API


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
    assert deployment.ask("DELETE", started(deployment, fresh_name())).status == 204
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


def an_upload_by_the_edge(deployment: ReplayedDeployment) -> None:
    """What it has put is looked at and published; in the other repository, deleted."""
    data = os.urandom(1000)
    for _ in range(2):
        at = put_by_edge(deployment, data, ChecksumAlgorithm="SHA256")
        assert deployment.ask("GET", f"{at}?commit&digest={Digest.of(data)}").status == 201
    at = put_by_edge(deployment, data, ChecksumAlgorithm="SHA256")
    assert deployment.ask("DELETE", at).status == 204


def an_upload_by_the_edge_that_s3_has_not_compared(deployment: ReplayedDeployment) -> None:
    """It is read and copied: by the request, and by the commit function where that is long."""
    for size in (1000, COMMIT_INLINE + MIB):
        data = os.urandom(size)
        at = put_by_edge(deployment, data, ContentType="application/octet-stream")
        target = f"{at}?commit&digest={Digest.of(data)}"
        if deployment.ask("GET", target).status == 307:
            deployment.commit(at.rpartition("/")[2].partition("~")[0])
        assert deployment.ask("GET", target).status == 201


def put_by_edge(deployment: ReplayedDeployment, data: bytes, **how: str) -> str:
    """Open an upload and put its bytes where the edge does; return the upload's path."""
    at = started(deployment, fresh_name()).partition("?")[0]
    session = at.rpartition("/")[2].partition("~")[0]
    key, under = f"direct/{session}/{Digest.of(data).hex}", deployment.arranged
    given: Any = how
    under.s3.put_object(Bucket=under.bucket, Key=key, Body=data, **given)
    return at


def a_direct_upload(deployment: ReplayedDeployment) -> None:
    """POST, a fresh URL, a PUT to S3, the commit; twice, so that bytes are deleted; a DELETE."""
    assert deployment.ask("GET", "_oci/ext/discover").status == 200
    data = os.urandom(1000)
    for _ in range(2):
        at = directly_put(deployment, fresh_name(), data)
        assert deployment.ask("PUT", at).status == 201
    at = directly_put(deployment, fresh_name(), data)
    assert deployment.ask("DELETE", at).status == 204


def directly_put(deployment: ReplayedDeployment, name: str, data: bytes) -> str:
    """Put bytes to the URL of a direct upload; return the session's URL."""
    target = f"{name}/_moorage/uploads/?digest={Digest.of(data)}&size={len(data)}"
    at = located(deployment.ask("POST", target), 201)
    put_to = json.loads(deployment.ask("GET", at).body)["put"]
    assert send(put_to["url"], put_to["headers"], data) == (200, "")
    return at


def a_direct_upload_in_parts(deployment: ReplayedDeployment) -> None:
    """POST, URLs, PUTs to S3, the commit; twice, so that bytes are deleted; a refusal, a DELETE."""
    blob = parted(os.urandom(PART + 1000), PART)
    for _ in range(2):
        at = parts_put(deployment, fresh_name(), blob)
        assert deployment.ask("PUT", f"{at}?digest={blob.digest}", blob.report).status == 201
    other = f"{parts_put(deployment, fresh_name(), blob)}?digest={Digest.of(SMALL)}"
    assert deployment.ask("PUT", other, blob.report).status == 400
    assert deployment.ask("DELETE", parts_put(deployment, fresh_name(), blob)).status == 204


def parts_put(deployment: ReplayedDeployment, name: str, blob: PartedBlob) -> str:
    """Put the parts of a direct upload to their URLs; return the session's URL."""
    at = located(deployment.ask("POST", f"{name}/_moorage/uploads/?parts=true"), 201)
    asked = deployment.ask("POST", f"{at}/parts", blob.wanted)
    for part in json.loads(asked.body)["parts"]:
        headers = {**part["headers"], "Content-Type": "application/octet-stream"}
        assert send(part["url"], headers, blob.parts[part["number"]]) == (200, "")
    assert deployment.ask("GET", at).status == 200
    return at


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
        for method in ("GET", "HEAD"):
            assert deployment.ask(method, f"{name}/{listed}").status == 200
    for listed in ("tags", "images", "retention"):
        shown = f"{name}/_moorage/{listed}"
        assert deployment.ask("GET", shown).status == 200
    for shown in (f"images/{digest}", f"deletion?digest={digest}&alone=1", "usage"):
        assert deployment.ask("GET", f"{name}/_moorage/{shown}").status == 200
    for anywhere in ("_moorage/repositories", "_moorage", "_moorage/page.css"):
        assert deployment.ask("GET", anywhere).status == 200
    assert deployment.ask("DELETE", f"{name}/manifests/v1").status == 202
    for each in (Digest.of(other), digest):
        assert deployment.ask("DELETE", f"{name}/manifests/{each}").status == 202
        assert deployment.ask("GET", f"{name}/manifests/{each}").status == 404


def a_large_manifest(deployment: ReplayedDeployment) -> None:
    """What is too long for an item is in S3; a blob of the same bytes is another matter.

    Then as 0.1 stored it: a DELETE of the blob leaves the manifest its body.
    """
    name, metadata = fresh_name(), deployment.arranged.ports.metadata
    body = image(deployment, name, annotations={"padding": "x" * 120_000})
    digest = Digest.of(body)
    for older in (False, True):
        put(deployment, name, "v1", body)
        blob(deployment, name, body)
        if older:
            metadata.delete_link(bodies_of(name), digest)
            begun = begin_delete(metadata, name, digest, 0)
            metadata.finish_delete(begun)
            pending = replace(begun, references=None, state=ManifestState.PENDING)
            push_manifest(metadata, pending)
        for status in (202, 404):
            assert deployment.ask("DELETE", f"{name}/blobs/{digest}").status == status
        assert deployment.ask("GET", f"{name}/manifests/{digest}").body == body
        assert deployment.ask("DELETE", f"{name}/manifests/{digest}").status == 202


def an_undone_deletion(deployment: ReplayedDeployment) -> None:
    """A large index, its image and their tags are deleted and brought back; history says it."""
    name = fresh_name()
    body = image(deployment, name)
    put(deployment, name, "v1", body)
    listed = {"mediaType": IMAGE, "digest": str(Digest.of(body)), "size": len(body)}
    padding = {"padding": "x" * 120_000}
    document = {"schemaVersion": 2, "manifests": [listed], "annotations": padding}
    outer = json.dumps(document).encode()
    put(deployment, name, "all", outer, INDEX)
    for each in (outer, body):
        target = f"{name}/manifests/{Digest.of(each)}"
        assert deployment.ask("DELETE", target).status == 202
    restored = deployment.ask("POST", f"{name}/_moorage/restore?digest={Digest.of(outer)}")
    assert (restored.status, json.loads(restored.body)["tags"]) == (200, ["all"])
    history = deployment.ask("GET", f"{name}/_moorage/history")
    assert (history.status, len(json.loads(history.body)["history"])) == (200, 4)


def a_manifest_that_is_refused(deployment: ReplayedDeployment) -> None:
    """Its blobs are not there: what was begun is taken back."""
    missing = {"mediaType": "a/b", "digest": str(Digest.of(b"missing")), "size": 7}
    body = image(deployment, fresh_name(), layers=[missing])
    target = f"{fresh_name()}/manifests/v1"
    assert deployment.ask("PUT", target, body, content_type=IMAGE).status == 404


def a_manifest_that_was_half_deleted(deployment: ReplayedDeployment) -> None:
    """A push of it finishes the deletion first; an index asks for manifests."""
    name, inner = fresh_name(), b'{"schemaVersion":2,"manifests":[]}'
    digest = half_deleted(deployment, name, inner)
    put(deployment, name, "v1", inner, INDEX)
    listed = {"mediaType": INDEX, "digest": str(digest), "size": len(inner)}
    outer = json.dumps({"schemaVersion": 2, "manifests": [listed]}).encode()
    put(deployment, name, "v2", outer, INDEX)
    deployment.arranged.ports.metadata.put_pending(a_manifest(repository=name))


def the_rest(deployment: ReplayedDeployment) -> None:
    """The ping and the catalog."""
    for target in ("", "_catalog"):
        for method in ("GET", "HEAD"):
            assert deployment.ask(method, target).status == 200


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


# logging in


def issued(response: Response) -> dict[str, str]:
    """Return what the token endpoint gave."""
    assert response.status == 200, response.body
    told: dict[str, str] = json.loads(response.body)
    return told


def the_authorizer(deployment: ReplayedDeployment) -> None:
    """Basic and Bearer headers of somebody and of nobody; the day of use is noted once a day."""
    header = deployment.credential("team/*:pull")
    scope = "scope=repository:team/app:pull&scope=registry:catalog:*"
    bearer = f"Bearer {issued(deployment.token('GET', {}, scope, header))['token']}"
    for shown in (header, bearer):
        assert deployment.identify(shown) is not None
    for shown in (basic(generate()), f"{bearer}x", "Digest x"):
        assert deployment.identify(shown) is None
    with deployment.earlier(-DAY):
        assert deployment.identify(header) is not None


def passwords(deployment: ReplayedDeployment) -> None:
    """GET and POST with an API token; a refresh token; nobody in particular."""
    header = deployment.credential("team/*:pull")
    query = "scope=registry:catalog:*&offline_token=true"
    refresh = issued(deployment.token("GET", {}, query, header))["refresh_token"]
    issued(deployment.token("POST", {"grant_type": "refresh_token", "refresh_token": refresh}))
    for method in ("GET", "HEAD"):
        issued(deployment.token(method, {}, "scope=repository:open/app:pull"))
    key = generate()
    form = {"grant_type": "password", "username": "me", "password": key}
    for _ in range(3):  # the counter is made, and then raised
        assert deployment.token("POST", form).status == 401


def public_repositories(deployment: ReplayedDeployment) -> None:
    """Whether a repository is public is looked up where grants don't say enough."""
    name, header = published(deployment, LARGE), deployment.credential("other/*:pull")
    target = f"{name}/blobs/{Digest.of(LARGE)}"
    assert deployment.ask("GET", target, by=header).status == 403
    deployment.access.set_public(name, public=True)
    assert deployment.ask("GET", target, by=header).status == 307
    assert deployment.ask("GET", "_catalog", by=header).status == 200


def an_identity_token(deployment: ReplayedDeployment) -> None:
    """Another issuer's user gets a token, and comes with it."""
    with serving() as server:
        server.publish(jwk(rsa_key(), kid="one", alg="RS256", use="sig"))
        now, name = int(time.time()), f"t-{os.urandom(4).hex()}"
        deployment.access.put_trust(
            Trust.parse(
                name,
                issuer=server.url,
                audience=SERVICE,
                subject="repo:org/app:*",
                grants=["team/**:pull,push"],
            )
        )
        shown = token(iss=server.url, aud=SERVICE, iat=now - 5, nbf=now - 5, exp=now + 300)
        for kind in (SubjectTokenType.ID_TOKEN, SubjectTokenType.JWT):
            comes_in(deployment, kind, shown)
        deployment.access.delete_trust(name)


def an_aws_identity(deployment: ReplayedDeployment) -> None:
    """Somebody in a trusted role of AWS, whom STS knows, gets a token, and comes with it."""
    trust = Trust.parse(
        "aws", issuer=AWS, audience="", subject=f"{ROLE}/*", grants=["team/**:push"]
    )
    deployment.access.put_trust(trust)
    assumed = deployment.backend.client("sts").assume_role(
        RoleArn="arn:aws:iam::123456789012:role/ci", RoleSessionName="run-7"
    )["Credentials"]
    variables = {
        "AWS_ACCESS_KEY_ID": assumed["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": assumed["SecretAccessKey"],
        "AWS_SESSION_TOKEN": assumed["SessionToken"],
    }
    with mock.patch.dict(os.environ, variables), mock.patch.object(boto3, "DEFAULT_SESSION", None):
        proof = presigned_identity(SERVICE, "eu-central-1")
    comes_in(deployment, SubjectTokenType.AWS_IDENTITY, proof)


def comes_in(deployment: ReplayedDeployment, kind: SubjectTokenType, shown: str) -> None:
    """Exchange a proof for a login token and for a token with scopes, and use both."""
    form = {"grant_type": EXCHANGE, "subject_token_type": kind.value, "subject_token": shown}
    login = issued(deployment.token("POST", form))["access_token"]
    name = fresh_name()
    scoped = issued(deployment.token("POST", {**form, "scope": f"repository:{name}:push"}))
    for header in (basic(login), f"Bearer {scoped['access_token']}"):
        assert deployment.ask("POST", f"{name}/blobs/uploads", by=header).status == 202


# commits and sweeps


def commits(
    deployment: ReplayedDeployment, session: Session, state: UploadState = UploadState.COMMITTED
) -> None:
    """Have the commit function drive a session, which ends there."""
    deployment.commit(session.id)
    assert state_of(deployment, session) is state


def a_commit_with_a_tail(deployment: ReplayedDeployment) -> None:
    """Parts and a tail become one object, which is copied to where blobs are."""
    session, _ = sealed(deployment, PART, 1000)
    commits(deployment, session)
    assert keys_of(deployment, session) == [published_key(session)]


def a_commit_that_reads(deployment: ReplayedDeployment) -> None:
    """Bytes are read if they were hashed in another algorithm; a wrong claim's session stays."""
    session, _ = sealed(deployment, PART, algorithm=Algorithm.SHA512)
    commits(deployment, session)
    wrong, _ = sealed(deployment, PART, algorithm=Algorithm.SHA512, claimed=b"other bytes")
    commits(deployment, wrong, UploadState.ASSEMBLED)


def a_commit_without_room(deployment: ReplayedDeployment) -> None:
    """What the repository holds is counted, and the upload is refused."""
    session, _ = sealed(deployment, PART)
    quota = {"name": "small", "repositories": [session.repository], "bytes": 10}
    set_rules(deployment, {"quotas": [quota]})
    deployment.arranged.clock.sleep(RULES_AGE + 1)
    commits(deployment, session, UploadState.CANCELLED)


def a_commit_of_what_is_live(deployment: ReplayedDeployment) -> None:
    """Another repository has the blob, and then this one too: what was sent is not needed."""
    session, data = sealed(deployment, PART)
    published(deployment, data)
    commits(deployment, session)
    assert keys_of(deployment, session) == []
    again, _ = sealed(deployment, PART, data=data, name=session.repository)
    commits(deployment, again)


def a_commit_of_what_was_put_directly(deployment: ReplayedDeployment) -> None:
    """The same, where the live bytes are those of a direct upload."""
    session, data = sealed(deployment, PART)
    assert deployment.ask("PUT", directly_put(deployment, fresh_name(), data)).status == 201
    commits(deployment, session)
    assert keys_of(deployment, session) == []


def a_commit_of_parts(deployment: ReplayedDeployment) -> None:
    """Parts that were put directly: they are completed and read, and stay, or are deleted."""
    session = parts_sealed(deployment)
    commits(deployment, session)
    assert keys_of(deployment, session) == [parts_key(session.id)]
    for refused in (parts_sealed(deployment, b"other"), parts_sealed(deployment, lacking=True)):
        commits(deployment, refused, UploadState.CANCELLED)
        assert keys_of(deployment, refused) == []
    lost = parts_sealed(deployment)
    key, upload_id = parts_key(lost.id), lost.upload_id or ""
    deployment.arranged.ports.objects.abort_multipart(key, upload_id)
    commits(deployment, lost, UploadState.CANCELLED)


def a_commit_of_large_parts(deployment: ReplayedDeployment) -> None:
    """The verify function hashes them, and finds what is wrong."""
    commits(deployment, parts_sealed(deployment, large=True))
    wrong = parts_sealed(deployment, b"other bytes", large=True)
    commits(deployment, wrong, UploadState.CANCELLED)


def a_commit_in_parts(deployment: ReplayedDeployment) -> None:
    """More than one request copies is copied in parts; a copy that was begun goes on."""
    session, _ = sealed(deployment, *TOO_LARGE)
    copy_begun(deployment, session)
    commits(deployment, session)


def a_commit_of_changed_bytes(deployment: ReplayedDeployment) -> None:
    """A copy in parts of other bytes is given up, and aborted by the clean-up."""
    commits(deployment, changed_under_a_copy(deployment), UploadState.CANCELLED)


def a_commit_after_a_death(deployment: ReplayedDeployment) -> None:
    """What a dead request may have written goes by prefix."""
    session, _ = sealed(deployment, PART, disturbed=True)
    written_late(deployment, session)
    commits(deployment, session)
    assert keys_of(deployment, session) == [published_key(session)]


def a_commit_of_lost_bytes(deployment: ReplayedDeployment) -> None:
    """The parts are gone, and there is no object either: that has to be told from a failure."""
    session, _ = sealed(deployment, PART)
    assert session.upload_id is not None
    key = f"uploads/{session.id}/data"
    deployment.arranged.ports.objects.abort_multipart(key, session.upload_id)
    commits(deployment, session, UploadState.CANCELLED)


def a_commit_of_nothing(deployment: ReplayedDeployment) -> None:
    """A session that is gone, or open, is left alone."""
    deployment.commit("no session")
    session, _ = opened(deployment, 10)
    commits(deployment, session, UploadState.OPEN)


def a_sweep_of_strays(deployment: ReplayedDeployment) -> None:
    """What a whole blob's request left is deleted, and its session is ended.

    The first of the sweeps: each goes on where the one before it ended.
    """
    with deployment.earlier(30 * 3600):
        left, _ = opened(deployment)
    key = f"direct/{left.id}/{Digest.of(SMALL).hex}"
    deployment.arranged.ports.objects.put(key, SMALL)
    deployment.sweep()
    assert state_of(deployment, left) is UploadState.CANCELLED
    assert key not in deployment.arranged.stored()


def a_sweep_of_abandoned_sessions(deployment: ReplayedDeployment) -> None:
    """Sessions whose life is over end, with parts and tails, and what a dead request left."""
    with deployment.earlier(LIMITS.session_life + DAY):
        left = [opened(deployment, PART, 10)[0], opened(deployment, 1)[0], died(deployment, PART)]
        large, _ = sealed(deployment, *TOO_LARGE)
        copy_begun(deployment, large)
    deployment.sweep()
    for session in (*left, large):
        assert state_of(deployment, session) is UploadState.CANCELLED
        assert keys_of(deployment, session) == []


def a_sweep_of_sealed_sessions(deployment: ReplayedDeployment) -> None:
    """Commits whose driver has died are driven on, along every path."""
    with deployment.earlier(2 * DAY):
        ways = [
            sealed(deployment, PART, 1000),
            sealed(deployment, *TOO_LARGE),
            sealed(deployment, PART, algorithm=Algorithm.SHA512),
            sealed(deployment, PART),
        ]
        wrong, _ = sealed(deployment, PART, algorithm=Algorithm.SHA512, claimed=b"other")
        copy_begun(deployment, ways[1][0])
    published(deployment, ways[-1][1])
    changed = changed_under_a_copy(deployment)
    deployment.sweep()
    assert {state_of(deployment, session) for session, _ in ways} == {UploadState.COMMITTED}
    assert state_of(deployment, wrong) is UploadState.ASSEMBLED
    assert state_of(deployment, changed) is UploadState.CANCELLED


def a_sweep_of_direct_uploads(deployment: ReplayedDeployment) -> None:
    """What was put and never committed goes; where a direct blob is live, a commit is driven on."""
    with deployment.earlier(LIMITS.session_life + DAY):
        direct = deployment.arranged.registry.direct
        left = direct.start(fresh_name(), WHO, Digest.of(SMALL), len(SMALL))
    deployment.arranged.ports.objects.put(f"direct/{left.session.id}/{Digest.of(SMALL).hex}", SMALL)
    with deployment.earlier(2 * DAY):
        waiting, live = sealed(deployment, PART)
    assert deployment.ask("PUT", directly_put(deployment, fresh_name(), live)).status == 201
    deployment.sweep()
    assert state_of(deployment, left.session) is UploadState.CANCELLED
    assert keys_of(deployment, left.session) == []
    assert state_of(deployment, waiting) is UploadState.COMMITTED


def a_sweep_of_parts(deployment: ReplayedDeployment) -> None:
    """Parts that nobody committed go, with what came late; a commit is driven on; then the rest."""
    with deployment.earlier(LIMITS.session_life + 2 * DAY):
        direct = deployment.arranged.registry.direct
        left = direct.start_parts(fresh_name(), WHO, Algorithm.SHA256).session
    with deployment.earlier(2 * DAY):
        waiting = parts_sealed(deployment)
        deployment.sweep()
    deployment.arranged.ports.objects.begin_multipart(parts_key(left.id))
    deployment.sweep()
    assert state_of(deployment, left) is UploadState.CANCELLED
    assert keys_of(deployment, left) == []
    assert state_of(deployment, waiting) is UploadState.COMMITTED
    assert keys_of(deployment, waiting) == [parts_key(waiting.id)]


def a_sweep_of_large_parts(deployment: ReplayedDeployment) -> None:
    """A commit is driven on, whose parts the verify function hashes."""
    with deployment.earlier(2 * DAY):
        waiting = parts_sealed(deployment, large=True)
    deployment.sweep()
    assert state_of(deployment, waiting) is UploadState.COMMITTED


def a_sweep_a_second_time(deployment: ReplayedDeployment) -> None:
    """Where a late writer may exist, a second look finds what it wrote."""
    with deployment.earlier(2 * DAY):
        session, _ = sealed(deployment, PART, disturbed=True)
        commits(deployment, session)
    written_late(deployment, session)
    deployment.sweep()
    assert keys_of(deployment, session) == [published_key(session)]


def a_sweep_of_manifests(deployment: ReplayedDeployment) -> None:
    """A push that died before its manifest went live, and a deletion that died, are ended.

    What was deleted goes to the trash, where its time is over, and then for good: with its body,
    also where no record counts that any more.
    """
    metadata, name = deployment.arranged.ports.metadata, fresh_name()
    with deployment.earlier(2 * DAY):
        grace_end = deployment.arranged.clock.now() + LIMITS.manifest_grace
        pending = a_manifest(repository=name, sweep_at=grace_end)
        metadata.put_pending(pending)
        subject = {"mediaType": "a/b", "size": 1, "digest": str(fresh_digest())}
        document = {"schemaVersion": 2, "manifests": [], "subject": subject}
        body = json.dumps({**document, "annotations": {"padding": "x" * 120_000}}).encode()
        digest = half_deleted(deployment, name, body)
        lost = half_deleted(deployment, name, body + b" ")
        arranged, key = deployment.arranged, key_attributes(record_key(lost))
        arranged.dynamodb.delete_item(TableName=arranged.registry_table, Key=key)
    for _ in range(2):
        deployment.sweep()
    for each in (pending.digest, digest, lost):
        assert metadata.get_manifest(name, each) is None


def a_collection(deployment: ReplayedDeployment) -> None:
    """What nothing needs goes, row and object: what was pushed, and what no row names.

    Blobs that are needed stay, and are looked at on their day, wherever uploads of their kind put
    them. The next pass is due a day later.
    """
    arranged, data, uncounted = deployment.arranged, os.urandom(100), os.urandom(100)
    objects, metadata = arranged.ports.objects, arranged.ports.metadata
    with deployment.earlier(40 * DAY):
        name = published(deployment, data)
        published(deployment, uncounted, name)
        of_that_day = partial(bytes_on_their_day, time.time() - 2 * DAY)
        needed = committed(deployment, name, of_that_day(PART))
        whole = of_that_day(100)
        published(deployment, whole, name)
        references = (needed, Digest.of(whole))
        push_manifest(metadata, a_manifest(repository=name, references=references))
        left, _ = opened(deployment)
    unbegun = f"direct/{left.id}/{Digest.of(data).hex}"
    strays = (unbegun, f"blobs/sha256/00/{Digest.of(data).hex}/{uuid.uuid4()}")
    for stray in strays:
        objects.put(stray, data)
    key = key_of(metadata.get_record(Digest.of(data)))
    lost = key_attributes(record_key(Digest.of(uncounted)))
    arranged.dynamodb.delete_item(TableName=arranged.registry_table, Key=lost)
    with deployment.earlier(2 * DAY):
        deployment.collect()
    stored = arranged.stored()
    assert not {key, *strays} & set(stored)
    assert metadata.get_record(Digest.of(data)) is None
    assert metadata.get_link(name, Digest.of(uncounted)) is None
    kept = [key_of(metadata.get_record(digest)) for digest in references]
    assert [key.partition("/")[0] for key in kept] == ["blobs", "direct"]
    assert set(kept) <= set(stored)
    assert state_of(deployment, left) is UploadState.CANCELLED


def a_collection_of_released_blobs(deployment: ReplayedDeployment) -> None:
    """A record that counts no link, and of which nobody noted since when, has its time from now."""
    data = os.urandom(100)
    with deployment.earlier(40 * DAY):
        name = published(deployment, data)
    metadata = deployment.arranged.ports.metadata
    metadata.delete_link(name, Digest.of(data))
    arranged, key = deployment.arranged, key_attributes(record_key(Digest.of(data)))
    arranged.dynamodb.update_item(
        TableName=arranged.registry_table, Key=key, UpdateExpression="REMOVE released_at"
    )
    deployment.collect()
    record = metadata.get_record(Digest.of(data))
    assert record is not None
    assert record.released_at is not None


def a_retention_run(deployment: ReplayedDeployment) -> None:
    """An image that a rule lets expire goes to the trash, with what refers to it; one is kept."""
    arranged, name = deployment.arranged, fresh_name()
    metadata, trash = arranged.ports.metadata, ManifestState.TRASHED
    with deployment.earlier(40 * DAY):
        then = arranged.clock.now()
        image, kept = (a_manifest(repository=name, pushed_at=then) for _ in range(2))
        signature = a_manifest(repository=name, pushed_at=then, subject=image.digest)
        for each, tags in ((image, ["old"]), (kept, ["v1"]), (signature, [])):
            push_manifest(metadata, each, *tags)
        metadata.add_repository(name)
    rule = {"repositories": [name], "tags": ["*"], "except": ["v*"], "brake": 100}
    expire = {"name": "old ones", **rule, "expire": {"days_since_push": 14}}
    set_rules(deployment, {"retention": {"rules": [expire]}})
    deployment.collect()
    digests = (image.digest, signature.digest, kept.digest)
    states = [found.state for each in digests if (found := metadata.get_manifest(name, each))]
    assert states == [trash, trash, ManifestState.LIVE]


def bytes_on_their_day(now: float, size: int) -> bytes:
    """Return a blob of which the collector looks at the object on the day of `now`."""
    data = os.urandom(size)
    while not is_its_turn(Digest.of(data), now):
        data = os.urandom(size)
    return data


def committed(deployment: ReplayedDeployment, name: str, data: bytes) -> Digest:
    """Push a blob in chunks."""
    uploads = deployment.arranged.registry.uploads
    session, _ = opened(deployment, PART, data=data, name=name)
    deadline = deployment.arranged.clock.now() + 29
    uploads.commit(session.owner, session.id, Digest.of(data), b"", PART, deadline)
    return Digest.of(data)


def key_of(record: Record | None) -> str:
    """Return the key of a record that must be there."""
    assert record is not None
    return record.key


def published_key(session: Session) -> str:
    """Return where a session's bytes are once they are a blob."""
    claim = session.claim
    assert claim is not None
    return f"blobs/{claim.algorithm.value}/{claim.hex[:2]}/{claim.hex}/{session.id}"


FLOWS = tuple(
    each
    for each in tuple(globals().values())
    if inspect.isfunction(each)
    and each is not changed_under_a_copy
    and [*inspect.signature(each).parameters] == ["deployment"]
)
"""Every function above that takes a deployment and nothing else, but for the one named."""
