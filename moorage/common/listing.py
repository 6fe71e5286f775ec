"""A list that a command prints. No logic may live here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listing:
    """Things of one kind: `rows` below a `head` for people, `values` for JSON.

    Times are ISO 8601 in `values`, and None where there is none.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    values: Sequence[object] | Mapping[str, object]
