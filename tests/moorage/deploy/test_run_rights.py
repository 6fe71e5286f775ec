"""infra/deployer-policy.json allows what the commands do, and nothing that none of them does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from moorage.cli import main as cli
from moorage.common.project import (
    DATA_TEMPLATE,
    DEPLOYER_POLICY,
    EDGE_TEMPLATE,
    OBSERVABILITY_TEMPLATE,
    load_template,
)
from moorage.deploy.package import read_package
from moorage.deploy.stacks import Stack, Stacks
from tests.chalicelib.access.values import a_credential
from tests.infra.intrinsics import transformed
from tests.moorage.deploy.cloud import BUCKET, DATA, KEY, answering
from tests.policies.aws_calls import AwsCall, Origin, each_call
from tests.policies.deployer_actions import deployer_needs, handler_needs
from tests.policies.iam_actions import Need, UnmappedCallError
from tests.policies.policy import Policy, Verdict
from tests.support.memory_access import put_as_version_0_1

if TYPE_CHECKING:
    from pathlib import Path

    from tests.moorage.deploy.cloud import Cloud

TEXT = DEPLOYER_POLICY.read_text(encoding="utf-8")
POLICY = Policy.parse(json.loads(TEXT))
LONGEST = 6_144
"""Characters of a managed policy, white space not counted (IAM quotas)."""
DOMAIN = (
    *("--domain", "registry.example.com", "--hosted-zone", "Z0123456789"),
    *("--certificate", "arn:aws:acm:us-east-1:123456789012:certificate/1"),
)
ROLE = "arn:aws:sts::123456789012:assumed-role/ci"
OWNERS = [
    f"key show --signing-key {KEY}",
    f"key rotate --force --signing-key {KEY}",
    f"token create ci --grant team/**:pull --stack {DATA}",
    f"token list --stack {DATA}",
    f"token rotate ci --stack {DATA}",
    f"grant ci --add team/**:push --stack {DATA}",
    f"token revoke ci --stack {DATA}",
    f"trust add gh --issuer aws --subject {ROLE} --grant a:pull --stack {DATA}",
    f"trust list --stack {DATA}",
    f"trust remove gh --stack {DATA}",
    f"public open/app --stack {DATA}",
    f"public --list --stack {DATA}",
    f"public --off open/app --stack {DATA}",
]


def denied(needed: frozenset[Need]) -> list[str]:
    """Return the permissions that the policy does not have."""
    decided = {need: POLICY.decide(need.action, need.resource, need.context) for need in needed}
    return sorted(str(need) for need, verdict in decided.items() if verdict is not Verdict.ALLOWED)


def all_calls(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> frozenset[Need]:
    """Run every command that deploys, owns and destroys; return what their calls need."""
    calls: list[AwsCall] = []
    s3 = cloud.client("s3")
    # So that the API's template goes by the bucket of packages, as it does once it is longer.
    monkeypatch.setattr("moorage.deploy.stacks.LONGEST_TEMPLATE", 30_000)
    with each_call(calls.append):
        cloud.done("deploy", "--observability", "--edge", "--tracing", "1", *DOMAIN)
        for words in OWNERS:
            assert cli.main(words.split()) == 0, words
        put_as_version_0_1(cloud.access_store(), a_credential(), public="team/app")
        cloud.done("deploy", "--alarm-email", "ops@example.com")
        for ending in ("validation", "rollback"):
            with monkeypatch.context() as patch:
                answered = fail(patch, ending)
                cloud.refused("deploy")
                calls += [
                    AwsCall(service, operation, parameters, Origin.OWNER)
                    for (service, operation), made in answered.items()
                    for parameters in made
                ]
        s3.put_object(Bucket=BUCKET, Key="blobs/sha256/00/a", Body=b"x")
        s3.create_multipart_upload(Bucket=BUCKET, Key="uploads/s/data")
        cloud.done("destroy", "--data", "delete", "--confirm", DATA)
    # What the test itself calls to arrange things.
    arranged = {("s3", "CreateMultipartUpload")}
    made = [call for call in calls if (call.service, call.operation) not in arranged]
    return frozenset(need for call in made for need in deployer_needs(call))


def fail(patch: pytest.MonkeyPatch, ending: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Let a new data stack fail, whose bucket was left behind, in its validation or later.

    Return the calls that are answered so, which reach no client's recorder.
    """
    statuses = iter([None, None, None, *["ROLLBACK_COMPLETE"] * 9])
    find = Stacks.find

    def found(self: Stacks, name: str) -> Stack | None:
        if name != DATA:
            return find(self, name)
        status = next(statuses)
        return None if status is None else Stack(DATA, status)

    patch.setattr(Stacks, "find", found)
    status = {"validation": "FAILED", "rollback": "CREATE_COMPLETE"}[ending]
    empty = {"Version": "2012-10-17", "Statement": []}
    answers: dict[str, dict[str, Any]] = {
        "CreateChangeSet": {"Id": "arn:c", "StackId": "s"},
        "DeleteChangeSet": {},
        "DescribeChangeSet": {"Status": status, "StatusReason": "refused"},
        "DescribeEvents": {"OperationEvents": []},
        "ExecuteChangeSet": {},
        "DescribeStackEvents": {"StackEvents": []},
    }
    policy = {"Policy": json.dumps(empty)}
    return {
        ("s3", "GetBucketPolicy"): answering(patch, "GetBucketPolicy", iter([policy])),
        **{
            ("cloudformation", operation): answering(patch, operation, iter([answer]))
            for operation, answer in answers.items()
        },
    }


