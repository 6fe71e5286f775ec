"""Copies a large object in parts, many in parallel, and continues where an earlier copy stopped.

If one request took longer than its client waits, the copy would fail at every attempt. So each
request copies a limited part. What is already copied is found in S3: the target itself, or the
parts of its open multipart upload. This module must never delete anything: the session's clean-up
aborts the multipart upload that a copy left.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from chalicelib.at_once import AtOnce, in_threads
from chalicelib.limits import MIB, PART_COUNT
from chalicelib.registry.outcomes import (
    MultipartBusyError,
    MultipartMissingError,
    Part,
    UnfinishedError,
)
from chalicelib.registry.ports import ObjectStore
from chalicelib.registry.service import COPY_WHOLE
from chalicelib.registry.session import StoredObject

COPY_PART = 64 * MIB
"""Bytes of each part but the last, as far as 10,000 parts suffice.

It must never change: a copy that was begun before would go on with other ranges.
"""

COPY_THREADS = 160
"""Parts that are copied at once: 10 GB in one round. No byte comes here."""


class CopyPlan(NamedTuple):
    """How objects are copied: in parts from `whole` bytes on."""

    whole: int = COPY_WHOLE
    part: int = COPY_PART
    threads: int = COPY_THREADS
    now: Callable[[], float] = time.time
    at_once: AtOnce = in_threads

    def spans(self, size: int) -> list[tuple[int, int]]:
        """Return the first and the last byte of each part, in order."""
        part = max(self.part, -(-size // PART_COUNT))
        return [(first, min(first + part, size) - 1) for first in range(0, size, part)]


def copy_in_parts(
    objects: ObjectStore, source: StoredObject, target: str, plan: CopyPlan, until: float
) -> None:
    """Copy an object to `target` in parts; see ObjectStore.copy."""
    if _is_whole(objects, source, target):
        return
    try:
        begun = objects.open_multiparts(target)
        upload_id = begun[0] if begun else objects.begin_multipart(target).id
        copy = PartsCopy(objects, source, target, upload_id, plan, until)
        parts = copy.parts(objects.list_parts(target, upload_id) if begun else ())
        copy.check_time()
        objects.complete_multipart(target, upload_id, parts)
    except (MultipartMissingError, MultipartBusyError) as error:
        # Another request made the same copy, or the answer to this Complete was lost.
        if not _is_whole(objects, source, target):
            raise UnfinishedError(f"the copy to {target} was ended by another request") from error


def _is_whole(objects: ObjectStore, source: StoredObject, target: str) -> bool:
    found = objects.stat(target)
    return found is not None and found.size == source.size


class PartsCopy(NamedTuple):
    """A multipart upload that is being filled; no part is begun after `until`."""

    objects: ObjectStore
    source: StoredObject
    target: str
    upload_id: str
    plan: CopyPlan
    until: float

    def parts(self, known: Sequence[Part]) -> list[Part]:
        """Return all parts; those that are not `known` are copied."""
        listed = {(part.number, part.size): part for part in known}
        calls = [
            partial(self._copied, listed, number, span)
            for number, span in enumerate(self.plan.spans(self.source.size), start=1)
        ]
        return self.plan.at_once(self.plan.threads, calls)

    def _copied(
        self, listed: Mapping[tuple[int, int], Part], number: int, span: tuple[int, int]
    ) -> Part:
        size = span[1] - span[0] + 1
        there = listed.get((number, size))
        if there is not None:
            return there
        self.check_time()
        etag = self.objects.copy_part(
            self.target, self.upload_id, number, self.source.key, self.source.etag, span
        )
        return Part(number, size, etag)

    def check_time(self) -> None:
        """Raise UnfinishedError if the time is over."""
        if self.plan.now() >= self.until:
            raise UnfinishedError("the copy takes longer: it goes on where it stopped")
