"""Values to DynamoDB items and back, by a table of fields for each kind of item.

This module must never do I/O and never guess: an item that lacks a field, or holds one of another
kind, is corrupt and raises, for it must never be taken for an absent one. None is an absent
attribute, never NULL.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest

T = TypeVar("T")

Item = Mapping[str, Mapping[str, Any]]
"""An item as DynamoDB's wire protocol has it: attribute name -> {kind: value}."""


class CorruptItemError(Exception):
    """An item that no version of this code has written: a person has to look at it."""


class AttributeKind(NamedTuple, Generic[T]):
    """How values of one Python type stand in an attribute of one DynamoDB type."""

    tag: str
    write: Callable[[T], Any]
    read: Callable[[Any], T]

    def encode(self, value: T) -> dict[str, Any]:
        """Return the attribute's value as the wire protocol has it."""
        return {self.tag: self.write(value)}

    def decode(self, attribute: Mapping[str, Any]) -> T:
        """Read an attribute's value; raises KeyError or ValueError for another kind."""
        return self.read(attribute[self.tag])


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        # Some backends give a number back as "3.0".
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


TEXT: AttributeKind[str] = AttributeKind("S", str, str)
WHOLE: AttributeKind[int] = AttributeKind("N", str, _whole)
# repr is the shortest text that reads back as the very same float: microseconds survive.
TIME: AttributeKind[float] = AttributeKind("N", repr, float)
# DynamoDB documents its TTL attribute as whole seconds.
SECONDS: AttributeKind[float] = AttributeKind("N", lambda at: str(math.ceil(at)), float)
FLAG: AttributeKind[bool] = AttributeKind("BOOL", bool, bool)
BINARY: AttributeKind[bytes] = AttributeKind("B", bytes, bytes)
DIGEST: AttributeKind[Digest] = AttributeKind("S", str, Digest.parse)


def choice(kind: type[T]) -> AttributeKind[T]:
    """Attributes that hold a member of a string enum."""
    return AttributeKind("S", str, kind)


def list_of(kind: AttributeKind[T]) -> AttributeKind[tuple[T, ...]]:
    """Attributes that hold a list of values of one kind."""
    return AttributeKind(
        "L",
        lambda values: [kind.encode(value) for value in values],
        lambda attributes: tuple(kind.decode(attribute) for attribute in attributes),
    )


def _spans(numbers: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return " ".join("-".join(map(str, span)) for span in spans)


def _numbers(text: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for span in text.split():
        first, _, last = span.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


class _Numbers(AttributeKind[tuple[int, ...]]):
    __slots__ = ()

    def decode(self, attribute: Mapping[str, Any]) -> tuple[int, ...]:
        """Read it; version 0.1 wrote lists, and an upload lives for a week."""
        return list_of(WHOLE).decode(attribute) if "L" in attribute else super().decode(attribute)


NUMBERS: AttributeKind[tuple[int, ...]] = _Numbers("S", _spans, _numbers)
"""Rising numbers as "2 5-70": so long a spell of neighbours is as short as two of them."""

# One text: a map's names may not be empty in DynamoDB, and escaped, any text a client sent fits.
TEXTS_BY_NAME: AttributeKind[Mapping[str, str]] = AttributeKind(
    "S", lambda texts: json.dumps(dict(texts)), json.loads
)


def _lines(texts: Mapping[Digest, str]) -> str:
    return "\n".join(f"{digest} {text}" for digest, text in texts.items())


def _by_digest(lines: str) -> dict[Digest, str]:
    cut = (line.partition(" ") for line in lines.split("\n") if lines)
    return {Digest.parse(digest): text for digest, _, text in cut}


TEXTS_BY_DIGEST: AttributeKind[Mapping[Digest, str]] = AttributeKind("S", _lines, _by_digest)
"""Texts of one line each, by digests: a line for each."""


@dataclass(frozen=True)
class Field:
    """One field of a dataclass, under the same name or another in the item."""

    name: str
    kind: AttributeKind[Any]
    optional: bool = False
    stored_as: str = ""
    """The attribute's name: the field's own unless another is given."""

    def __post_init__(self) -> None:
        """Name the attribute once: every item that is read or written needs it."""
        object.__setattr__(self, "stored_as", self.stored_as or self.name)


class Schema(NamedTuple, Generic[T]):
    """All fields of a dataclass: what an item of this kind holds."""

    kind: type[T]
    fields: Sequence[Field]

    def encode(self, value: T) -> dict[str, dict[str, Any]]:
        """Return the attributes of a value; a field that is None has none."""
        return {
            field.stored_as: field.kind.encode(member)
            for field in self.fields
            if (member := getattr(value, field.name)) is not None
        }

    def decode(self, item: Item) -> T:
        """Read a value; raises CorruptItemError if a field is missing or unreadable."""
        values: dict[str, object] = {}
        for field in self.fields:
            attribute: Any = item.get(field.stored_as)
            if attribute is None and field.optional:
                values[field.name] = None
                continue
            try:
                values[field.name] = field.kind.decode(attribute)
            except (KeyError, TypeError, ValueError) as error:
                raise CorruptItemError(
                    f"{self.kind.__name__} item {_name(item)} has no readable"
                    f" {field.stored_as!r}: {attribute!r}"[:500]
                ) from error
        return self.kind(**values)

    def decode_found(self, item: Item | None) -> T | None:
        """Read a value; None if there is no item."""
        return None if item is None else self.decode(item)


def nested(schema: Schema[T]) -> AttributeKind[T]:
    """Attributes that hold a whole value as a map."""
    return AttributeKind("M", schema.encode, schema.decode)


def _name(item: Item) -> str:
    keys = (item[name].get("S", "") for name in ("pk", "sk", "session") if name in item)
    return " ".join(keys) or "(without a key)"
