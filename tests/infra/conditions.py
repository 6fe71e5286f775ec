"""CloudFormation's conditions: what there is of a template once its parameters are known.

Source: AWS CloudFormation User Guide, "Condition functions". It must never leave one undecided: a
function that is not known here is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_VALUE = {"Ref": "AWS::NoValue"}


def decided(template: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the resources that are made, with each Fn::If taken one way or the other.

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
