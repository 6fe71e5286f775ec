"""The sweeper: what it ends, what it leaves alone, how many requests it makes.

No test may wait: the clock is moved.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import UnavailableError, UploadDigestInvalidError, UploadUnknownError
from chalicelib.reference import Tag
from chalicelib.registry.keys import direct_key, timed_id
from chalicelib.registry.manifests.pushing import ManifestPush
from chalicelib.registry.outcomes import UnfinishedError
from chalicelib.registry.service import Limits
from chalicelib.registry.session import UploadState
from chalicelib.registry.sweeper import SweepOutcome
from chalicelib.registry.upload.runner import CommitDriver
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import session_item
from chalicelib.stores.dynamodb.keys import record_key, session_key
from tests.chalicelib.registry.sessions import (
    BYTES,
    CLAIM,
    NAME,
    OWNER,
    commit,
    die_holding,
    opened,
    sweep,
)
from tests.support.calls import record_calls
from tests.support.registries import (
    REGISTRY,
    UPLOADS,
    MemoryRegistry,
    registry_in_memory,
    registry_over,
)
from tests.support.values import NOW, a_manifest, a_session, as_sealed

if TYPE_CHECKING:
    from chalicelib.registry.session import Session
    from tests.emulators.backends import Backend

LIMITS = Limits(part_minimum=8)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryRegistry:
    """An empty registry in memory, whose clock stands but where a test moves it."""
    memory = registry_in_memory(LIMITS)
    monkeypatch.setattr(memory.clock, "now", lambda: NOW + memory.clock.offset)
    return memory


def sealed(memory: MemoryRegistry, claim: Digest = CLAIM) -> Session:
    """Leave a session behind that was closed with `claim`, and whose request died then."""
    session = opened(memory, BYTES[:16], BYTES[16:])
    return memory.sessions.write(session, as_sealed(session, claim, memory.clock.now()))


def test_a_registry_where_all_went_well_has_nothing_due(memory: MemoryRegistry) -> None:
    """A commit, a cancelled upload and a manifest leave the sweeper nothing to do, ever."""
    uploads = memory.registry.uploads
    commit(memory, opened(memory, BYTES), CLAIM)
    uploads.cancel(OWNER, opened(memory, BYTES[:16], BYTES[16:]).id)
    index = b'{"schemaVersion":2,"manifests":[]}'
    kind = "application/vnd.oci.image.index.v1+json"
    push = ManifestPush(NAME, Tag("v1"), kind, index, (), "ann")
    digest = memory.registry.pushes.put(push).digest
    assert sweep(memory, LIMITS.session_life * 2) == {}
    memory.registry.removals.delete(NAME, digest, "ann")
    assert sweep(memory, LIMITS.trash - 60) == {}
    assert memory.rows("MANIFEST")
    assert sweep(memory, 60) == {SweepOutcome.MANIFEST: 1}
    assert memory.rows("MANIFEST", "TAG", "TAGGED", "REFERRER") == []
    assert sweep(memory, LIMITS.trash) == {}


def test_an_abandoned_session_is_cancelled_at_the_end_of_its_life(memory: MemoryRegistry) -> None:
    """An open session keeps its bytes until its life ends, and then nothing of it is left."""
    session = opened(memory, BYTES[:16], BYTES[16:])
    assert sweep(memory, LIMITS.session_life - 60) == {}
    assert memory.registry.uploads.status(OWNER, session.id).offset == len(BYTES)
    assert sweep(memory, 60) == {SweepOutcome.CANCELLED: 1}
    assert (memory.objects.objects, memory.objects.uploads) == ({}, {})
    assert memory.session(session.id).expires_at is not None
    with pytest.raises(UploadUnknownError):
        memory.registry.uploads.status(OWNER, session.id)
    assert sweep(memory, LIMITS.session_life) == {}


def test_a_session_whose_holder_died_is_cleaned_up_twice(memory: MemoryRegistry) -> None:
    """Bytes that a late writer stores after the first clean-up are deleted by the second."""
    session = opened(memory, BYTES[:3])
    die_holding(memory, session)
    assert sweep(memory, LIMITS.session_life) == {SweepOutcome.CANCELLED: 1}
    memory.objects.put(f"uploads/{session.id}/tail-2", b"late")
    assert sweep(memory, LIMITS.sweep_again - 1) == {}
    assert sweep(memory, 1) == {SweepOutcome.CLEANED: 1}
    assert memory.objects.objects == {}
    assert memory.session(session.id).sweep_at is None


def test_a_session_with_a_live_lease_is_not_cancelled_at_the_end_of_its_life(
    memory: MemoryRegistry,
) -> None:
    """A request that is appending when the session's life ends is waited for."""
    session = opened(memory, BYTES[:3])
    memory.clock.offset += LIMITS.session_life - 5
    die_holding(memory, session)
    assert sweep(memory, 10) == {SweepOutcome.POSTPONED: 1}
    assert sweep(memory, 30) == {SweepOutcome.CANCELLED: 1}


