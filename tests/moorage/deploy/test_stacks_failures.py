"""What stops a deployment is one line, or one for each resource that failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from botocore.stub import ANY, Stubber

from moorage.common.aws import explained
from moorage.deploy import DeployError
from moorage.deploy.run import RIGHTS
from moorage.deploy.stacks import LARGEST_TEMPLATE, LONGEST_TEMPLATE, Stacks, WantedStack
from tests.moorage.deploy.cloud import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "moorage-x"
ARN = "arn:aws:cloudformation:us-east-1:123456789012:changeSet/c/1"
WANTED = WantedStack(NAME, {"Resources": {}}, {}, {})
DATA = WantedStack(NAME, {"Resources": {}}, {}, {}, keeps_data=True)


class Script:
    """CloudFormation with a script of answers, one for each call."""

    def __init__(self) -> None:
        self.client: Any = boto3.client(
            "cloudformation",
            "us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",  # noqa: S106 - nothing is sent
        )
        self.stubber = Stubber(self.client)
        self.lines: list[str] = []
        self.waited: list[float] = []
        self.stacks = Stacks(self.client, self.lines.append, self.waited.append)

    def stack(self, status: str | None) -> None:
        """Answer with a stack in a status; None: with no stack."""
        if status is None:
            self.stubber.add_client_error(
                "describe_stacks", "ValidationError", f"Stack with id {NAME} does not exist"
            )
            return
        found = {"StackName": NAME, "StackStatus": status, "CreationTime": "2026-01-01T00:00:00Z"}
        self.stubber.add_response("describe_stacks", {"Stacks": [found]}, {"StackName": NAME})

    def change_set(self, kind: str, status: str = "CREATE_COMPLETE", **more: object) -> None:
        """Answer with a change set of a kind that ends in a status."""
        expected: dict[str, Any] = dict.fromkeys(
            ("StackName", "ChangeSetName", "TemplateBody", "Parameters", "Capabilities", "Tags"),
            ANY,
        )
        if more.pop("keeps_data", False):
            expected["ImportExistingResources"] = True
        self.stubber.add_response(
            "create_change_set", {"Id": ARN}, {**expected, "ChangeSetType": kind}
        )
        self.stubber.add_response("describe_change_set", {"Status": "CREATE_IN_PROGRESS"})
        self.stubber.add_response("describe_change_set", {"Status": status, **more})

    def executed(self) -> None:
        """Accept the execution of a change set."""
        self.stubber.add_response("execute_change_set", {})


@pytest.fixture
def script() -> Iterator[Script]:
    """A script; the test has to make all its calls."""
    made = Script()
    with made.stubber:
        yield made
        made.stubber.assert_no_pending_responses()


def event(status: str, name: str, reason: str = "", run: str = "a-token") -> dict[str, str]:
    """Return an event of a resource, as CloudFormation lists it."""
    return {
        "StackId": NAME,
        "EventId": "e",
        "StackName": NAME,
        "Timestamp": "2026-01-01T00:00:00Z",
        "ClientRequestToken": run,
        "ResourceStatus": status,
        "LogicalResourceId": name,
        "ResourceType": "AWS::IAM::Role",
        "ResourceStatusReason": reason,
    }


def test_a_failure_names_each_resource_that_failed(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this run; a resource that was only cancelled is left out."""
    monkeypatch.setattr("uuid.uuid4", lambda: SimpleNamespace(hex="a-token"))
    script.stack(None)
    script.change_set("CREATE")
    script.executed()
    script.stack("CREATE_IN_PROGRESS")
    script.stack("ROLLBACK_COMPLETE")
    events = [
        event("ROLLBACK_COMPLETE", NAME),
        event("CREATE_FAILED", "Commit", "Resource creation cancelled"),
        event("CREATE_FAILED", "ApiHandlerRole", "not authorized to perform:\n iam:CreateRole"),
        event("CREATE_FAILED", "Old", run="another"),
    ]
    script.stubber.add_response("describe_stack_events", {"StackEvents": events})
    with pytest.raises(DeployError) as raised:
        script.stacks.put(WANTED)
    assert str(raised.value) == (
        f"CloudFormation left {NAME} in ROLLBACK_COMPLETE:\n"
        "  CREATE_FAILED ApiHandlerRole AWS::IAM::Role: not authorized to perform: iam:CreateRole"
    )
    assert script.waited == [5.0, 5.0]


