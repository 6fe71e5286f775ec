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
underscores, numbers of digits. `&&` binds more than `||`, as Python's `and` and `or` do: once each
comparison is decided, Python reads the rest.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from typing import Any, Final

_PHRASE: Final = re.compile(r'"([^"\\]+)"')
_TERM: Final = re.compile(r'\$\.(\w+)\s*(?:=\s*"(\w+)"|(>=|>|=)\s*(\d+)(?![\w.+*-]))', re.ASCII)
_JOINING: Final = re.compile(r"\{(?:[\s()]|&&|\|\|)*\}")
_NODES: Final = (ast.Expression, ast.BoolOp, ast.boolop, ast.Constant)
_OPERATORS: Final = {"=": operator.eq, ">": operator.gt, ">=": operator.ge}


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
    try:
        fields = json.loads(event)
    except ValueError:
        fields = {}
    found = fields if isinstance(fields, dict) else {}
    if not _JOINING.fullmatch(_TERM.sub("", pattern)):
        raise PatternError(f"{pattern!r} is not supported")
    text = _TERM.sub(lambda term: f" {_holds(term, found)} ", pattern)[1:-1]
    try:
        tree = ast.parse(text.replace("&&", " and ").replace("||", " or ").strip(), mode="eval")
    except SyntaxError as error:
        raise PatternError(f"{pattern!r} does not join comparisons") from error
    if not all(isinstance(node, _NODES) for node in ast.walk(tree)):
        raise PatternError(f"{pattern!r} does not join comparisons")
    return bool(eval(compile(tree, "a pattern", "eval")))  # noqa: S307 - True, False, and, or


def _holds(term: re.Match[str], fields: dict[str, Any]) -> bool:
    name, text, sign, number = term.groups()
    value = fields.get(name)
    if text is not None:
        return bool(value == text)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return bool(_OPERATORS[sign](value, int(number)))
