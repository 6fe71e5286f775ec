"""moto's CloudFormation in this process, corrected where it differs from CloudFormation.

moto executes a change set without creating outputs and exports, or reading those of other stacks;
has no transform; refuses a change set without changes instead of reporting it as failed; mistakes
a default that is given for a change; forgets a resource that it can't change; takes a template of
any length, from anywhere; and ignores the conditions of a bucket's policy, so that "deny without
TLS" denies everything. These it lacks, and no test over it shows them: rollbacks, replacements,
bucket policies, an API's methods and stage, domains.
"""

from __future__ import annotations

import functools
import json
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import unquote

import botocore.session
from botocore.loaders import Loader, create_loader
from moto import mock_aws
from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import (
    ChangeSet,
    CloudFormationBackend,
    Stack,
    cloudformation_backends,
)
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.base_backend import BackendDict
from moto.core.botocore_stubber import BotocoreStubber
from moto.dynamodb.models import dynamodb_backends
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, s3_backends

from tests.infra.intrinsics import transformed

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT = "444444444444"
"""Of this emulation alone: moto holds other tests' data beside."""
REGION = "us-east-1"

NAME_PROPERTIES = {"AWS::S3::Bucket": "BucketName", "AWS::DynamoDB::Table": "TableName"}
"""By type of resource, the property that holds its name."""

# moto reads no methods from an API's definition, refuses to deploy an API without methods, and has
# no outputs of resources that it doesn't know.
_NOT_MADE = (
    "AWS::ApiGateway::BasePathMapping",
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::DomainName",
    "AWS::ApiGateway::Stage",
    "AWS::CloudFront::CachePolicy",
    "AWS::CloudFront::Distribution",
    "AWS::CloudFront::Function",
    "AWS::CloudFront::KeyValueStore",
    "AWS::CloudFront::OriginAccessControl",
    "AWS::Route53::RecordSet",
)
LONGEST_BODY = 51_200
EDGE_HOST = "d111.cloudfront.net"
STORE = f"arn:aws:cloudfront::{ACCOUNT}:key-value-store/1a-b"
_EDGE = {"DistributionId": "E111", "Host": EDGE_HOST, "StoreArn": STORE}
"""What a stack of CloudFront's says of itself."""

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "MOTO_ACCOUNT_ID": ACCOUNT,
}


@contextmanager
def emulated() -> Iterator[None]:
    """Run moto for all clients made in the block."""
    create = CloudFormationBackend.create_change_set

    def create_change_set(self: Any, **wanted: Any) -> Any:  # noqa: ANN401 - moto's own
        template = json.loads(wanted["template"])
        if "Transform" in template:
            template = _makeable(transformed(template, wanted["parameters"]))
            wanted["template"] = json.dumps(template)
        elif "Distribution" in template["Resources"]:
            wanted["template"] = json.dumps(_without_edge(template))
        return create(self, **wanted)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict("os.environ", _ENVIRONMENT))
        stack.enter_context(_moto())
        patches = (
            (CloudFormationBackend, "create_change_set", create_change_set),
            (CloudFormationResponse, "_validate_different_update", lambda *_, **__: None),
            (CloudFormationResponse, "create_change_set", _limited),
            (ChangeSet, "apply", _apply),
            (ChangeSet, "_parse_template", _parse),
            (Stack, "_parse_template", _parse),
            (Stack, "parse_template", staticmethod(json.loads)),
            (Stack, "has_parameters", _has_parameters),
            (parsing, "parse_and_update_resource", _updated),
            (FakeBucket, "get_permission", lambda *_: PermissionResult.NEUTRAL),
            # Each run of the command makes a session, which would read the SDK's models again.
            (botocore.session, "create_loader", _loader),
            (BotocoreStubber, "process_request", _with_stores()),
        )
        for where, name, new in patches:
            stack.enter_context(mock.patch.object(where, name, new))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Tried to parse AWS::")
        yield


@contextmanager
def _moto() -> Iterator[None]:
    """Have moto answer all of boto3's clients, and forget this account alone at the end."""
    aws = mock_aws()
    aws.start(reset=False)
    try:
        yield
    finally:
        aws.stop(remove_data=False)
        for backends in list(BackendDict._instances):  # type: ignore[misc]  # noqa: SLF001 - moto's own way forgets all accounts
            backends.pop(ACCOUNT, None)
        owners = s3_backends.bucket_accounts
        for bucket in [name for name, owner in owners.items() if owner[1] == ACCOUNT]:
            del owners[bucket]


