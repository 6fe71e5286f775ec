"""`moorage gc`: finds the blobs that no image needs, and deletes them.

The registry's own collector runs in this process, with the owner's AWS credentials. This module
must never decide by itself what may be deleted.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.registry.collector.collector import Collector
from chalicelib.registry.collector.report import CollectReport, FindingKind, GarbageFinding
from chalicelib.registry.model import CollectorPhase
from moorage.access.assembled import LEAST_GRACE, registry_of
from moorage.access.commands import DataPlace
from moorage.common.aws import Aws, explained
from moorage.common.errors import UsageError
from moorage.common.sizes import size_text

_LONGEST = 24 * 3600.0
"""Seconds that a pass may take here, where no function's time is over."""

_LOOK_EVERY = 5.0
"""Seconds after which a pass is looked at again; it says how far it is each half minute."""

Tell = Callable[[str], None]
"""Gets a short text of the progress now and then."""


@dataclass(frozen=True, slots=True)
class GarbageOf(DataPlace):
    """The garbage of a registry. Every method raises CommandError.

    `grace` is how many seconds a link that no manifest names is kept.
    """

    grace: float = LEAST_GRACE

    def preview(self, tell: Tell) -> Sequence[GarbageFinding]:
        """Return what would go, and what is left out; nothing is written."""
        found: list[GarbageFinding] = []
        with self._collector() as collector:
            for each in collector.preview():
                found.append(each)
                tell(f"found {len(found):,} things that nothing needs")
        return found

    def collect(self, tell: Tell, only: Sequence[GarbageFinding] | None = None) -> CollectReport:
        """Delete what nothing needs, in one whole pass; or no more than `only` lists."""
        until = time.time() + _LONGEST
        with self._collector() as collector:
            if only is not None:
                tell("deleting what the list names")
                return collector.run(until, only=only)
            tell("deleting what nothing needs")
            with _watched(collector, tell):
                return collector.pass_now(until)

    @contextlib.contextmanager
    def _collector(self) -> Iterator[Collector]:
        if self.endpoint is None and self.grace < LEAST_GRACE:
            raise UsageError(
                "a push into a deployment may take 24 hours: --grace must not be below that"
            )
        with explained():
            aws = Aws(self.endpoint)
            names = self.names(aws)
            registry = registry_of(aws, names, self.grace)
        with explained(names.registry_table, "MOORAGE_REGISTRY_TABLE"):
            yield registry.collector


@contextlib.contextmanager
def _watched(collector: Collector, tell: Tell) -> Iterator[None]:
    """Report the progress of the pass in the block, from another thread."""
    over = threading.Event()

    def look() -> None:
        is_over = False
        while not is_over:
            is_over = over.wait(_LOOK_EVERY)
            # The pass itself says what fails.
            with contextlib.suppress(RegistryError):
                tell(_progress(collector))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def _progress(collector: Collector) -> str:
    """Say how far a pass is."""
    state = collector.state()
    if state is None:
        return "deleting what nothing needs"
    listing = "; looking through the bucket" if state.phase is CollectorPhase.LIST else ""
    return (
        f"repositories so far: {state.repositories:,}; deleted links: {state.links:,}, blobs:"
        f" {state.records:,} ({size_text(state.freed)}){listing}"
    )


def values(findings: Sequence[GarbageFinding]) -> list[dict[str, Any]]:
    """Return findings as `--json` prints them, and `read` takes them."""
    return [
        {
            "kind": each.kind.value,
            "repository": each.repository,
            "digest": None if each.digest is None else str(each.digest),
            "key": each.key,
            "size": each.size,
            "reason": each.reason,
        }
        for each in findings
    ]


def read(text: str) -> Sequence[GarbageFinding]:
    """Read what `moorage gc --dry-run --json` printed; raises UsageError."""
    try:
        rows = json.loads(text)["findings"]
        return tuple(
            GarbageFinding(
                kind=FindingKind(row["kind"]),
                repository=row["repository"],
                digest=None if row["digest"] is None else Digest.parse(row["digest"]),
                key=row["key"],
                size=int(row["size"]),
                reason=str(row["reason"]),
            )
            for row in rows
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            "this is no list that `moorage gc --dry-run --json` has printed:"
            f" {type(error).__name__} {error}"
        ) from None
