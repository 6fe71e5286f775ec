"""CloudFormation: creates, updates and deletes stacks, and waits for them.

This module must never execute a change set that would replace or remove data, nor withhold what
CloudFormation knows about a failure.
"""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from moorage.common.aws import AWS_ERRORS
from moorage.deploy import DeployError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import (
        OperationEventTypeDef,
        StackEventTypeDef,
        StackTypeDef,
    )

LONGEST_TEMPLATE: Final = 51_200
"""Bytes of a template that CloudFormation takes in a request."""
LARGEST_TEMPLATE: Final = 1_000_000
"""Bytes of a template that it reads from S3."""

_MOST_POLLS = 720
_NOT_CHANGED = ("didn't contain changes", "No updates are to be performed")
_CONSEQUENCE = "cancelled"
_WARNING = "WARN"
_DONE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
_NOTHING_IN_IT = frozenset({"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE"})


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack's present state."""

    name: str
    status: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def was_created(self) -> bool:
        """Whether its creation ever succeeded: one that failed leaves the stack's name behind."""
        return self.status not in _NOTHING_IN_IT


@dataclass(frozen=True, slots=True)
class WantedStack:
    """What a stack is to be. With `keeps_data`, nothing in it may be replaced or removed.

    `upload` puts a template that is too long for a request into S3, and returns its URL.
    """

    name: str
    template: Mapping[str, Any]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    keeps_data: bool = False
    upload: Callable[[bytes], str] | None = None


@dataclass(frozen=True)
class Stacks:
    """The stacks of an account and region. `echo` gets the lines of progress."""

    client: "CloudFormationClient"
    echo: Callable[[str], None]
    pause: Callable[[float], None] = time.sleep
    seconds: float = 5.0
    """Between two polls."""

    def find(self, name: str) -> Stack | None:
        """Return a stack, or None if there is none; raises ClientError."""
        try:
            (found,) = self.client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" in error.response.get("Error", {}).get("Message", ""):
                return None
            raise
        return _read(found)

    def put(self, wanted: WantedStack) -> Stack:
        """Create or update a stack and wait; raises DeployError, ClientError."""
        before = self.find(wanted.name)
        if before is not None:
            _require_settled(before)
        if before is not None and before.status == "ROLLBACK_COMPLETE":
            # The rest of a first creation that failed, which can only be deleted.
            self.delete(wanted.name)
        new = before is None or not before.was_created
        change_set = self._change_set(wanted, new=new)
        if change_set is None:
            self.echo(f"{wanted.name}: nothing changed")
            return self._found(wanted.name)
        self.echo(f"{wanted.name}: {'creating' if new else 'updating'} (this takes a while)")
        token = uuid.uuid4().hex
        self.client.execute_change_set(
            StackName=wanted.name, ChangeSetName=change_set, ClientRequestToken=token
        )
        return self._settled(wanted.name, token)

    def delete(self, name: str) -> bool:
        """Delete a stack and wait; return whether it existed; raises as `put` does."""
        before = self.find(name)
        if before is None:
            return False
        self.echo(f"{name}: deleting")
        token = uuid.uuid4().hex
        self.client.delete_stack(StackName=name, ClientRequestToken=token)
        for _ in range(_MOST_POLLS):
            stack = self.find(name)
            if stack is None or stack.status == "DELETE_COMPLETE":
                return True
            if not stack.status.endswith("_IN_PROGRESS"):
                raise self._failure(stack, token)
            self.pause(self.seconds)
        raise _too_long(name, "DELETE_IN_PROGRESS")

    def _change_set(self, wanted: WantedStack, *, new: bool) -> str | None:
        """Create a change set and return its ARN; None if nothing would change."""
        # CloudFormation imports a bucket or table that a deleted stack left behind, if the template
        # has its name in plain text.
        importing: dict[str, Any] = {"ImportExistingResources": True} if wanted.keeps_data else {}
        made = self.client.create_change_set(
            StackName=wanted.name,
            ChangeSetName=f"moorage-{uuid.uuid4().hex[:12]}",
            ChangeSetType="CREATE" if new else "UPDATE",
            **_sent(wanted),
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in wanted.parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Tags=[{"Key": key, "Value": value} for key, value in wanted.tags.items()],
            **importing,
        )
        arn = made["Id"]
        changes = self._changes(wanted.name, arn)
        if changes is None:
            return None
        if wanted.keeps_data and not new:
            _require_harmless(wanted.name, changes)
        return arn

    def _changes(self, name: str, arn: str) -> Sequence[Mapping[str, Any]] | None:
        # The ARN would do, but rights are asked for by the stack, and the ARN doesn't name it.
        look = partial(self.client.describe_change_set, StackName=name, ChangeSetName=arn)
        for _ in range(_MOST_POLLS):
            pages = [look()]
            status, reason = pages[0]["Status"], pages[0].get("StatusReason", "")
            if status == "CREATE_COMPLETE":
                while following := pages[-1].get("NextToken"):
                    pages.append(look(NextToken=following))
                return [
                    dict(change["ResourceChange"])
                    for page in pages
                    for change in page.get("Changes", [])
                    if "ResourceChange" in change
                ]
            if status == "FAILED":
                unchanged = any(text in reason for text in _NOT_CHANGED)
                # Before it is deleted, and its events with it.
                causes = "" if unchanged else self._invalid(arn)
                with contextlib.suppress(ClientError):
                    self.client.delete_change_set(StackName=name, ChangeSetName=arn)
                if unchanged:
                    return None
                raise DeployError(
                    f"CloudFormation can't compute the changes of {name}: {reason}{causes}"
                )
            self.pause(self.seconds)
        raise _too_long(name, "CREATE_PENDING")

    def _invalid(self, change_set: str) -> str:
        """Return a line for each resource that a failed change set's validation refuses.

        The change set's own reason names validations, and no resource.
        """
        pages = self.client.get_paginator("describe_events").paginate(
            ChangeSetName=change_set, Filters={"FailedEvents": True}
        )
        try:
            events = [event for page in pages for event in page["OperationEvents"]]
        except AWS_ERRORS as error:
            return f"\n  which resource is not known: {' '.join(str(error).split())}"
        lines = dict.fromkeys(filter(None, map(_refusal_line, events)))
        return "".join(f"\n  {line}" for line in lines)

    def _settled(self, name: str, token: str) -> Stack:
        for _ in range(_MOST_POLLS):
            stack = self._found(name)
            if not stack.status.endswith("_IN_PROGRESS"):
                if stack.status in _DONE:
                    return stack
                raise self._failure(stack, token)
            self.pause(self.seconds)
        raise _too_long(name, "IN_PROGRESS")

    def _found(self, name: str) -> Stack:
        stack = self.find(name)
        if stack is None:
            raise DeployError(f"the stack {name} no longer exists: run the command again")
        return stack

    def _failure(self, stack: Stack, token: str) -> DeployError:
        pages = self.client.get_paginator("describe_stack_events").paginate(StackName=stack.name)
        events = [event for page in pages for event in page["StackEvents"]]
        lines = [
            _event_line(event)
            for event in reversed(events)
            if event.get("ClientRequestToken") == token and _is_cause(event)
        ]
        causes = "".join(f"\n  {line}" for line in lines) or " no event says why"
        return DeployError(f"CloudFormation left {stack.name} in {stack.status}:{causes}")


