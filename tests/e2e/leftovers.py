"""What an account holds: everything of the kinds that a deployment creates, by kind and name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.e2e.cloud import Cloud

# By kind: service, call, the list in its answer, and what names each of the list.
_KINDS: Final[dict[str, tuple[str, str, str, str | None]]] = {
    "bucket": ("s3", "list_buckets", "Buckets", "Name"),
    "table": ("dynamodb", "list_tables", "TableNames", None),
    "stack": ("cloudformation", "describe_stacks", "Stacks", "StackName"),
    "function": ("lambda", "list_functions", "Functions", "FunctionName"),
    "log group": ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    "parameter": ("ssm", "describe_parameters", "Parameters", "Name"),
    "role": ("iam", "list_roles", "Roles", "RoleName"),
    "policy": ("iam", "list_policies", "Policies", "PolicyName"),
    "API": ("apigateway", "get_rest_apis", "items", "id"),
    "rule": ("events", "list_rules", "Rules", "Name"),
    "alarm": ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    "dashboard": ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    "topic": ("sns", "list_topics", "Topics", "TopicArn"),
    "distribution": ("cloudfront", "list_distributions", "DistributionList.Items", "Id"),
    "edge function": ("cloudfront", "list_functions", "FunctionList.Items", "Name"),
    "store": ("cloudfront", "list_key_value_stores", "KeyValueStoreList.Items", "Name"),
    "access control": (
        *("cloudfront", "list_origin_access_controls"),
        *("OriginAccessControlList.Items", "Id"),
    ),
    "cache policy": (
        "cloudfront",
        "list_cache_policies",
        "CachePolicyList.Items",
        "CachePolicy.Id",
    ),
}
_ARGUMENTS: Final = {  # not those that AWS made
    "list_cache_policies": {"Type": "custom"},
    "list_policies": {"Scope": "Local"},
}

TYPES: Final = {
    "AWS::CloudFront::CachePolicy": "cache policy",
    "AWS::CloudFront::Distribution": "distribution",
    "AWS::CloudFront::Function": "edge function",
    "AWS::CloudFront::KeyValueStore": "store",
    "AWS::CloudFront::OriginAccessControl": "access control",
    "AWS::CloudWatch::Alarm": "alarm",
    "AWS::CloudWatch::Dashboard": "dashboard",
    "AWS::DynamoDB::Table": "table",
    "AWS::IAM::ManagedPolicy": "policy",
    "AWS::Logs::LogGroup": "log group",
    "AWS::S3::Bucket": "bucket",
    "AWS::SNS::Topic": "topic",
}
"""The kind of each type of resource in our templates; what Chalice adds is of the other kinds."""


def leftovers(cloud: Cloud) -> set[str]:
    """Return what there is."""
    found = set()
    for kind, (service, call, member, name) in _KINDS.items():
        answer = getattr(cloud.client(service), call)(**_ARGUMENTS.get(call, {}))
        # A list of CloudFront's that is empty has no items at all.
        listed = _member(answer, member) or []
        found |= {f"{kind} {_member(each, name) if name else each}" for each in listed}
    return found


def _member(answer: Any, path: str) -> Any:  # noqa: ANN401 - any part of an answer
    for name in path.split("."):
        answer = answer.get(name)
    return answer