@contextmanager
def importing() -> Iterator[None]:
    """CloudFormation's import, which moto lacks, by the rules of the User Guide.

    What exists is imported if the template has its name in plain text, and a DeletionPolicy.
    """
    create = parsing.parse_and_create_resource

    def imported(logical: str, resource: Any, known: Any, **place: str) -> Any:  # noqa: ANN401 - moto's own
        name = resource["Properties"].get(NAME_PROPERTIES.get(resource["Type"]))
        kept = resource.get("DeletionPolicy") in {"Retain", "RetainExceptOnCreate"}
        tables = dynamodb_backends[ACCOUNT][REGION].tables
        standing: dict[str, Any] = {**tables, **s3_backends[ACCOUNT]["aws"].buckets}
        found = standing.get(name) if kept and isinstance(name, str) else None
        if found is None:
            return create(logical, resource, known, **place)
        found.cf_resource_type, found.logical_resource_id = resource["Type"], logical
        return found

    with mock.patch.object(parsing, "parse_and_create_resource", imported):
        yield


def _without_edge(template: dict[str, Any]) -> dict[str, Any]:
    outputs = {
        name: {**output, "Value": _EDGE[name]} for name, output in template["Outputs"].items()
    }
    # A stack has to have something in it.
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "edge"}}
    return {**template, "Resources": {"Nothing": topic}, "Outputs": outputs}


def _with_stores() -> Any:  # noqa: ANN401 - moto's own
    """Return what answers requests as moto does, and the data of KeyValueStores besides."""
    answer, kept = BotocoreStubber.process_request, dict[str, str]()

    def answered(self: BotocoreStubber, request: Any) -> Any:  # noqa: ANN401 - likewise
        if ".cloudfront-kvs." not in request.url:
            return answer(self, request)
        # Regional signatures are refused there.
        assert "AWS4-ECDSA-P256-SHA256" in str(request.headers["Authorization"])
        name = unquote(request.url).partition("/keys/")[2]
        sums = {"ItemCount": len(kept), "TotalSizeInBytes": 0}
        etag = {"ETag": f"e{len(kept)}"}
        if request.method == "PUT":
            assert request.headers["If-Match"] in {etag["ETag"], etag["ETag"].encode()}
            kept[name] = json.loads(bytes(request.body))["Value"]
            return 200, {"ETag": "e"}, json.dumps(sums)
        if name and name not in kept:
            return 404, {"x-amzn-ErrorType": "ResourceNotFoundException"}, "{}"
        if name:
            return 200, {}, json.dumps({**sums, "Key": name, "Value": kept[name]})
        return 200, etag, json.dumps({**sums, "KvsARN": STORE, "Created": 0})

    return answered


def _makeable(template: dict[str, Any]) -> dict[str, Any]:
    kept = {n: each for n, each in template["Resources"].items() if each["Type"] not in _NOT_MADE}
    gone = set(template["Resources"]) - set(kept)
    outputs = {
        name: output
        for name, output in template["Outputs"].items()
        if not any(f'"{each}"' in json.dumps(output["Value"]) for each in gone)
    }
    return {**template, "Resources": kept, "Outputs": outputs}


@functools.cache
def _loader(search_path: str | None = None) -> Loader:
    return create_loader(search_path)


_update_resource = parsing.parse_and_update_resource


def _updated(logical_id: str, resource: Any, known: Any, **place: str) -> Any:  # noqa: ANN401 - likewise
    return _update_resource(logical_id, resource, known, **place) or known[logical_id]


def _parse(self: Any) -> None:  # noqa: ANN401 - likewise
    # All templates here are JSON; moto would read them as YAML, for half a second each.
    self.template_dict = json.loads(self.template)


def _has_parameters(self: Any, others: dict[str, str]) -> bool:  # noqa: ANN401 - likewise
    standing = {name: str(value) for name, value in self.stack_parameters.items()}
    return standing == {**standing, **others}


_create_change_set = CloudFormationResponse.create_change_set


def _limited(self: CloudFormationResponse) -> Any:  # noqa: ANN401 - likewise
    body, url = self._get_param("TemplateBody"), self._get_param("TemplateURL")
    if len((body or "").encode()) > LONGEST_BODY:
        raise ValidationError(message=f"templateBody has more than {LONGEST_BODY} characters")
    if not body and not str(url).startswith("https://s3."):
        raise ValidationError(message="S3 error: the URL is no object's of S3")
    return _create_change_set(self)


def _apply(self: Any) -> None:  # noqa: ANN401 - likewise
    stack = self.stack
    backend = cloudformation_backends[stack.account_id][stack.region_name]
    if self.change_set_type == "UPDATE":
        stack.update(self.template, parameters=self.parameters)
    else:
        stack.cross_stack_resources = backend.exports
        stack.template, stack.parameters = self.template, self.parameters
        stack._parse_template()  # noqa: SLF001 - what create_stack does
        stack.resource_map = stack._create_resource_map()  # noqa: SLF001 - likewise
        stack.resource_map.create(stack.template_dict)
        stack.output_map = stack._create_output_map()  # noqa: SLF001 - likewise
    for export in stack.exports:
        backend.exports[export.name] = export