def test_a_stack_whose_creation_failed_is_deleted_and_created_again(script: Script) -> None:
    """CloudFormation can't update it."""
    script.stack("ROLLBACK_COMPLETE")
    script.stack("ROLLBACK_COMPLETE")
    script.stubber.add_response("delete_stack", {})
    script.stack("DELETE_IN_PROGRESS")
    script.stack(None)
    script.change_set("CREATE")
    script.executed()
    script.stack("CREATE_COMPLETE")
    assert script.stacks.put(WANTED).status == "CREATE_COMPLETE"


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "IMPORT_COMPLETE"])
def test_a_new_data_stack_imports_what_exists(script: Script, status: str) -> None:
    """Both statuses that CloudFormation may give it are a success."""
    script.stack(None)
    script.change_set("CREATE", keeps_data=True, Changes=[{"ResourceChange": {"Action": "Import"}}])
    script.executed()
    script.stack(status)
    assert script.stacks.put(DATA).status == status


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("UPDATE_IN_PROGRESS", "is being changed (UPDATE_IN_PROGRESS): wait"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name moorage-x"),
        ("DELETE_FAILED", "delete the stack there (its data is kept)"),
    ],
)
def test_a_stack_that_cannot_be_changed_is_an_error_with_advice(
    script: Script, status: str, text: str
) -> None:
    """Nothing is changed."""
    script.stack(status)
    with pytest.raises(DeployError) as raised:
        script.stacks.put(WANTED)
    assert text in str(raised.value)


@pytest.mark.parametrize("change", [{"Action": "Remove"}, {"Replacement": "True"}])
def test_a_change_set_that_loses_data_is_not_executed(
    script: Script, change: dict[str, str]
) -> None:
    """Neither the replacement nor the removal of a table."""
    table = {"LogicalResourceId": "RegistryTable", "ResourceType": "AWS::DynamoDB::Table"}
    harmless = {"Action": "Modify", "LogicalResourceId": "Bucket", "Replacement": "False"}
    changes = [
        {"ResourceChange": harmless},
        {"ResourceChange": {"Action": "Modify"} | table | change},
    ]
    script.stack("UPDATE_COMPLETE")
    script.change_set("UPDATE", Changes=changes, keeps_data=True)
    with pytest.raises(DeployError, match=r"would lose RegistryTable \(AWS::DynamoDB::Table\)"):
        script.stacks.put(DATA)


@pytest.mark.parametrize(
    "reason",
    [
        "The submitted information didn't contain changes. Submit different information to ...",
        "No updates are to be performed.",
    ],
)
def test_a_change_set_without_changes_is_no_failure(script: Script, reason: str) -> None:
    """CloudFormation reports it as failed, in two ways."""
    script.stack("UPDATE_COMPLETE")
    script.change_set("UPDATE", "FAILED", StatusReason=reason)
    script.stubber.add_response("delete_change_set", {})
    script.stack("UPDATE_COMPLETE")
    assert script.stacks.put(WANTED).status == "UPDATE_COMPLETE"
    assert script.lines == [f"{NAME}: nothing changed"]


EARLY = "The following hook(s)/validation failed: [AWS::EarlyValidation::ResourceExistenceCheck]"
ASKED = {"ChangeSetName": ARN, "Filters": {"FailedEvents": True}}


def refused(**more: str) -> dict[str, str]:
    """Return an event of a validation that failed, as CloudFormation lists it."""
    return {
        "EventId": "e",
        "EventType": "VALIDATION_ERROR",
        "LogicalResourceId": "Bucket",
        "ResourceType": "AWS::S3::Bucket",
        "ValidationName": "NAME_CONFLICT_VALIDATION",
        "ValidationStatus": "FAILED",
        "ValidationFailureMode": "FAIL",
        "ValidationStatusReason": "Resource with identifier 'b'\n already exists.",
        "ValidationPath": "/Resources/Bucket/Properties/BucketName",
        **more,
    }


