"""Which permissions AWS asks for when one of our calls is made: operation, parameters, ARNs.

It must never let an operation pass, nor a parameter of one, that was not looked up: what is not in
the table is an error. Names that a call must have are those of one account in one region.
Sources, by the title of AWS's page:
  S3: "Required permissions for Amazon S3 API operations"; API reference, "HeadObject", "GetObject",
    "CopyObject" ("Permissions": without s3:ListBucket S3 says 403 of a key that is not there, where
    we need its 404); User Guide, "Multipart upload API and permissions"; "DeleteObjects".
  Presigned URLs: "Sharing objects with presigned URLs": whoever signs has to have the permission.
  DynamoDB: "Actions, resources, and condition keys for Amazon DynamoDB"; "Using IAM with DynamoDB
    transactions" (a transaction asks for the permission of each of its actions). What a request
    tells conditions is in tests/policies/dynamodb_context.py.
  SSM: "Restricting access to Parameter Store parameters using IAM policies". The key that encrypts
    is the account's own aws/ssm, whose policy lets in whoever Parameter Store lets in: no kms:*.
  Lambda: "Actions, resources, and condition keys for AWS Lambda". STS: API reference,
    "GetCallerIdentity" ("No permissions are required").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.policies.dynamodb_context import in_a_batch, in_a_query, in_a_transaction, on_an_item
from tests.policies.policy import NO_CONTEXT, Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Needs = Callable[[Mapping[str, Any]], Iterable["Need"]]


class UnmappedCallError(Exception):
    """A call of which nobody has looked up what AWS asks for; the message says what to add."""


@dataclass(frozen=True, order=True, slots=True)
class Need:
    """A permission that a call needs: an action, the ARN of one resource, what conditions read."""

    action: str
    resource: str
    context: Context = NO_CONTEXT

    def __str__(self) -> str:
        told = [f"{key}={'/'.join(values)}" for key, values in self.context.values]
        return " ".join([f"{self.action} on {self.resource}", *told])


PARTITION, REGION, ACCOUNT = "aws", "us-east-1", "000000000000"


def bucket_arn(name: str) -> str:
    """Return the ARN of a bucket."""
    return f"arn:{PARTITION}:s3:::{name}"


def arn(service: str, resource: str) -> str:
    """Return the ARN of a resource in the account and region."""
    return f"arn:{PARTITION}:{service}:{REGION}:{ACCOUNT}:{resource}"


def table_arn(name: str) -> str:
    """Return the ARN of a table."""
    return arn("dynamodb", f"table/{name}")


def parameter_arn(name: str) -> str:
    """Return the ARN of a parameter, whose name begins with a slash."""
    return arn("ssm", f"parameter{name}")


def function_arn(name: str) -> str:
    """Return the ARN of a function."""
    return arn("lambda", f"function:{name}")


def needs(service: str, operation: str, parameters: Mapping[str, Any]) -> frozenset[Need]:
    """Return the permissions that a call needs; raises UnmappedCallError."""
    call = _CALLS.get((service, operation))
    if call is None:
        raise UnmappedCallError(
            f"{service}:{operation} is not in tests/policies/iam_actions.py: look up what AWS asks"
            " for, add it there, and to the policies of the functions that call it"
        )
    unknown = parameters.keys() - call.parameters
    if unknown:
        raise UnmappedCallError(
            f"{service}:{operation} with {', '.join(sorted(unknown))}: look up whether AWS asks for"
            " more then, and add that to tests/policies/iam_actions.py"
        )
    return frozenset(call.needs(parameters))


def presigned_needs(service: str, operation: str, parameters: Mapping[str, Any]) -> frozenset[Need]:
    """Return what whoever signs a URL must be permitted, for it to be of use.

    Raises UnmappedCallError.
    """
    action, known = _SIGNED.get((service, operation), ("", ""))
    if not parameters.keys() <= frozenset(known.split()):
        raise UnmappedCallError(f"nobody has looked up what a URL for {service}:{operation} needs")
    return frozenset({_on_key(action, parameters)})


_SIGNED = {
    ("s3", "GetObject"): ("GetObject", "Bucket Key"),
    ("s3", "HeadObject"): ("GetObject", "Bucket Key"),
    # If-None-Match needs no right to read: "Conditional writes".
    ("s3", "PutObject"): (
        "PutObject",
        "Bucket Key ChecksumSHA256 ContentLength ContentType IfNoneMatch",
    ),
    ("s3", "UploadPart"): ("PutObject", "Bucket Key UploadId PartNumber ContentLength"),
}


def _on_key(action: str, parameters: Mapping[str, Any]) -> Need:
    return Need(f"s3:{action}", f"{bucket_arn(parameters['Bucket'])}/{parameters['Key']}")


def _on_bucket(action: str, parameters: Mapping[str, Any]) -> Need:
    return Need(f"s3:{action}", bucket_arn(parameters["Bucket"]))


def _object(action: str) -> Needs:
    return lambda parameters: [_on_key(action, parameters)]


def _bucket(action: str) -> Needs:
    return lambda parameters: [_on_bucket(action, parameters)]


def _read(parameters: Mapping[str, Any]) -> Iterable[Need]:
    """A read needs to list the bucket too: else an absent key is a failure and not an answer."""
    yield _on_key("GetObject", parameters)
    yield _on_bucket("ListBucket", parameters)


def _copy(parameters: Mapping[str, Any]) -> Iterable[Need]:
    """A copy is a read and a write. Tags would need more: no object of ours has any."""
    yield from _read(parameters["CopySource"])
    yield _on_key("PutObject", parameters)


def _delete(parameters: Mapping[str, Any]) -> Iterable[Need]:
    for item in parameters["Delete"]["Objects"]:
        if item.keys() != {"Key"}:
            raise UnmappedCallError("deleting a version needs s3:DeleteObjectVersion")
        yield _on_key("DeleteObject", {**parameters, **item})


def _item(action: str) -> Needs:
    return lambda parameters: [
        Need(
            f"dynamodb:{action}",
            table_arn(parameters["TableName"]),
            on_an_item(action, parameters),
        )
    ]


def _query(parameters: Mapping[str, Any]) -> Iterable[Need]:
    """A query of an index is one of the index, and needs nothing on its table."""
    table, index = table_arn(parameters["TableName"]), parameters.get("IndexName")
    resource = table if index is None else f"{table}/index/{index}"
    yield Need("dynamodb:Query", resource, in_a_query(parameters))


def _batch(parameters: Mapping[str, Any]) -> Iterable[Need]:
    for table, asked in parameters["RequestItems"].items():
        yield Need("dynamodb:BatchGetItem", table_arn(table), in_a_batch(asked))


_IN_TRANSACTIONS = {
    "ConditionCheck": "ConditionCheckItem",
    "Delete": "DeleteItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
}


def _transaction(parameters: Mapping[str, Any]) -> Iterable[Need]:
    for item in parameters["TransactItems"]:
        for kind, action in item.items():
            table = table_arn(action["TableName"])
            yield Need(f"dynamodb:{_IN_TRANSACTIONS[kind]}", table, in_a_transaction(action))


@dataclass(frozen=True, slots=True)
class _Call:
    """What an operation needs. `parameters`: those that were looked at, and no other ones."""

    needs: Needs
    parameters: frozenset[str]


_KEY = "Bucket Key"
_PART = f"{_KEY} UploadId PartNumber"
_SOURCE = "CopySource CopySourceIfMatch"
# None of these is asked for a permission of its own: a condition reads what the write would.
_CONDITION = (
    "TableName ConditionExpression ExpressionAttributeNames ExpressionAttributeValues"
    " ReturnValuesOnConditionCheckFailure"
)
_NAMED = "TableName KeyConditionExpression ExpressionAttributeNames ExpressionAttributeValues"


def _calls(service: str, **rows: tuple[Needs, str]) -> dict[tuple[str, str], _Call]:
    return {
        (service, operation): _Call(found, frozenset(names.split()))
        for operation, (found, names) in rows.items()
    }


_CALLS = {
    **_calls(
        "s3",
        AbortMultipartUpload=(_object("AbortMultipartUpload"), f"{_KEY} UploadId"),
        CompleteMultipartUpload=(_object("PutObject"), f"{_KEY} UploadId MultipartUpload"),
        CopyObject=(_copy, f"{_KEY} {_SOURCE}"),
        CreateMultipartUpload=(_object("PutObject"), f"{_KEY} ContentType"),
        DeleteObjects=(_delete, "Bucket Delete"),
        GetObject=(_read, f"{_KEY} IfMatch Range"),
        HeadObject=(_read, f"{_KEY} ChecksumMode"),
        ListMultipartUploads=(
            _bucket("ListBucketMultipartUploads"),
            "Bucket Prefix MaxUploads KeyMarker UploadIdMarker",
        ),
        ListObjectsV2=(
            _bucket("ListBucket"),
            "Bucket Prefix MaxKeys StartAfter ContinuationToken",
        ),
        ListParts=(
            _object("ListMultipartUploadParts"),
            f"{_KEY} UploadId MaxParts PartNumberMarker",
        ),
        PutObject=(_object("PutObject"), f"{_KEY} Body ContentType"),
        UploadPart=(_object("PutObject"), f"{_PART} Body"),
        UploadPartCopy=(_copy, f"{_PART} {_SOURCE} CopySourceRange"),
    ),
    **_calls(
        "dynamodb",
        BatchGetItem=(_batch, "RequestItems"),
        DeleteItem=(_item("DeleteItem"), f"{_CONDITION} Key"),
        GetItem=(_item("GetItem"), "TableName Key ConsistentRead"),
        PutItem=(_item("PutItem"), f"{_CONDITION} Item"),
        Query=(
            _query,
            f"{_NAMED} IndexName Limit ExclusiveStartKey ConsistentRead ProjectionExpression",
        ),
        Scan=(
            lambda parameters: [Need("dynamodb:Scan", table_arn(parameters["TableName"]))],
            "TableName ExclusiveStartKey ProjectionExpression ExpressionAttributeNames",
        ),
        TransactWriteItems=(_transaction, "TransactItems ClientRequestToken"),
        UpdateItem=(_item("UpdateItem"), f"{_CONDITION} Key UpdateExpression ReturnValues"),
    ),
    **_calls(
        "ssm",
        GetParameter=(
            lambda parameters: [Need("ssm:GetParameter", parameter_arn(parameters["Name"]))],
            "Name WithDecryption",
        ),
    ),
    **_calls(
        "lambda",
        Invoke=(
            lambda parameters: [
                Need("lambda:InvokeFunction", function_arn(parameters["FunctionName"]))
            ],
            "FunctionName InvocationType Payload",
        ),
    ),
    **_calls("sts", GetCallerIdentity=(lambda _: (), "")),
}
