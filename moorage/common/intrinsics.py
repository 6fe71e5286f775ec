"""Evaluates CloudFormation's intrinsic functions, as far as Moorage's templates use them.

It must never guess: an unknown function or value is an error. Source: AWS CloudFormation User
Guide, "Intrinsic function reference".
"""

import re
from collections.abc import Mapping
from typing import Final

_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")


class TemplateError(ValueError):
    """A template says something that can't be worked out; the text says what."""


def resolved(value: object, names: Mapping[str, str]) -> str:
    """Work out Ref, Fn::Sub and a Fn::Select of a Fn::Split; `names` are parameters' values.

    Raises TemplateError for any other function, and for a name that is not given.
    """
    match value:
        case str():
            return value
        case {"Ref": str(name)} if name in names:
            return names[name]
        case {"Fn::Sub": str(text)}:
            return _substituted(text, names)
        case {"Fn::Sub": [str(text), dict(more)]}:
            given = {name: resolved(inner, names) for name, inner in more.items()}
            return _substituted(text, {**names, **given})
        case {"Fn::Select": [int(index), {"Fn::Split": [str(separator), source]}]}:
            return resolved(source, names).split(separator)[index]
    raise TemplateError(f"{value!r} can't be worked out")


def _substituted(text: str, names: Mapping[str, str]) -> str:
    unknown = set(_VARIABLE.findall(text)) - set(names)
    if unknown:
        raise TemplateError(f"no value is known for {', '.join(sorted(unknown))}")
    return _VARIABLE.sub(lambda found: names[found[1]], text)
