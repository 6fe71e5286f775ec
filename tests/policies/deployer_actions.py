"""What AWS asks of whoever deploys: for each call of a command, and for what CloudFormation makes.

CloudFormation acts with the rights of the person who runs the command. It must never let a call or
a type of resource pass that was not looked up: what is not in a table is an error.
Sources, by the title of AWS's page:
  Service Authorization Reference, "Actions, resources, and condition keys for ..." of each service.
  CloudFormation: the handlers' permissions in the registry's schema of each type (DescribeType); of
    those that it lists, only what a property of ours, a tag of a stack or a read of the resource
    needs. CloudFormation puts a stack's tags on every resource that takes tags.
  API Gateway: Developer Guide, "Control access for managing an API", where an action is a method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.policies.iam_actions import Need, UnmappedCallError, arn, bucket_arn, parameter_arn
from tests.policies.iam_actions import needs as needs_of_functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.policies.aws_calls import AwsCall

    Resources = Callable[[Mapping[str, Any]], Iterable[str]]

_TRANSFORM = "arn:aws:cloudformation:us-east-1:aws:transform/Serverless-2016-10-31"
_ANY = "*"


def _stack(parameters: Mapping[str, Any]) -> Iterable[str]:
    named = parameters.get("StackName") or parameters["ChangeSetName"]
    # A change set's ARN has no name of its stack; IAM asks about the stack.
    name = "moorage-x" if named.startswith("arn:") else named
    return [arn("cloudformation", f"stack/{name}/*")]


def _made_of_a_template(parameters: Mapping[str, Any]) -> Iterable[str]:
    # The template that is uploaded is the API's, which has the transform.
    transformed = '"Transform"' in parameters.get("TemplateBody", '"Transform"')
    return [*_stack(parameters), *([_TRANSFORM] if transformed else [])]


def _bucket(parameters: Mapping[str, Any]) -> Iterable[str]:
    return [bucket_arn(parameters["Bucket"])]


def _keys(parameters: Mapping[str, Any]) -> Iterable[str]:
    keys = [each["Key"] for each in parameters.get("Delete", {}).get("Objects", [parameters])]
    return [f"{bucket_arn(parameters['Bucket'])}/{key}" for key in keys]


def _table(parameters: Mapping[str, Any]) -> Iterable[str]:
    return [arn("dynamodb", f"table/{parameters['TableName']}")]


def _parameters(parameters: Mapping[str, Any]) -> Iterable[str]:
    return map(parameter_arn, parameters.get("Names") or [parameters["Name"]])


def _store(parameters: Mapping[str, Any]) -> Iterable[str]:
    return [parameters["KvsARN"]]


def _everything(_: Mapping[str, Any]) -> Iterable[str]:
    return [_ANY]


_STACKS = (
    "DeleteChangeSet DeleteStack DescribeChangeSet DescribeEvents DescribeStackEvents"
    " DescribeStackResources DescribeStacks ExecuteChangeSet"
)
_CALLS: dict[tuple[str, str], tuple[tuple[str, ...], Resources]] = {
    **{("cloudformation", each): ((each,), _stack) for each in _STACKS.split()},
    ("cloudformation", "CreateChangeSet"): (("CreateChangeSet",), _made_of_a_template),
    ("cloudformation", "ListExports"): (("ListExports",), _everything),
    ("lambda", "GetAccountSettings"): (("GetAccountSettings",), _everything),
    ("s3", "HeadBucket"): (("ListBucket",), _bucket),
    ("s3", "CreateBucket"): (("CreateBucket",), _bucket),
    ("s3", "DeleteBucket"): (("DeleteBucket",), _bucket),
    ("s3", "GetBucketPolicy"): (("GetBucketPolicy",), _bucket),
    ("s3", "DeleteBucketPolicy"): (("DeleteBucketPolicy",), _bucket),
    ("s3", "PutBucketPolicy"): (("PutBucketPolicy",), _bucket),
    ("s3", "PutPublicAccessBlock"): (("PutBucketPublicAccessBlock",), _bucket),
    ("s3", "PutBucketEncryption"): (("PutEncryptionConfiguration",), _bucket),
    ("s3", "ListObjectVersions"): (("ListBucketVersions",), _bucket),
    ("s3", "ListMultipartUploads"): (("ListBucketMultipartUploads",), _bucket),
    ("s3", "PutObject"): (("PutObject",), _keys),
    ("s3", "AbortMultipartUpload"): (("AbortMultipartUpload",), _keys),
    ("s3", "DeleteObjects"): (("DeleteObject", "DeleteObjectVersion"), _keys),
    ("dynamodb", "DescribeTable"): (("DescribeTable",), _table),
    ("dynamodb", "UpdateTable"): (("UpdateTable",), _table),
    ("dynamodb", "DeleteTable"): (("DeleteTable",), _table),
    **{
        ("cloudfront-keyvaluestore", each): ((each,), _store)
        for each in ("DescribeKeyValueStore", "GetKey", "PutKey")
    },
    ("ssm", "PutParameter"): (("PutParameter",), _parameters),
    ("ssm", "DeleteParameters"): (("DeleteParameters",), _parameters),
    ("ssm", "GetParameterHistory"): (("GetParameterHistory",), _parameters),
}


def deployer_needs(call: AwsCall) -> frozenset[Need]:
    """Return the permissions that a call of a command needs; raises UnmappedCallError."""
    known = _CALLS.get((call.service, call.operation))
    if known is None:
        return needs_of_functions(call.service, call.operation, call.parameters)
    actions, resources = known
    found = {
        Need(f"{call.service}:{action}", resource)
        for action in actions
        for resource in resources(call.parameters)
    }
    # CloudFormation reads it in the caller's name.
    if template := call.parameters.get("TemplateURL"):
        found.add(Need("s3:GetObject", bucket_arn(urlsplit(template).path.lstrip("/"))))
    return frozenset(found)


_FUNCTION = arn("lambda", "function:moorage-x-APIHandler-AbC")
_ROLE = "arn:aws:iam::000000000000:role/moorage-x-ApiHandlerRole-AbC"
_GROUP = arn("logs", "log-group:/aws/lambda/moorage-x-api")
_DASHBOARD = "arn:aws:cloudwatch::000000000000:dashboard/moorage-x"
_GATEWAY = "arn:aws:apigateway:us-east-1::"
_EDGE = "arn:aws:cloudfront::000000000000:"
_METHODS = "apigateway:GET POST PUT PATCH DELETE"
_HANDLED: dict[str, tuple[tuple[str, str], ...]] = {
    "AWS::S3::Bucket": (
        (
            (
                "s3:CreateBucket PutBucketTagging PutBucketCORS PutEncryptionConfiguration"
                " PutLifecycleConfiguration PutBucketPublicAccessBlock PutBucketOwnershipControls"
                " GetBucketTagging GetEncryptionConfiguration GetLifecycleConfiguration"
                " GetBucketPublicAccessBlock GetBucketOwnershipControls GetAccelerateConfiguration"
                " GetAnalyticsConfiguration"
                " GetBucketCORS GetBucketLogging GetBucketNotification GetBucketVersioning"
                " GetBucketWebsite GetBucketObjectLockConfiguration GetInventoryConfiguration"
                " GetIntelligentTieringConfiguration GetMetricsConfiguration"
                " GetReplicationConfiguration ListBucket"
            ),
            bucket_arn("moorage-x-data-000000000000-us-east-1"),
        ),
    ),
    "AWS::S3::BucketPolicy": (
        (
            "s3:GetBucketPolicy PutBucketPolicy DeleteBucketPolicy",
            bucket_arn("moorage-x-data-000000000000-us-east-1"),
        ),
    ),
    "AWS::DynamoDB::Table": (
        (
            (
                "dynamodb:CreateTable DescribeTable UpdateTable DescribeTimeToLive UpdateTimeToLive"
                " DescribeContinuousBackups UpdateContinuousBackups DescribeContributorInsights"
                " UpdateContributorInsights DescribeKinesisStreamingDestination GetResourcePolicy"
                " ListTagsOfResource TagResource UntagResource"
            ),
            arn("dynamodb", "table/moorage-x-data-registry"),
        ),
    ),
    "AWS::Lambda::Function": (
        (
            (
                "lambda:CreateFunction DeleteFunction GetFunction GetFunctionConfiguration"
                " GetFunctionCodeSigningConfig GetFunctionRecursionConfig"
                " GetRuntimeManagementConfig PutFunctionRecursionConfig PutRuntimeManagementConfig"
                " DeleteFunctionConcurrency UpdateFunctionCode UpdateFunctionConfiguration ListTags"
                " TagResource UntagResource"
            ),
            _FUNCTION,
        ),
        ("iam:PassRole", _ROLE),
        ("s3:GetObject", f"{bucket_arn('moorage-x-code-000000000000-us-east-1')}/k.zip"),
    ),
    "AWS::Lambda::Permission": (("lambda:AddPermission GetPolicy RemovePermission", _FUNCTION),),
    "AWS::IAM::Role": (
        (
            (
                "iam:CreateRole DeleteRole GetRole UpdateRole UpdateRoleDescription"
                " UpdateAssumeRolePolicy PutRolePolicy GetRolePolicy DeleteRolePolicy"
                " ListRolePolicies AttachRolePolicy DetachRolePolicy ListAttachedRolePolicies"
                " TagRole UntagRole"
            ),
            _ROLE,
        ),
    ),
    "AWS::IAM::ManagedPolicy": (
        (
            (
                "iam:CreatePolicy DeletePolicy GetPolicy CreatePolicyVersion DeletePolicyVersion"
                " GetPolicyVersion ListPolicyVersions ListEntitiesForPolicy TagPolicy UntagPolicy"
            ),
            "arn:aws:iam::000000000000:policy/moorage-x-TracePolicy-AbC",
        ),
    ),
    "AWS::Logs::LogGroup": (
        ("logs:DescribeLogGroups", arn("logs", "log-group:*")),
        (
            (
                "logs:CreateLogGroup DeleteLogGroup PutRetentionPolicy DeleteRetentionPolicy"
                " GetDataProtectionPolicy TagLogGroup UntagLogGroup ListTagsLogGroup"
            ),
            f"{_GROUP}:*",
        ),
        ("logs:TagResource UntagResource ListTagsForResource", _GROUP),
    ),
    "AWS::Logs::MetricFilter": (
        ("logs:PutMetricFilter DeleteMetricFilter DescribeMetricFilters", f"{_GROUP}:*"),
    ),
    "AWS::Events::Rule": (
        (
            (
                "events:PutRule DeleteRule DescribeRule PutTargets RemoveTargets ListTargetsByRule"
                " ListTagsForResource TagResource UntagResource"
            ),
            arn("events", "rule/moorage-x-SweepSweepEvent-AbC"),
        ),
    ),
    "AWS::ApiGateway::RestApi": (
        ("apigateway:POST", f"{_GATEWAY}/restapis"),
        (_METHODS, f"{_GATEWAY}/restapis/a1b2c3"),
        (
            "apigateway:GET PUT DELETE",
            f"{_GATEWAY}/tags/arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A%2Frestapis%2Fa1b2c3",
        ),
    ),
    "AWS::ApiGateway::Deployment": ((_METHODS, f"{_GATEWAY}/restapis/a1b2c3/deployments"),),
    "AWS::ApiGateway::Stage": (
        (_METHODS, f"{_GATEWAY}/restapis/a1b2c3/stages/v2"),
        (
            "iam:CreateServiceLinkedRole",
            (
                "arn:aws:iam::000000000000:role/aws-service-role/ops.apigateway.amazonaws.com/"
                "AWSServiceRoleForAPIGateway"
            ),
        ),
    ),
    "AWS::ApiGateway::DomainName": (
        ("apigateway:POST", f"{_GATEWAY}/domainnames"),
        (_METHODS, f"{_GATEWAY}/domainnames/registry.example.com"),
    ),
    "AWS::ApiGateway::BasePathMapping": (
        (_METHODS, f"{_GATEWAY}/domainnames/registry.example.com/basepathmappings/v2"),
    ),
    "AWS::Route53::RecordSet": (
        (
            "route53:ChangeResourceRecordSets GetHostedZone ListResourceRecordSets",
            "arn:aws:route53:::hostedzone/Z0123456789",
        ),
        ("route53:GetChange", "arn:aws:route53:::change/C0123456789"),
    ),
    "AWS::CloudFront::CachePolicy": (
        (
            "cloudfront:CreateCachePolicy GetCachePolicy UpdateCachePolicy DeleteCachePolicy",
            f"{_EDGE}cache-policy/1a-b",
        ),
    ),
    "AWS::CloudFront::Distribution": (
        (
            (
                "cloudfront:CreateDistribution GetDistribution GetDistributionConfig"
                " UpdateDistribution DeleteDistribution ListTagsForResource TagResource"
                " UntagResource"
            ),
            f"{_EDGE}distribution/E1ABC",
        ),
    ),
    "AWS::CloudFront::Function": (
        (
            (
                "cloudfront:CreateFunction DescribeFunction GetFunction PublishFunction"
                " UpdateFunction DeleteFunction"
            ),
            f"{_EDGE}function/moorage-x-edge-us-east-1",
        ),
    ),
    "AWS::CloudFront::KeyValueStore": (
        (
            (
                "cloudfront:CreateKeyValueStore DescribeKeyValueStore UpdateKeyValueStore"
                " DeleteKeyValueStore"
            ),
            f"{_EDGE}key-value-store/1a-b",
        ),
    ),
    "AWS::CloudFront::OriginAccessControl": (
        (
            (
                "cloudfront:CreateOriginAccessControl GetOriginAccessControl"
                " UpdateOriginAccessControl DeleteOriginAccessControl"
            ),
            f"{_EDGE}origin-access-control/E1ABC",
        ),
    ),
    "AWS::CloudWatch::Alarm": (
        (
            "cloudwatch:PutMetricAlarm DeleteAlarms ListTagsForResource TagResource UntagResource",
            arn("cloudwatch", "alarm:moorage-x-observability-SweepAlarm-AbC"),
        ),
        ("cloudwatch:DescribeAlarms", arn("cloudwatch", "alarm:*")),
    ),
    "AWS::CloudWatch::Dashboard": (
        (
            (
                "cloudwatch:PutDashboard GetDashboard DeleteDashboards ListTagsForResource"
                " TagResource UntagResource"
            ),
            _DASHBOARD,
        ),
    ),
    "AWS::SNS::Topic": (
        (
            (
                "sns:CreateTopic DeleteTopic GetTopicAttributes SetTopicAttributes Subscribe"
                " Unsubscribe ListSubscriptionsByTopic GetDataProtectionPolicy ListTagsForResource"
                " TagResource UntagResource"
            ),
            arn("sns", "moorage-x-observability-Topic-AbC"),
        ),
    ),
}
_STACK_TAGS = Need("cloudformation:TagResource", arn("cloudformation", "stack/moorage-x/*"))
_FEWER_TAGS = Need("cloudformation:UntagResource", arn("cloudformation", "stack/moorage-x/*"))


def handler_needs(kind: str) -> frozenset[Need]:
    """Return what CloudFormation needs to make, change, read and delete a resource of a type.

    With its tags, and those of its stack. Raises UnmappedCallError for a type that is not known.
    """
    if kind not in _HANDLED:
        raise UnmappedCallError(
            f"{kind} is not in tests/policies/deployer_actions.py: look up what its handlers need,"
            " add it there, and to infra/deployer-policy.json"
        )
    found = {_STACK_TAGS, _FEWER_TAGS}
    for texts, resource in _HANDLED[kind]:
        service, _, actions = texts.partition(":")
        found |= {Need(f"{service}:{action}", resource) for action in actions.split()}
    return frozenset(found)
