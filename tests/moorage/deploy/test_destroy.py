"""`moorage destroy` where no data stack lists the data: what is deleted, and what is reported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from moorage.common.project import DATA_TEMPLATE, load_template
from tests.moorage.deploy.cloud import BUCKET, DATA, KEY, STACK, create_data_stack

if TYPE_CHECKING:
    from tests.moorage.deploy.cloud import Cloud

ALL = ("destroy", "--data", "delete", "--confirm", DATA)
LEFT = (BUCKET, f"{DATA}-registry", f"{DATA}-uploads", f"{DATA}-access")


def left_behind(cloud: Cloud, *stacks: str) -> None:
    """Deploy, fill the bucket, and delete stacks by hand."""
    cloud.done("deploy")
    cloud.client("s3").put_object(Bucket=BUCKET, Key="blobs/sha256/00/a", Body=b"x")
    for stack in stacks:
        cloud.client("cloudformation").delete_stack(StackName=stack)
    assert len(cloud.tables()) == 3


def nothing_is_left(cloud: Cloud) -> bool:
    """Say whether there is no bucket, table, key or stack."""
    parameters = cloud.client("ssm").describe_parameters()["Parameters"]
    stacks = [name for name in (STACK, DATA) if cloud.find(name)]
    return (cloud.buckets(), cloud.tables(), parameters, stacks) == ([], [], [], [])


@pytest.mark.parametrize("stacks", [(DATA,), (STACK, DATA)])
def test_data_that_a_deleted_stack_left_behind_is_deleted(
    cloud: Cloud, stacks: tuple[str, ...]
) -> None:
    """After confirmation, by the usual names; each is reported, and a second run finds nothing."""
    left_behind(cloud, *stacks)
    refused = cloud.refused("destroy", "--data", "delete", "--confirm", "x")
    assert "nothing was deleted" in refused.err
    assert len(cloud.tables()) == 3
    assert BUCKET in cloud.buckets()
    ended = cloud.done(*ALL)
    assert nothing_is_left(cloud)
    assert "all its data" not in ended.out
    assert f"deleted {', '.join((*LEFT, KEY))}. " in ended.out
    assert "with another name would still exist" in ended.out
    again = cloud.refused(*ALL)
    assert f"there is no {STACK} in account" in again.err


def test_a_stack_whose_creation_failed_hides_no_data(cloud: Cloud) -> None:
    """It lists no resources: what an older one left behind is found by name."""
    left_behind(cloud, DATA)
    cloud.client("cloudformation").create_change_set(
        StackName=DATA,
        ChangeSetName="never-executed",
        ChangeSetType="CREATE",
        TemplateBody=json.dumps(load_template(DATA_TEMPLATE)),
    )
    ended = cloud.done(*ALL)
    assert nothing_is_left(cloud)
    assert f"deleted {', '.join((*LEFT, KEY, DATA))}. " in ended.out


def test_data_with_other_names_is_not_reported_as_deleted(cloud: Cloud) -> None:
    """It can't be found without its stack, and the report says so."""
    create_data_stack(cloud, {"RegistryTableName": "my-images"})
    cloud.client("cloudformation").delete_stack(StackName=DATA)
    ended = cloud.done(*ALL)
    assert cloud.tables() == ["my-images"]
    assert "all its data" not in ended.out
    assert "with another name would still exist" in ended.out


def test_missing_data_is_not_reported_as_deleted(cloud: Cloud) -> None:
    """The API is deleted, and the command reports that it found no data."""
    left_behind(cloud, DATA)
    dynamodb, s3 = cloud.client("dynamodb"), cloud.client("s3")
    for table in cloud.tables():
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=table)
    s3.delete_object(Bucket=BUCKET, Key="blobs/sha256/00/a")
    s3.delete_bucket(Bucket=BUCKET)
    cloud.client("ssm").delete_parameter(Name=KEY)
    ended = cloud.done(*ALL)
    assert "the usual names were tried: found none." in ended.out


def test_data_left_behind_is_kept_and_reported(cloud: Cloud) -> None:
    """The report names the commands that use it again or delete it."""
    left_behind(cloud, DATA)
    ended = cloud.done("destroy")
    assert f"kept in {DATA}" not in ended.out
    assert f"There is no stack {DATA}" in ended.out
    assert "`moorage deploy --stage x` uses them again" in ended.out
    assert len(cloud.tables()) == 3


def test_all_data_of_an_existing_stack_is_deleted(cloud: Cloud) -> None:
    """The stack lists its data, whatever the names are."""
    create_data_stack(cloud, {"RegistryTableName": "my-images"})
    ended = cloud.done(*ALL)
    assert ended.out == f"{STACK} and all its data are deleted\n"
    assert nothing_is_left(cloud)
