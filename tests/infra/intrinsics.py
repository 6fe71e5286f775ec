"""CloudFormation's intrinsic functions, as far as the policies use them, against a table of names.

It must never leave one unresolved: a function or a name that is not known is an error.
Source: AWS CloudFormation User Guide, "Intrinsic function reference".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Name = TypeVar("Name")

_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class UnresolvedError(ValueError):
    """A function that is not known here, or one that names something unknown."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What a stack knows by name. `values`: parameters and pseudo parameters, as `Ref` has them."""

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
        """Return what a value comes to, which has to be a text; raises UnresolvedError."""
        found = self.resolved(value)
        if not isinstance(found, str):
            raise UnresolvedError(f"{value} comes to {found}, which is no text")
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
