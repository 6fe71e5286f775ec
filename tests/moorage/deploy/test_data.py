"""The data stack's names in plain text, by which CloudFormation imports what was left behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from moorage.common.project import DATA_TEMPLATE, load_template
from moorage.deploy import DeployError
from moorage.deploy import data as deploy_data
from moorage.deploy.account import Account
from tests.infra.intrinsics import decided
from tests.moorage.deploy.cloud import BUCKET, DATA, create_data_stack
from tests.moorage.deploy.cloudformation import ACCOUNT, NAME_PROPERTIES, REGION
from tests.support.moorage_command import TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.moorage.deploy.cloud import Cloud

TEMPLATE = load_template(DATA_TEMPLATE)
USUAL = {
    "Bucket": BUCKET,
    "RegistryTable": f"{DATA}-registry",
    "UploadsTable": f"{DATA}-uploads",
    "AccessTable": f"{DATA}-access",
}
GIVEN = {"BucketName": "images.example.com", "AccessTableName": "who_may"}
CHOSEN = USUAL | {"Bucket": "images.example.com", "AccessTable": "who_may"}
OBJECT = {"Bucket": BUCKET, "Key": "blobs/sha256/00/a"}


def names(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of a template's buckets and tables, as it has them."""
    return {
        name: each["Properties"][NAME_PROPERTIES[each["Type"]]]
        for name, each in template["Resources"].items()
        if each["Type"] in NAME_PROPERTIES
    }


def sent(cloud: Cloud) -> dict[str, Any]:
    """Return the template that the data stack was last given."""
    body = cloud.client("cloudformation").get_template(StackName=DATA)["TemplateBody"]
    found: dict[str, Any] = json.loads(body) if isinstance(body, str) else body
    return found


def physical(cloud: Cloud) -> dict[str, str]:
    """Return the physical names of the data stack's buckets and tables."""
    listed = cloud.client("cloudformation").describe_stack_resources(StackName=DATA)
    return {
        each["LogicalResourceId"]: each["PhysicalResourceId"]
        for each in listed["StackResources"]
        # moto knows no type of what it doesn't make.
        if each.get("ResourceType") in NAME_PROPERTIES
    }


@pytest.mark.parametrize(("given", "expected"), [({}, USUAL), (GIVEN, CHOSEN)])
def test_plain_names_are_those_that_the_template_computes(
    given: dict[str, str], expected: dict[str, str]
) -> None:
    """Nothing else in the template differs."""
    account = Account(boto3.session.Session(), ACCOUNT, REGION)
    things = deploy_data.resources(TEMPLATE, DATA, account, given)
    template = deploy_data.with_plain_names(TEMPLATE, things)
    assert names(template) == expected
    place = {"AWS::StackName": DATA, "AWS::AccountId": ACCOUNT, "AWS::Region": REGION}

    def computed(name: Any) -> str:  # noqa: ANN401 - a name as the template has it
        if isinstance(name, str):
            return name
        text = str(name["Fn::Sub"] if "Fn::Sub" in name else given[name["Ref"]])
        for pseudo, value in place.items():
            text = text.replace(f"${{{pseudo}}}", value)
        return text

    resources = decided(TEMPLATE, given)
    itself = {name: computed(each) for name, each in names({"Resources": resources}).items()}
    assert itself == expected
    for name, plain in expected.items():
        resources[name]["Properties"][NAME_PROPERTIES[resources[name]["Type"]]] = plain
    assert decided(template, given) == resources
    assert {**template, "Resources": 0, "Parameters": 0} == {
        **TEMPLATE,
        "Resources": 0,
        "Parameters": 0,
    }
    for name, parameter in template["Parameters"].items():
        assert parameter.items() <= TEMPLATE["Parameters"][name].items()
        # A standing stack has names that a new one can't have.
        assert parameter.keys() == {"Type", "Default", "Description"}


def test_a_name_that_cannot_be_computed_is_refused() -> None:
    """It is not guessed."""
    account = Account(boto3.session.Session(), ACCOUNT, REGION)
    table = {"Type": "AWS::DynamoDB::Table", "Properties": {"TableName": {"Fn::Sub": "${Other}"}}}
    template = {"Parameters": {}, "Resources": {"T": table}}
    with pytest.raises(DeployError, match="names T in a way that is not supported"):
        deploy_data.resources(template, DATA, account, {})


@pytest.mark.parametrize(("given", "expected"), [({}, USUAL), (GIVEN, CHOSEN)])
def test_an_existing_stack_keeps_its_names(
    cloud: Cloud, given: dict[str, str], expected: dict[str, str]
) -> None:
    """An older deployment's stack gets them in plain text, and nothing is replaced."""
    create_data_stack(cloud, given)
    assert physical(cloud) == expected
    content = OBJECT | {"Bucket": expected["Bucket"]}
    cloud.client("s3").put_object(**content, Body=b"x")
    seed = {"pk": {"S": "p"}, "sk": {"S": "s"}}
    cloud.client("dynamodb").put_item(TableName=expected["RegistryTable"], Item=seed)
    for _ in range(2):
        done = cloud.done("deploy")
        assert names(sent(cloud)) == physical(cloud) == expected
        parameters = cloud.stack(DATA).parameters
        assert {name: value for name, value in parameters.items() if value} == given
    assert f"{DATA}: nothing changed" in done.err
    assert cloud.client("s3").get_object(**content)
    assert cloud.client("dynamodb").get_item(TableName=expected["RegistryTable"], Key=seed)["Item"]
    assert set(cloud.tables()) == set(expected.values()) - {expected["Bucket"]}


@pytest.mark.usefixtures("importing")
def test_data_left_behind_is_imported(cloud: Cloud) -> None:
    """After the data stack was deleted by hand, a deployment uses the same data."""
    cloud.done("deploy")
    assert names(sent(cloud)) == USUAL
    cloud.client("s3").put_object(**OBJECT, Body=b"x")
    cloud.client("cloudformation").delete_stack(StackName=DATA)
    assert cloud.find(DATA) is None
    assert BUCKET in cloud.buckets()
    assert not TOKEN.search(cloud.done("deploy").out)
    assert physical(cloud) == USUAL
    assert len(cloud.credentials()) == 1
    assert cloud.client("s3").get_object(**OBJECT)
