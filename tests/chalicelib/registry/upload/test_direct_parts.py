"""Direct uploads in parts: what a client may send, in which order, and what becomes of it.

The API is asked, over stores in memory whose smallest part has 64 bytes. No test may wait.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.keys import direct_key, parts_key
from chalicelib.registry.outcomes import PartsChangedError
from chalicelib.registry.service import Limits
from chalicelib.registry.session import UploadState
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.chalicelib.api.pushing import code
from tests.support.parted import PartedBlob, parted
from tests.support.registries import MemoryRegistry, registry_in_memory, request_to
from tests.support.values import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.api.messages import Response

LIMITS = Limits(part_minimum=64)
BY_WORKER = LIMITS._replace(commit_inline=4)
BYTES = bytes(range(256)) * 2
BLOB = parted(BYTES, 128, 128, 64)
"""Four parts of 128, 128, 64 and 192 bytes."""
HOUR = 3600.0


@dataclass
class Asked:
    """A registry in memory, asked over its API."""

    memory: MemoryRegistry
    name: str = "team/app"

    def __call__(self, method: str, target: str, body: bytes = b"") -> Response:
        """Send a request; `target` begins after `/_moorage/uploads/` unless it has a name."""
        options = ApiOptions(64, HeadStrategy.BODY, 4_500_000)
        path = target if target.startswith("/v2/") else f"{self.name}/_moorage/uploads/{target}"
        api = Api(lambda: self.memory.registry, options)
        return api(request_to(method, path, body, {}, self.memory.clock.now() + 29))

    def told(self, method: str, target: str, body: bytes = b"") -> Any:  # noqa: ANN401 - JSON
        """Send a request that succeeds, and read its answer."""
        response = self(method, target, body)
        assert response.status < 300, response.body
        return json.loads(response.body)

    def opened(self, algorithm: Algorithm = Algorithm.SHA256) -> str:
        """Open a session in parts."""
        return str(self.told("POST", f"?parts=true&algorithm={algorithm}")["session"])

    def put(self, session: str, blob: PartedBlob = BLOB) -> str:
        """Put parts into S3."""
        upload_id = self.memory.session(session).upload_id or ""
        for number, data in blob.parts.items():
            self.memory.objects.put_part(parts_key(session), upload_id, number, data)
        return session

    def commit(
        self, session: str, body: bytes = BLOB.report, digest: Digest = BLOB.digest
    ) -> Response:
        """Commit."""
        return self("PUT", f"{session}?digest={digest}", body)

    def pulled(self, digest: Digest = BLOB.digest) -> int:
        """Return the status of a GET of the blob."""
        return self("GET", f"/v2/{self.name}/blobs/{digest}").status

    def left(self) -> list[str]:
        """Return the keys of all objects and open multipart uploads."""
        objects = self.memory.objects
        return sorted([*objects.objects, *(key for key, _ in objects.uploads)])

    def refused(self, response: Response, expected: str) -> None:
        """Require that a commit was refused, nothing published, and nothing kept."""
        assert (response.status, code(response)) == (400, expected), response.body
        assert self.memory.rows("BLOB", "RECORD") == []
        assert self.left() == []


@pytest.fixture
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """An empty registry, whose clock stands but where somebody sleeps."""
    memory = registry_in_memory(getattr(request, "param", LIMITS))
    monkeypatch.setattr(memory.clock, "now", lambda: NOW + memory.clock.offset)
    return Asked(memory)


by_worker = pytest.mark.parametrize("asked", [BY_WORKER], indirect=True)
"""Every commit is a worker's, of which none comes by itself."""


def worked(asked: Asked, session: str) -> None:
    """Do what the commit function does."""
    asked.memory.registry.commits.resume(session, asked.memory.clock.now() + 600)


def swept(asked: Asked, hours: float) -> None:
    """Let time pass, and the sweeper come."""
    asked.memory.clock.sleep(hours * HOUR)
    asked.memory.registry.sweeper.sweep(asked.memory.clock.now() + 600)


# What is true


@pytest.mark.parametrize(
    "blob",
    [
        BLOB,
        parted(BYTES, 128, 128, algorithm=Algorithm.SHA512),
        parted(b"x"),
        PartedBlob({3: BYTES[:64], 4000: BYTES[64:448], 10_000: BYTES[448:]}),
    ],
    ids=["four", "sha512", "one byte", "numbers with gaps"],
)
def test_parts_are_committed_as_the_blob(asked: Asked, blob: PartedBlob) -> None:
    """They have any number and size that S3 takes, with or without gaps."""
    session = asked.put(asked.opened(blob.algorithm), blob)
    assert asked.commit(session, blob.report, blob.digest).status == 201
    assert asked.memory.objects.objects == {parts_key(session): blob.data}
    assert asked.pulled(blob.digest) in {200, 307}
    assert asked.told("GET", session)["state"] == "committed"