def test_a_sealed_session_is_driven_on(memory: MemoryRegistry) -> None:
    """A commit whose request died is finished, soon after the sealing."""
    session = sealed(memory)
    assert sweep(memory, LIMITS.sweep_sealed - 1) == {}
    assert sweep(memory, 1) == {SweepOutcome.COMMITTED: 1}
    link = memory.registry.blobs.stat(NAME, CLAIM)
    assert memory.registry.blobs.read(link) == BYTES
    assert list(memory.objects.objects) == [link.key]
    assert memory.session(session.id).sweep_at is None


def test_a_session_with_a_digest_mismatch_waits_for_another_claim(memory: MemoryRegistry) -> None:
    """It stays until its life ends, and is published only with the digest that its bytes have."""
    wrong = Digest.of(b"something else", Algorithm.SHA512)
    session = sealed(memory, wrong)
    assert sweep(memory, LIMITS.sweep_sealed) == {SweepOutcome.POSTPONED: 1}
    right = Digest.of(BYTES, Algorithm.SHA512)
    with pytest.raises(UploadDigestInvalidError):
        commit(memory, session, wrong)
    assert memory.registry.uploads.status(OWNER, session.id).state is UploadState.ASSEMBLED
    commit(memory, session, right)
    assert memory.registry.blobs.stat(NAME, right).size == len(BYTES)
    other = sealed(memory, wrong)
    assert sweep(memory, LIMITS.session_life)[SweepOutcome.CANCELLED] == 1
    assert memory.session(other.id).state is UploadState.CANCELLED
    sweep(memory, LIMITS.sweep_again)
    assert [key for key in memory.objects.objects if other.id in key] == []


def test_a_manifest_that_was_left_pending_is_removed(memory: MemoryRegistry) -> None:
    """A push that died before its manifest went live leaves nothing after the grace."""
    manifest = a_manifest(sweep_at=memory.clock.now() + LIMITS.manifest_grace)
    memory.metadata.put_pending(manifest)
    assert sweep(memory, LIMITS.manifest_grace - 60) == {}
    assert sweep(memory, 60) == {SweepOutcome.MANIFEST: 1}
    assert memory.rows("MANIFEST") == []


