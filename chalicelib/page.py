"""One page of a list, as every store returns it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and whether there are items after its last one."""

    items: Sequence[T]
    more: bool
