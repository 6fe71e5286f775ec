"""The data stack's template as it is sent: bucket and tables have their names in plain text.

infra/data.yaml works the names out. CloudFormation takes what a deleted stack left behind into a
new stack only by a name in plain text (User Guide, "Import AWS resources into a CloudFormation
stack automatically"). This module must never name anything otherwise than that file does: another
name is another, empty bucket or table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from moorage.common.checkout import DATA_TEMPLATE
from moorage.common.intrinsics import TemplateError, resolved
from moorage.deploy import DeployError
from moorage.deploy.account import Account

BUCKET: Final = "AWS::S3::Bucket"
TABLE: Final = "AWS::DynamoDB::Table"

# The property that holds a name, by type of resource.
_NAMES: Final = {BUCKET: "BucketName", TABLE: "TableName"}


@dataclass(frozen=True, slots=True)
class Kept:
    """A bucket or a table that outlives the stack. `logical`: what the template calls it."""

    logical: str
    kind: str
    name: str


def read() -> dict[str, Any]:
    """Return infra/data.yaml; raises OSError."""
    template: dict[str, Any] = yaml.safe_load(DATA_TEMPLATE.read_text(encoding="utf-8"))
    return template


def kept(
    template: Mapping[str, Any], stack: str, account: Account, parameters: Mapping[str, str]
) -> tuple[Kept, ...]:
    """Return the buckets and tables of a template, named as CloudFormation would name them.

    `parameters` are those that are passed. Raises DeployError for a name that can't be worked out.
    """
    known = {
        "AWS::StackName": stack,
        "AWS::AccountId": account.id,
        "AWS::Region": account.region,
        **{name: each.get("Default", "") for name, each in template["Parameters"].items()},
        **parameters,
    }
    found = []
    for logical, resource in template["Resources"].items():
        kind = resource["Type"]
        if kind in _NAMES:
            value = resource["Properties"][_NAMES[kind]]
            found.append(Kept(logical, kind, _text(logical, value, known)))
    return tuple(found)


def named(template: Mapping[str, Any], things: tuple[Kept, ...]) -> dict[str, Any]:
    """Return a template that says these names in plain text, and is otherwise the same."""
    resources = dict(template["Resources"])
    for each in things:
        resource = resources[each.logical]
        properties = {**resource["Properties"], _NAMES[each.kind]: each.name}
        resources[each.logical] = {**resource, "Properties": properties}
    return {**template, "Resources": resources}


def _text(logical: str, value: object, names: Mapping[str, str]) -> str:
    """Work out a name. All our conditions are "the first name is given"."""
    match value:
        case {"Fn::If": [_, given, otherwise]}:
            return _text(logical, given, names) or _text(logical, otherwise, names)
    try:
        return resolved(value, names)
    except TemplateError as error:
        raise DeployError(
            f"infra/data.yaml names {logical} in a way that is not known here: {error}"
        ) from None
