"""The line of each request, over S3 and DynamoDB: its fields, and the calls that it counts."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from chalicelib.access.authorizer_context import PRINCIPAL
from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request
from chalicelib.digest import Digest
from chalicelib.errors import DeniedError
from chalicelib.registry.registry import Registry
from chalicelib.registry.service import Limits
from chalicelib.settings import ApiOptions, HeadStrategy
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3.copies import CopyPlan
from chalicelib.stores.s3.objects import S3ObjectStore
from chalicelib.telemetry.tally import counted, tallied
from tests.chalicelib.api.pushing import IMAGE
from tests.emulators.lost_answers import aws_answer
from tests.support.calls import record_calls
from tests.support.registries import RegistryUnderTest, registry_over
from tests.support.values import take_lease

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from tests.emulators.backends import Backend
    from tests.support.calls import CallRecorder

MIB = 1024 * 1024
INLINE = 64 * 1024
LIMITS = Limits()


@dataclass
class Told:
    """A registry as wiring.py builds it, and the lines that it wrote."""

    registry: RegistryUnderTest
    caplog: pytest.LogCaptureFixture

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Send a request."""
        self.caplog.clear()
        with record_calls(self.registry.s3, self.registry.dynamodb) as self.calls:
            return self.registry.ask(method, target, body, **headers)

    calls: CallRecorder | None = None

    def line(self) -> dict[str, Any]:
        """Return the last request's line, after comparing what it counts with what was recorded."""
        (line,) = self.lines()
        assert self.calls is not None
        sent = self.calls.attempts
        assert (line["s3_calls"], line["dynamodb_calls"]) == (sent["s3"], sent["dynamodb"])
        assert (line["other_calls"], line["retries"]) == (0, 0)
        return line

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines since the last request began."""
        records = [vars(record) for record in self.caplog.records]
        return [record for record in records if "s3_calls" in record]

    def start(self) -> str:
        """Open a session and return where it goes on."""
        return str(self.ask("POST", "a/b/blobs/uploads").headers["Location"])


@pytest.fixture
def told(strict_moto: Backend, caplog: pytest.LogCaptureFixture) -> Told:
    """An empty registry whose clients count and whose stores note."""
    caplog.set_level(logging.INFO, logger="moorage")
    under = registry_over(strict_moto.fresh(), LIMITS)
    dynamodb, tables = counted(under.dynamodb), (under.registry_table, under.uploads_table)
    ports = under.ports._replace(
        objects=S3ObjectStore(counted(under.s3), under.bucket),
        sessions=DynamoSessionStore(dynamodb, under.uploads_table),
        metadata=DynamoMetadataStore(dynamodb, *tables),
    )
    ports.metadata.known_rules(under.clock.now(), 0.0)  # once a minute: no request's own
    registry = Registry(ports, LIMITS)
    api = Api(lambda: registry, ApiOptions(INLINE, HeadStrategy.REDIRECT, 1024))
    return Told(replace(under, api=api, registry=registry, ports=ports), caplog)


def session_of(location: str) -> str:
    """Return the id of the session to which a Location leads, by that or by a ticket."""
    return location.rpartition("/")[2].partition("?")[0].partition("~")[0]


def has(line: dict[str, Any], **fields: object) -> bool:
    """Whether a line has these fields; says which it has not."""
    assert {name: line[name] for name in fields} == fields
    return True


def test_a_blob_in_one_request(told: Told) -> None:
    """A POST with a digest: repository, digest, bytes, one put and one write, committed."""
    digest = Digest.of(b"hello")
    told.ask("POST", f"a/b/blobs/uploads?digest={digest}", b"hello")
    line = told.line()
    assert has(line, action="push", operation="uploads.start", status=201, error=None)
    assert has(line, repository="a/b", digest=str(digest), request_id="test")
    assert has(line, bytes_in=5, bytes_out=0, s3_calls=1, dynamodb_calls=1)
    assert has(line, committed=True, resumed=False, unhashed=False, taken_over=False)
    assert 0 <= line["deadline_left"] <= 29_000


def test_a_blob_in_a_closing_put(told: Told) -> None:
    """POST, then PUT with the body: both name the session, the second one the digest.

    The ticket's MAC is in no line.
    """
    at, digest = told.start(), Digest.of(b"hello")
    session = session_of(at)
    assert has(told.line(), session=session, digest=None, committed=False, dynamodb_calls=0)
    told.ask("PUT", f"{at}&digest={digest}", b"hello")
    assert has(told.line(), session=session, digest=str(digest), committed=True, resumed=False)
    assert has(told.line(), path=f"a/b/blobs/uploads/{session}", s3_calls=1, dynamodb_calls=1)


@pytest.mark.parametrize("chunk", [100, 5 * MIB], ids=["tails", "parts"])
def test_a_blob_in_chunks(told: Told, chunk: int) -> None:
    """Each chunk after the first one, and the closing PUT, go on from a saved hash state."""
    at, data = told.start(), os.urandom(2 * chunk)
    resumed = []
    for offset in range(0, len(data), chunk):
        at = str(told.ask("PATCH", at, data[offset : offset + chunk]).headers["Location"])
        resumed.append(told.line()["resumed"])
        assert has(told.line(), operation="uploads.append", bytes_in=chunk, committed=False)
    told.ask("PUT", f"{at}&digest={Digest.of(data)}")
    resumed.append(told.line()["resumed"])
    assert has(told.line(), operation="uploads.commit", status=201, committed=True, unhashed=False)
    assert resumed == [False, True, True]


def test_mounts_and_pulls(told: Told) -> None:
    """A mount makes no blob; a pull has its bytes, or after a redirect, which is no call, its size.

    A manifest by its tag has the digest of the answer; a HEAD sends no byte.
    """
    hello, large = Digest.of(b"hello"), bytes(INLINE + 1)
    config = {"mediaType": "text/plain", "digest": str(hello), "size": 5}
    image = {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": []}
    body = json.dumps(image).encode()
    manifest, redirected = str(Digest.of(body)), f"a/b/blobs/{Digest.of(large)}"
    told.ask("POST", f"a/b/blobs/uploads?digest={hello}", b"hello")
    told.ask("POST", f"a/b/blobs/uploads?digest={Digest.of(large)}", large)
    steps: list[tuple[str, str, bytes, dict[str, object]]] = [
        ("POST", f"c/d/blobs/uploads?mount={hello}&from=a/b", b"",
         {"status": 201, "committed": False, "s3_calls": 1, "repository": "c/d"}),
        ("GET", f"a/b/blobs/{hello}", b"",
         {"action": "pull", "operation": "blobs.get", "status": 200, "digest": str(hello),
          "bytes_out": 5, "bytes_redirected": 0, "s3_calls": 0, "dynamodb_calls": 1}),
        ("GET", redirected, b"",
         {"status": 307, "bytes_out": 0, "bytes_redirected": len(large), "s3_calls": 0}),
        ("HEAD", redirected, b"", {"status": 307, "bytes_redirected": 0}),
        ("PUT", "a/b/manifests/v1", body,
         {"operation": "manifests.put", "status": 201, "digest": manifest, "committed": False}),
        ("GET", "a/b/manifests/v1", b"",
         {"operation": "manifests.get", "digest": manifest, "bytes_out": len(body)}),
        ("HEAD", "a/b/manifests/v1", b"", {"operation": "manifests.head", "bytes_out": 0}),
    ]  # fmt: skip
    for method, target, sent, fields in steps:
        told.ask(method, target, sent, content_type=IMAGE)
        assert has(told.line(), **fields)


@pytest.mark.parametrize(
    ("method", "target", "error", "action"),
    [
        ("GET", f"a/b/blobs/{Digest.of(b'?')}", "404 BLOB_UNKNOWN", "pull"),
        ("GET", "a/b/blobs/sha256:no", "400 DIGEST_INVALID", "pull"),
        ("GET", "a/b/manifests/v1", "404 MANIFEST_UNKNOWN", "pull"),
        ("POST", "A/blobs/uploads", "400 NAME_INVALID", None),
        ("PUT", "a/b/tags/list", "405 UNSUPPORTED", None),
    ],
)
def test_a_refusal_has_its_code(
    told: Told, method: str, target: str, error: str, action: str | None
) -> None:
    """A text that is no digest is not logged as one."""
    told.ask(method, target)
    line = told.line()
    assert f"{line['status']} {line['error']}" == error
    assert line["action"] == action
    assert line["digest"] in {None, str(Digest.of(b"?"))}


def test_a_denial_names_the_principal(told: Told) -> None:
    """It is the one that the gateway's authorizer named."""
    deny = mock.Mock()
    deny.admit.side_effect = DeniedError("no")
    options = ApiOptions(INLINE, HeadStrategy.REDIRECT, 1024)
    api = Api(lambda: told.registry.registry, options, deny)
    request = Request("GET", "a/b/tags/list", {}, {}, b"", deadline=0, request_id="r")
    api(request._replace(authorizer={PRINCIPAL: "credential:x"}))
    (line,) = told.lines()
    assert has(line, status=403, error="DENIED", principal="credential:x", repository="a/b")


