"""Buckets: creates a stage's own bucket for packages, uploads to it, and empties buckets.

This module must never change the settings of a bucket that the user named, nor write to one of
another account: anybody may guess a bucket's name and create it first.
"""

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from moorage.common.aws import code_of, found, is_missing
from moorage.deploy import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

    from moorage.deploy.account import Account

# The one region that a request to create a bucket may not name.
_UNNAMED_REGION = "us-east-1"
_TLS_ONLY: Final = "RefuseAnythingButTLS"
_OURS: Final = frozenset(
    {(_TLS_ONLY, "Deny"), ("EdgePutsBlobs", "Allow"), ("EdgeGetsBlobs", "Allow")}
)
"""Name and effect of each statement that infra/data.yaml has."""

_BUSY: Final = "OperationAborted"
_WAITS: Final = (1, 2, 4, 8, 15, 30, 30, 30)
"""Seconds between tries while S3 is busy with a bucket that was just created or deleted."""


def upload(account: "Account", bucket: str, key: str, code: bytes, *, own: bool) -> None:
    """Upload a package or a template. The stage's `own` bucket is first created, if need be.

    Raises DeployError, ClientError.
    """
    s3: S3Client = account.client("s3")
    if own:
        _ensure(s3, account, bucket)
    try:
        _settled(
            bucket,
            lambda: s3.put_object(
                Bucket=bucket, Key=key, Body=code, ExpectedBucketOwner=account.id
            ),
        )
    except ClientError as error:
        if is_missing(error):
            raise DeployError(
                f"there is no bucket {bucket}: name an existing one by DEPLOY_BUCKET, or give"
                " DEPLOY_BUCKET=none, and one is created"
            ) from None
        raise


def upload_template(account: "Account", bucket: str, folder: str, body: bytes) -> str:
    """Upload a template to a bucket that packages were uploaded to, and return its URL.

    Its key depends on its content alone. Raises DeployError, ClientError.
    """
    key = f"{folder}/{hashlib.sha256(body).hexdigest()}.json"
    upload(account, bucket, key, body, own=False)
    return f"{account.client('s3').meta.endpoint_url}/{bucket}/{key}"


def empty(s3: "S3Client", bucket: str, owner: str) -> int:
    """Delete all objects, old versions and open uploads; return the number of objects.

    A bucket that does not exist is empty. Raises DeployError, ClientError.
    """
    count = 0
    try:
        for upload_page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for each in upload_page.get("Uploads", []):
                s3.abort_multipart_upload(
                    Bucket=bucket,
                    Key=each["Key"],
                    UploadId=each["UploadId"],
                    ExpectedBucketOwner=owner,
                )
        for batch in _everything(s3, bucket):
            answer = s3.delete_objects(
                Bucket=bucket,
                Delete={"Objects": batch, "Quiet": True},
                ExpectedBucketOwner=owner,
            )
            for failed in answer.get("Errors", []):
                raise DeployError(
                    f"S3 did not delete {failed.get('Key')} of {bucket} ({failed.get('Message')}):"
                    " run the command again"
                )
            count += len(batch)
    except ClientError as error:
        if not is_missing(error):
            raise
    return count


def exists(account: "Account", bucket: str) -> bool:
    """Return whether the account has a bucket; raises ClientError, also for another account's."""
    s3: S3Client = account.client("s3")
    return found(lambda: s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account.id))


def free_of_policy(account: "Account", bucket: str) -> bool:
    """Delete the policy that a deleted stack left at its bucket; return whether there was one.

    CloudFormation imports a bucket, but not its policy, and creates none where there is one. Raises
    DeployError for a policy that is not the stack's, ClientError.
    """
    s3: S3Client = account.client("s3")
    try:
        answer = s3.get_bucket_policy(Bucket=bucket, ExpectedBucketOwner=account.id)
    except ClientError as error:
        if is_missing(error) or code_of(error) == "NoSuchBucketPolicy":
            return False
        raise
    if not _is_ours(json.loads(answer["Policy"])):
        raise DeployError(
            f"the bucket {bucket} has a policy with statements of its own, and CloudFormation would"
            f" replace it: save it (`aws s3api get-bucket-policy --bucket {bucket}`), delete it"
            f" (`aws s3api delete-bucket-policy --bucket {bucket}`) and run the command again"
        )
    s3.delete_bucket_policy(Bucket=bucket, ExpectedBucketOwner=account.id)
    return True


def _is_ours(policy: "Mapping[str, object]") -> bool:
    statements = policy.get("Statement")
    listed = statements if isinstance(statements, list) else [statements]
    return all(
        isinstance(each, dict) and (each.get("Sid"), each.get("Effect")) in _OURS for each in listed
    )


def remove(account: "Account", bucket: str) -> bool:
    """Empty and delete a bucket; return whether it existed. Raises DeployError, ClientError."""
    s3: S3Client = account.client("s3")
    empty(s3, bucket, account.id)
    return found(lambda: s3.delete_bucket(Bucket=bucket, ExpectedBucketOwner=account.id))


def tls_only(bucket: str, partition: str) -> str:
    """Return a bucket policy, as JSON, that denies every request without TLS."""
    arn = f"arn:{partition}:s3:::{bucket}"
    statement = {
        "Sid": _TLS_ONLY,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _ensure(s3: "S3Client", account: "Account", bucket: str) -> None:
    region = account.region
    if not exists(account, bucket):
        _settled(bucket, lambda: _create(s3, bucket, region))
    # At each run: the one that created the bucket may have been interrupted here.
    blocked = {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    _settled(
        bucket,
        lambda: s3.put_public_access_block(
            Bucket=bucket,
            PublicAccessBlockConfiguration=blocked,  # type: ignore[arg-type]
            ExpectedBucketOwner=account.id,
        ),
    )
    _settled(
        bucket,
        lambda: s3.put_bucket_encryption(
            Bucket=bucket,
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
            ExpectedBucketOwner=account.id,
        ),
    )
    policy = tls_only(bucket, account.session.get_partition_for_region(region))
    _settled(
        bucket,
        lambda: s3.put_bucket_policy(Bucket=bucket, Policy=policy, ExpectedBucketOwner=account.id),
    )


def _create(s3: "S3Client", bucket: str, region: str) -> None:
    place = {} if region == _UNNAMED_REGION else {"LocationConstraint": region}
    more: Any = {"CreateBucketConfiguration": place} if place else {}
    try:
        s3.create_bucket(Bucket=bucket, **more)
    except ClientError as error:
        # Another run of this command may have been quicker.
        if code_of(error) != "BucketAlreadyOwnedByYou":
            raise


def _settled(bucket: str, call: "Callable[[], object]") -> None:
    """Call S3, again while it is busy with the bucket; raises DeployError if that takes long."""
    for seconds in (*_WAITS, None):
        try:
            call()
        except ClientError as error:
            if code_of(error) != _BUSY:
                raise
        else:
            return
        if seconds is not None:
            time.sleep(seconds)
    raise DeployError(
        f"S3 is still busy with the bucket {bucket}, as after it was created or deleted: wait some"
        " minutes (up to an hour after a deletion), and run the command again"
    )


def _everything(s3: "S3Client", bucket: str) -> "Iterator[Sequence[ObjectIdentifierTypeDef]]":
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if found:
            yield [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
