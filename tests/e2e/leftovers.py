"""What an account holds: everything of the kinds that a deployment creates, by kind and name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
}
_ARGUMENTS: Final = {"list_policies": {"Scope": "Local"}}  # not those that AWS made

TYPES: Final = {
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
        found |= {f"{kind} {each[name] if name else each}" for each in answer[member]}
    return found
