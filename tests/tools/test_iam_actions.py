"""What AWS asks for when a call is made: the table, row by row, and what is not in it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policies.iam_actions import Need, UnmappedCallError, needs, presigned_needs

AT = {"Bucket": "b", "Key": "k/1"}
UPLOAD = {**AT, "UploadId": "u"}
SOURCE = {"CopySource": {"Bucket": "b", "Key": "s"}, "CopySourceIfMatch": "e"}
OBJECT, ORIGIN = "arn:aws:s3:::b/k/1", "arn:aws:s3:::b/s"
BUCKET = "arn:aws:s3:::b"
TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/t"
INDEX, NAMED = f"{TABLE}/index/sweep", {"TableName": "t"}
PUT, GET, LIST = ("s3:PutObject", OBJECT), ("s3:GetObject", OBJECT), ("s3:ListBucket", BUCKET)
READ = ("s3:GetObject", ORIGIN)
UPLOADS = ("s3:ListBucketMultipartUploads", BUCKET)
RANGE = {"PartNumber": 1, "CopySourceRange": "bytes=0-1"}
TWO = {"Objects": [{"Key": "k/1"}, {"Key": "s"}]}
PARAMETER = ("ssm:GetParameter", "arn:aws:ssm:us-east-1:000000000000:parameter/a/b")
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
EVENT = {"InvocationType": "Event", "Payload": b""}

ROWS: list[tuple[str, str, dict[str, Any], set[tuple[str, str]]]] = [
    ("s3", "PutObject", {**AT, "Body": b""}, {PUT}),
    ("s3", "GetObject", AT, {GET, LIST}),
    ("s3", "HeadObject", AT, {GET, LIST}),
    ("s3", "CopyObject", {**AT, **SOURCE}, {PUT, READ, LIST}),
    ("s3", "UploadPartCopy", {**UPLOAD, **SOURCE, **RANGE}, {PUT, READ, LIST}),
    ("s3", "CreateMultipartUpload", AT, {PUT}),
    ("s3", "UploadPart", {**UPLOAD, "PartNumber": 1, "Body": b""}, {PUT}),
    ("s3", "CompleteMultipartUpload", {**UPLOAD, "MultipartUpload": {}}, {PUT}),
    ("s3", "AbortMultipartUpload", UPLOAD, {("s3:AbortMultipartUpload", OBJECT)}),
    ("s3", "ListParts", UPLOAD, {("s3:ListMultipartUploadParts", OBJECT)}),
    ("s3", "ListMultipartUploads", {"Bucket": "b", "Prefix": "k"}, {UPLOADS}),
    ("s3", "ListObjectsV2", {"Bucket": "b", "Prefix": "k"}, {LIST}),
    (
        "s3",
        "DeleteObjects",
        {"Bucket": "b", "Delete": TWO},
        {("s3:DeleteObject", OBJECT), ("s3:DeleteObject", ORIGIN)},
    ),
    ("dynamodb", "GetItem", {**NAMED, "Key": {}}, {("dynamodb:GetItem", TABLE)}),
    ("dynamodb", "PutItem", {**NAMED, "Item": {}}, {("dynamodb:PutItem", TABLE)}),
    ("dynamodb", "UpdateItem", {**NAMED, "Key": {}}, {("dynamodb:UpdateItem", TABLE)}),
    ("dynamodb", "DeleteItem", {**NAMED, "Key": {}}, {("dynamodb:DeleteItem", TABLE)}),
    ("dynamodb", "Query", NAMED, {("dynamodb:Query", TABLE)}),
    ("dynamodb", "Query", {**NAMED, "IndexName": "sweep"}, {("dynamodb:Query", INDEX)}),
    (
        "dynamodb",
        "BatchGetItem",
        {"RequestItems": {"t": {}, "t2": {}}},
        {("dynamodb:BatchGetItem", TABLE), ("dynamodb:BatchGetItem", f"{TABLE}2")},
    ),
    (
        "dynamodb",
        "TransactWriteItems",
        {
            "TransactItems": [
                {"Put": NAMED},
                {"Update": NAMED},
                {"Delete": {"TableName": "t2"}},
                {"ConditionCheck": NAMED},
            ]
        },
        {
            ("dynamodb:PutItem", TABLE),
            ("dynamodb:UpdateItem", TABLE),
            ("dynamodb:DeleteItem", f"{TABLE}2"),
            ("dynamodb:ConditionCheckItem", TABLE),
        },
    ),
    ("ssm", "GetParameter", {"Name": "/a/b", "WithDecryption": True}, {PARAMETER}),
    ("lambda", "Invoke", {"FunctionName": "f", **EVENT}, {("lambda:InvokeFunction", FUNCTION)}),
    ("sts", "GetCallerIdentity", {}, set()),
]


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "needed"), ROWS, ids=[row[1] for row in ROWS]
)
def test_each_operation_needs_the_permissions_of_its_row(
    service: str, operation: str, parameters: dict[str, Any], needed: set[tuple[str, str]]
) -> None:
    """On these ARNs, and no others."""
    found = needs(service, operation, parameters)
    assert {(need.action, need.resource) for need in found} == needed


def test_a_url_is_a_read_or_a_put() -> None:
    """Whoever signs a URL needs to be allowed what it is for; other URLs are not signed."""
    for operation in ("GetObject", "HeadObject"):
        assert presigned_needs("s3", operation, AT) == {Need("s3:GetObject", OBJECT)}
    bound = {**AT, "ChecksumSHA256": "c", "ContentLength": 1, "IfNoneMatch": "*"}
    assert presigned_needs("s3", "PutObject", bound) == {Need("s3:PutObject", OBJECT)}
    for operation, more in (("DeleteObject", {}), ("PutObject", {"ACL": "public-read"})):
        with pytest.raises(UnmappedCallError):
            presigned_needs("s3", operation, {**AT, **more})


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("s3", "DeleteObject", AT),
        ("s3", "GetObject", {**AT, "VersionId": "v"}),
        ("s3", "PutObject", {**AT, "ACL": "public-read"}),
        ("s3", "PutObject", {**AT, "Tagging": "a=b"}),
        ("s3", "PutObject", {**AT, "SSEKMSKeyId": "k"}),
        ("s3", "CopyObject", {**AT, **SOURCE, "TaggingDirective": "REPLACE"}),
        (
            "s3",
            "DeleteObjects",
            {"Bucket": "b", "Delete": {"Objects": [{"Key": "k", "VersionId": "v"}]}},
        ),
        ("dynamodb", "BatchWriteItem", NAMED),
        ("dynamodb", "ExecuteStatement", {"Statement": ""}),
        ("iam", "GetRole", {}),
    ],
    ids=range(10),
)
def test_an_unknown_operation_or_parameter_is_an_error(
    service: str, operation: str, parameters: dict[str, Any]
) -> None:
    """It is not treated as allowed."""
    with pytest.raises(UnmappedCallError):
        needs(service, operation, parameters)
