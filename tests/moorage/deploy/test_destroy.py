"""Destroying what no data stack holds any more: only what is sure to be meant, and told truly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from moorage.deploy import data as deploy_data
from tests.moorage.deploy import test_run as test_deploy
from tests.moorage.deploy.test_run import BUCKET, DATA, KEY, STACK

if TYPE_CHECKING:
    from tests.moorage.deploy.test_run import Cloud

cloud = test_deploy.cloud

ALL = ("destroy", "--data", "delete", "--confirm", DATA)
LEFT = (BUCKET, f"{DATA}-registry", f"{DATA}-uploads", f"{DATA}-access")


def left_behind(cloud: Cloud, *stacks: str) -> None:
    """Deploy, fill the bucket, and delete stacks by hand."""
    assert cloud.run("deploy").status == 0
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
def test_data_that_a_stack_left_behind_is_found(cloud: Cloud, stacks: tuple[str, ...]) -> None:
    """It is deleted by the names that a deployment gives, and each is told; then there is none."""
    left_behind(cloud, *stacks)
    ended = cloud.run(*ALL)
    assert ended.status == 0, ended.err
    assert nothing_is_left(cloud)
    assert "all its data" not in ended.out
    assert f"deleted {', '.join((*LEFT, KEY))}. " in ended.out
    assert "given another name would still be there" in ended.out
    again = cloud.run(*ALL)
    assert again.status == 1
    assert f"there is no {STACK} in account" in again.err


def test_data_left_behind_is_not_deleted_unless_it_is_meant(cloud: Cloud) -> None:
    """Without its stack, too, the stack's name has to be given; another one deletes nothing."""
    left_behind(cloud, STACK, DATA)
    refused = cloud.run("destroy", "--data", "delete", "--confirm", "x")
    assert refused.status == 1
    assert "nothing was deleted" in refused.err
    assert len(cloud.tables()) == 3
    assert BUCKET in cloud.buckets()


def test_a_creation_that_came_to_nothing_hides_no_data(cloud: Cloud) -> None:
    """A stack that never stood lists nothing: what an older one left behind is found by name."""
    left_behind(cloud, DATA)
    cloud.client("cloudformation").create_change_set(
        StackName=DATA,
        ChangeSetName="never-executed",
        ChangeSetType="CREATE",
        TemplateBody=json.dumps(deploy_data.read()),
    )
    ended = cloud.run(*ALL)
    assert ended.status == 0, ended.err
    assert nothing_is_left(cloud)
    assert f"deleted {', '.join((*LEFT, KEY, DATA))}. " in ended.out


def test_data_of_other_names_is_not_said_to_be_gone(cloud: Cloud) -> None:
    """Names that only the stack knew can't be found without it, and that is said."""
    cloud.client("cloudformation").create_stack(
        StackName=DATA,
        TemplateBody=json.dumps(deploy_data.read()),
        Parameters=[{"ParameterKey": "RegistryTableName", "ParameterValue": "my-images"}],
    )
    cloud.client("cloudformation").delete_stack(StackName=DATA)
    ended = cloud.run(*ALL)
    assert ended.status == 0, ended.err
    assert cloud.tables() == ["my-images"]
    assert "all its data" not in ended.out
    assert "given another name would still be there" in ended.out


def test_where_there_was_no_data_none_is_said_to_be_deleted(cloud: Cloud) -> None:
    """The API goes alone, and the command says that it found no data."""
    left_behind(cloud, DATA)
    dynamodb, s3 = cloud.client("dynamodb"), cloud.client("s3")
    for table in cloud.tables():
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=table)
    s3.delete_object(Bucket=BUCKET, Key="blobs/sha256/00/a")
    s3.delete_bucket(Bucket=BUCKET)
    cloud.client("ssm").delete_parameter(Name=KEY)
    ended = cloud.run(*ALL)
    assert ended.status == 0, ended.err
    assert "by the names that a deployment gives: and there was none." in ended.out


def test_kept_data_is_not_said_to_be_in_a_stack_that_is_gone(cloud: Cloud) -> None:
    """What is left behind is kept, and what would take it in or delete it is said."""
    left_behind(cloud, DATA)
    ended = cloud.run("destroy")
    assert ended.status == 0, ended.err
    assert f"kept in {DATA}" not in ended.out
    assert f"No stack {DATA} stands" in ended.out
    assert "`make deploy STAGE=x` takes them in again" in ended.out
    assert len(cloud.tables()) == 3


def test_data_of_a_stack_that_stands_is_all_gone(cloud: Cloud) -> None:
    """Its stack knows what it holds, other names too."""
    cloud.client("cloudformation").create_stack(
        StackName=DATA,
        TemplateBody=json.dumps(deploy_data.read()),
        Parameters=[{"ParameterKey": "RegistryTableName", "ParameterValue": "my-images"}],
    )
    ended = cloud.run(*ALL)
    assert ended.status == 0, ended.err
    assert ended.out == f"{STACK} is gone, and all its data\n"
    assert nothing_is_left(cloud)
