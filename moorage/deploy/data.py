"""The data stack's template as it is deployed: with plain names of the bucket and the tables.

infra/data.yaml computes the names. CloudFormation imports what a deleted stack left behind into a
new stack only by a name in plain text (User Guide, "Import AWS resources into a CloudFormation
stack automatically"). This module must never choose another name than that file does: it would be
another, empty bucket or table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.common.intrinsics import TemplateError, resolved
from moorage.deploy import DeployError
from moorage.deploy.account import Account

BUCKET: Final = "AWS::S3::Bucket"
TABLE: Final = "AWS::DynamoDB::Table"

# By type of resource, the property that holds its name.
_NAMES: Final = {BUCKET: "BucketName", TABLE: "TableName"}
_PATTERN: Final = frozenset({"AllowedPattern", "ConstraintDescription"})


@dataclass(frozen=True, slots=True)
class DataResource:
    """A bucket or a table. `logical`: its name in the template."""

    logical: str
    kind: str
    name: str


def resources(
    template: Mapping[str, Any], stack: str, account: Account, parameters: Mapping[str, str]
) -> tuple[DataResource, ...]:
    """Return a template's buckets and tables, with the names that CloudFormation would give them.

    `parameters` are the stack's. Raises DeployError for a name that can't be computed.
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
            found.append(DataResource(logical, kind, _text(logical, value, known)))
    return tuple(found)


def with_plain_names(
    template: Mapping[str, Any], named: tuple[DataResource, ...]
) -> dict[str, Any]:
    """Return the template with these names in plain text, and otherwise unchanged.

    But for the patterns of names: a stack that stands has its names, also one that is no longer
    allowed to a new stack.
    """
    found = dict(template["Resources"])
    for each in named:
        resource = found[each.logical]
        properties = {**resource["Properties"], _NAMES[each.kind]: each.name}
        found[each.logical] = {**resource, "Properties": properties}
    parameters = {
        name: {key: value for key, value in each.items() if key not in _PATTERN}
        for name, each in template["Parameters"].items()
    }
    return {**template, "Parameters": parameters, "Resources": found}


def _text(logical: str, value: object, names: Mapping[str, str]) -> str:
    """Compute a name. Every condition of the template means "the first name is given"."""
    match value:
        case {"Fn::If": [_, given, otherwise]}:
            return _text(logical, given, names) or _text(logical, otherwise, names)
    try:
        return resolved(value, names)
    except TemplateError as error:
        raise DeployError(
            f"infra/data.yaml names {logical} in a way that is not supported: {error}"
        ) from None
