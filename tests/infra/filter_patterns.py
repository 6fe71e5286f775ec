"""CloudWatch Logs' filter patterns, as far as the templates use them, against a log event.

Two forms: a phrase in double quotes, and comparisons of a JSON object's own fields. It must never
guess: a pattern outside of this grammar is an error, even if CloudWatch accepts it.
Source: Amazon CloudWatch Logs User Guide, "Filter pattern syntax for metric filters, subscription
filters, filter log events, and Live Tail".

    pattern    = <"> phrase <"> | "{" either "}"
    either     = both *( "||" both )
    both       = term *( "&&" term )
    term       = "(" either ")" | selector "=" <"> string <"> | selector operator number
    selector   = "$." name
    operator   = "=" | ">" | ">="

A phrase is of anything but quotes and backslashes, names and strings are of letters, digits and
underscores, numbers of digits.
"""

from __future__ import annotations

import json
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Test: TypeAlias = "Callable[[Mapping[str, Any]], bool]"
"""Whether a part of a pattern matches a JSON object."""

_PHRASE: Final = re.compile(r'"([^"\\]+)"')
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<sign>[{}()]|&&|\|\|)
      | \$\.(?P<selector>[A-Za-z0-9_]+)
      | (?P<operator>>=|>|=)
      | "(?P<string>[A-Za-z0-9_]+)"
      | (?P<number>[0-9]+)(?![\w.+*-])
    )\s*""",
    re.VERBOSE,
)
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
}


class PatternError(ValueError):
    """A pattern outside of the grammar above."""


def matches(pattern: str, event: str) -> bool:
    """Return whether a pattern matches a log event; raises PatternError.

    A phrase may stand anywhere in it. A comparison is true only of an event that is a JSON object,
    and has the field, as a string or a number just as the pattern has it.
    """
    phrase = _PHRASE.fullmatch(pattern)
    if phrase:
        return phrase[1] in event
    means = _Reader(_tokens(pattern)).pattern()
    try:
        fields = json.loads(event)
    except ValueError:
        return False
    return isinstance(fields, dict) and means(fields)


def _tokens(pattern: str) -> list[tuple[str, str]]:
    found, position = [], 0
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None:
            raise PatternError(f"{pattern[position:]!r} is not supported, in {pattern!r}")
        kind = str(token.lastgroup)
        found.append((kind, token[kind]))
        position = token.end()
    return found


@dataclass
class _Reader:
    """Reads tokens from the left: `||` binds less than `&&`, and that less than parentheses."""

    tokens: list[tuple[str, str]]
    position: int = 0

    def pattern(self) -> Test:
        self._sign("{")
        means = self._either()
        self._sign("}")
        if self.position != len(self.tokens):
            raise PatternError(f"{self.tokens[self.position :]} follow the end")
        return means

    def _either(self) -> Test:
        tests = self._parted(self._both, "||")
        return lambda fields: any(test(fields) for test in tests)

    def _both(self) -> Test:
        tests = self._parted(self._term, "&&")
        return lambda fields: all(test(fields) for test in tests)

    def _parted(self, part: Callable[[], Test], sign: str) -> list[Test]:
        tests = [part()]
        while self._is_next(sign):
            self.position += 1
            tests.append(part())
        return tests

    def _term(self) -> Test:
        if self._is_next("("):
            self.position += 1
            means = self._either()
            self._sign(")")
            return means
        name, sign = self._take("selector"), self._take("operator")
        if sign == "=" and self._kind() == "string":
            text = self._take("string")
            return lambda fields: fields.get(name) == text
        number, compare = int(self._take("number")), _OPERATORS[sign]
        return lambda fields: _is_number(fields.get(name)) and compare(fields[name], number)

    def _kind(self) -> str | None:
        return self.tokens[self.position][0] if self.position < len(self.tokens) else None

    def _is_next(self, sign: str) -> bool:
        return self.tokens[self.position : self.position + 1] == [("sign", sign)]

    def _sign(self, sign: str) -> None:
        if not self._is_next(sign):
            raise PatternError(f"{sign} has to stand before {self.tokens[self.position :]}")
        self.position += 1

    def _take(self, kind: str) -> str:
        if self._kind() != kind:
            raise PatternError(f"a {kind} has to stand before {self.tokens[self.position :]}")
        self.position += 1
        return self.tokens[self.position - 1][1]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
