"""Mutants of retention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.registry.model import (
    ManifestState,
)
from chalicelib.registry.retention import judging
from chalicelib.registry.retention.run import Retention
from chalicelib.registry.retention.units import Unit, Units
from chalicelib.stores.dynamodb import (
    manifests,
)
from chalicelib.stores.dynamodb.retention import RetentionItems
from tests.drills import (
    retained,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chalicelib.digest import Digest
    from chalicelib.registry.retention.judging import Facts, Stopped

    Original = Callable[..., Any]
from tests.drills.mutants.checks import (
    a_restoration_is_a_use,
    a_root_goes_before_its_images,
    what_is_left_over,
)
from tests.drills.mutants.mutant import Change, Mutant, rules_of

RULES: list[Mutant] = []
rule = rules_of(RULES)


@rule("a keep-rule loses", "_kept", judging._Bench, crashed=["retention of what is kept"])  # noqa: SLF001 - what is changed
def _(_: Original, *_what: object) -> None:
    return None


@rule("leases are ignored", "_held", judging._Bench, crashed=["retention of what runs"])  # noqa: SLF001 - likewise
def _(_: Original, *_what: object) -> None:
    return None


@rule(
    "an overdue source is ignored",
    "_overdue",
    judging,
    crashed=["retention beside an overdue source"],
)
def _(_: Original, _facts: Facts, _now: float) -> Stopped | None:
    return None


@rule("the brake is ignored", "_braked", judging, crashed=["retention of too much"])
def _(_: Original, *_what: object) -> Stopped | None:
    return None


@rule(
    "a unit is torn",
    "units_of",
    judging,
    raced=["retention, put of the index"],
)
def _(units_of: Original, live: object, owned: object, tags: Mapping[str, Digest]) -> Units:
    found: Units = units_of(live, owned, tags)
    alone = [
        Unit((digest,), tuple(tag for tag in tags if tags[tag] == digest)) for digest in found.order
    ]
    return Units(alone, found.order, dict.fromkeys(found.order, ()))


@rule(
    "nothing is read again after the marks",
    "_judged",
    Retention,
    raced=["retention, put of another index"],
)
def _(judged: Original, self: Retention, name: str, going: object) -> object:
    found = vars(self).setdefault("_first", {})
    if name not in found:
        found[name] = judged(self, name, going)
    return found[name]


@rule(
    "a push leaves marks on what it names",
    "unmark_manifest",
    RetentionItems,
    raced=["retention, put of another index"],
)
def _(_: Original, *_what: object) -> None:
    return None


@rule(
    "a restoration is not noted in what the index names",
    "note_restore",
    RetentionItems,
    raced=["retention, restore"],
)
def _(_: Original, *_what: object) -> None:
    return None


@rule(
    "a lease leaves marks on what it names",
    "hold",
    retained,
    raced=["retention, lease"],
)
def _(_: Original, metadata: Any, name: str, digests: Sequence[Digest]) -> object:  # noqa: ANN401 - a store
    found = metadata.get_manifests(name, digests)
    return {digest for digest in found if found[digest].state is ManifestState.LIVE}


@rule(
    "what belongs to a root goes before it",
    "_retired",
    Retention,
    checked=[a_root_goes_before_its_images],
)
def _(_: Original, self: Retention, unit: Unit, marked: Any, _judged: object) -> bool:  # noqa: ANN401 - manifests
    return [self._removed(marked[digest], []) for digest in reversed(unit.members)][-1]


RULES.append(
    Mutant(
        "a restoration is no use",
        [Change(manifests, "_FACTS", manifests._FACTS[:-1])],  # noqa: SLF001 - what is changed
        checked=[a_restoration_is_a_use],
    )
)


@rule("what is left over is not known", "_left_over", judging._Bench, checked=[what_is_left_over])  # noqa: SLF001 - likewise
def _(_: Original, *_what: object) -> None:
    return None
