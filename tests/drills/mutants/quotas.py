"""Mutants of quotas, and of what is in use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.registry import quotas
from chalicelib.registry.manifests import removal
from chalicelib.registry.manifests.removal import Removals
from chalicelib.registry.outcomes import (
    OverQuotaError,
)
from chalicelib.registry.quotas import Quotas
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.unbegun import UnbegunSessions
from chalicelib.stores.dynamodb.in_use import DynamoInUseStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chalicelib.errors import (
        DeniedError,
    )
    from chalicelib.registry.model import Covered, InUse, Manifest, UseSource
    from chalicelib.registry.session import Session

    Original = Callable[..., Any]
from tests.drills.mutants.direct_checks import a_blob_that_was_refused
from tests.drills.mutants.mutant import Mutant, rules_of

RULES: list[Mutant] = []
rule = rules_of(RULES)


@rule("no quota covers anything", "covering", Quotas, crashed=["no room, mount"])
def _(_: Original, _self: Quotas, _repository: str) -> None:
    return


@rule(
    "what has gone is not noticed",
    "_counted",
    Quotas,
    crashed=["push where there is room again"],
)
def _(counted: Original, self: Quotas, repository: str, covered: Covered) -> object:
    return self._ports.metadata.get_holding(repository) or counted(self, repository, covered)


@rule(
    "what has just come is refused",
    "_within",
    Quotas,
    raced=["tag, tag of the same, room for one", "mount, mount, room for one"],
)
def _(_: Original, self: Quotas, repository: str, work: Any) -> object:  # noqa: ANN401 - as _within
    covered = self.covering(repository)
    for _try in range(9):
        try:
            return work(covered)
        except OverQuotaError as over:
            assert covered is not None
            denied = quotas.refusal(repository, covered, self._counted(repository, covered), over)
            if denied is not None:
                raise denied from over
    return None


@rule(
    "a blob that is there needs room",
    "require_room",
    Quotas,
    crashed=["push what a full repository has"],
)
def _(require: Original, self: Quotas, repository: str, _digest: Digest, size: int) -> None:
    require(self, repository, Digest.of(b"another"), size)


@rule(
    "a session that was refused goes on",
    "denied",
    Leases,
    crashed=["no room, parts and a tail", "no room, direct commit"],
)
def _(_: Original, _self: Leases, _session: Session, error: DeniedError) -> DeniedError:
    return error


@rule(
    "bytes that were refused are left",
    "_deny",
    UnbegunSessions,
    checked=[a_blob_that_was_refused],
)
def _(_: Original, _self: UnbegunSessions, _unbegun: Session, _key: str, _denied: object) -> None:
    return


@rule(
    "a manifest whose tag was refused stays pending",
    "remove_pending",
    Removals,
    crashed=["no room for a tag"],
)
def _(_: Original, _self: Removals, _manifest: Manifest) -> None:
    return


@rule(
    "what is in use is not looked at",
    "_require_unused",
    removal,
    crashed=["delete what is in use"],
)
def _(_: Original, _digest: Digest, _leases: object, _now: float) -> None:
    return


@rule(
    "what is overdue is no longer in use",
    "_require_unused",
    removal,
    crashed=["delete what is in use and overdue"],
)
def _(require: Original, digest: Digest, leases: Iterable[InUse], now: float) -> None:
    require(digest, [lease for lease in leases if lease.until > now], now)


@rule(
    "a refresh begins with nothing",
    "refresh",
    DynamoInUseStore,
    crashed=["refresh a source anew"],
    raced=["refresh, delete of what stays in use"],
)
def _(
    refresh: Original, self: DynamoInUseStore, source: UseSource, leases: Sequence[InUse]
) -> None:
    self.remove(source.name)
    refresh(self, source, leases)


@rule(
    "a source does not name what is being written",
    "_put",
    DynamoInUseStore,
    crashed=["refresh a source anew"],
)
def _(put: Original, self: DynamoInUseStore, before: UseSource | None, after: UseSource) -> object:
    is_last = before is None or not after.version
    return put(self, before, after if is_last else replace(after, repositories=()))