def _sent(wanted: WantedStack) -> dict[str, Any]:
    """Return the parameters by which CloudFormation gets a template; raises DeployError."""
    body = json.dumps(wanted.template, separators=(",", ":")).encode()
    if len(body) <= LONGEST_TEMPLATE:
        return {"TemplateBody": body.decode()}
    most = LONGEST_TEMPLATE if wanted.upload is None else LARGEST_TEMPLATE
    if wanted.upload is None or len(body) > most:
        raise DeployError(
            f"the template of {wanted.name} is {len(body)} bytes long, and CloudFormation takes"
            f" {most}: is it this project's own?"
        )
    return {"TemplateURL": wanted.upload(body)}


def _read(found: "StackTypeDef") -> Stack:
    return Stack(
        found["StackName"],
        found["StackStatus"],
        {p["ParameterKey"]: p.get("ParameterValue", "") for p in found.get("Parameters", [])},
        {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])},
    )


def _require_settled(stack: Stack) -> None:
    """Raise DeployError, with what to do, for a stack that can't be changed now."""
    status = stack.status
    if status in _NOTHING_IN_IT or (status.endswith("_COMPLETE") and "DELETE" not in status):
        return
    if status.endswith("_IN_PROGRESS"):
        raise DeployError(f"{stack.name} is being changed ({status}): wait, and run it again")
    if status == "UPDATE_ROLLBACK_FAILED":
        raise DeployError(
            f"{stack.name} is in {status}: see its events in the console, then `aws cloudformation"
            f" continue-update-rollback --stack-name {stack.name}`, and run the command again"
        )
    raise DeployError(
        f"{stack.name} is in {status}: see its events in the console, correct what they name, and"
        " delete the stack there (its data is kept); then run the command again"
    )


def _require_harmless(name: str, changes: Sequence[Mapping[str, Any]]) -> None:
    lost = [
        f"{change['LogicalResourceId']} ({change['ResourceType']})"
        for change in changes
        if change.get("Action") == "Remove" or change.get("Replacement") == "True"
    ]
    if lost:
        raise DeployError(
            f"nothing was changed: {name} would lose {', '.join(sorted(lost))}, and the registry"
            " would be empty; did names or keys in infra/data.yaml change?"
        )


def _is_cause(event: "StackEventTypeDef") -> bool:
    reason = event.get("ResourceStatusReason", "")
    failed = event.get("ResourceStatus", "").endswith("_FAILED")
    return failed and _CONSEQUENCE not in reason.lower()


def _event_line(event: "StackEventTypeDef") -> str:
    parts = (event.get("ResourceStatus"), event.get("LogicalResourceId"), event.get("ResourceType"))
    reason = " ".join(event.get("ResourceStatusReason", "no reason given").split())
    return f"{' '.join(str(part) for part in parts if part)}: {reason}"


def _refusal_line(event: "OperationEventTypeDef") -> str:
    """Return a refused resource and the reason; empty for an event that refuses none."""
    reason = (
        event.get("ValidationStatusReason")
        or event.get("HookStatusReason")
        or event.get("ResourceStatusReason", "")
    )
    modes = (event.get("ValidationFailureMode"), event.get("HookFailureMode"))
    if not reason or _WARNING in modes:
        return ""
    which = (event.get("LogicalResourceId"), event.get("ResourceType"))
    physical, path = event.get("PhysicalResourceId"), event.get("ValidationPath")
    where = " ".join(str(part) for part in which if part) or "the template"
    named = f" {physical}" if physical else ""
    at = f" (at {path})" if path else ""
    return f"{where}{named}: {' '.join(reason.split())}{at}"


def _too_long(name: str, status: str) -> DeployError:
    return DeployError(
        f"{name} is still {status} after an hour: CloudFormation continues by itself, see the"
        " console; run the command again when it is done"
    )
