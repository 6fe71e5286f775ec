"""Checks of direct uploads, and of their verification.

S3 lets no wrong object come, so the drill puts it there behind the URL's back; and what was found
belongs to a report and an object, which only a hand at the bucket replaces.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.digest import Digest, Hasher
from chalicelib.registry.keys import parts_key, report_key
from chalicelib.registry.outcomes import (
    CheckedObject,
)
from chalicelib.registry.upload import (
    direct_parts,
)
from chalicelib.registry.upload.runner import CommitDriver
from chalicelib.registry.upload.segments import Report
from chalicelib.stores.s3.objects import S3ObjectStore
from tests.drills import (
    direct,
    edge,
    operations,
)
from tests.drills import direct_parts as parts
from tests.drills.direct_parts import BLOB, OTHER
from tests.drills.owners import quotas as full_quotas
from tests.drills.support.client import HOME, TEXT, Stage
from tests.drills.support.ledger import Ledger, Violation
from tests.drills.support.points import Gate
from tests.drills.support.requests import expect
from tests.drills.support.worlds import BY_WORKER, PART, SMALL, TablesWorld
from tests.support.memory_objects import MemoryObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.drills.support.points import Call

    Original = Callable[..., Any]


def refused_beside(found: CheckedObject) -> None:
    """Commit a direct upload at whose key such an object stands: 400, and nothing is published."""
    stage = Stage(TablesWorld(), Ledger())
    client, session = stage.client(), direct.opened(stage)
    target = f"{HOME}/_moorage/uploads/{session}"
    with mock.patch.object(MemoryObjectStore, "check", return_value=found):
        expect(client.requests.ask("PUT", target), 400)
    if stage.world.snapshot().records:
        raise Violation(f"{found} was published")


def bytes_that_s3_has_not_compared() -> None:
    """It stands there without a digest."""
    refused_beside(CheckedObject(len(TEXT), None))


def bytes_of_another_digest() -> None:
    """It has another one."""
    refused_beside(CheckedObject(len(TEXT), Digest.of(b"other")))


def bytes_of_another_size() -> None:
    """It has another size than the session was opened with, which links would tell."""
    refused_beside(CheckedObject(len(TEXT) + 1, Digest.of(TEXT)))


def bytes_with_headers() -> None:
    """It would be downloaded as if it were compressed."""
    refused_beside(CheckedObject(len(TEXT), Digest.of(TEXT), ("ContentEncoding",)))


def the_first_digest_counts() -> None:
    """Seal an upload in parts while another commit is about to, with another digest."""
    stage = Stage.over(TablesWorld(), BY_WORKER._replace(commit_wait=2.0))
    session = parts.put(stage)
    target = f"{HOME}/_moorage/uploads/{session}?digest="
    right, wrong = f"{target}{parts.BLOB.digest}", f"{target}{parts.OTHER.digest}"

    def overtaken(call: Call) -> Any:  # noqa: ANN401 - as any act
        expect(stage.client().requests.ask("PUT", right, parts.BLOB.report), 503)
        return call()

    late = stage.client(Gate({3: overtaken}))  # its fourth call is the write that seals
    expect(late.requests.ask("PUT", wrong, parts.OTHER.report), 400)
    operations.bring_workers(stage)
    stage.world.clock.sleep(BY_WORKER.worker_start + 1)
    expect(stage.client().requests.insist("PUT", right), 201)


def a_blob_that_was_refused() -> None:
    """Refuse what the edge has put: it is deleted at once, and not when the sweeper comes."""
    stage = Stage(TablesWorld(), Ledger())
    ticket = full_quotas.within(edge.put_before, 9)(stage)
    full_quotas.committing_by_edge(stage.client(), ticket)
    if stage.world.snapshot().objects:
        raise Violation("bytes that were refused are left")


def not_published_after(replaced: Callable[[Any, str], None]) -> None:
    """Drive a commit on, half of whose segments hold, when something was replaced meanwhile."""
    stage = Stage(TablesWorld(), Ledger())
    session = parts.half_verified(wrong=True)(stage)
    ports = stage.world.ports(Gate())
    replaced(ports.objects, session)
    CommitDriver(ports, SMALL).resume(session, ports.clock.now() + 600)
    if stage.world.snapshot().records:
        raise Violation("bytes were published that nobody has verified")


def a_report_that_was_replaced() -> None:
    """The segment that is missing holds by another report, whose words begin and end elsewhere."""

    def forge(objects: Any, session: str) -> None:  # noqa: ANN401 - an object store
        report = Report.parse(BLOB.report, BLOB.algorithm, minimum=PART)
        first, second, last = report.parts
        words = b"\1" * BLOB.algorithm.words_size
        hasher = Hasher.from_words(BLOB.algorithm, words, first.size)
        hasher.update(OTHER.parts[2])
        forged = Report((replace(first, state=words), replace(second, state=hasher.words()), last))
        objects.put(report_key(session, direct_parts.named(report)), forged.dump())

    not_published_after(forge)


def an_object_that_was_replaced() -> None:
    """The segment that is missing holds in another object, where the others do not."""

    def put(objects: Any, session: str) -> None:  # noqa: ANN401 - likewise
        other = OTHER.parts
        objects.put(parts_key(session), b"".join((other[1], BLOB.parts[2], other[3])))

    not_published_after(put)


def a_checksum_of_parts() -> None:
    """Look at an object of parts, which has the checksum of its parts' checksums: that is none."""
    checksum = base64.b64encode(hashlib.sha256(TEXT).digest()).decode()
    for value, kind in ((checksum, "COMPOSITE"), (f"{checksum}-1", "FULL_OBJECT")):
        answer = {"ContentLength": 1, "ChecksumSHA256": value, "ChecksumType": kind}
        client: Any = SimpleNamespace(head_object=lambda answer=answer, **_: answer)
        if S3ObjectStore(client, "bucket").check("key") != CheckedObject(1, None):
            raise Violation(f"{value} of {kind} is taken for a digest")
