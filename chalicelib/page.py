"""One page of a list, as every store returns it."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from chalicelib.dataclass import dataclass

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, and whether there are items after its last one."""

    items: Sequence[T]
    more: bool
