"""infra/data.yaml: data outlives the stack, and only staging ever expires."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
import pytest

from chalicelib.stores.dynamodb.access import CREDENTIAL
from chalicelib.stores.dynamodb.items import LINK, MANIFEST, RECORD, REFERRER, TAG
from tests.infra.intrinsics import Stack, decided
from tests.infra.templates import DATA
from tests.policies.policy import Policy, Verdict

RESOURCES: dict[str, Any] = DATA["Resources"]


def properties(name: str) -> dict[str, Any]:
    """Return a resource's properties."""
    found: dict[str, Any] = RESOURCES[name]["Properties"]
    return found


@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_every_resource_is_retained(name: str) -> None:
    """Neither deleting the stack nor replacing a resource deletes data."""
    kept = "RetainExceptOnCreate" if name == "BucketPolicy" else "Retain"
    assert RESOURCES[name]["DeletionPolicy"] == kept
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


def test_lifecycle_reaches_staging_only() -> None:
    """Only objects below uploads/ ever expire, and a session may live for 8 days."""
    rules = properties("Bucket")["LifecycleConfiguration"]["Rules"]
    assert {rule["Prefix"]: rule.get("ExpirationInDays") for rule in rules} == {
        "uploads/": 8,
        "blobs/": None,
        "direct/": None,
    }
    for rule in rules:
        assert rule["Status"] == "Enabled"
        assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 8}
        assert set(rule) - {"Id", "Status", "Prefix", "AbortIncompleteMultipartUpload"} <= {
            "ExpirationInDays"
        }