def kinds(package: Path) -> set[str]:
    """Return the types of all resources that any option of a deployment makes."""
    api = transformed(read_package(package).placed("b", "k", "https://r.example.com"), {})
    templates: list[dict[str, Any]] = [
        api,
        load_template(DATA_TEMPLATE),
        load_template(EDGE_TEMPLATE),
        load_template(OBSERVABILITY_TEMPLATE),
    ]
    return {each["Type"] for template in templates for each in template["Resources"].values()}


def test_the_deployer_may_do_what_the_commands_do_and_nothing_else(
    cloud: Cloud, light_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of the commands, and what CloudFormation does in the deployer's name."""
    called = all_calls(cloud, monkeypatch)
    handled = frozenset(need for kind in kinds(light_package) for need in handler_needs(kind))
    assert denied(called | handled) == []
    used = [
        permission
        for permission in POLICY.permissions
        if any(permission.names(need.action, need.resource) for need in called | handled)
    ]
    unused = [each for each in POLICY.permissions if each not in used]
    # Two kinds of things in one statement: an action of the one has no meaning for the other.
    assert {each.sid for each in unused} <= {"Alarms", "Api", "Edge", "Record"}
    assert {each.action for each in unused} <= {each.action for each in used}
    assert {each.resource for each in unused} <= {each.resource for each in used}


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("iam:PassRole", "arn:aws:iam::123456789012:role/admin"),
        ("iam:PutRolePolicy", "arn:aws:iam::123456789012:role/admin"),
        ("s3:GetObject", "arn:aws:s3:::somebodys/secret"),
        ("ssm:GetParameterHistory", "arn:aws:ssm:us-east-1:123456789012:parameter/other/key"),
        ("dynamodb:DeleteTable", "arn:aws:dynamodb:us-east-1:123456789012:table/orders"),
        ("dynamodb:GetItem", "arn:aws:dynamodb:us-east-1:123456789012:table/moorage-x-registry"),
        ("lambda:UpdateFunctionCode", "arn:aws:lambda:us-east-1:123456789012:function:orders"),
        ("cloudformation:DeleteStack", "arn:aws:cloudformation:us-east-1:1:stack/orders/1"),
    ],
)
def test_the_deployer_may_not_touch_what_is_not_moorages(action: str, resource: str) -> None:
    """By the names: everything of a stage begins with `moorage-`."""
    assert POLICY.decide(action, resource) is Verdict.NOT_ALLOWED


def test_the_policy_fits_into_a_managed_one() -> None:
    """Which has fewer characters than the inline policies of a role."""
    assert len("".join(TEXT.split())) <= LONGEST


def test_an_action_that_was_not_looked_up_is_an_error() -> None:
    """A call that no row has, and a type of resource."""
    with pytest.raises(UnmappedCallError, match="AWS::EC2::VPC"):
        handler_needs("AWS::EC2::VPC")
    for call in (("s3", "PutBucketCors"), ("ec2", "RunInstances")):
        with pytest.raises(UnmappedCallError):
            deployer_needs(AwsCall(*call, {}, Origin.OWNER))


def test_deploy_prints_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a stage, an account or a checkout."""
    assert cli.main(["deploy", "--print-policy"]) == 0
    assert capsys.readouterr().out == TEXT
