"""infra/data.yaml: data outlives the stack, and only staging ever expires."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chalicelib.stores.dynamodb.access import CREDENTIAL
from chalicelib.stores.dynamodb.items import LINK, MANIFEST, RECORD, REFERRER, TAG
from tests.infra.templates import DATA

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


def test_bucket_denies_requests_without_tls() -> None:
    """Every action on the bucket and its objects is denied without TLS."""
    (statement,) = properties("BucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert statement["Action"] == "s3:*"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [
        {"Fn::GetAtt": ["Bucket", "Arn"]},
        {"Fn::Sub": "${Bucket.Arn}/*"},
    ]


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
    assert set(DATA["Parameters"]) == names
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
