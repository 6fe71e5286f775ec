"""A large object is copied in parts: many at once, and again from where an earlier copy stopped.

No request may take longer than the client waits for an answer: that copy would fail at every
attempt, and never end. So each request copies little, and what is done already is found in S3: the
target itself, or the parts of its open multipart upload. This module must never delete anything:
whoever cleans up after the session aborts what a copy left.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from itertools import repeat
from typing import NamedTuple

from chalicelib.limits import MIB, PART_COUNT
from chalicelib.registry.outcomes import (
    MultipartBusyError,
    MultipartMissingError,
    Part,
    UnfinishedError,
)
from chalicelib.registry.ports import ObjectStore
from chalicelib.registry.session import StoredObject

COPY_PART = 64 * MIB
"""Bytes of each part but the last, as far as 10,000 parts suffice.

It must never change: a copy that was begun before would go on with other ranges.
"""

COPY_THREADS = 16
"""Parts that are copied at once: as many as the client has connections. No byte comes here."""


class PartsPlan(NamedTuple):
    """How a copy in parts is made. `until`: epoch seconds after which no request is begun."""

    until: float
    part: int = COPY_PART
    threads: int = COPY_THREADS
    now: Callable[[], float] = time.time

    def spans(self, size: int) -> list[tuple[int, int]]:
        """Return the first and the last byte of each part, in order."""
        part = max(self.part, -(-size // PART_COUNT))
        return [(first, min(first + part, size) - 1) for first in range(0, size, part)]

    def check_time(self) -> None:
        """Raise UnfinishedError if the time is over."""
        if self.now() >= self.until:
            raise UnfinishedError("the copy takes longer: it goes on where it stopped")


def copy_in_parts(objects: ObjectStore, source: StoredObject, target: str, plan: PartsPlan) -> None:
    """Copy an object to `target`; see ObjectStore.copy."""
    if _is_whole(objects, source, target):
        return
    try:
        begun = objects.open_multiparts(target)
        upload_id = begun[0] if begun else objects.begin_multipart(target).id
        known = objects.list_parts(target, upload_id) if begun else ()
        parts = _copied(objects, source, (target, upload_id), known, plan)
        plan.check_time()
        objects.complete_multipart(target, upload_id, parts)
    except (MultipartMissingError, MultipartBusyError) as error:
        # Another request made the same copy, or the answer to this Complete was lost.
        if not _is_whole(objects, source, target):
            raise UnfinishedError(f"the copy to {target} was ended by another request") from error


def _is_whole(objects: ObjectStore, source: StoredObject, target: str) -> bool:
    found = objects.stat(target)
    return found is not None and found.size == source.size


def _copied(
    objects: ObjectStore,
    source: StoredObject,
    upload: tuple[str, str],
    known: Sequence[Part],
    plan: PartsPlan,
) -> list[Part]:
    """Return all parts of an upload (key and id); those that are not `known` are copied."""
    listed = {part.number: part for part in known}

    def copied(number: int, span: tuple[int, int]) -> Part:
        size = span[1] - span[0] + 1
        there = listed.get(number)
        if there is not None and there.size == size:
            return there
        plan.check_time()
        etag = objects.copy_part(*upload, number, source.key, source.etag, span)
        return Part(number, size, etag)

    spans = plan.spans(source.size)
    numbers = range(1, len(spans) + 1)
    if plan.threads == 1:
        return list(map(copied, numbers, spans))
    # Each thread's calls are the invocation's: they count into its tally.
    contexts = [copy_context() for _ in spans]
    with ThreadPoolExecutor(plan.threads) as pool:
        return list(pool.map(Context.run, contexts, repeat(copied), numbers, spans))
