"""CloudFormation's functions: of names, as far as the policies use them, and of conditions.

It must never leave one unresolved: an unknown function or name is an error.
Sources: AWS CloudFormation User Guide, "Intrinsic function reference" and "Condition functions".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Name = TypeVar("Name")

_NO_VALUE = {"Ref": "AWS::NoValue"}
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class UnresolvedError(ValueError):
    """An unknown function, or one that refers to an unknown name."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack's names. `values`: parameters and pseudo parameters, by which `Ref` resolves."""

    values: Mapping[str, str]
    exports: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def resolved(self, value: object) -> object:
        """Return a document with every function in it resolved; raises UnresolvedError."""
        if isinstance(value, list):
            return [self.resolved(each) for each in value]
        if not isinstance(value, dict):
            return value
        functions = [name for name in value if name == "Ref" or name.startswith("Fn::")]
        if not functions:
            return {name: self.resolved(each) for name, each in value.items()}
        if len(value) != 1:
            raise UnresolvedError(f"a function stands alone: {value}")
        return self._called(functions[0], value[functions[0]])

    def text(self, value: object) -> str:
        """Return a value resolved to a string; raises UnresolvedError."""
        found = self.resolved(value)
        if not isinstance(found, str):
            raise UnresolvedError(f"{value} resolves to {found}, which is no string")
        return found

    def _called(self, name: str, argument: object) -> str:
        match name, argument:
            case "Ref", str(value):
                return _known(self.values, value)
            case "Fn::ImportValue", _:
                return _known(self.exports, self.text(argument))
            case "Fn::GetAtt", [str(resource), str(attribute)]:
                return _known(self.attributes, (resource, attribute))
            case "Fn::Sub", str(text):
                return self._substituted(text, {})
            case "Fn::Sub", [str(text), dict(names)]:
                return self._substituted(
                    text, {key: self.text(each) for key, each in names.items()}
                )
        raise UnresolvedError(f"{name} of {argument} is not known here")

    def _substituted(self, text: str, names: Mapping[str, str]) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name in names:
                return names[name]
            resource, dot, attribute = name.partition(".")
            if dot:
                return _known(self.attributes, (resource, attribute))
            return _known(self.values, name)

        return _VARIABLE.sub(value, text)


def _known(table: Mapping[Name, str], name: Name) -> str:
    try:
        return table[name]
    except KeyError:
        raise UnresolvedError(f"{name} is not known here") from None


def decided(template: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the resources whose conditions hold, with each Fn::If decided.

    `given` are parameters; others have their defaults.
    """
    parameters = {name: each.get("Default") for name, each in template["Parameters"].items()}
    holds = _Conditions(template["Conditions"], {**parameters, **given})
    made = {
        name: resource
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or holds.named(resource["Condition"])
    }
    found: dict[str, Any] = holds.chosen(made)
    return found


class _Conditions:
    def __init__(self, conditions: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        self._conditions, self._parameters = conditions, parameters

    def named(self, name: str) -> bool:
        return self._holds(self._conditions[name])

    def chosen(self, value: Any) -> Any:  # noqa: ANN401 - any part of a template
        if isinstance(value, list):
            return [self.chosen(each) for each in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Fn::If"}:
            name, yes, no = value["Fn::If"]
            return self.chosen(yes if self.named(name) else no)
        parts = {name: self.chosen(each) for name, each in value.items()}
        return {name: each for name, each in parts.items() if each != _NO_VALUE}

    def _holds(self, condition: Mapping[str, Any]) -> bool:
        ((function, argument),) = condition.items()
        match function:
            case "Condition":
                return self.named(argument)
            case "Fn::And":
                return all(map(self._holds, argument))
            case "Fn::Not":
                return not self._holds(argument[0])
            case "Fn::Equals":
                one, other = map(self._value, argument)
                return bool(one == other)
        raise ValueError(f"{function} is not known here")

    def _value(self, value: Any) -> Any:  # noqa: ANN401 - a text, or what names one
        return self._parameters[value["Ref"]] if isinstance(value, dict) else value
