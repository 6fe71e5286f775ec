"""Units: each root with all that belongs to it, found in another way than the product finds it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from chalicelib.registry.model import ManifestState, TagRow
from chalicelib.registry.retention import run, units
from chalicelib.registry.retention.units import TangledError, units_of
from chalicelib.rules.document import Rules
from chalicelib.stores.dynamodb.items import TAG, manifest_item
from chalicelib.stores.dynamodb.keys import (
    catalog_key,
    manifest_key,
    rules_key,
    tag_key,
    tagged_key,
)
from tests.chalicelib.registry.retention.keeping import in_memory
from tests.chalicelib.registry.retention.repositories import (
    CI,
    NAME,
    Repository,
    braked,
    keeping,
    owned,
    repositories,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.digest import Digest
    from chalicelib.rules.retention import RetentionRule


def reached(start: Digest, edges: Mapping[Digest, set[Digest]]) -> set[Digest]:
    """Return what belongs to a manifest, itself included."""
    found = {start}
    while more := {each for digest in found for each in edges[digest]} - found:
        found |= more
    return found


@given(repositories())
def test_a_unit_is_all_that_belongs_to_its_root(repository: Repository) -> None:
    """Every manifest is in one, no root belongs to another unit's, and owners come first."""
    facts = repository.facts
    found, edges = units_of(facts.manifests, facts.children, facts.tags), owned(facts)
    assert {digest for unit in found.units for digest in unit.members} == set(facts.manifests)
    for unit in found.units:
        assert set(unit.members) == reached(unit.root, edges)
        others = [other for other in found.units if other is not unit]
        assert not any(unit.root in other.members for other in others)
        place = {digest: at for at, digest in enumerate(found.order)}
        for digest in unit.members:
            for each in edges[digest]:
                assert place[digest] < place[each] or digest in reached(each, edges)
        named = {tag for tag, digest in facts.tags.items() if digest in unit.members}
        assert set(unit.tags) == {tag for tag in named if not tag.startswith("sha256-")}


def test_a_repository_with_too_many_members_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is removed."""
    repository = Repository()
    repository.add("z", days=90)
    for name in "abc":
        repository.add(name, "pr-1", days=90, names=["z"])
    facts = repository.facts
    monkeypatch.setattr(units, "MOST", 5)
    with pytest.raises(TangledError):
        units_of(facts.manifests, facts.children, facts.tags)
    assert repository.judge().stopped is not None
    monkeypatch.setattr(units, "MOST", 6)
    assert repository.judge().stopped is None


@settings(max_examples=60)
@given(repositories(), braked, keeping)
def test_a_run_removes_just_what_is_judged_to_go(
    repository: Repository, expire: list[RetentionRule], keep: list[RetentionRule]
) -> None:
    """For any repository and rules; what remains is judged as before."""
    kept = in_memory()
    for manifest in repository.manifests.values():
        stored = replace(manifest, references=repository.children.get(manifest.digest, ()))
        kept.put(manifest_key(NAME, manifest.digest), manifest_item(stored))
    for tag, digest in repository.tags.items():
        kept.put(tag_key(NAME, tag), TAG.encode(TagRow(digest)))
        kept.put(tagged_key(NAME, digest, tag), {})
    kept.put(catalog_key(NAME), {})
    kept.put(rules_key(), {"text": {"S": "{}"}})
    rules = Rules((), (*expire, CI, *keep))
    judged = kept.retention.preview(NAME, rules).judgement
    going = {digest for digest in repository.manifests if judged.goes(digest)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "parse_rules", lambda _: rules)
        report = kept.run()
    found = kept.memory.metadata.get_manifests(NAME, list(repository.manifests))
    live = {digest for digest, each in found.items() if each.state is ManifestState.LIVE}
    assert live == set(repository.manifests) - going
    assert (report.manifests, report.images) == (len(going), len(judged.going))
    assert not any(found[digest].mark for digest in live)