def test_bucket_is_private_and_encrypted() -> None:
    """Nothing can make the bucket public, and its objects are encrypted at rest.

    By S3's own keys, which cost nothing: with aws:kms KMS would have a price for each request.
    """
    bucket = properties("Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"] == [
        {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    ]
    assert "VersioningConfiguration" not in bucket


def test_pages_of_other_sites_may_only_read_by_a_url() -> None:
    """No origin is named, because a browser names none after a redirect."""
    (rule,) = properties("Bucket")["CorsConfiguration"]["CorsRules"]
    assert (rule["AllowedOrigins"], rule["AllowedMethods"]) == (["*"], ["GET", "HEAD"])
    # A login is the API's alone: S3 refuses a request that has two.
    assert "Authorization" not in rule["AllowedHeaders"]


NAMES = Stack(
    {
        "Bucket.Arn": "arn:aws:s3:::b",
        "EdgeDistribution": "E1",
        "AWS::Partition": "aws",
        "AWS::AccountId": "123456789012",
    }
)
DISTRIBUTION = "arn:aws:cloudfront::123456789012:distribution/E1"


def statements(**given: str) -> list[dict[str, Any]]:
    """Return the statements of the bucket's policy, of a stack with these parameters."""
    policy = decided(DATA, given)["BucketPolicy"]["Properties"]["PolicyDocument"]
    found: Any = [NAMES.resolved(each) for each in policy["Statement"]]
    return list(found)


@pytest.mark.parametrize("given", [{}, {"EdgeDistribution": "E1"}])
def test_bucket_denies_requests_without_tls(given: dict[str, str]) -> None:
    """Every action on the bucket and its objects is denied without TLS, edge or not."""
    denial, *others = statements(**given)
    assert (denial["Effect"], denial["Principal"]) == ("Deny", "*")
    assert denial["Action"] == "s3:*"
    assert denial["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert denial["Resource"] == ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]
    assert len(others) == (2 if given else 0)


def edge_policy() -> Policy:
    """Return what the bucket lets CloudFront do; each statement is for our distribution alone."""
    bare = []
    for each in statements(EdgeDistribution="E1")[1:]:
        assert each.pop("Principal") == {"Service": "cloudfront.amazonaws.com"}
        assert each.pop("Condition") == {"StringEquals": {"aws:SourceArn": DISTRIBUTION}}
        bare.append(each)
    return Policy.parse({"Version": "2012-10-17", "Statement": bare})


def test_the_edge_may_put_direct_uploads_and_get_blobs_and_nothing_else() -> None:
    """Of all actions that S3 has, on the bucket and on every kind of key."""
    operations = botocore.session.get_session().get_service_model("s3").operation_names
    actions = {f"s3:{name}" for name in operations} | {
        "s3:GetObjectVersion",
        "s3:ListBucket",
        "s3:PutObjectAcl",
        "s3:PutObjectTagging",
        "s3:BypassGovernanceRetention",
    }
    keys = ("", "/direct/s/x", "/blobs/sha256/ab/x/s", "/uploads/s/data", "/x", "/direct", "/blobs")
    policy = edge_policy()
    allowed = {
        (action, key)
        for action in actions
        for key in keys
        if policy.decide(action, f"arn:aws:s3:::b{key}") is Verdict.ALLOWED
    }
    assert allowed == {
        ("s3:PutObject", "/direct/s/x"),
        ("s3:GetObject", "/direct/s/x"),
        ("s3:GetObject", "/blobs/sha256/ab/x/s"),
    }


@pytest.mark.parametrize(
    ("name", "key", "recovered", "lifetime"),
    [
        ("RegistryTable", {"pk": "HASH", "sk": "RANGE"}, True, "expires_at"),
        ("UploadsTable", {"session": "HASH"}, False, "expires_at"),
        ("AccessTable", {"pk": "HASH", "sk": "RANGE"}, True, "drop_at"),
    ],
)
def test_tables_are_protected_and_cost_nothing_when_idle(
    name: str, key: dict[str, str], lifetime: str | None, *, recovered: bool
) -> None:
    """No table can be deleted by accident; each is paid for by request; sessions expire.

    Only what carries drop_at expires in the access table: no field of a credential has that name.
    In the table `registry` only rows of history carry expires_at.
    """
    table = properties(name)
    point = {"PointInTimeRecoveryEnabled": True} if recovered else None
    assert table.get("PointInTimeRecoverySpecification") == point
    assert table["DeletionProtectionEnabled"] is True
    assert keys(table) == key
    expiry = {"AttributeName": lifetime, "Enabled": True} if lifetime else None
    assert table.get("TimeToLiveSpecification") == expiry
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert "drop_at" not in {field.stored_as for field in CREDENTIAL.fields}
    kept = (LINK, RECORD, MANIFEST, TAG, REFERRER)
    assert "expires_at" not in {field.stored_as for schema in kept for field in schema.fields}


@pytest.mark.parametrize("name", ["RegistryTable", "UploadsTable"])
def test_each_table_has_a_sparse_queue(name: str) -> None:
    """What the sweeper looks for is found by shard and time, and no other attribute is copied."""
    table = properties(name)
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "sweep"
    assert keys(index) == {"sweep_shard": "HASH", "sweep_at": "RANGE"}
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}
    types = {item["AttributeName"]: item["AttributeType"] for item in table["AttributeDefinitions"]}
    own = dict.fromkeys(keys(table), "S")
    assert types == own | {"sweep_shard": "S", "sweep_at": "N"}


def test_each_name_is_a_parameter_and_an_export() -> None:
    """Other stacks import the names; an empty parameter means the usual name."""
    names = {"BucketName", "RegistryTableName", "UploadsTableName", "AccessTableName"}
    assert set(DATA["Parameters"]) - {"EdgeDistribution"} == names
    assert names < set(DATA["Outputs"])
    assert {DATA["Parameters"][name]["Default"] for name in names} == {""}
    for output in DATA["Outputs"].values():
        assert output["Export"]["Name"]["Fn::Sub"].startswith("${AWS::StackName}-")


def keys(table: dict[str, Any]) -> dict[str, str]:
    """Return a table's or an index's key attributes and their roles."""
    return {item["AttributeName"]: item["KeyType"] for item in table["KeySchema"]}


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("", True),
        ("my-images", True),
        ("0ab", True),
        ("my.images", False),
        ("a.b.c", False),
        ("images.example.com", False),
        ("My-images", False),
        ("-images", False),
        ("ab", False),
    ],
)
def test_a_new_buckets_name_has_no_dots(name: str, *, allowed: bool) -> None:
    """S3's certificate covers no host of a bucket with dots; the refusal says so."""
    parameter = DATA["Parameters"]["BucketName"]
    assert bool(re.search(parameter["AllowedPattern"], name)) is allowed
    assert "no dots" in parameter["ConstraintDescription"]
