"""What every metadata store does with lists: tags, referrers, the catalog.

No test may know which store it has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.page import Page
from chalicelib.registry.model import CatalogFacts, CatalogRow, ManifestState
from tests.support.values import a_manifest, a_referrer, fresh_digest, push, push_manifest

if TYPE_CHECKING:
    from tests.chalicelib.stores.conftest import Stores

TAGS = ["1", "A", "Z", "_", "a", "a-1", "a.1", "aa", "v1", "v1.0", "v10", "z" * 128]
"""In byte order."""

NAMES = ["a", "a-b", "a.b", "a/b", "a0", "aa/b", "library/x", "zz"]


@pytest.fixture
def tagged(stores: Stores, repository: str) -> Stores:
    """Stores with one manifest under all TAGS."""
    push_manifest(stores.metadata, a_manifest(repository=repository), *reversed(TAGS))
    return stores


def test_tags_are_listed_page_by_page(tagged: Stores, repository: str) -> None:
    """Each tag is on one page, and each page says rightly whether more follow.

    A list that fits on one page has all tags in byte order.
    """
    for limit in (1, 2, 5, len(TAGS) - 1):
        seen: list[str] = []
        more = True
        while more:
            page = tagged.metadata.list_tags(repository, seen[-1] if seen else None, limit)
            assert len(page.items) <= limit
            seen += page.items
            more = page.more
            assert more == (len(seen) < len(TAGS))
        assert seen == TAGS
    for limit in (len(TAGS), 1000):
        assert tagged.metadata.list_tags(repository, None, limit) == Page(TAGS, more=False)


# fmt: off
STRANGE = [
    "", " ", "!", "-", "0", "B", "`", "a-", "a-2", "a ", "a\n", "a~", "aé", "v", "v1.", "v1é",
    "v1#", "zz", "z" * 128, "z" * 127, "{", "}", "~", "\x7f", "é", "\U0001f600", "x" * 5000,
    "A" * 4000, "TAG#", "a\x00", "a\ud800",
]
# fmt: on


def test_tags_are_listed_after_any_text(tagged: Stores, repository: str) -> None:
    """In byte order."""
    for after in STRANGE:
        expected = [tag for tag in TAGS if tag > after]
        page = tagged.metadata.list_tags(repository, after, 100)
        assert page == Page(expected, more=False), after


def test_tags_come_with_their_rows(tagged: Stores, repository: str) -> None:
    """Each has the digest that it names."""
    page = tagged.metadata.list_tag_rows(repository, TAGS[0], 2)
    assert page.more
    assert [tag for tag, _ in page.items] == TAGS[1:3]
    assert dict(page.items) == tagged.metadata.get_tags(repository, TAGS[1:3])


def test_tags_are_found_by_a_prefix(tagged: Stores, repository: str) -> None:
    """The prefix may be any text."""
    for prefix in ["", "v", "v1", TAGS[0], TAGS[-1], *STRANGE]:
        found = [tag for tag in TAGS if tag.startswith(prefix)]
        for after in (None, TAGS[2]):
            page = tagged.metadata.list_tag_rows(repository, after, 100, prefix)
            assert [tag for tag, _ in page.items] == [tag for tag in found if tag > (after or "")]


def test_manifests_are_listed_page_by_page(stores: Stores, repository: str) -> None:
    """By digest, in any state, without bodies, and only those of the repository."""
    live = [a_manifest(repository=repository, digest=fresh_digest()) for _ in range(3)]
    for manifest in live:
        push_manifest(stores.metadata, manifest)
    pending = a_manifest(repository=repository, digest=fresh_digest())
    stores.metadata.put_pending(pending)
    push_manifest(stores.metadata, a_manifest(repository=f"{repository}x", digest=fresh_digest()))
    digests = sorted((item.digest for item in (*live, pending)), key=str)

    everything = stores.metadata.list_manifests(repository, None, 9)
    first = stores.metadata.list_manifests(repository, None, 2)
    rest = stores.metadata.list_manifests(repository, digests[1], 2)

    assert [item.digest for item in everything.items] == digests
    assert not everything.more
    assert all(item.body is None for item in everything.items)
    states = {item.digest: item.state for item in everything.items}
    assert states == dict.fromkeys(digests, ManifestState.LIVE) | {
        pending.digest: ManifestState.PENDING
    }
    assert (first.items, first.more) == (everything.items[:2], True)
    assert (rest.items, rest.more) == (everything.items[2:], False)


def test_many_records_are_read_at_once(stores: Stores, repository: str) -> None:
    """Only existing ones, each as it is read alone."""
    there, absent = fresh_digest(), fresh_digest()
    push(stores.sessions, stores.metadata, repository, there)
    assert stores.metadata.get_records([there, absent]) == {
        there: stores.metadata.get_record(there)
    }


def test_a_repository_without_tags_has_an_empty_last_page(stores: Stores, repository: str) -> None:
    """A repository without tags has an empty last page."""
    assert stores.metadata.list_tags(repository, None, 5) == Page([], more=False)
    assert stores.metadata.get_tags(repository, []) == {}


def test_referrers_are_listed_page_by_page(stores: Stores, repository: str) -> None:
    """By digest, and only those of the subject."""
    subject, neighbour = fresh_digest(), fresh_digest()
    digests = [fresh_digest() for _ in range(5)]
    digests += [Digest.of(bytes((number,)), Algorithm.SHA512) for number in range(2)]
    rows = []
    for digest in digests:
        manifest = a_manifest(repository=repository, digest=digest, subject=subject)
        push_manifest(stores.metadata, manifest)
        rows.append(a_referrer(manifest, subject))
    push_manifest(stores.metadata, a_manifest(repository=repository, subject=neighbour))
    rows.sort(key=lambda row: str(row.digest))
    assert stores.metadata.list_referrers(repository, subject, None, 7) == Page(rows, more=False)
    first = stores.metadata.list_referrers(repository, subject, None, 3)
    assert first == Page(rows[:3], more=True)
    rest = stores.metadata.list_referrers(repository, subject, rows[2].digest, 4)
    assert rest == Page(rows[3:], more=False)
    between = fresh_digest()
    after = stores.metadata.list_referrers(repository, subject, between, 9)
    assert after.items == [row for row in rows if str(row.digest) > str(between)]
    assert stores.metadata.list_referrers(repository, fresh_digest(), None, 3).items == []


def test_the_catalog_lists_each_repository_once(fresh_stores: Stores) -> None:
    """In byte order, page by page, after any text."""
    catalog = fresh_stores.metadata

    def listed(after: str | None, limit: int, prefix: str = "") -> Page[str]:
        page = catalog.list_repositories(after, limit, prefix)
        assert all(row.facts is None for row in page.items)
        return Page([row.name for row in page.items], page.more)

    assert listed(None, 10) == Page([], more=False)
    for name in [*reversed(NAMES), *NAMES]:
        assert catalog.has_repository(name) == (name in listed(None, 99).items)
        catalog.add_repository(name)
        assert catalog.has_repository(name)
    assert listed(None, len(NAMES)) == Page(NAMES, more=False)
    assert listed("a/b", 2) == Page(NAMES[4:6], more=True)
    for after in ["", "a!", "a,", "a.", "a~", "m", "zz", "zzz", "é", "Z"]:
        expected = [name for name in NAMES if name > after]
        assert listed(after, 99) == Page(expected, more=False), after
    for prefix in ["", "a", "a/", "a/b", NAMES[0], NAMES[-1], "zz", "~", "é", "Z", "a" * 3000]:
        expected = [name for name in NAMES if name.startswith(prefix)]
        assert listed(None, 99, prefix) == Page(expected, more=False), prefix
        expected = [name for name in expected if name > "a/b"]
        assert listed("a/b", 99, prefix) == Page(expected, more=False), prefix
    assert not catalog.has_repository("a/")


def test_facts_of_a_repository_are_noted_in_the_catalog(fresh_stores: Stores) -> None:
    """Only later facts replace others; adding the name again keeps them."""
    catalog = fresh_stores.metadata
    first = CatalogFacts(100.5, tags=1, images=2, trashed=0, linked_bytes=3, pushed_at=99.0)
    whole = replace(
        first, noted_at=200.0, pulled_at=150.0, unused_bytes=0, own_bytes=1, billed_bytes=2
    )
    catalog.note_facts("a/b", first)
    assert catalog.get_repository("a/b") is None  # the catalog does not name it
    assert not catalog.has_repository("a/b")
    catalog.add_repository("a/b")
    assert catalog.get_repository("a/b") == CatalogRow("a/b")
    for noted, expected in (
        (first, first),
        (whole, whole),
        (replace(whole, tags=9), whole),  # as late as what is there
        (first, whole),
        (replace(first, noted_at=300.0), replace(first, noted_at=300.0)),
    ):
        catalog.note_facts("a/b", noted)
        assert catalog.get_repository("a/b") == CatalogRow("a/b", expected)
        catalog.add_repository("a/b")
        assert catalog.list_repositories(None, 9).items == [CatalogRow("a/b", expected)]


def test_links_are_listed_by_their_digests(stores: Stores, repository: str) -> None:
    """Page by page, and only those of one repository."""
    digests = sorted((fresh_digest() for _ in range(5)), key=str)
    for digest in digests:
        push(stores.sessions, stores.metadata, repository, digest)
    push(stores.sessions, stores.metadata, f"{repository}/other", fresh_digest())
    first = stores.metadata.list_links(repository, None, 3)
    assert ([link.digest for link in first.items], first.more) == (digests[:3], True)
    rest = stores.metadata.list_links(repository, digests[2], 3)
    assert ([link.digest for link in rest.items], rest.more) == (digests[3:], False)
    assert rest.items[0] == stores.metadata.get_link(repository, digests[3])