EXISTS = (
    "\n  Bucket AWS::S3::Bucket: Resource with identifier 'b' already exists."
    " (at /Resources/Bucket/Properties/BucketName)"
)


@pytest.mark.parametrize(
    ("events", "causes"),
    [
        ([], ""),
        ([{"EventType": "STACK_EVENT", "OperationStatus": "FAILED"}], ""),
        ([refused(), refused()], EXISTS),
        # A warning stops nothing.
        (
            [
                refused(LogicalResourceId="Other", ValidationFailureMode="WARN"),
                refused(),
                {
                    "EventType": "HOOK_INVOCATION_ERROR",
                    "LogicalResourceId": "Commit",
                    "PhysicalResourceId": "moorage-x-commit",
                    "ResourceType": "AWS::Lambda::Function",
                    "HookFailureMode": "FAIL",
                    "HookStatusReason": "not tagged",
                },
            ],
            f"{EXISTS}\n  Commit AWS::Lambda::Function moorage-x-commit: not tagged",
        ),
    ],
)
def test_a_failed_change_set_names_each_resource_that_was_refused(
    script: Script, events: list[dict[str, str]], causes: str
) -> None:
    """Its own reason names a validation, and only its events the resource; no stack is created."""
    script.stack(None)
    script.change_set("CREATE", "FAILED", StatusReason=EARLY)
    pages = [events[:1], events[1:]]
    for number, page in enumerate(pages):
        more = {} if number else {"NextToken": "t"}
        given = {"NextToken": "t"} if number else {}
        listed = [{"EventId": "e", **each} for each in page]
        script.stubber.add_response(
            "describe_events", {"OperationEvents": listed, **more}, {**ASKED, **given}
        )
    script.stubber.add_response("delete_change_set", {})
    with pytest.raises(DeployError) as raised:
        script.stacks.put(WANTED)
    told = f"CloudFormation can't compute the changes of {NAME}: {EARLY}{causes}"
    assert str(raised.value) == told


def test_whoever_may_not_read_a_change_sets_events_still_hears_its_reason(script: Script) -> None:
    """And which action would say more."""
    script.stack(None)
    script.change_set("CREATE", "FAILED", StatusReason="Transform AWS::Serverless failed: ...")
    script.stubber.add_client_error("describe_events", "AccessDenied", "not allowed")
    script.stubber.add_response("delete_change_set", {})
    with pytest.raises(DeployError, match=r"(?s)Transform AWS::Serverless failed.*DescribeEvents"):
        script.stacks.put(WANTED)


@pytest.mark.parametrize(
    ("most", "upload"),
    [(LONGEST_TEMPLATE, None), (LARGEST_TEMPLATE, lambda _: pytest.fail("it was uploaded"))],
    ids=["with no bucket", "by a bucket"],
)
def test_a_template_that_is_too_long_is_not_sent(
    script: Script, most: int, upload: Callable[[bytes], str] | None
) -> None:
    """CloudFormation would only report an invalid parameter."""
    script.stack(None)
    wanted = WantedStack(NAME, {"Description": "x" * most}, {}, {}, upload=upload)
    with pytest.raises(DeployError, match=f"CloudFormation takes {most}"):
        script.stacks.put(wanted)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            refusal("AccessDenied", "CreateChangeSet"),
            "AWS denies CreateChangeSet: `moorage deploy --print",
        ),
        (refusal("403", "HeadBucket"), "AWS denies HeadBucket: `moorage deploy --print"),
        (refusal("Throttling", "DescribeStacks"), "slow down (DescribeStacks): wait a minute"),
        (refusal("ExpiredToken", "GetCallerIdentity"), "log in to AWS again"),
        (
            refusal("LimitExceeded", "CreateChangeSet"),
            "CreateChangeSet with LimitExceeded: a reason",
        ),
        (NoCredentialsError(), "no AWS credentials: log in to AWS"),
    ],
)
def test_errors_of_aws_are_one_line(error: Exception, text: str) -> None:
    """It says what happened and what to do."""
    with pytest.raises(DeployError) as raised, explained(kind=DeployError, rights=RIGHTS):
        raise error
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)
