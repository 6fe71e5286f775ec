"""chalicelib.dataclass: a class is a common dataclass from its first value on."""

from __future__ import annotations

import copy
import pickle
import threading
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Generic, TypeVar

import pytest

from chalicelib.dataclass import dataclass

T = TypeVar("T")


@dataclass(frozen=True)
class Point:
    """At module level, so that it can be pickled."""

    x: int
    y: int = 2
    names: tuple[str, ...] = field(default_factory=tuple, repr=False)


def test_a_value_is_made_compared_shown_and_replaced_as_usual() -> None:
    """The first one too."""

    @dataclass(frozen=True)
    class Pair:
        left: int
        right: int = 2

    first = Pair(1)
    assert first == Pair(1, 2) == Pair(left=1)
    assert first != Pair(1, 3)
    assert hash(first) == hash(Pair(1))
    assert repr(first).endswith("Pair(left=1, right=2)")
    assert replace(first, right=5).right == 5
    assert asdict(first) == {"left": 1, "right": 2}
    assert [each.name for each in fields(Pair)] == ["left", "right"]
    match first:
        case Pair(left, right):
            assert (left, right) == (1, 2)
    with pytest.raises(FrozenInstanceError):
        first.left = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'left'"):
        Pair()  # type: ignore[call-arg]


def test_options_and_fields_hold() -> None:
    """`repr=False`, no options, factories, `__post_init__`, generics."""

    @dataclass(frozen=True, repr=False)
    class Hidden:
        secret: str

    @dataclass
    class Counter(Generic[T]):
        found: list[T] = field(default_factory=list)
        total: int = field(init=False)

        def __post_init__(self) -> None:
            self.total = len(self.found)

    assert "hunter2" not in repr(Hidden("hunter2"))
    one, other = Counter[int](), Counter([1])
    one.found.append(3)
    assert (one.found, other.found, Counter().found) == ([3], [1], [])
    assert (one.total, other.total) == (0, 1)


@pytest.mark.parametrize("base_first", [True, False])
def test_a_subclass_has_the_fields_of_its_bases(*, base_first: bool) -> None:
    """Whichever has its first value first."""

    @dataclass(frozen=True)
    class Base:
        a: int

    @dataclass(frozen=True)
    class Derived(Base):
        b: int = 0

    class Bare(Base):
        pass

    if base_first:
        assert Base(1).a == 1
    assert (Derived(1, 2).a, Derived(1, 2).b) == (1, 2)
    assert Bare(4).a == 4
    assert Base(1) != Derived(1)


def test_values_are_copied_and_pickled() -> None:
    """A copy is equal to the value."""
    point = Point(1, names=("a",))
    for same in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):  # noqa: S301 - it was made here
        assert same == point


def test_threads_that_make_a_first_value_at_once_all_get_theirs() -> None:
    """None meets a class that is half made."""
    for _ in range(50):

        @dataclass(frozen=True)
        class Wide:
            a: int
            b: int = 0
            c: tuple[int, ...] = field(default_factory=tuple)

        start = threading.Barrier(8)
        made: list[Wide] = []
        failed: list[Exception] = []

        def make(
            kind: type[Wide] = Wide,
            start: threading.Barrier = start,
            made: list[Wide] = made,
            failed: list[Exception] = failed,
        ) -> None:
            start.wait()
            try:
                made.append(kind(1))
            except Exception as error:  # noqa: BLE001 - a thread's error is asserted below
                failed.append(error)

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert made == [Wide(1)] * 8