def test_a_fault_has_one_line_beside_its_traceback(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours has one line all the same, beside its traceback."""
    monkeypatch.setattr(DynamoMetadataStore, "get_link", lambda *_: 1 / 0)
    told.ask("GET", f"a/b/blobs/{Digest.of(b'?')}")
    assert has(told.line(), status=500, error="UNKNOWN", operation="blobs.get")


def test_a_lost_hash_state_is_logged_once(told: Told) -> None:
    """The chunk that finds it says so; the commit reads the bytes again."""
    at = str(told.ask("PATCH", told.start(), b"abc").headers["Location"])
    session_id = session_of(at)
    sessions = told.registry.ports.sessions
    before = sessions.get(session_id)
    assert before is not None
    sessions.write(before, replace(before, hash_state=b"junk"))
    at = str(told.ask("PATCH", at, b"def").headers["Location"])
    assert has(told.line(), status=202, unhashed=True)
    told.ask("PUT", f"{at}&digest={Digest.of(b'abcdef')}")
    assert has(told.line(), status=201, unhashed=False, resumed=False, committed=True)


def test_a_takeover_is_logged(told: Told) -> None:
    """The line of the request that takes the lease has it."""
    at = str(told.ask("PATCH", told.start(), b"abc").headers["Location"])
    sessions, now = told.registry.ports.sessions, told.registry.clock.now()
    session = sessions.get(session_of(at))
    assert session is not None
    take_lease(sessions, session, holder="one that died", now=now, until=now - 1)
    told.ask("PATCH", at, b"def")
    assert has(told.line(), status=202, taken_over=True, resumed=True)


def test_two_requests_at_once_count_their_own(told: Told) -> None:
    """A pull and a refusal in two threads, each waiting for the other: neither sees its calls."""
    data = bytes(Limits().blob_inline + 1)
    digest = Digest.of(data)
    told.ask("POST", f"a/b/blobs/uploads?digest={digest}", data)
    told.caplog.clear()
    barrier = threading.Barrier(2, timeout=30)
    meet = told.registry.ports.metadata.get_link

    def met(repository: str, wanted: Digest) -> Any:  # noqa: ANN401 - the store's own
        barrier.wait()
        found = meet(repository, wanted)
        barrier.wait()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(told.registry.ports.metadata, "get_link", met)
        targets = (f"a/b/blobs/{digest}", f"a/b/blobs/{Digest.of(b'?')}")
        threads = [
            threading.Thread(target=told.registry.ask, args=("GET", target)) for target in targets
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counts = {line["status"]: (line["s3_calls"], line["dynamodb_calls"]) for line in told.lines()}
    assert counts == {200: (1, 1), 404: (0, 1)}


def test_copies_in_parts_count_for_their_request(told: Told) -> None:
    """Parts that are copied in threads of the request's own are among its calls, and no other's."""
    client, bucket = told.registry.s3, told.registry.bucket
    store = S3ObjectStore(client, bucket, CopyPlan(whole=1, part=5 * MIB))
    etag = store.put("uploads/x", bytes(11 * MIB)).etag
    with record_calls(client) as calls, tallied() as other, tallied() as tally:
        store.copy("uploads/x", etag, 11 * MIB, "blobs/x", until=time.time() + 60)
    assert calls.count("s3", "UploadPartCopy") == 3
    assert tally.calls == {"s3": calls.count("s3")} == {"s3": 7}
    assert not other.calls


def test_a_repeated_attempt_counts_as_a_retry_and_not_as_a_call(strict_moto: Backend) -> None:
    """What botocore sends again is one call, sent twice."""
    client = counted(strict_moto.s3(retries={"mode": "standard", "total_max_attempts": 3}))
    refusals = [aws_answer("", 503)]
    client.meta.events.register("before-send", lambda **_: refusals.pop() if refusals else None)
    with tallied() as tally:
        client.list_objects_v2(Bucket=strict_moto.bucket)
    assert (tally.calls["s3"], tally.retries) == (1, 1)
