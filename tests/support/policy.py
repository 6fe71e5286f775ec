"""A small evaluator of IAM identity policies: what ours are written in, and a refusal of the rest.

Small on purpose: moto's own evaluator passes over `Condition`, and no package for Python was found
that decides offline. It must never guess: an element that it does not know makes the whole policy
unusable.
Sources: IAM User Guide, "Policy evaluation logic", "IAM JSON policy elements: Action", "IAM JSON
policy elements: Resource".
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_CHARACTERS = 10_240
"""Of all inline policies of one role, white space not counted (IAM quotas)."""

_VERSION = "2012-10-17"
_ELEMENTS = frozenset({"Sid", "Effect", "Action", "Resource"})
_ACTION = re.compile(r"[a-z0-9-]+:[A-Za-z0-9*?]+")
_ARN_PARTS = 6


class UnsupportedPolicyError(ValueError):
    """A policy with something in it that is not evaluated here; the message says what."""


class Effect(enum.StrEnum):
    """What a statement does."""

    ALLOW = "Allow"
    DENY = "Deny"


class Decision(enum.StrEnum):
    """What a policy says of a request."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not allowed"
    """No statement is about it."""
    DENIED = "denied"
    """A statement refuses it, whatever others say."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One action on one resource, as a statement has them: both may have wildcards."""

    sid: str
    effect: Effect
    action: str
    resource: str

    def covers(self, action: str, resource: str) -> bool:
        """Whether a request is one that this is about."""
        return _matches(self.action.lower(), action.lower()) and self._is_about(resource)

    def _is_about(self, resource: str) -> bool:
        if self.resource == "*":
            return True
        if self.effect is Effect.DENY:
            # Where AWS is not clear on how far an asterisk reaches, the wider reading refuses more.
            return _matches(self.resource, resource)
        # Part by part: an asterisk that lets something does not reach over a colon but the last.
        mine, asked = (arn.split(":", _ARN_PARTS - 1) for arn in (self.resource, resource))
        return len(mine) == len(asked) and all(map(_matches, mine, asked))


@dataclass(frozen=True, slots=True)
class Policy:
    """An identity policy, as its permissions."""

    permissions: tuple[Permission, ...]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read a document whose intrinsic functions are resolved; raises UnsupportedPolicyError."""
        if document.keys() != {"Version", "Statement"} or document["Version"] != _VERSION:
            raise UnsupportedPolicyError(f"a policy is of Version {_VERSION}, with a Statement")
        statements = document["Statement"]
        listed = statements if isinstance(statements, list) else [statements]
        return cls(tuple(each for statement in listed for each in _permissions(statement)))

    def decide(self, action: str, resource: str) -> Decision:
        """Decide on a request; `resource` is a whole ARN."""
        effects = {each.effect for each in self.covering(action, resource)}
        if Effect.DENY in effects:
            return Decision.DENIED
        return Decision.ALLOWED if Effect.ALLOW in effects else Decision.NOT_ALLOWED

    def covering(self, action: str, resource: str) -> list[Permission]:
        """Return the permissions that are about a request."""
        return [each for each in self.permissions if each.covers(action, resource)]


def _permissions(statement: Mapping[str, Any]) -> Iterable[Permission]:
    unknown = statement.keys() - _ELEMENTS
    missing = _ELEMENTS - statement.keys() - {"Sid"}
    if unknown or missing:
        raise UnsupportedPolicyError(
            f"a statement has {', '.join(sorted(_ELEMENTS))} and nothing else: "
            f"{sorted(unknown)} is not evaluated, {sorted(missing)} is missing"
        )
    effect, sid = Effect(statement["Effect"]), statement.get("Sid", "")
    for action in _texts(statement["Action"]):
        if action != "*" and not _ACTION.fullmatch(action):
            raise UnsupportedPolicyError(f"{action!r} is no action")
        for resource in _texts(statement["Resource"]):
            yield Permission(sid, effect, action, _checked(resource))


def _checked(resource: str) -> str:
    if "${" in resource:
        raise UnsupportedPolicyError(f"variables are not evaluated: {resource}")
    if resource != "*" and len(resource.split(":", _ARN_PARTS - 1)) != _ARN_PARTS:
        raise UnsupportedPolicyError(f"{resource!r} is no whole ARN")
    return resource


def _texts(value: object) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    texts = [each for each in listed if isinstance(each, str)]
    if not texts or len(texts) != len(listed):
        raise UnsupportedPolicyError(f"{value!r} is not a text or a list of texts")
    return texts


def _matches(pattern: str, text: str) -> bool:
    """Whether a text fits: `*` is any run of characters, `?` any one, all else is itself."""
    wild = {"*": ".*", "?": "."}
    expression = "".join(wild.get(character) or re.escape(character) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None