def test_a_part_that_is_not_reported_is_not_in_the_blob(asked: Asked) -> None:
    """A number that was given up, wherever it stands."""
    session = asked.put(asked.opened(), PartedBlob({2: b"x" * 64, 9: b"y" * 64}))
    spread = PartedBlob(dict(zip((1, 3, 4, 10), BLOB.parts.values(), strict=True)))
    asked.put(session, spread)
    assert asked.commit(session, spread.report).status == 201
    assert asked.memory.objects.objects == {parts_key(session): BYTES}


def test_bytes_that_are_live_already_are_linked_once_they_were_verified(asked: Asked) -> None:
    """The later push's bytes are deleted; without them, the digest alone gives nothing."""
    first = asked.put(asked.opened())
    assert asked.commit(first).status == 201
    other = Asked(asked.memory, "team/other")
    for lacking in (True, False):
        session = other.opened() if lacking else other.put(other.opened())
        assert other.commit(session).status == (400 if lacking else 201)
        assert other.pulled() == (404 if lacking else 307)
    assert asked.left() == [parts_key(first)]


# What is not


def document(change: Callable[[list[dict[str, Any]]], object]) -> bytes:
    """Return the report with a change."""
    changed = deepcopy(BLOB.document)
    change(changed["parts"])
    return json.dumps(changed).encode()


def swapped(parts: list[dict[str, Any]]) -> None:
    """Say the states of two parts of one size the other way round."""
    parts[0]["state"], parts[1]["state"] = parts[1]["state"], parts[0]["state"]


