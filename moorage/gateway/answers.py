"""The gateway's own answers as infra/api.merge.yaml words them, so that they are written once.

It reads the template's GatewayResponses and puts in what a deployment would. It must never send
what only API Gateway could work out: an answer with a variable in it is an error here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from moorage.common.checkout import API_TEMPLATE
from moorage.gateway.response import GatewayResponse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from moorage.gateway.fault import Fault


_URL_PARAMETER: Final = "PublicUrl"
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")


class TemplateError(ValueError):
    """The template says something that this can't read; the text says what, and where."""


@dataclass(frozen=True)
class GatewayAnswers:
    """Answers by the name of the gateway response; what is not here is as AWS has it."""

    custom: Mapping[str, GatewayResponse] = field(default_factory=dict)

    def to(self, fault: Fault) -> GatewayResponse:
        """Word a refusal of the gateway's own."""
        custom = self.custom.get(fault.response or "")
        if custom is None:
            return GatewayResponse.of_fault(fault)
        return GatewayResponse(custom.status, (*fault.error_headers, *custom.headers), custom.body)


def read_answers(public_url: str, template: Path = API_TEMPLATE) -> GatewayAnswers:
    """Read the template for a registry at `public_url`, without a trailing slash.

    Raises TemplateError.
    """
    content = yaml.safe_load(template.read_text(encoding="utf-8"))
    responses = content["Resources"]["RestAPI"]["Properties"]["GatewayResponses"]
    parameters = {_URL_PARAMETER: public_url}
    return GatewayAnswers(
        {name: _answer(name, response, parameters) for name, response in responses.items()}
    )


def _answer(
    name: str, response: Mapping[str, Any], parameters: Mapping[str, str]
) -> GatewayResponse:
    ((content_type, body),) = response["ResponseTemplates"].items()
    if "$" in body:
        raise TemplateError(f"{name}: its body holds a variable")
    given = response["ResponseParameters"]["Headers"]
    headers = [
        (header, _static(f"{name}: {header}", resolved(value, parameters)))
        for header, value in given.items()
    ]
    return GatewayResponse(
        int(response["StatusCode"]), (("Content-Type", content_type), *headers), body.encode()
    )


def _static(what: str, text: str) -> str:
    """Take a header's value out of its single quotes, without which it names a variable."""
    inner = text[1:-1]
    if text != f"'{inner}'" or "'" in inner:
        raise TemplateError(f"{what} is no text in single quotes")
    return inner


def resolved(value: object, parameters: Mapping[str, str]) -> str:
    """Work out Ref, Fn::Sub and a Fn::Select of a Fn::Split, as CloudFormation does.

    Raises TemplateError for any other function, and for a parameter that is not given.
    """
    match value:
        case str():
            return value
        case {"Ref": str(name)} if name in parameters:
            return parameters[name]
        case {"Fn::Sub": str(text)}:
            return _substituted(text, parameters)
        case {"Fn::Sub": [str(text), dict(more)]}:
            named = {name: resolved(inner, parameters) for name, inner in more.items()}
            return _substituted(text, {**parameters, **named})
        case {"Fn::Select": [int(index), {"Fn::Split": [str(separator), source]}]}:
            return resolved(source, parameters).split(separator)[index]
    raise TemplateError(f"{value!r} can't be worked out here")


def _substituted(text: str, values: Mapping[str, str]) -> str:
    unknown = set(_VARIABLE.findall(text)) - set(values)
    if unknown:
        raise TemplateError(f"nobody gives {', '.join(sorted(unknown))}")
    return _VARIABLE.sub(lambda found: values[found[1]], text)