def test_a_session_that_fails_keeps_no_other_session_waiting(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error at one session is counted, the others are swept, and the next run tries again."""
    first, second = opened(memory, b"a tail"), opened(memory, b"a tail")
    stuck = min(first.id, second.id)
    delete = memory.objects.delete

    def fail(keys: list[str]) -> None:
        if any(stuck in key for key in keys):
            raise UnavailableError
        delete(keys)

    with monkeypatch.context() as patch:
        patch.setattr(memory.objects, "delete", fail)
        assert sweep(memory, LIMITS.session_life) == {SweepOutcome.CANCELLED: 2}
        assert sweep(memory, LIMITS.sweep_again) == {SweepOutcome.FAILED: 1}
    # It stands behind what was not tried yet, and is due again before the next hourly run.
    assert sweep(memory) == {}
    assert sweep(memory, LIMITS.sweep_again / 2) == {SweepOutcome.CLEANED: 1}
    assert memory.objects.objects == {}


def test_clean_up_that_is_slow_and_fails_keeps_no_other_session_waiting(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session whose clean-up failed is due after those that nobody has tried yet."""
    failing = {opened(memory, BYTES[:16]).id for _ in range(12)}
    memory.clock.sleep(5)
    others = [opened(memory, BYTES[:16]) for _ in range(4)]
    memory.clock.sleep(LIMITS.session_life)
    abort = memory.objects.abort_multipart

    def slow(key: str, upload_id: str) -> None:
        if any(name in key for name in failing):
            memory.clock.sleep(250)
            raise UnavailableError("no answer")
        abort(key, upload_id)

    monkeypatch.setattr(memory.objects, "abort_multipart", slow)
    for _ in range(12):
        memory.registry.sweeper.sweep(memory.clock.now() + 600)
        memory.clock.sleep(3600)
    assert [memory.session(each.id).sweep_at for each in others] == [None] * 4
    monkeypatch.setattr(memory.objects, "abort_multipart", abort)
    sweep(memory)
    assert not memory.objects.uploads


def test_a_commit_that_ends_the_run_keeps_no_other_session_waiting(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that takes longer than the function may run is tried again after the others."""
    endless = sealed(memory)
    memory.clock.offset += LIMITS.sweep_sealed + 1
    others = [sealed(memory) for _ in range(2)]
    drive = CommitDriver.drive

    class Killed(BaseException):
        pass

    def killed(self: CommitDriver, session: Session, *times: float) -> Session:
        if session.id == endless.id:
            raise Killed
        return drive(self, session, *times)

    monkeypatch.setattr(CommitDriver, "drive", killed)
    with pytest.raises(Killed):
        sweep(memory)
    # The next hourly run: it is due again, and so are the others, for longer.
    with pytest.raises(Killed):
        sweep(memory, 3600)
    assert {memory.session(other.id).state for other in others} == {UploadState.COMMITTED}


def test_a_long_commit_shares_the_run_with_the_others_and_uses_the_rest_of_it(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has one step's time in turn; what a run can't finish, the next ones go on with."""
    long, copy = sealed(memory), memory.objects.copy
    memory.clock.offset += LIMITS.sweep_sealed + 1
    for _ in range(2):
        sealed(memory)
    begun: list[str] = []

    def slow(source: str, *what: Any, until: float) -> None:  # noqa: ANN401 - as copy
        begun.append(source)
        if long.id in source and len(begun) < 25:
            memory.clock.sleep(until - memory.clock.now())
            raise UnfinishedError
        copy(source, *what, until=until)

    monkeypatch.setattr(memory.objects, "copy", slow)
    memory.clock.offset += LIMITS.sweep_sealed
    swept = memory.registry.sweeper.sweep(memory.clock.now() + 600)
    assert (dict(swept.outcomes), swept.finished) == ({SweepOutcome.COMMITTED: 2}, False)
    assert [long.id in source for source in begun] == [True, False, *[True] * 9]
    assert memory.session(long.id).holder is None
    for _ in range(2):
        memory.clock.sleep(3600)
        swept = memory.registry.sweeper.sweep(memory.clock.now() + 600)
    assert swept.outcomes[SweepOutcome.COMMITTED] == 1
    assert len(begun) == 25


def test_a_commit_that_is_driven_is_left_alone(memory: MemoryRegistry) -> None:
    """The sweeper comes back when the driver's lease has ended."""
    session = sealed(memory)
    memory.clock.offset += LIMITS.sweep_sealed
    memory.registry.commits.take(session)
    assert sweep(memory) == {SweepOutcome.POSTPONED: 1}
    assert sweep(memory, LIMITS.drive_lease) == {SweepOutcome.COMMITTED: 1}


def test_a_run_that_has_no_more_time_leaves_the_rest_due(memory: MemoryRegistry) -> None:
    """A run stops at its time, and the next one goes on from there."""
    for _ in range(3):
        opened(memory, BYTES[:3])
    memory.clock.offset += LIMITS.session_life
    swept = memory.registry.sweeper.sweep(memory.clock.now())
    assert (swept.outcomes, swept.finished) == ({}, False)
    assert sweep(memory) == {SweepOutcome.CANCELLED: 3}


BACKLOG = int(os.environ.get("MOORAGE_BACKLOG", "2000"))
"""How many sessions wait; `make drills` sweeps among 10,000."""


@pytest.mark.timeout(280)
def test_a_backlog_costs_what_is_due_in_it(strict_moto: Backend) -> None:
    """Among thousands of sessions, those due are found by pages of the index, never by a scan.

    Each costs one read and the writes of its end, however many others there are.
    """
    registry = registry_over(strict_moto.fresh())
    now, due = registry.clock.now(), 40
    times = [now - 1] * due + [now + 9999] * (BACKLOG - due)
    items = [session_item(a_session(life_until=at, sweep_at=at)) for at in times]
    for start in range(0, len(items), 25):
        batch: list[Any] = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        registry.dynamodb.batch_write_item(RequestItems={registry.uploads_table: batch})
    with record_calls(registry.dynamodb, registry.s3) as calls:
        swept = registry.registry.sweeper.sweep(now + 600)
    assert dict(swept.outcomes) == {SweepOutcome.CANCELLED: due}
    # Four shards of each table's index, a page each; and a look for strays.
    assert calls.operations("dynamodb") == {
        "Query": 8,
        "GetItem": due + 2,
        "UpdateItem": 2 * due,
        "PutItem": 1,
    }
    assert calls.operations("s3") == {"ListObjectsV2": 1}
    with record_calls(registry.dynamodb) as again:
        assert registry.registry.sweeper.sweep(now + 600).outcomes == {}
    assert again.count() == 8 + 3


def test_a_blob_whose_record_is_lost_stays_when_its_session_is_gone_too(
    memory: MemoryRegistry,
) -> None:
    """The sweeper searches a key once, here while the session still had its item."""
    digest = Digest.of(BYTES)
    memory.registry.uploads.put_whole(NAME, "ann", digest, BYTES)
    (key,) = memory.objects.objects
    session_id = key.split("/")[1]
    memory.tables.delete_item(TableName=REGISTRY, Key=key_attributes(record_key(digest)))
    assert sweep(memory, LIMITS.stray_age + 60) == {}
    # DynamoDB drops it two days after its end.
    memory.clock.sleep(LIMITS.remember)
    memory.tables.delete_item(TableName=UPLOADS, Key=key_attributes(session_key(session_id)))
    assert sweep(memory, 0) == {}
    assert memory.objects.objects == {key: BYTES}


def test_strays_of_more_than_one_page_are_all_deleted(memory: MemoryRegistry) -> None:
    """Each page of the search goes on behind the last key of the one before, in any folder."""
    for _ in range(2300):
        session_id = timed_id(memory.clock.now(), memory.clock.new_id())
        memory.objects.objects[direct_key(CLAIM, session_id)] = BYTES
    assert sweep(memory, LIMITS.stray_age + 60) == {SweepOutcome.CLEANED: 3}
    assert memory.objects.objects == {}
