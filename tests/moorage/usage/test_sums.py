"""Sums of the bucket: each byte is somebody's, once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.digest import Digest
from moorage.usage.sums import NOWHERE, Kind, Ledger, Use, divided

SESSION = "0194d3a1-0000-7000-8000-000000000000"


def digest(name: str) -> Digest:
    """Return the digest of a blob that stands for many bytes."""
    return Digest.of(name.encode())


@given(st.integers(0, 10**15), st.integers(1, 50), st.integers(0, 2**32))
def test_a_division_gives_every_byte_to_somebody_and_is_fair(
    size: int, parts: int, first: int
) -> None:
    """No two parts differ by more than one byte, and they sum to the whole."""
    shares = divided(size, parts, first)
    assert sum(shares) == size
    assert len(shares) == parts
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        ({"a": Use.IMAGES}, {("a", Kind.OWN): 10}),
        ({"a": Use.TRASH}, {("a", Kind.TRASH): 10}),
        ({"a": Use.NOTHING}, {("a", Kind.UNUSED): 10}),
        ({"a": Use.IMAGES, "b": Use.IMAGES}, {("a", Kind.SHARED): 5, ("b", Kind.SHARED): 5}),
        # Each repository has its part for what it uses the blob for itself.
        ({"a": Use.IMAGES, "b": Use.TRASH}, {("a", Kind.SHARED): 5, ("b", Kind.TRASH): 5}),
        ({"a": Use.NOTHING, "b": Use.TRASH}, {("a", Kind.UNUSED): 5, ("b", Kind.TRASH): 5}),
        ({}, {(NOWHERE, Kind.GARBAGE): 10}),
    ],
)
def test_a_blob_is_divided_among_those_that_link_to_it(
    uses: dict[str, Use], expected: dict[tuple[str, Kind], int]
) -> None:
    """One that nobody links to is garbage."""
    ledger = Ledger()
    for name, use in uses.items():
        ledger.link(name, digest("x"), use)
    ledger.record(digest("x"), "blobs/x", 10)
    ledger.book("blobs/x", 10)
    assert ledger.sums().bytes == expected


def test_of_two_uses_in_one_repository_the_better_counts() -> None:
    """A manifest's body may be a blob of its repository, too; that is one user, not two."""
    for order in ((Use.TRASH, Use.IMAGES), (Use.IMAGES, Use.TRASH)):
        ledger = Ledger()
        for use in order:
            ledger.link("a", digest("x"), use)
        ledger.record(digest("x"), "blobs/x", 7)
        ledger.book("blobs/x", 7)
        assert ledger.sums().bytes == {("a", Kind.OWN): 7}


@pytest.mark.parametrize(
    "key",
    [
        f"uploads/{SESSION}/tail-1",
        f"uploads/{SESSION}/data",
        f"direct/{SESSION}/parts",
        f"direct/{SESSION}/{'0' * 64}",
        f"blobs/sha256/00/{'0' * 64}/{SESSION}",
    ],
)
def test_what_a_session_wrote_is_its_repositorys_until_a_record_names_it(key: str) -> None:
    """Its parts, too; without a session it is unreferenced, and garbage once that is decided."""

    def booked(ledger: Ledger) -> dict[tuple[str, Kind], int]:
        ledger.book(key, 3)
        ledger.book_part(key, 4)
        assert ledger.sums().objects == 1
        return dict(ledger.sums().bytes)

    ledger = Ledger()
    assert booked(ledger) == {(NOWHERE, Kind.UNREFERENCED): 7}
    ledger = Ledger()
    ledger.session(SESSION, "a")
    assert booked(ledger) == {("a", Kind.UPLOADS): 7}
    ledger = Ledger()
    ledger.garbage(key)
    assert booked(ledger) == {(NOWHERE, Kind.GARBAGE): 7}
    ledger = Ledger()
    ledger.session(SESSION, "a")
    ledger.record(digest("x"), key, 3)
    ledger.link("b", digest("x"), Use.IMAGES)
    assert booked(ledger) == {("b", Kind.OWN): 7}


def test_what_is_lost_is_named_and_not_summed() -> None:
    """A record of bytes without an object; an empty blob needs none."""
    ledger = Ledger()
    for name, size in (("x", 5), ("empty", 0), ("there", 6)):
        ledger.link("a", digest(name), Use.IMAGES)
        ledger.record(digest(name), f"blobs/{name}", size)
    ledger.book("blobs/there", 6)
    sums = ledger.sums()
    assert (sums.lost, sums.total, sums.of("a")) == (["blobs/x"], 6, 6)


names = st.sampled_from(["a", "b", "c"])
uses = st.dictionaries(names, st.sampled_from(list(Use)), max_size=3)


@given(st.lists(st.tuples(st.integers(0, 10**12), uses), max_size=20))
def test_all_sums_agree_with_the_bucket(blobs: list[tuple[int, dict[str, Use]]]) -> None:
    """By repository and by kind, whatever is linked to whatever."""
    ledger = Ledger()
    for number, (size, linked) in enumerate(blobs):
        ledger.record(digest(str(number)), f"blobs/{number}", size)
        for name, use in linked.items():
            ledger.link(name, digest(str(number)), use)
    for number, (size, _) in enumerate(blobs):
        ledger.book(f"blobs/{number}", size)
    sums = ledger.sums()
    whole = sum(size for size, _ in blobs)
    assert sums.total == whole
    assert sum(map(sums.kind, Kind)) == whole
    assert sum(map(sums.of, (*sums.repositories(), NOWHERE))) == whole
    assert sums.repositories() == sorted(
        sums.repositories(), key=lambda name: (-sums.of(name), name)
    )
