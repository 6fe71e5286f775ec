"""The policies of the functions as they are deployed, with the names of one backend put in.

A function may do what is in its file of .chalice/, and nothing else says so. This module must
never hold a permission.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from moorage.common.project import PROJECT
from tests.infra.intrinsics import Stack
from tests.policies.iam_actions import (
    ACCOUNT,
    PARTITION,
    REGION,
    arn,
    bucket_arn,
    function_arn,
    table_arn,
)
from tests.policies.policy import Policy

if TYPE_CHECKING:
    from tests.emulators.backends import Backend

_STACK, _DATA_STACK = "moorage", "moorage-data"
SIGNING_KEY = "/moorage/signing-key"
COMMIT_FUNCTION, VERIFY_FUNCTION = "moorage-commit", "moorage-verify"


class Function(enum.StrEnum):
    """The functions; each has a role, and so a policy, of its own."""

    API = "api"
    AUTHORIZER = "authorizer"
    COMMIT = "commit"
    VERIFY = "verify"
    SWEEP = "sweep"
    COLLECT = "collect"


@dataclass(frozen=True, slots=True)
class DeployedNames:
    """What a deployment's things are called."""

    bucket: str
    registry_table: str
    uploads_table: str
    access_table: str
    signing_key: str = SIGNING_KEY
    commit_function: str = COMMIT_FUNCTION
    verify_function: str = VERIFY_FUNCTION

    @classmethod
    def of(cls, backend: Backend, signing_key: str = SIGNING_KEY) -> Self:
        """Return the names of a backend's bucket and tables."""
        tables = (backend.registry_table, backend.uploads_table, backend.access_table)
        return cls(backend.bucket, *tables, signing_key)

    def stack(self) -> Stack:
        """Return the stack of the functions, beside one of the data with these names."""
        arns = {
            "Bucket": bucket_arn(self.bucket),
            "RegistryTable": table_arn(self.registry_table),
            "UploadsTable": table_arn(self.uploads_table),
            "AccessTable": table_arn(self.access_table),
        }
        return Stack(
            values={
                "AWS::Partition": PARTITION,
                "AWS::Region": REGION,
                "AWS::AccountId": ACCOUNT,
                "AWS::StackName": _STACK,
                "DataStack": _DATA_STACK,
                "SigningKeyParameter": self.signing_key,
                "Commit.Arn": function_arn(self.commit_function),
                "Verify.Arn": function_arn(self.verify_function),
                **{f"{each.title()}Logs.Arn": _logs_of(each) for each in Function},
            },
            exports={f"{_DATA_STACK}-{name}Arn": each for name, each in arns.items()},
        )


def _logs_of(function: Function) -> str:
    """Return the ARN of the log group that infra/api.merge.yaml declares, and of its streams."""
    return arn("logs", f"log-group:/aws/lambda/{_STACK}-{function}:*")


def document(function: Function) -> dict[str, Any]:
    """Return a function's policy as it is written."""
    path = PROJECT / ".chalice" / f"policy-{function}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=64)
def policy(function: Function, names: DeployedNames) -> Policy:
    """Return a function's policy over things of these names; raises TemplateError."""
    resolved = names.stack().resolved(document(function))
    assert isinstance(resolved, dict)
    return Policy.parse(resolved)
