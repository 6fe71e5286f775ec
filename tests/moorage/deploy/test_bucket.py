"""Buckets that S3 has not settled yet, that others left something at, or that have odd names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from moorage.deploy import DeployError
from moorage.deploy import bucket as deploy_bucket
from moorage.deploy.account import Account
from tests.moorage.deploy.cloud import BUCKET, CODE, DATA, answering, refusal
from tests.moorage.deploy.cloudformation import REGION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.moorage.deploy.cloud import Cloud

BUSY = "OperationAborted"
LEFT = json.loads(deploy_bucket.tls_only(BUCKET, "aws"))
OWN = {"Sid": "Mine", "Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each pause was; none takes any time."""
    pauses: list[float] = []
    monkeypatch.setattr("moorage.deploy.bucket.time.sleep", pauses.append)
    return pauses


def upload() -> None:
    """Upload a package to the stage's own bucket."""
    account = Account.of({"AWS_REGION": REGION})
    deploy_bucket.upload(account, CODE, "k", b"code", own=True)


@pytest.mark.parametrize(
    "operation",
    [
        "CreateBucket",
        "PutPublicAccessBlock",
        "PutBucketEncryption",
        "PutBucketPolicy",
        "PutObject",
    ],
)
def test_a_bucket_that_is_still_being_made_is_waited_for(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, waited: list[float], operation: str
) -> None:
    """S3 answers 409 for a while after a bucket was created or deleted."""
    answering(monkeypatch, operation, iter([refusal(BUSY, operation)] * 2))
    upload()
    assert waited == [1, 2]
    assert cloud.client("s3").get_object(Bucket=CODE, Key="k")


def test_a_bucket_that_stays_busy_is_an_error_with_advice(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, waited: list[float]
) -> None:
    """After two minutes; any other error is reported at once."""

    def always() -> Iterator[object]:
        while True:
            yield refusal(BUSY, "CreateBucket")

    with monkeypatch.context() as patch:
        answering(patch, "CreateBucket", always())
        with pytest.raises(DeployError, match=f"S3 is still busy with the bucket {CODE}"):
            upload()
    assert 110 <= sum(waited) <= 130
    waited.clear()
    answering(monkeypatch, "CreateBucket", iter([refusal("TooManyBuckets", "CreateBucket")]))
    with pytest.raises(ClientError, match="TooManyBuckets"):
        upload()
    assert (waited, cloud.buckets()) == ([], [])


def test_a_bucket_that_another_run_has_just_created_is_used(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings are made too."""
    cloud.client("s3").create_bucket(Bucket=CODE)
    answering(monkeypatch, "HeadBucket", iter([refusal("404", "HeadBucket")]))
    owned = refusal("BucketAlreadyOwnedByYou", "CreateBucket")
    answering(monkeypatch, "CreateBucket", iter([owned]))
    upload()
    assert cloud.client("s3").get_public_access_block(Bucket=CODE)


@pytest.mark.parametrize("name", ["my.packages", "a.b.c"])
def test_a_bucket_of_packages_with_dots_is_refused(cloud: Cloud, name: str) -> None:
    """Before anything is created."""
    cloud.client("s3").create_bucket(Bucket=name)
    refused = cloud.refused("deploy", "--bucket", name)
    assert f"DEPLOY_BUCKET can't be {name}: a bucket whose name has dots" in refused.err
    assert (cloud.buckets(), cloud.tables(), cloud.find(DATA)) == ([name], [], None)


def left(cloud: Cloud, policy: dict[str, Any]) -> None:
    """Leave the data's bucket with a policy, and no stack."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))


@pytest.mark.usefixtures("importing")
def test_the_policy_that_a_deleted_stack_left_needs_no_manual_step(cloud: Cloud) -> None:
    """CloudFormation would not create its own beside it."""
    left(cloud, LEFT)
    done = cloud.done("deploy")
    assert f"{BUCKET}: a stack left it behind, and it is used again" in done.err
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        cloud.client("s3").get_bucket_policy(Bucket=BUCKET)


@pytest.mark.usefixtures("importing")
@pytest.mark.parametrize("more", [OWN, {**LEFT["Statement"][0], "Effect": "Allow"}])
def test_a_policy_with_statements_of_somebodys_own_is_never_deleted(
    cloud: Cloud, more: dict[str, Any]
) -> None:
    """The error says how to keep it; nothing is created."""
    policy = {**LEFT, "Statement": [*LEFT["Statement"], more]}
    left(cloud, policy)
    refused = cloud.refused("deploy")
    assert f"the bucket {BUCKET} has a policy with statements of its own" in refused.err
    assert json.loads(cloud.client("s3").get_bucket_policy(Bucket=BUCKET)["Policy"]) == policy
    assert cloud.find(DATA) is None


def test_the_policy_of_a_standing_stack_is_left_alone(cloud: Cloud) -> None:
    """It is the stack's own to change."""
    cloud.done("deploy")
    policy = {**LEFT, "Statement": [*LEFT["Statement"], OWN]}
    cloud.client("s3").put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    cloud.done("deploy")
    assert json.loads(cloud.client("s3").get_bucket_policy(Bucket=BUCKET)["Policy"]) == policy