OTHER = parted(BYTES[::-1], 128, 128, 64)
WRONG = {
    "other states": (document(lambda parts: parts[1].update(state="0" * 64)), BLOB.digest),
    "states of other bytes": (OTHER.report, BLOB.digest),
    "swapped states": (document(swapped), BLOB.digest),
    "another digest": (BLOB.report, OTHER.digest),
    "another blob's report and digest": (OTHER.report, OTHER.digest),
}
UNFIT = {
    "a smaller part": document(lambda parts: parts[0].update(size=64)),
    "a larger part": document(lambda parts: parts[1].update(size=192)),
    "sizes with the same sum": document(
        lambda parts: (parts[0].update(size=64), parts[1].update(size=192))
    ),
    "a part that never came": document(lambda parts: parts[-1].update(number=5)),
    "parts of another session": parted(BYTES, 256, 192).report,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_other_bytes_than_reported_are_refused(asked: Asked, wrong: str) -> None:
    """Nothing is published or kept, and each repeat gets the reason."""
    report, digest = WRONG[wrong]
    session = asked.put(asked.opened())
    for body in (report, b"", BLOB.report):
        response = asked.commit(session, body, digest)
        asked.refused(response, "DIGEST_INVALID")
        assert b"start a new upload" in response.body
    assert {asked.pulled(BLOB.digest), asked.pulled(digest)} == {404}


@pytest.mark.parametrize("unfit", UNFIT)
def test_other_parts_than_reported_are_refused(asked: Asked, unfit: str) -> None:
    """S3's list counts, and the message names the part that differs."""
    session = asked.put(asked.opened())
    for body in (UNFIT[unfit], b""):
        response = asked.commit(session, body)
        asked.refused(response, "BLOB_UPLOAD_INVALID")
        assert b"part " in response.body


def test_a_last_part_that_is_missing_in_the_report_is_refused(asked: Asked) -> None:
    """The digest does not match the other parts."""
    short = PartedBlob({n: BLOB.parts[n] for n in (1, 2, 3)})
    asked.refused(asked.commit(asked.put(asked.opened()), short.report), "DIGEST_INVALID")


@pytest.mark.parametrize("change", ["other bytes", "another size", "parts swapped"])
def test_parts_that_were_put_anew_before_the_commit_are_refused(asked: Asked, change: str) -> None:
    """The bytes that S3 has count, and the report is of earlier ones."""
    session = asked.put(asked.opened())
    anew = {
        "other bytes": {2: b"x" * 128},
        "another size": {2: BLOB.parts[2] + b"x" * 64},
        "parts swapped": {1: BLOB.parts[2], 2: BLOB.parts[1][::-1]},
    }[change]
    asked.put(session, PartedBlob(anew))
    expected = "BLOB_UPLOAD_INVALID" if change == "another size" else "DIGEST_INVALID"
    asked.refused(asked.commit(session), expected)


def test_a_report_that_can_not_be_read_changes_nothing(asked: Asked) -> None:
    """None, one that is no report, one of small parts: the session goes on."""
    session = asked.put(asked.opened())
    small = PartedBlob({1: b"x" * 63, 2: b"y"})
    for body in (b"", b"{}", small.report, BLOB.wanted, b'{"parts": []}'):
        response = asked.commit(session, body)
        assert (response.status, code(response)) == (400, "REQUEST_INVALID")
    assert asked.memory.session(session).state is UploadState.DIRECT
    assert asked.commit(session).status == 201


def test_a_part_that_s3_finds_too_small_is_refused(asked: Asked) -> None:
    """S3's minimum may be above the registry's, and its refusal is passed on."""
    asked.memory.objects.part_minimum = 100
    response = asked.commit(asked.put(asked.opened()))
    asked.refused(response, "BLOB_UPLOAD_INVALID")
    assert b"5242880" in response.body


# While S3 puts the parts together


@pytest.mark.parametrize("same", [True, False])
def test_a_part_that_is_put_anew_in_between_is_listed_again(asked: Asked, *, same: bool) -> None:
    """S3 refuses the ETags that were listed; then what is there counts."""
    session = asked.put(asked.opened())
    complete, refusals = asked.memory.objects.complete_multipart, [0]

    def overtaken(*what: Any) -> str:  # noqa: ANN401 - as the port's
        if not refusals[0]:
            refusals[0] += 1
            asked.put(session, PartedBlob({1: BLOB.parts[1] if same else b"x" * 128}))
            # With another encryption than the bucket's own, S3 has another ETag for the same bytes.
            raise PartsChangedError
        return complete(*what)

    with mock.patch.object(asked.memory.objects, "complete_multipart", overtaken):
        response = asked.commit(session)
    if same:
        assert (response.status, refusals) == (201, [1])
    else:
        asked.refused(response, "DIGEST_INVALID")


def test_an_answer_of_complete_that_is_lost_loses_nothing(asked: Asked) -> None:
    """The object is found by its key and size, and read by its own ETag."""
    session = asked.put(asked.opened())
    complete = asked.memory.objects.complete_multipart

    def lost(*what: Any) -> str:  # noqa: ANN401 - as the port's
        complete(*what)
        raise UnavailableError("no answer")

    with mock.patch.object(asked.memory.objects, "complete_multipart", lost):
        assert asked.commit(session).status == 503
    assert asked.commit(session, b"").status == 201


# Two requests


@by_worker
def test_a_commit_that_takes_long_is_repeated_without_a_body(asked: Asked) -> None:
    """503 and where to ask; `Moorage-Commit: running` once somebody drives; then 201."""
    session = asked.put(asked.opened())
    first = asked.commit(session)
    assert (first.status, asked.memory.workers.asked) == (503, [session])
    assert first.headers["Location"] == f"/v2/team/app/_moorage/uploads/{session}"
    assert (first.headers["Retry-After"], first.headers.get("Moorage-Commit")) == ("1", None)
    status = asked.told("GET", session)
    assert (status["state"], status["digest"]) == ("committing", str(BLOB.digest))
    assert "parts" not in status
    taken = asked.memory.registry.commits.take(asked.memory.session(session))
    assert asked.commit(session, b"").headers["Moorage-Commit"] == "running"
    asked.memory.registry.commits.release(taken, taken)
    worked(asked, session)
    assert asked.commit(session, b"").status == 201


@by_worker
def test_of_two_commits_the_first_counts(asked: Asked) -> None:
    """Another digest is refused, and another report is not read."""
    session = asked.put(asked.opened())
    assert asked.commit(session).status == 503
    other = asked.commit(session, OTHER.report, OTHER.digest)
    assert (other.status, code(other)) == (400, "DIGEST_INVALID")
    assert asked.commit(session, OTHER.report).status == 503
    worked(asked, session)
    assert asked.commit(session, OTHER.report).status == 201
    assert asked.commit(session, OTHER.report, OTHER.digest).status == 400


@pytest.mark.parametrize("asked", [LIMITS, BY_WORKER], indirect=True)
def test_uploads_at_once_are_each_compared_with_its_own_report(asked: Asked) -> None:
    """A driver may have had the report of the other one since it read its own."""
    first, other = (asked.put(asked.opened(), blob) for blob in (BLOB, OTHER))
    complete, driven = asked.memory.objects.complete_multipart, [first, other]

    def meanwhile(*what: Any) -> str:  # noqa: ANN401 - as the port's
        etag = complete(*what)
        if driven:
            commit_other()
        return etag

    def commit_other() -> None:
        driven.clear()
        asked.commit(other, OTHER.report, OTHER.digest)
        worked(asked, other)

    with mock.patch.object(asked.memory.objects, "complete_multipart", meanwhile):
        asked.commit(first)
        worked(asked, first)
    assert asked.pulled() in {200, 307}
    assert asked.pulled(OTHER.digest) in {200, 307}


@by_worker
def test_a_session_that_is_being_committed_is_not_cancelled(asked: Asked) -> None:
    """A DELETE is 404, as for one that is over; URLs are no longer given."""
    session = asked.put(asked.opened())
    assert asked.commit(session).status == 503
    assert asked("DELETE", session).status == 404
    assert asked("POST", f"{session}/parts", BLOB.wanted).status == 404
    worked(asked, session)
    assert asked.commit(session).status == 201


def test_a_commit_that_finds_its_session_cancelled_is_404(asked: Asked) -> None:
    """The report that it had stored by then is deleted when the sweeper comes."""
    session = asked.put(asked.opened())
    write = asked.memory.sessions.write

    def overtaken(*what: Any) -> object:  # noqa: ANN401 - as the port's
        with mock.patch.object(asked.memory.sessions, "write", write):
            assert asked("DELETE", session).status == 204
        return write(*what)

    with mock.patch.object(asked.memory.sessions, "write", overtaken):
        assert asked.commit(session).status == 404
    assert [key.rpartition("/")[2][:6] for key in asked.left()] == ["report"]
    swept(asked, 26)
    assert asked.left() == []


def test_parts_that_arrive_after_a_cancellation_are_deleted(asked: Asked) -> None:
    """A part that outlives the abort of its upload, and a second upload that the SDK opened."""
    session = asked.put(asked.opened())
    assert asked("DELETE", session).status == 204
    assert (asked.left(), asked("GET", session).status) == ([], 404)
    late = asked.memory.objects.begin_multipart(parts_key(session))
    asked.memory.objects.put_part(parts_key(session), late.id, 1, b"late")
    swept(asked, 25)
    assert asked.left() == [parts_key(session)]
    swept(asked, 1)
    assert asked.left() == []


@pytest.mark.parametrize("put", [True, False])
def test_a_session_that_nobody_commits_ends(asked: Asked, *, put: bool) -> None:
    """After seven days it is 404, and its parts are deleted."""
    session = asked.opened()
    if put:
        asked.put(session)
    swept(asked, 7 * 24 + 1)
    assert (asked.left(), asked("GET", session).status) == ([], 404)
    assert asked.commit(session).status == 404


def test_sessions_for_one_put_and_for_parts_refuse_each_others_requests(asked: Asked) -> None:
    """A session for one PUT has no parts, and one in parts no URL for the whole blob."""
    digest = Digest.of(BYTES)
    single = asked.told("POST", f"?digest={digest}&size={len(BYTES)}")["session"]
    assert asked("POST", f"{single}/parts", BLOB.wanted).status == 404
    session = asked.opened()
    assert "put" not in asked.told("GET", session)
    assert asked("DELETE", session).status == 204
    wrong = asked("PUT", f"{single}?digest={OTHER.digest}")
    assert (wrong.status, code(wrong)) == (400, "DIGEST_INVALID")
    put = asked.memory.registry.direct.status(asked.memory.session(single).owner, single).put
    assert put is not None
    assert asked.memory.objects.put_by_url(put, BYTES) == 200
    assert asked("PUT", f"{single}?digest={digest}").status == 201
    assert asked.left() == [direct_key(digest, single)]


def test_parts_of_sessions_that_s3_has_forgotten_are_404(asked: Asked) -> None:
    """A hand at the bucket, or a lifecycle rule: the client starts anew."""
    session = asked.opened()
    held = asked.memory.session(session)
    asked.memory.objects.abort_multipart(parts_key(session), held.upload_id or "")
    for method, target, body in (
        ("GET", session, b""),
        ("PUT", f"{session}?digest={BLOB.digest}", BLOB.report),
    ):
        assert asked(method, target, body).status == 404
    asked.memory.replace(replace(held, upload_id=None))
    assert asked("POST", f"{session}/parts", BLOB.wanted).status == 404
