"""An authorizer's output, as API Gateway reads it: a policy, a principal, and a context.

This module must never allow what the policy does not: what can't be read is an error, and so is
what API Gateway understands and this module doesn't.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_ACTION: Final = "execute-api:invoke"
_KNOWN_FIELDS: Final = frozenset({"principalId", "policyDocument", "context", "usageIdentifierKey"})
# Condition, NotAction and NotResource are not evaluated here, so they are errors.
_KNOWN_OF_STATEMENTS: Final = frozenset({"Sid", "Effect", "Action", "Resource"})


class PolicyError(ValueError):
    """API Gateway can't use an authorizer's output; the text says why, and quotes no value."""


@dataclass(frozen=True)
class _Statement:
    """One statement about invoking methods: it allows or denies ARNs that match a pattern."""

    allows: bool
    resources: tuple[re.Pattern[str], ...]

    def covers(self, arn: str) -> bool:
        return any(pattern.fullmatch(arn) for pattern in self.resources)


@dataclass(frozen=True)
class AuthorizerResult:
    """An authorizer's output for one token: good for every request while it is cached."""

    principal: str
    context: Mapping[str, str]
    statements: tuple[_Statement, ...]

    def allows(self, arn: str) -> bool:
        """Whether a method may be called: a statement allows it, and none denies it."""
        covering = [statement for statement in self.statements if statement.covers(arn)]
        return bool(covering) and all(statement.allows for statement in covering)


def read_result(returned: object) -> AuthorizerResult:
    """Read an authorizer's output; raises PolicyError.

    See "Output from an API Gateway Lambda authorizer" in AWS's documentation. Numbers and
    booleans of the context become strings, as a function behind the gateway gets them.
    """
    result = _mapping(returned, "the result")
    _refuse_unknown(result, _KNOWN_FIELDS, "the result")
    principal = result.get("principalId")
    if not isinstance(principal, str) or not principal:
        raise PolicyError("principalId is not a string")
    context = result.get("context")
    return AuthorizerResult(
        principal=principal,
        context={} if context is None else _context(_mapping(context, "context")),
        statements=_statements(_mapping(result.get("policyDocument"), "policyDocument")),
    )


def _context(context: Mapping[Any, Any]) -> dict[str, str]:
    for name, value in context.items():
        if not isinstance(name, str):
            raise PolicyError("a name in the context is not a string")
        # Null too: AWS lists strings, numbers and booleans, and nothing else.
        if not isinstance(value, str | int | float):
            raise PolicyError(f"context[{name!r}] is {type(value).__name__}: it must be flat")
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in context.items()
    }


def _statements(policy: Mapping[Any, Any]) -> tuple[_Statement, ...]:
    listed = policy.get("Statement")
    found = listed if isinstance(listed, list) else [listed]
    statements = [_mapping(each, "a statement") for each in found]
    for statement in statements:
        _refuse_unknown(statement, _KNOWN_OF_STATEMENTS, "a statement")
        if statement.get("Effect") not in {"Allow", "Deny"}:
            raise PolicyError("a statement's Effect is neither Allow nor Deny")
    return tuple(
        _Statement(statement["Effect"] == "Allow", _patterns(statement, "Resource"))
        for statement in statements
        if any(action.fullmatch(_ACTION) for action in _patterns(statement, "Action"))
    )


def _patterns(statement: Mapping[Any, Any], name: str) -> tuple[re.Pattern[str], ...]:
    """Read one pattern or several: `*` is any text, with slashes, and `?` any one character.

    An empty list matches nothing: Chalice writes it for a caller who may do nothing. IAM compares
    actions without regard to case, and resources exactly.
    """
    value = statement.get(name)
    listed = value if isinstance(value, list) else [value]
    texts = [text for text in listed if isinstance(text, str)]
    if len(texts) != len(listed):
        raise PolicyError(f"a statement's {name} is neither a string nor a list of strings")
    flags = re.DOTALL | (re.IGNORECASE if name == "Action" else 0)
    return tuple(re.compile(_expression(text), flags) for text in texts)


def _expression(text: str) -> str:
    return re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")


def _mapping(value: object, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise PolicyError(f"{what} is {type(value).__name__}, not an object")
    return value


def _refuse_unknown(mapping: Mapping[Any, Any], known: frozenset[str], what: str) -> None:
    unknown = sorted(str(name) for name in mapping if name not in known)
    if unknown:
        raise PolicyError(f"{what} has {', '.join(unknown)}")
