"""DynamoDB writes as values: a clause, and a Put, Update, Delete or ConditionCheck under one.

This module must never do I/O, and draws no key. In an expression `#name` is the attribute of that
name, whether or not DynamoDB reserves the word; `:name` is one of the values given with it.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from chalicelib.stores.dynamodb.codec import Item
from chalicelib.stores.dynamodb.keys import Key

_NAME = re.compile(r"#([a-z_]+)")
_NOTHING: Item = MappingProxyType({})
_NO_NUMBERS: Mapping[str, int] = MappingProxyType({})


class Clause(NamedTuple):
    """A condition: its text, and the values that the text names."""

    text: str
    values: Item = _NOTHING

    def __and__(self, other: "Clause") -> "Clause":
        return Clause(f"({self.text}) AND ({other.text})", _joined(self.values, other.values))

    def __or__(self, other: "Clause") -> "Clause":
        return Clause(f"({self.text}) OR ({other.text})", _joined(self.values, other.values))


class Put(NamedTuple):
    """Put an item whole."""

    table: str
    key: Key
    attributes: Item
    only_if: Clause | None = None

    def request(self) -> dict[str, Any]:
        """Return the operation's parameters."""
        item = {**self.attributes, **key_attributes(self.key)}
        return {"TableName": self.table, "Item": item, **_condition(self.only_if)}


class Update(NamedTuple):
    """Set, raise by a number and remove single attributes of an item.

    DynamoDB makes an item where there is none: the clause has to fail for an absent one. A silent
    one asks for nothing back: neither the item as it then is, nor what its clause fails on.
    """

    table: str
    key: Key
    only_if: Clause
    set: Item = _NOTHING
    add: Mapping[str, int] = _NO_NUMBERS
    remove: tuple[str, ...] = ()
    silent: bool = False

    def request(self) -> dict[str, Any]:
        """Return the operation's parameters."""
        sets = [f"#{name} = :set_{name}" for name in self.set]
        sets += [f"#{name} = #{name} + :add_{name}" for name in self.add]
        text = f"SET {', '.join(sets)}" if sets else ""
        if self.remove:
            text += f" REMOVE {', '.join(f'#{name}' for name in self.remove)}"
        values = {f":set_{name}": value for name, value in self.set.items()}
        values |= {f":add_{name}": {"N": str(number)} for name, number in self.add.items()}
        return {
            "TableName": self.table,
            "Key": key_attributes(self.key),
            "UpdateExpression": text.strip(),
            **_condition(self.only_if, text, values, silent=self.silent),
        }


class Delete(NamedTuple):
    """Delete an item; an absent one is no error, unless the clause says so."""

    table: str
    key: Key
    only_if: Clause | None = None

    def request(self) -> dict[str, Any]:
        """Return the operation's parameters."""
        key = key_attributes(self.key)
        return {"TableName": self.table, "Key": key, **_condition(self.only_if)}


class ConditionCheck(NamedTuple):
    """Let a transaction pass only under a clause on an item that it does not write."""

    table: str
    key: Key
    only_if: Clause

    def request(self) -> dict[str, Any]:
        """Return the operation's parameters."""
        key = key_attributes(self.key)
        return {"TableName": self.table, "Key": key, **_condition(self.only_if)}


Change = Put | Update | Delete
"""What a single request can do; a transaction can hold a ConditionCheck as well."""


def key_attributes(key: Key) -> dict[str, dict[str, Any]]:
    """Return a key as the wire protocol has it."""
    return {name: {"S": text} for name, text in key.items()}


def names_in(text: str) -> dict[str, str]:
    """Return the attribute names that an expression uses, as DynamoDB wants them listed."""
    return {f"#{name}": name for name in _NAME.findall(text)}


def _joined(values: Item, others: Item) -> Item:
    """Return both; ValueError, a fault in the program, if one name stands for two values."""
    twice = sorted(name for name in values.keys() & others.keys() if values[name] != others[name])
    if twice:
        raise ValueError(f"an expression names two values {', '.join(twice)}")
    return {**values, **others}


def _condition(
    clause: Clause | None,
    text: str = "",
    values: Mapping[str, Any] | None = None,
    *,
    silent: bool = False,
) -> dict[str, Any]:
    """Return the parameters that go with a clause, and list the names and values of `text` too."""
    request: dict[str, Any] = {}
    values = values or {}
    if clause is not None:
        request["ConditionExpression"] = clause.text
        if not silent:
            # What is there when the clause fails says which world this is: no second request.
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        text = f"{text} {clause.text}"
        values = _joined(values, {f":{name}": value for name, value in clause.values.items()})
    if names := names_in(text):
        request["ExpressionAttributeNames"] = names
    if values:
        request["ExpressionAttributeValues"] = values
    return request
