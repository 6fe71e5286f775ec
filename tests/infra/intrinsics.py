"""What CloudFormation makes of a template: its functions, its conditions, and the SAM transform.

The transform is by the library that AWS publishes. No function may be left unresolved: an unknown
function or name is an error.
Sources: AWS CloudFormation User Guide, "Intrinsic function reference" and "Condition functions".
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

from moorage.common import intrinsics
from moorage.common.intrinsics import TemplateError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_VALUE = {"Ref": "AWS::NoValue"}


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack's names. `values`: parameters, pseudo parameters, and attributes as `Name.Attribute`.

    Names in the stack are resolved by the product's own code; the imports are resolved here.
    """

    values: Mapping[str, str]
    exports: Mapping[str, str] = field(default_factory=dict)

    def resolved(self, value: object) -> object:
        """Return a document with every function in it resolved; raises TemplateError."""
        if isinstance(value, list):
            return [self.resolved(each) for each in value]
        if not isinstance(value, dict):
            return value
        if not any(name == "Ref" or name.startswith("Fn::") for name in value):
            return {name: self.resolved(each) for name, each in value.items()}
        if len(value) != 1:
            raise TemplateError(f"a function stands alone: {value}")
        called, names = value, self.values
        match value:
            case {"Fn::ImportValue": name}:
                called, names = {"Ref": self.text(name)}, self.exports
            case {"Fn::GetAtt": [str(resource), str(attribute)]}:
                called = {"Ref": f"{resource}.{attribute}"}
            case {"Fn::Sub": [str(text), dict(more)]}:
                called = {"Fn::Sub": [text, {key: self.text(each) for key, each in more.items()}]}
        return intrinsics.resolved(called, names)

    def text(self, value: object) -> str:
        """Return a value resolved to a string; raises TemplateError."""
        found = self.resolved(value)
        if not isinstance(found, str):
            raise TemplateError(f"{value} resolves to {found}, which is no string")
        return found


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
            parts = [self.chosen(each) for each in value]
            return [each for each in parts if each != _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Fn::If"}:
            name, yes, no = value["Fn::If"]
            return self.chosen(yes if self.named(name) else no)
        found = {name: self.chosen(each) for name, each in value.items()}
        return {name: each for name, each in found.items() if each != _NO_VALUE}

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


_REGION = {"AWS_DEFAULT_REGION": "us-east-1"}


class _NoManagedPolicies:
    """Our roles name no managed policy."""

    def load(self) -> dict[str, str]:
        """Return none."""
        return {}


def transformed(template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return a template of CloudFormation's own resources; raises what the library raises."""
    result: dict[str, Any] = json.loads(_transformed(json.dumps(template), json.dumps(parameters)))
    return result


@functools.lru_cache(maxsize=64)
def _transformed(template: str, parameters: str) -> str:
    """Return it as JSON: most deployments of the tests are of one template, and this takes long."""
    # The watch over all tests imports this module, and few of them need what is slow to load.
    from samtranslator.translator.transform import transform  # noqa: PLC0415 - as said

    with mock.patch.dict(os.environ, _REGION):
        return json.dumps(
            transform(json.loads(template), json.loads(parameters), _NoManagedPolicies())
        )
